#!/usr/bin/python3
"""Includes point down one ladder: usage: include_ladder.py ROOT LADDER

Goal    whoever reads a file needs to know only what stands below it.
Method  every #include of every C file below a folder of LADDER (tests/lint/ladder.txt, which says
        the rule) is looked up there. Quoted names count from the tree's first folder (in libhak/
        "heap/slab.h") or from the root of the repository; nothing else is a place to stand on.
"""

import pathlib
import re
import sys

import tree

ROW = re.compile(r"(?P<folder>\S+)\s*(?:>(?P<below>[^:]*))?:(?P<files>.*)")
INCLUDE = re.compile(r'\s*#\s*include\s*(?:"(?P<quoted>[^"]*)"|<(?P<system>[^>]*)>)?')
SUFFIXES = (".c", ".h", ".def")
PUBLIC_HEADER = "hak/hak.h"


class Ladder:
    def __init__(self, path):
        self.below = {}  # folder: the folders that it stands on
        self.place = {}  # folder/file without suffix: (folder, place in its row)
        for number, line in enumerate(path.read_text().splitlines(), 1):
            line = line.partition("#")[0].strip()
            if not line:
                continue
            row = ROW.fullmatch(line)
            if not row or row["folder"] in self.below:
                sys.exit(f"{path}:{number}: not a row, or a second row for its folder: {line}")
            folder, below = row["folder"], (row["below"] or "").split()
            for lower in below:
                if lower not in self.below:
                    sys.exit(f"{path}:{number}: {lower} has no row above this one")
            self.below[folder] = below
            for place, name in enumerate(row["files"].split()):
                self.place[f"{folder}/{name}"] = (folder, place)
        self.trees = {folder.split("/")[0] for folder in self.below}

    def find(self, includer_tree, included):
        """The name on the ladder that an include line means, or None."""
        stem = str(pathlib.PurePosixPath(included).with_suffix("")) if included else ""
        candidates = (f"{includer_tree}/{stem}", stem)
        return next((name for name in candidates if name in self.place), None)

    def objection(self, includer, included):
        """Why the file at one name may not include the other; None if it may."""
        folder, place = self.place[includer]
        included_folder, included_place = self.place[included]
        if folder == included_folder:
            if included_place > place:
                return f"which stands above it in {folder}"
        elif included_folder not in self.below[folder]:
            if folder in self.below[included_folder]:
                return f"an include upwards: {included_folder} stands on {folder}"
            return f"an include sideways: {folder} does not stand on {included_folder}"
        return None


def check_file(root, name, ladder):
    stem = str(pathlib.PurePosixPath(name).with_suffix(""))
    if stem not in ladder.place:
        yield f"{name}: has no place on the ladder"
        return
    tree_name = name.split("/")[0]
    for number, line in enumerate((root / name).read_text().splitlines(), 1):
        include = INCLUDE.match(line)
        if not include:
            continue
        where = f"{name}:{number}"
        quoted, system = include["quoted"], include["system"]
        target = ladder.find(tree_name, quoted or system)
        if quoted is None and system is None:
            yield f"{where}: the included name is a macro, which hides what stands below"
        elif system is not None:
            if target:
                yield f"{where}: includes <{system}>, a file of the project, as the system's"
            elif system.startswith("hak/") and system != PUBLIC_HEADER:
                yield f"{where}: includes <{system}>; <{PUBLIC_HEADER}> is the only public header"
        elif quoted == PUBLIC_HEADER:
            yield f"{where}: includes \"{quoted}\"; write <{quoted}>"
        elif target is None:
            yield f"{where}: includes \"{quoted}\", which has no place on the ladder"
        else:
            objection = ladder.objection(stem, target)
            if objection:
                yield f"{where}: includes \"{quoted}\", {objection}"


def main(root, ladder_path):
    ladder = Ladder(ladder_path)
    names = [name for name in tree.files(root)
             if name.split("/")[0] in ladder.trees and name.endswith(SUFFIXES)]
    if not names:
        sys.exit(f"{root} has no file that the ladder could judge")
    return tree.finish([text for name in names for text in check_file(root, name, ladder)])


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])))
