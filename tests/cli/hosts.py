"""The two ends of the command line: the programs, and who answers them."""

import contextlib
import http.server
import json
import os
import pathlib
import signal
import socket
import socketserver
import subprocess
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Programs:
    def __init__(self, folder, runtime_dir):
        self.folder = folder
        self.runtime_dir = runtime_dir

    def run(self, program, *arguments, environment=(), **options):
        """The finished process; it finds the daemon by the environment, as users may."""
        environment = {"PATH": "/usr/bin", "LC_ALL": "C.UTF-8",
                       "HAK_RUNTIME_DIR": str(self.runtime_dir), **dict(environment)}
        return subprocess.run([self.folder / program, *map(str, arguments)], env=environment,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=60,
                              encoding="utf-8", **options)

    def status(self, *arguments, **options):
        return self.run("hak-status", *arguments, **options)

    def ctl(self, *arguments, **options):
        return self.run("hakctl", *arguments, **options)


def metric_fields():
    """The fields of metrics.def, in its order."""
    text = (ROOT / "proto" / "metrics.def").read_text().partition("*/")[2]
    return [line.split(",")[1].strip() for line in text.splitlines() if line.startswith("METRIC(")]


def client(pid, **changes):
    """A client as proto/README.md has it. A changed metric is given by its own name."""
    metrics = dict.fromkeys(metric_fields(), 0)
    metrics.update({key: changes.pop(key) for key in list(changes) if key in metrics})
    return {"pid": pid, "uid": 1000, "user": "ada", "command": "redis-server",
            "exe": "/usr/bin/redis-server", "unit": "redis.service", "group": "redis.service",
            "library_version": "0.1.0", "registered": "2026-11-23T03:00:01Z",
            "age_seconds": 0.25, "plausible": True, "resident_bytes": 64 << 20,
            "soft_budget_bytes": 0, "hard_budget_bytes": 0, "metrics": metrics,
            "trim": {"request": 0, "ack": 0, "before_bytes": 0, "after_bytes": 0,
                     "released_bytes": 0},
            "classes": [], **changes}


def status(**changes):
    return {"schema": 1, "version": "0.1.0", "pid": 812, "started": "2026-11-23T03:00:00Z",
            "client_count": 3, "group_count": 1,
            "registrations": {"accepted": 5, "limit": 0, "invalid": 0, "version": 0},
            "policy": {"soft_budget_bytes": 12 << 30, "hard_budget_bytes": 0},
            "heap": {}, **changes}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        answers = self.server.answers
        status, body = answers.get(self.path, (404, {"schema": 1, "error": "no such path"}))
        if callable(body):
            body = body()
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.posts.append((self.path, body))
        self.do_GET()

    def address_string(self):
        return "a client"

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingUnixStreamServer):
    """answers: path to (status, JSON, or bytes, or a function that gives either)."""
    daemon_threads = True

    def __init__(self, path):
        super().__init__(str(path), Handler)
        self.answers = {}
        self.posts = []
        self.give([client(912, live_bytes=3 << 30), client(77, live_bytes=5 << 20),
                   client(1004711, live_bytes=700)])

    def give(self, clients):
        self.answers["/v1/status"] = (200, status(client_count=len(clients)))
        self.answers["/v1/clients"] = (200, {"schema": 1, "clients": clients})
        for one in clients:
            self.answers[f"/v1/clients/{one['pid']}"] = (200, one)

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class RawServer:
    """Answers every connection to the socket with the same bytes, whatever is asked."""

    def __init__(self, path, answer):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        self.answer = answer
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                with contextlib.suppress(BrokenPipeError):  # it had enough
                    connection.sendall(self.answer)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # A blocked accept does not notice close.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


class Client:
    """client.py as a process, registered."""

    def __init__(self, runtime_dir, name, metrics):
        command = ["/usr/bin/python3", "-B", str(pathlib.Path(__file__).with_name("client.py")),
                   str(runtime_dir / "client"), *(f"{key}={metrics[key]}" for key in metrics)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        encoding="utf-8", env={"CLIENT_NAME": name})
        self.pid = self.process.pid
        assert self.hear() == "ready"

    def ask(self, line):
        print(line, file=self.process.stdin, flush=True)

    def hear(self):
        return self.process.stdout.readline().strip()

    def write(self, setting):
        self.ask(setting)
        assert self.hear() == "written"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


class Daemon:
    def __init__(self, program, runtime_dir, *options):
        self.runtime_dir = runtime_dir
        # No configuration of the machine's.
        options = options or ("--config-dir", runtime_dir / "etc")
        self.process = subprocess.Popen([program, "--runtime-dir", runtime_dir, *options],
                                        stdin=subprocess.DEVNULL)

    def __enter__(self):
        for _ in range(500):
            if (self.runtime_dir / "control").exists():
                return self
            assert self.process.poll() is None, "hakd has ended"
            time.sleep(0.01)
        raise AssertionError("hakd makes no socket")

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()

    def client(self, name=b"client.py", **metrics):
        return Client(self.runtime_dir, name, metrics)

    def stop(self):
        self.process.send_signal(signal.SIGSTOP)
        os.waitpid(self.process.pid, os.WUNTRACED)
