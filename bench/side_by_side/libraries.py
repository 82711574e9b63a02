"""Where the libraries and the programs are."""

import os
import pathlib
import platform
import re
import subprocess
import sys

from .rows import DEBIAN_PEERS, GLIBC, HAK, programs_of

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = ROOT / "build" / "release"


def installed_library(file_name):
    """Where the dynamic loader would take this library from, or None."""
    environment = {**os.environ, "PATH": os.environ.get("PATH", "") + ":/sbin:/usr/sbin"}
    try:
        cache = subprocess.run(["ldconfig", "-p"], env=environment, check=True, text=True,
                               capture_output=True).stdout
    except (OSError, subprocess.CalledProcessError):
        cache = ""
    found = re.search(rf"^\s*{re.escape(file_name)} .*=> (\S+)$", cache, re.MULTILINE)
    if found:
        return pathlib.Path(found.group(1))
    for directory in (f"/usr/lib/{platform.machine()}-linux-gnu", "/usr/lib64", "/usr/lib",
                      "/usr/local/lib"):
        path = pathlib.Path(directory, file_name)
        if path.exists():
            return path
    return None


def refuse(words):
    """Ends with the status of bad arguments, as argparse does."""
    print(f"bench: {words}", file=sys.stderr)
    sys.exit(2)


def peers_of(settings):
    """Name to library of all that libhak is compared with; None is glibc's own."""
    peers = {GLIBC: None}
    for name, file_name in DEBIAN_PEERS.items():
        path = installed_library(file_name)
        if path:
            peers[name] = path
        else:
            print(f"bench: {file_name} is not installed; {name} is left out", file=sys.stderr)
    for name, path in settings.peer:
        if name == HAK or name in peers:
            refuse(f"--peer {name}={path}: there is a {name} already, give another name")
        peers[name] = path
    return peers


def build(programs):
    """Brings build/release up to date: old machine code under a new name is worse than a wait."""
    try:
        for step in (["--preset", "release"],
                     ["--build", str(BUILD), "--target", "hak", "limit", "empty", *programs]):
            subprocess.run(["cmake", *step], cwd=ROOT, check=True, stdout=sys.stderr)
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"bench: {error}")


def built_library(directory, name):
    path = directory / name
    if not path.is_file():
        refuse(f"{path} does not exist")
    return path


def limit_of(directory):
    """The malloc that does next to nothing (bench/limit.c), built beside the programs."""
    return built_library(directory, "liblimit.so")


def empty_of(directory):
    """The library that does nothing (bench/empty.c), there as well."""
    return built_library(directory, "libempty.so")


def locate(settings):
    """The library and the directory of the programs; what was not given is built."""
    if settings.lib is None or settings.bench_dir is None:
        build(programs_of(settings))
    library = settings.lib
    if library is None:
        library = BUILD / "libhak" / "libhak.so"
        if not library.exists():
            library = next(iter(sorted(BUILD.rglob("libhak.so"))), library)
    directory = settings.bench_dir or BUILD / "bench"
    for path in (library, *(directory / name for name in programs_of(settings))):
        if not path.is_file():
            refuse(f"{path} does not exist")
    return library.resolve(), directory.resolve()
