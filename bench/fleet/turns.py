"""The fleet: 50 real programs that burst in turns, as many at once as there are processors. In its
turn a program bursts some times in a row, and then stands still until all others had theirs."""

import random
import threading
import time

from programs import Node, Perl, Postgres, PostgresServer, ProgramError, Python, Redis, Sqlite

# 50 in all; the order in which they take their turns is drawn by a fixed seed.
KINDS = ((Python, 13), (Perl, 9), (Sqlite, 10), (Redis, 8), (Node, 4), (Postgres, 6))
AT_ONCE = 2
BURSTS_A_TURN = 3  # mix has an option for it
SEED = 42


class Fleet:
    """The programs of one run, all started."""

    def __init__(self, host, divisor):
        self.server = PostgresServer(host)
        self.programs = []
        try:
            for kind, count in KINDS:
                for _ in range(max(1, count // divisor)):
                    more = (self.server,) if kind is Postgres else ()
                    self.programs.append(kind(host, *more))
        except BaseException:
            self.end()
            raise
        random.Random(SEED).shuffle(self.programs)

    def pids(self):
        return [pid for one in (self.server, *self.programs) for pid in one.pids()]

    def end(self):
        for one in (*self.programs, self.server):
            one.end()


class Turns:
    """Hands out the programs in turn, each to one worker at a time."""

    def __init__(self, programs, rounds, bursts=BURSTS_A_TURN):
        self.lock = threading.Lock()
        self.bursts = bursts
        self.waiting = [program for _ in range(rounds) for program in programs]
        self.failure = None

    def next(self):
        with self.lock:
            return self.waiting.pop(0) if self.waiting and not self.failure else None

    def take_turn(self, program):
        for _ in range(self.bursts):
            program.burst()

    def work(self):
        while (program := self.next()) is not None:
            try:
                self.take_turn(program)
            except (ProgramError, OSError, ValueError) as error:
                self.failure = error


def work_through(turns):
    started = time.monotonic()
    workers = [threading.Thread(target=turns.work) for _ in range(AT_ONCE)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if turns.failure:
        raise turns.failure
    return time.monotonic() - started
