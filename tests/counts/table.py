"""Tables of what is expected, beside what was measured.

A table is a text file: comments, then lines of a name and a number. A number may lie a band above
or below; below as well, because a table that is not renewed when something got better would let it
grow worse again, up to where it was.
"""

import pathlib


def show(number):
    return f"{number:.2f}".rstrip("0").rstrip(".")


class Table:
    def __init__(self, path, band_percent):
        self.path = pathlib.Path(path)
        self.band_percent = band_percent
        self.comment = ""
        self.numbers = {}
        for line in self.path.read_text("ascii").splitlines():
            if line.startswith("#") or not line.strip():
                self.comment += line + "\n"
            else:
                name, number = line.split()
                self.numbers[name] = float(number)

    def names_of(self, group):
        return [name for name in self.numbers if name.partition("/")[0] == group]

    def compare(self, group, measured, words):
        """Prints a line for each row; returns whether all are as expected. words: (what it is when
        there is more, and when there is less)."""
        good = True
        for name in measured | dict.fromkeys(self.names_of(group)):
            expected, number = self.numbers.get(name), measured.get(name)
            if number is None or expected is None:
                verdict = "is not in the table" if expected is None else "is no longer measured"
                verdict += ": renew it"
            else:
                percent = 100 * (number / expected - 1) if expected else 0
                verdict = "" if abs(percent) <= self.band_percent else (
                    f"{abs(percent):.1f} % {words[0]}" if percent > 0 else
                    f"{abs(percent):.1f} % {words[1]}: renew the table, so that it stays so")
            good &= not verdict
            shown = ["-" if value is None else show(value) for value in (number, expected)]
            print(f"{name:48} {shown[0]:>12} expected {shown[1]:>12}  {verdict}".rstrip())
        return good

    def renew(self, group, measured):
        """The group's rows become these; the others stay. Rows keep their places, so that a diff
        shows what has changed."""
        for name in set(self.names_of(group)) - set(measured):
            del self.numbers[name]
        self.numbers |= measured
        groups = list(dict.fromkeys(name.partition("/")[0] for name in self.numbers))
        ordered = sorted(self.numbers, key=lambda name: groups.index(name.partition("/")[0]))
        rows = "".join(f"{name:48} {show(self.numbers[name]):>12}\n" for name in ordered)
        new = self.path.with_suffix(".new")
        new.write_text(self.comment + rows, "ascii")
        new.replace(self.path)
