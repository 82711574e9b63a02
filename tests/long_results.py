#!/usr/bin/python3
"""What `scripts/test --long` found: usage: long_results.py PRESET... > docs/long-tests.md

Each preset's ctest has left a JUnit file; the last line "summary: ..." that a test printed is what
it says of itself. A preset without such a file could not be built or had nothing to run.
"""

import datetime
import os
import pathlib
import platform
import re
import subprocess
import sys
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = pathlib.PurePath("build")
SECONDS = os.environ.get("HAK_LONG_SECONDS", "600")


def git(*arguments):
    return subprocess.run(["git", "-C", ROOT, *arguments], check=True, text=True,
                          stdout=subprocess.PIPE).stdout.strip()


def tested_commit():
    # The file that this writes is no change of what was tested.
    changed = git("status", "--porcelain", "--", ".", ":!docs/long-tests.md") != ""
    return git("rev-parse", "--short=12", "HEAD") + (" with changes" if changed else "")


def rows(preset):
    path = ROOT / RESULTS / preset / "long.xml"
    if not path.is_file():
        yield preset, "", "not run", "", ""
        return
    for case in xml.etree.ElementTree.parse(path).iter("testcase"):
        said = re.findall(r"^summary: (.*)$", case.findtext("system-out") or "", re.MULTILINE)
        result = {"run": "passed", "fail": "**failed**"}.get(case.get("status"), case.get("status"))
        yield (preset, case.get("name"), result, f"{float(case.get('time')):.0f} s",
               said[-1] if said else "")


def main(presets):
    print(f"""# The long tests

Written by `scripts/test --long`; in no other run.

- date: {datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M} UTC
- commit: {tested_commit()}
- time for each test: {SECONDS} s{"" if SECONDS == "600" else ", not the full ten minutes"}
- machine: {os.cpu_count()} processors, Linux {platform.release()}, {platform.machine()}

| preset | test | result | took | what it says |
|---|---|---|---|---|""")
    for preset in presets:
        for row in rows(preset):
            print("|", " | ".join(row), "|")


if __name__ == "__main__":
    main(sys.argv[1:])
