"""The table as a picture: for each row a bar for each peer, time and peak memory over libhak's."""

import shutil
import subprocess

from .rows import HAK
from .table import ratio

ROW_PIXELS = 18
WIDTH_PIXELS = 1400
# A bar that would be longer ends here; its number stands in the table.
RATIO_MAX = 4

SCRIPT = """\
set terminal svg size {width},{height} font 'sans,11' background '#ffffff' noenhanced
set output {output}
set multiplot layout 1,2 margins 0.24,0.98,{bottom},{top} spacing 0.02
set style fill solid noborder
set linetype 1 lc rgb '#4477aa'
set linetype 2 lc rgb '#ee6677'
set linetype 3 lc rgb '#228833'
set linetype 4 lc rgb '#ccbb44'
set linetype 5 lc rgb '#66ccee'
set linetype 6 lc rgb '#aa3377'
set linetype 7 lc rgb '#bbbbbb'
set yrange [{rows}-0.3:-0.7]
set xrange [0:{ratio_max}]
set grid x lc rgb '#dddddd'
set arrow from 1,graph 0 to 1,graph 1 nohead lw 1.5 lc rgb '#000000'
set tics nomirror out scale 0.5
set key outside bottom center horizontal
set title 'time, each over that of {hak}'
set ytics ({labels})
plot {times}
set title 'peak memory, each over that of {hak}'
unset ytics
unset key
plot {peaks}
"""


def is_possible():
    return shutil.which("gnuplot") is not None


def bars(names, table, key):
    """The data, and what plots them: boxes that lie on their sides, a row's peers below each
    other."""
    plots, blocks = [], []
    height = 0.8 / len(names)
    for place, name in enumerate(names):
        block = f"${key}{place}"
        rows = [f"{row + (place + 0.5) * height - 0.4} {min(values[name], RATIO_MAX)}"
                for row, values in enumerate(table) if name in values]
        blocks.append(f"{block} << EOD\n" + "\n".join(rows) + "\nEOD\n")
        plots.append(f"{block} using ($2/2):1:($2/2):({height / 2}) with boxxyerror "
                     f"lt {place + 1} title '{name}'")
    return "".join(blocks), ", ".join(plots)


def write_chart(path, all_results):
    """False where gnuplot fails; what it says of that is on standard error."""
    rows = {title: results for title, results in all_results.items()
            if isinstance(results[HAK], list)}
    names = sorted({name for results in rows.values() for name in results} - {HAK})
    parts = {}
    for key in ("seconds", "peak_bytes"):
        table = [{name: 1 / ratio(results[HAK], results[name], key) for name in names
                  if isinstance(results.get(name), list)} for results in rows.values()]
        parts[key] = bars(names, table, key.split("_", maxsplit=1)[0])
    labels = ", ".join(f"'{title}' {place}" for place, title in enumerate(rows))
    height = 120 + ROW_PIXELS * len(rows) * max(1, len(names) // 2)
    script = SCRIPT.format(
        width=WIDTH_PIXELS, height=height, output=f"'{path}'", rows=len(rows), hak=HAK,
        ratio_max=RATIO_MAX, labels=labels, bottom=70 / height, top=1 - 40 / height,
        times=parts["seconds"][1], peaks=parts["peak_bytes"][1])
    script = parts["seconds"][0] + parts["peak_bytes"][0] + script
    return subprocess.run(["gnuplot"], input=script, text=True, check=False).returncode == 0
