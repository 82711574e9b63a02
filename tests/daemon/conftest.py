"""A hakd to test, started and stopped for each test; $HAKD is the program."""

import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

import pytest

import client

NOBODY = 65534
HERE = pathlib.Path(__file__).resolve().parent
SAMPLE = re.compile(r'(\w+)(?:\{(.*)\})? (\S+)')


def wait_for(condition, seconds=10):
    """The first true answer of condition; a failed test where there is none in time."""
    end = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        assert time.monotonic() < end, "this did not come about in time"
        time.sleep(0.01)


def fork(action, uid=None):
    """The pid of a child that runs action, as another user where one is given."""
    child = os.fork()
    if child == 0:
        try:
            if uid is not None:
                os.setgroups([])
                os.setgid(uid)
                os.setuid(uid)
            action()
            os._exit(0)
        except BaseException:  # pytest must not go on in the child
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(99)
    return child


def exit_status(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("hak", timeout=20)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


class Daemon:
    def __init__(self, folder):
        self.folder = folder
        self.client_path = folder / "client"
        self.control_path = folder / "control"
        self.process = None
        self.log = folder.parent / "log"
        self.config_dir = folder.parent / "etc"

    def spawn(self, *options, **how):
        """A hakd that may also refuse to start. One that has no advisor, where a test does not ask
        for it: it keeps what root may see in /proc."""
        with open(self.log, "ab") as log:
            return subprocess.Popen([os.environ["HAKD"], "--runtime-dir", self.folder,
                                     "--config-dir", self.config_dir, "--remote-reclaim=no",
                                     *options],
                                    stderr=how.pop("stderr", log), **how)

    def start(self, *options, **how):
        self.process = self.spawn(*options, **how)
        wait_for(self.answers)
        return self

    def configure(self, text, name="hakd.conf"):
        """Writes a file of the configuration; read at the start and with a reload."""
        path = self.config_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def post(self, path, body=None):
        status, _, answer = self.request("POST", path, json.dumps(body) if body else None)
        return status, json.loads(answer)

    def answers(self):
        assert self.process.poll() is None, self.log.read_text()
        try:
            return self.request("GET", "/-/healthy")[0] == 200
        except OSError:
            return False

    def stop(self, number=signal.SIGTERM):
        """Its exit status; nothing may have been said that is an error."""
        process, self.process = self.process, None
        process.send_signal(number)
        status = process.wait(20)
        assert "Sanitizer" not in self.log.read_text(), self.log.read_text()
        return status

    def request(self, method, path, body=None, socket_path=None):
        """Status, headers and body of an answer."""
        connection = UnixConnection(socket_path or self.control_path)
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def get(self, path):
        status, headers, body = self.request("GET", path)
        assert status == 200 and headers["Content-Type"] == "application/json", body
        return json.loads(body)

    def status(self):
        return self.get("/v1/status")

    def pids(self):
        return [row["pid"] for row in self.get("/v1/clients")["clients"]]

    def of(self, pid):
        return self.get(f"/v1/clients/{pid}")

    def fresh(self, pid):
        """A client's numbers, read after now: they are refreshed ten times a second at most."""
        time.sleep(0.12)
        return self.of(pid)

    def trim(self, pid, body=None):
        status, _, answer = self.request("POST", f"/v1/clients/{pid}/trim", body)
        return status, json.loads(answer)

    def metrics_text(self):
        return self.request("GET", "/metrics")[2].decode()

    def metrics(self):
        """{(family, labels): value}."""
        samples = [SAMPLE.fullmatch(line).groups() for line in self.metrics_text().splitlines()
                   if not line.startswith("#")]
        return {(family, labels or ""): float(value) for family, labels, value in samples}

    def registrations(self):
        return self.status()["registrations"]

    def fd_count(self):
        """Its descriptors once the connections that were asked over are closed on its side too."""
        time.sleep(0.02)
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


class Helper:
    """client.py as a process."""

    def __init__(self, daemon, *arguments, program=sys.executable):
        self.process = subprocess.Popen(
            [program, "-B", HERE / "client.py", daemon.client_path, *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = int(self.process.stdout.readline())

    def say(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def end(self):
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()


@pytest.fixture
def daemon():
    """A daemon that is not started yet; whatever runs at the end is stopped, cleanly."""
    # Not tmp_path: other users must be able to come here.
    root = pathlib.Path(tempfile.mkdtemp(prefix="hakd-test-"))
    root.chmod(0o755)
    made = Daemon(root / "run")
    try:
        yield made
        if made.process is not None:
            assert made.stop() == 0, made.log.read_text()
    finally:
        if made.process is not None:
            made.process.kill()
            made.process.wait()
        shutil.rmtree(root)


@pytest.fixture
def hakd(daemon):
    return daemon.start()


@pytest.fixture
def page(hakd):
    """A registered client: this process."""
    made = client.Page()
    made.publish(live_bytes=1000)
    made.register(hakd.client_path)
    wait_for(lambda: os.getpid() in hakd.pids())
    yield made
    made.close()


@pytest.fixture
def helpers(hakd):
    made = []

    def make(*arguments, **how):
        made.append(Helper(hakd, *arguments, **how))
        return made[-1]

    yield make
    for helper in made:
        helper.process.kill()
        helper.end()
