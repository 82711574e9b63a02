#!/usr/bin/python3
"""demo - real programs with glibc's malloc and with a preloaded library, side by side.

usage: demo.py --lib PATH    (scripts/demo builds the library and calls this)

Prints one table: time, peak memory and whether the results are the same. Exits with 1, and says
which program and why, if a result differs or if the library was not mapped in a program.
"""

import argparse
import os
import sys
import time

import programs
import trial

MIB = 1024


def table(rows, name):
    """The rows as text. A ratio is the library's number over glibc's: under 1 is less."""
    head = ["", "glibc", name, "ratio", "glibc", name, "ratio", "same"]
    body = []
    for program, result in rows:
        names = program.image_names()
        before, after = result.baseline, result.candidate
        peaks = before.peak_kib(names) / MIB, after.peak_kib(names) / MIB
        body.append([
            program.name, f"{before.seconds:.2f}", f"{after.seconds:.2f}",
            ratio(after.seconds, before.seconds), f"{peaks[0]:.1f}", f"{peaks[1]:.1f}",
            ratio(peaks[1], peaks[0]), "no" if result.complaints else "yes"])
    widths = [max(len(row[n]) for row in [head, *body]) for n in range(len(head))]
    widths[0] = max(widths[0], len("program"))
    widths[7] = max(widths[7], len("result"))

    def line(cells):
        cells = [cells[0].ljust(widths[0])] + [
            cell.rjust(width) for cell, width in zip(cells[1:], widths[1:])]
        groups = cells[:1], cells[1:4], cells[4:7], cells[7:]
        return "    ".join("  ".join(group) for group in groups)

    group = widths[1] + widths[2] + widths[3] + 4, widths[4] + widths[5] + widths[6] + 4
    over = ("program".ljust(widths[0]) + "    " + "seconds".center(group[0]) + "    "
            + "peak MiB".center(group[1]) + "    " + "same".rjust(widths[7]))
    head[7] = "result"
    rule = "-" * len(over)
    return "\n".join([over.rstrip(), line(head), rule, *(line(row) for row in body), rule])


def ratio(new, old):
    return f"{new / old:.2f}x" if old else "-"


def demonstrate(library, name, scratch):
    """Runs all, tells the progress; returns the rows of the table."""
    rows = []
    for program in programs.DEMO:
        print(f"{program.name:8} ... ", end="", flush=True)
        # The first run of a program pays for reading it from the disk, so it is not measured.
        trial.warm_up(program, library, scratch)
        extra = {"HAK_STATS": "1"} if program.name == "python3" else None
        result = trial.hold(program, program.full, library, scratch, extra=extra)
        with_library = sum(image.mapped for image in result.candidate.images)
        print(f"{result.baseline.seconds:5.2f} s with glibc, {result.candidate.seconds:5.2f} s "
              f"with {name}, mapped in {with_library} of {len(result.candidate.images)} processes",
              flush=True)
        rows.append((program, result))
    return rows


def main():
    parser = argparse.ArgumentParser(description="Runs real programs with glibc's malloc and with "
                                     "a preloaded library, side by side.")
    parser.add_argument("--lib", required=True, help="the library to preload")
    arguments = parser.parse_args()
    started = time.monotonic()
    with trial.scratch_directory() as scratch:
        library = trial.library_path(arguments.lib)
        name = os.path.basename(library).split(".so")[0]
        print(f"LD_PRELOAD={library}\n")
        rows = demonstrate(library, name, scratch)

    print("\n" + table(rows, name))
    workers = ", ".join(os.path.basename(name) for program, _ in rows for name in program.watched)
    print(f"The peak is that of the largest process of: {workers}.")
    summary = rows[0][1].candidate.stderr.decode(errors="replace").strip()
    if summary:
        print(f"\nHAK_STATS=1, as {rows[0][0].name} ended:\n{summary}")

    failed = [(program, result) for program, result in rows if result.complaints]
    for program, result in failed:
        for complaint in result.complaints:
            print(f"\nFAILED {program.name}: {complaint}")
    verdict = (f"{len(failed)} of {len(rows)} programs failed." if failed
               else f"All {len(rows)} programs gave the same results.")
    print(f"\n{verdict} {time.monotonic() - started:.0f} s.")
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except trial.Unusable as error:
        sys.exit(f"demo: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
