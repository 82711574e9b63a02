"""The rows: which programs run, with which arguments, and what the check wants of each.

The programs, their arguments and their seeds stand fast, so that a result can be compared with one
of another year: rows are added, and none is changed.
"""

import dataclasses
import re

MIB = 1 << 20
HAK = "libhak"
GLIBC = "glibc"
DEBIAN_PEERS = {
    "mimalloc": "libmimalloc.so.2",
    "jemalloc": "libjemalloc.so.2",
    "tcmalloc": "libtcmalloc_minimal.so.4",
}

# A process of about 1 ms varies by as much from run to run, so its median needs many.
STARTUP_RUNS = 1001
# Memory after a fixed walk hardly varies from run to run.
MEMORY_RUNS = 3
# What an interval of a target takes, whatever the row.
RUNS_MIN = 15
QUICK_DIVISOR = 50
# What random_mixed takes.
THREADS_MAX = 256
# thread_churn compares with the memory after this many threads, and refuses fewer.
THREAD_CHURN_MIN = 1000
# Whose a row's program is: our own, a real one (real.py), or one of --suite's (suite.py).
OWN, REAL_KIND, FOREIGN = "own", "real", "foreign"
HUGE_BYTES = str(25 * MIB)
GIB = str(1 << 30)


# The word of a row's command that --quick divides, and the one that it makes 0.
WORK = object()
SECONDS = object()


@dataclasses.dataclass(frozen=True)
class Row:
    """One program with its arguments, how it is measured and what the check wants of it."""

    words: tuple
    work: int
    # Huge blocks cost some peers a hundred times what they cost others: where all are compared,
    # this many rounds are enough; the check has more, for the one peer that it compares with.
    work_in_table: int = 0
    work_min: int = 1
    whole_process: bool = False
    # The check: libhak's median seconds against each of these peers', times the factor.
    judged_by: tuple = ()
    factor: float = 1.0
    memory: str = ""
    runs_max: int = 0
    # Where most of a run is waiting and the target is for libhak's own memory: runs of the others.
    peer_runs_max: int = 0
    seconds: int = 10
    kind: str = OWN
    timed: str = "loop"
    # Of a foreign program: what its row is called, and where it runs.
    name: str = ""
    folder: str = ""

    def command(self, settings):
        work = self.work
        if self.work_in_table and not settings.check:
            work = self.work_in_table
        if settings.quick:
            work = max(self.work_min, work // QUICK_DIVISOR)
        stands_for = {WORK: str(work), SECONDS: str(0 if settings.quick else self.seconds)}
        return [stands_for.get(word, word) for word in self.words]

    def title(self, settings):
        return self.name or " ".join(self.command(settings))

    def runs(self, settings):
        if self.whole_process and not settings.quick:
            return max(settings.runs, STARTUP_RUNS)
        most = self.runs_max or settings.runs
        return min(settings.runs, max(most, RUNS_MIN) if settings.targets else most)

    def runs_of(self, allocator, settings):
        runs = self.runs(settings)
        is_bound = allocator != HAK and self.peer_runs_max
        return min(runs, self.peer_runs_max) if is_bound else runs


def random_mixed(threads):
    """The rows of random_mixed, for each number of threads."""
    for work, slots in ((1000, "256"), (100_000_000, "256"), (50_000_000, "8192"),
                        (15_000_000, "1000000")):
        for count in threads:
            yield Row(("random_mixed", WORK, slots, "42", str(count)), work,
                      whole_process=work == 1000, judged_by=tuple(DEBIAN_PEERS))


JUDGED = (
    Row(("random_mixed", "--settle", WORK, "8192", "42", "1"), 50_000_000, memory="settle",
        runs_max=MEMORY_RUNS),
    Row(("thread_churn", WORK, "64"), 100_000, work_min=THREAD_CHURN_MIN,
        judged_by=(GLIBC,), factor=1.3, memory="churn"),
    Row(("huge_churn", HUGE_BYTES, WORK), 5_000, work_in_table=500,
        judged_by=("tcmalloc",), factor=1.2),
    Row(("huge_churn", "--no-touch", HUGE_BYTES, WORK), 7_000_000, work_in_table=100_000,
        judged_by=("tcmalloc",), factor=1.2),
)

SUITE = (
    Row(("handover", "1", "1", WORK, "42"), 10_000_000),
    Row(("handover", "1", "3", WORK, "42"), 10_000_000),
    Row(("handover", "3", "1", WORK, "42"), 3_000_000),
    Row(("server", "2", WORK, "10000", "50000", "42"), 200),
    Row(("phase", "same", WORK, "100000000", "42"), 20),
    Row(("phase", "reverse", WORK, "100000000", "42"), 20),
    Row(("phase", "random", WORK, "100000000", "42"), 20),
    Row(("grow", "1", GIB, WORK), 1),
    Row(("grow", "64", "1048576", WORK), 20),
    Row(("huge_mixed", WORK, "8", "42"), 500),
    Row(("zeroed", WORK, "1000", "42"), 300_000),
    Row(("aligned", WORK, "10000", "42"), 10_000_000),
    Row(("trees", "20", WORK), 4),
    Row(("strings", "200000", WORK, "42"), 5),
    Row(("crowd", WORK, "64", "42"), 1000),
    Row(("sharing", "2", WORK, "8"), 50_000),
    Row(("sharing", "--handed", "2", WORK, "8"), 50_000),
    Row(("latency", WORK, "8192", "42", "1"), 10_000_000),
    Row(("latency", WORK, "8192", "42", "2"), 10_000_000),
    Row(("purge", WORK, "95", "3", "42"), int(GIB), runs_max=MEMORY_RUNS,
        peer_runs_max=MEMORY_RUNS),
    Row(("purge", WORK, "100", "3", "42"), int(GIB), runs_max=MEMORY_RUNS,
        peer_runs_max=MEMORY_RUNS),
    Row(("purge", "--forked", WORK, "95", "3", "42"), int(GIB), runs_max=MEMORY_RUNS,
        peer_runs_max=MEMORY_RUNS),
    Row(("burst", WORK, "95", SECONDS, "42"), int(GIB), runs_max=MEMORY_RUNS,
        peer_runs_max=MEMORY_RUNS),
    Row(("burst", WORK, "100", SECONDS, "42"), int(GIB), runs_max=MEMORY_RUNS,
        peer_runs_max=MEMORY_RUNS),
)


def real(words, work, timed="whole process"):
    return Row(words, work, kind=REAL_KIND, timed=timed)


REAL = (
    real(("redis-server", WORK), 150_000, "redis-benchmark"),
    real(("sqlite3", ":memory:", WORK), 60_000),
    real(("python3", "objects.py", WORK), 50),
    real(("python3", "documents.py", WORK), 120),
    real(("python3", "words.py", WORK), 180),
    real(("python3", "pickles.py", WORK), 40),
    real(("cc1", "-O1", WORK), 150),
    real(("lua5.4", "churn.lua", WORK), 700),
    real(("ruby", "churn.rb", WORK), 600),
)


def rows_of(settings):
    """The rows of the table, in its order; of the check, those that have a target."""
    rows = [*random_mixed(settings.threads), *JUDGED]
    if not settings.check:
        rows += SUITE + REAL
    if settings.suite:
        rows = settings.suite
    return [row for row in rows if re.search(settings.programs, row.title(settings))]


def programs_of(settings):
    """The programs of our own that the rows run, each once."""
    return sorted({row.words[0] for row in rows_of(settings) if row.kind == OWN})
