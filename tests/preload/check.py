#!/usr/bin/python3
"""check - one program under the preloaded library, as a test.

usage: check.py --lib PATH [PROGRAM...]
       check.py --list | --list-seldom

Goal    a real program does under libhak what it does under glibc, and libhak is really there.
Method  both runs at the program's quick size; trial.complaints() judges. Exits 0 if it has none.
"""

import argparse
import sys

import programs
import trial


def main():
    parser = argparse.ArgumentParser(description="Runs real programs with glibc's malloc and with "
                                     "a preloaded library, and compares what they print.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--lib", help="the library to preload")
    what.add_argument("--list", action="store_true", help="print the programs' names")
    what.add_argument("--list-seldom", action="store_true",
                      help="print the names of those that only scripts/test --all runs")
    parser.add_argument("program", nargs="*", help="of " + ", ".join(programs.PROGRAMS))
    arguments = parser.parse_args()
    if arguments.list or arguments.list_seldom:
        print("\n".join(program.name for program in programs.PROGRAMS.values()
                        if program.seldom == arguments.list_seldom))
        return 0
    unknown = [name for name in arguments.program if name not in programs.PROGRAMS]
    if unknown:
        parser.error(f"no such program: {', '.join(unknown)}")

    failed = False
    with trial.scratch_directory() as scratch:
        library = trial.library_path(arguments.lib)
        for name in arguments.program or programs.PROGRAMS:
            program = programs.PROGRAMS[name]
            result = trial.hold(program, program.quick, library, scratch)
            names = program.image_names()
            print(f"{name}: {result.baseline.seconds:.2f} s and "
                  f"{result.baseline.peak_kib(names) / 1024:.1f} MiB with glibc, "
                  f"{result.candidate.seconds:.2f} s and "
                  f"{result.candidate.peak_kib(names) / 1024:.1f} MiB with {library}, "
                  f"{len(result.candidate.images)} processes", flush=True)
            for complaint in result.complaints:
                failed = True
                print(f"{name}: {complaint}")
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except trial.Unusable as error:
        sys.exit(f"check.py: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
