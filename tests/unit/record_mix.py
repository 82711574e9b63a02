#!/usr/bin/python3
"""usage: record_mix.py HAKD LIBRARY > market_mix.inc

Records what test_market_mix.c plays: the live and the refilled bytes of real programs on LIBRARY,
which burst in turns of different length, as hakd tells of them, four times a second for 40 s.
"""

import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time

SAMPLES, INTERVAL = 160, 0.25

PYTHON = ("import time\n"
          "while True:\n"
          "    held = [{}]\n"
          "    time.sleep({})\n"
          "    held = None\n"
          "    time.sleep({})\n")
PERL = ("use Time::HiRes 'sleep'; while (1) {{ my %h; $h{{$_}} = 'x' x ($_ % 300) for 1 .. {}; "
        "sleep {}; undef %h; sleep {}; }}")
SQLITE = ("create temp table t(a, b);"
          "with recursive n(i) as (select 1 union all select i + 1 from n where i < {}) "
          "insert into t select i, hex(randomblob(60)) from n; drop table t; vacuum;\n")

PROGRAMS = {
    "python, 60 MiB each 2 s": PYTHON.format("[i] * 9 for i in range(400000)", 0.5, 0.7),
    "python, 20 MiB each 0.3 s": PYTHON.format("bytes(i % 3000) for i in range(12000)", 0.1, 0.1),
    "python, 200 MiB each 12 s": PYTHON.format("bytes(i % 5000) for i in range(80000)", 2, 9),
    "python, once, then idle": PYTHON.format("bytes(i % 900) for i in range(300000)", 1, 1000),
    "python, holds": PYTHON.format("bytes(i % 900) for i in range(200000)", 1000, 1),
    "perl, each 3 s": PERL.format(200000, 0.5, 2),
    "perl, small, each 0.5 s": PERL.format(40000, 0.1, 0.3),
    "sqlite": None,
}


class Control(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("hak", timeout=20)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


def ask(folder):
    control = Control(f"{folder}/control")
    control.request("GET", "/v1/clients")
    clients = json.loads(control.getresponse().read())["clients"]
    control.close()
    return {client["pid"]: client["metrics"] for client in clients}


def start(name, program, environment):
    if program is None:
        return subprocess.Popen(["sqlite3", ":memory:"], env=environment, stdin=subprocess.PIPE,
                                stdout=subprocess.DEVNULL, text=True)
    command = ["perl", "-e", program] if name.startswith("perl") else [sys.executable, "-c",
                                                                      program]
    return subprocess.Popen(command, env=environment)


def record(folder, programs):
    begin = time.monotonic()
    for number in range(SAMPLES):
        if number % 6 == 0:
            programs[-1].stdin.write(SQLITE.format(60000))
            programs[-1].stdin.flush()
        time.sleep(max(0, begin + number * INTERVAL - time.monotonic()))
        now = ask(folder)
        rows = [now.get(program.pid, {}) for program in programs]
        yield [(row.get("live_bytes", 0) >> 10, row.get("refilled_bytes_total", 0) >> 10)
               for row in rows]


def main(hakd, library):
    with tempfile.TemporaryDirectory(prefix="hak-mix-") as folder:
        daemon = subprocess.Popen([hakd, "--runtime-dir", folder], stderr=subprocess.DEVNULL)
        environment = dict(os.environ, LD_PRELOAD=os.path.abspath(library),
                           PYTHONMALLOC="malloc", HAK_SOCKET=f"{folder}/client")
        while not os.path.exists(f"{folder}/control"):
            time.sleep(0.05)
        programs = [start(name, program, environment) for name, program in PROGRAMS.items()]
        try:
            samples = list(record(folder, programs))
        finally:
            for program in programs + [daemon]:
                program.kill()
                program.wait()
    print("/* market_mix.inc - recorded by record_mix.py, which says of what. A row is a sample, "
          "250 ms after\n * the one before; of each program the live and the refilled KiB. */")
    print(f"#define MIX_SAMPLES {SAMPLES}\n#define MIX_PROGRAMS {len(PROGRAMS)}\n")
    print("static const uint32_t mix[MIX_SAMPLES][MIX_PROGRAMS][2] = {")
    for sample in samples:
        print("{" + ",".join(f"{{{live},{refilled}}}" for live, refilled in sample) + "},")
    print("};")


if __name__ == "__main__":
    main(*sys.argv[1:])
