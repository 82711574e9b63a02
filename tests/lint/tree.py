"""The files of a source tree that are somebody's work: tracked, or new and not ignored."""

import os
import subprocess


def files(root):
    """Paths relative to root, sorted. Without a repository (an unpacked archive, a planted copy)
    every file counts but what lies under build/ and hidden folders other than .ci."""
    if (root / ".git").exists():
        listing = subprocess.run(
            ["git", "-C", root, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            stdout=subprocess.PIPE, check=True, text=True).stdout
        names = {name for name in listing.split("\0") if name}
    else:
        names = set()
        for folder, subfolders, leaves in os.walk(root):
            subfolders[:] = [name for name in subfolders
                             if name not in ("build", "__pycache__")
                             and (name == ".ci" or not name.startswith("."))]
            names.update(os.path.relpath(os.path.join(folder, leaf), root) for leaf in leaves)
    # A file that was deleted but not yet committed is still in git's list.
    return sorted(name for name in names if (root / name).is_file())


def finish(violations):
    """Prints the violations and returns the status to exit with."""
    for violation in violations:
        print(violation)
    return 1 if violations else 0
