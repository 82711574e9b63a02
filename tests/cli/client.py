#!/usr/bin/python3
"""A process that hakd takes for one on libhak: client.py SOCKET [FIELD=NUMBER...]

Names itself $CLIENT_NAME, registers as proto/ has it, with the metrics given and one size class,
says "ready", and then does what the lines of its input ask:

    FIELD=NUMBER   a metric has another value
    trim           waits for a trim_request and answers it: 9, 1 and 8 MiB; says "trimmed TARGET"
"""

import fcntl
import mmap
import os
import pathlib
import socket
import struct
import sys
import time

import hosts

SUPERSLABS = 512
BYTES = (8192 + 128 * SUPERSLABS + 65535) // 65536 * 65536
FIELDS = hosts.metric_fields()
MIB = 1 << 20

# proto/mailbox.h and telemetry.h, by the word.
TRIM_REQUEST, TRIM_TARGET = 5, 6
TELEMETRY, METRICS, CLASSES = 512, 512 + 16, 512 + 128
VERSION, METRIC_COUNT, CLASS_COUNT, PID, UPDATED, STARTED, ACK, BEFORE, AFTER, RELEASED = range(
    TELEMETRY + 1, TELEMETRY + 11)


class Page:
    def __init__(self):
        self.memfd = os.memfd_create("hak", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.memfd, BYTES)
        fcntl.fcntl(self.memfd, fcntl.F_ADD_SEALS,
                    fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
        self.words = memoryview(mmap.mmap(self.memfd, BYTES)).cast("Q")
        # A heap reserves its region: an address space without one is another program's.
        self.region = mmap.mmap(-1, SUPERSLABS * 2 * MIB, prot=0,
                                flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)

    def write(self, changes):
        """Odd sequence, the words by their place, even sequence."""
        self.words[TELEMETRY] += 1
        for place, word in changes.items():
            self.words[place] = word
        self.words[UPDATED] = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        self.words[TELEMETRY] += 1


def metrics(settings):
    pairs = (setting.split("=") for setting in settings)
    return {METRICS + FIELDS.index(field): int(number) for field, number in pairs}


def register(path, memfd):
    hello = struct.pack("<8sHHIQQQ", b"hakHELLO", 1, 40, SUPERSLABS, 1 << 40, 1 << 16, 0)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as daemon:
        daemon.connect(path)
        socket.send_fds(daemon, [hello], [memfd])


def answer_trim(page):
    while page.words[TRIM_REQUEST] == page.words[ACK]:
        time.sleep(0.005)
    page.write({ACK: page.words[TRIM_REQUEST], BEFORE: 9 * MIB, AFTER: MIB, RELEASED: 8 * MIB})
    return page.words[TRIM_TARGET]


def main(path, *settings):
    page = Page()
    pathlib.Path("/proc/self/comm").write_bytes(os.environb[b"CLIENT_NAME"])
    page.write({VERSION: 1, METRIC_COUNT: len(FIELDS), CLASS_COUNT: 2, PID: os.getpid(),
                STARTED: time.clock_gettime_ns(time.CLOCK_MONOTONIC),
                CLASSES + 4: 64, CLASSES + 5: 3, CLASSES + 6: 768, CLASSES + 7: 576,
                **metrics(settings)})
    register(path, page.memfd)
    os.close(page.memfd)
    print("ready", flush=True)
    for line in sys.stdin:
        if line.strip() == "trim":
            print("trimmed", answer_trim(page), flush=True)
        else:
            page.write(metrics([line.strip()]))
            print("written", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
