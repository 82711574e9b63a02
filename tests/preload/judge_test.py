#!/usr/bin/python3
"""judge_test - the judge of the preload tests must see what it is there to see.

usage: judge_test.py --lib PATH

Goal    no wrong result, lost status or missing library passes for a success.
Method  plants each fault twice over: into the pure comparison, and as real programs that give
        another result, crash, drop the library or hang when it is preloaded. Last, what a trial
        leaves behind: no process, no file.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path
from unittest import mock

import launcher
import programs
import trial

LIBRARY = None
HERE = Path(__file__).resolve().parent


def run(**changes):
    image = launcher.Image(pid=1, name="worker", peak_kib=100, mapped=changes.pop("mapped", True),
                           has_libc=changes.pop("has_libc", True))
    return launcher.Run(**{"status": 0, "stdout": b"one\ntwo\n", "images": [image], **changes})


class Comparison(unittest.TestCase):
    def complaint(self, baseline, candidate, watched=frozenset({"worker"})):
        found = trial.complaints(set(watched), baseline, candidate)
        self.assertEqual(len(found), 1, found)
        return found[0]

    def test_equal_runs_pass(self):
        self.assertEqual(trial.complaints({"worker"}, run(mapped=False), run()), [])

    def test_planted_result(self):
        self.assertIn("line 2 is b'tWo'", self.complaint(run(), run(stdout=b"one\ntWo\n")))

    def test_planted_end_of_line(self):
        self.assertIn("result differs", self.complaint(run(), run(stdout=b"one\ntwo")))

    def test_truncated_result(self):
        self.assertIn("1 lines and not 8 in 2", self.complaint(run(), run(stdout=b"one\n")))

    def test_no_result_at_all(self):
        self.assertIn("no result", self.complaint(run(stdout=b""), run(stdout=b"")))

    def test_exit_status(self):
        self.assertIn("library it exited with 3: why",
                      self.complaint(run(), run(status=3, stderr=b"why")))
        self.assertIn("glibc it exited with 3", self.complaint(run(status=3), run()))

    def test_killed(self):
        self.assertIn("killed by SIGABRT", self.complaint(run(), run(status=-signal.SIGABRT)))

    def test_worker_never_seen(self):
        self.assertIn("never seen at work with the library: other",
                      self.complaint(run(), run(), {"worker", "other"}))

    def test_worker_without_the_library(self):
        found = trial.complaints({"worker"}, run(), run(mapped=False))
        self.assertEqual([text.split(":")[0] for text in found],
                         ["the library was not mapped in worker",
                          "never seen at work with the library"])

    def test_worker_without_any_library(self):
        self.assertIn("never seen at work with the library: worker",
                      self.complaint(run(), run(mapped=False, has_libc=False)))


class RealPrograms(unittest.TestCase):
    """Each script can tell the two runs apart by LD_PRELOAD, as a broken library would."""

    def setUp(self):
        holder = tempfile.TemporaryDirectory(prefix="hak-preload.")
        self.addCleanup(holder.cleanup)
        self.scratch = Path(holder.name)

    def hold(self, script, watched=("bash",), limit_seconds=100):
        program = programs.Program(name="planted", needs=("bash",), watched=watched,
                                   limit_seconds=limit_seconds,
                                   command=lambda *_: ["bash", "-c", script, LIBRARY])
        result = trial.hold(program, (), LIBRARY, self.scratch)
        self.assertEqual(sorted(path.name for path in self.scratch.iterdir()),
                         ["stderr", "stdout"], "what a trial leaves behind")
        return result.complaints

    def test_honest_program_passes(self):
        self.assertEqual(self.hold('echo same; (exit 0); sleep 0.01', ("bash", "sleep")), [])

    def test_wrong_result(self):
        found = self.hold('[[ $LD_PRELOAD == "$0" ]] && echo 41 || echo 42')
        self.assertEqual(found, ["the result differs: line 1 is b'41' and not b'42'"])

    def test_crash(self):
        found = self.hold('echo same; [[ $LD_PRELOAD == "$0" ]] && kill -SEGV $$; exit 0')
        self.assertIn("was killed by SIGSEGV", found[0])

    def test_shortest_process_without_the_library(self):
        found = self.hold('echo same; env -u LD_PRELOAD true; exit 0')
        self.assertEqual(found, ["the library was not mapped in true"])

    def test_static_program_passes(self):
        self.assertEqual(self.hold('echo same; /sbin/ldconfig -p > /dev/null; exit 0'), [])

    def test_a_child_that_outlives_its_parent_is_seen(self):
        found = self.hold('echo same; (env -u LD_PRELOAD sleep 0.3 &) ; exit 0')
        self.assertEqual(found, ["the library was not mapped in sleep"])

    def test_hang(self):
        found = self.hold('echo same; [[ $LD_PRELOAD == "$0" ]] && sleep 1000; exit 0',
                          limit_seconds=1)
        self.assertIn("with the library it did not end within 1 s", found[0])

    def test_a_process_left_behind(self):
        with mock.patch.object(launcher, "DRAIN_SECONDS", 0.5):
            found = self.hold('echo same; [[ $LD_PRELOAD == "$0" ]] && sleep 1000 & exit 0')
        self.assertIn("with the library it left a process behind", found[0])

    def test_stopped_program_counts_as_hanging(self):
        found = self.hold('echo same; [[ $LD_PRELOAD == "$0" ]] && kill -STOP $$; exit 0',
                          limit_seconds=1)
        self.assertIn("with the library it did not end within 1 s", found[0])

    def test_stop_and_go_on(self):
        self.assertEqual(self.hold('(sleep 0.2; kill -CONT $$) & kill -STOP $$; wait; echo same',
                                   ("bash", "sleep")), [])

    def test_peak_is_the_images_own(self):
        # The child is forked from a process of 64 MiB, and must not be charged for it.
        script = 'x=$(printf "%067108864d" 1); /bin/true; echo ${#x}'
        program = programs.Program(name="planted", needs=("bash",), watched=("bash",),
                                   command=lambda *_: ["bash", "-c", script])
        result = trial.hold(program, (), LIBRARY, self.scratch)
        self.assertEqual(result.complaints, [])
        self.assertGreater(result.candidate.peak_kib({"bash"}), 64 * 1024)
        self.assertLess(result.candidate.peak_kib({"true"}), 32 * 1024)


class Baseline(unittest.TestCase):
    def test_a_malloc_of_the_programs_own_gives_way_to_glibc(self):
        # Debian's redis-server is linked with jemalloc; compared with that, "glibc" would be a lie.
        done = subprocess.run(
            ["redis-server", "--version"], check=True, capture_output=True, text=True,
            env={"PATH": programs.PATH, "LD_PRELOAD": trial.glibc(), "LD_DEBUG": "bindings",
                 "LD_BIND_NOW": "1"})
        bindings = re.findall(r"binding file \S*redis-server .* to (\S+) .*`malloc'", done.stderr)
        self.assertTrue(bindings)
        self.assertEqual({os.path.basename(path) for path in bindings}, {"libc.so.6"})


class Interruption(unittest.TestCase):
    """A trial that is ended from outside takes its programs and its files with it."""

    def interrupt(self, number):
        with tempfile.TemporaryDirectory(prefix="hak-preload.") as home:
            check = subprocess.Popen(
                ["/usr/bin/python3", "-B", HERE / "check.py", "--lib", LIBRARY, "redis"],
                env={**os.environ, "TMPDIR": home}, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL)
            end = time.monotonic() + 20
            while not list(Path(home).glob("*/work/redis.sock")):
                self.assertLess(time.monotonic(), end, "the server did not start")
                time.sleep(0.01)
            server = self.server_below(home)
            check.send_signal(number)
            check.wait(20)
            self.assertNotEqual(check.returncode, 0)
            end = time.monotonic() + 10
            while server and Path(f"/proc/{server}").exists():
                self.assertLess(time.monotonic(), end, "the server still runs")
                time.sleep(0.01)
            return os.listdir(home)

    def server_below(self, home):
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    if os.readlink(entry / "cwd").startswith(home) and \
                            b"redis-server" in (entry / "cmdline").read_bytes().split(b"\0")[0]:
                        return int(entry.name)
                except OSError:
                    continue
        self.fail("the server is not to be found")

    def test_ctrl_c(self):
        self.assertEqual(self.interrupt(signal.SIGINT), [])

    def test_terminate(self):
        self.assertEqual(self.interrupt(signal.SIGTERM), [])

    def test_kill(self):
        # Nobody can remove the files then, but the processes must end all the same.
        self.interrupt(signal.SIGKILL)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--lib", required=True)
    arguments, rest = parser.parse_known_args()
    LIBRARY = trial.library_path(arguments.lib)
    unittest.main(argv=[sys.argv[0], *rest])
