"""An nginx of its own with two workers: files, compression, a proxy to itself, a reload.

usage: nginx_session.py REQUESTS

It listens on unix sockets in the working directory and nowhere else; it is a daemon to nobody.
"""

import hashlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

START_SECONDS = 20
CONFIGURATION = """
{user}
daemon off;
worker_processes 2;
error_log {here}/error.log;
pid {here}/nginx.pid;
events {{ worker_connections 64; }}
http {{
    access_log off;
    gzip on;
    gzip_types text/plain;
    client_body_temp_path {here}/body;
    proxy_temp_path {here}/proxy;
    fastcgi_temp_path {here}/fastcgi;
    uwsgi_temp_path {here}/uwsgi;
    scgi_temp_path {here}/scgi;
    default_type text/plain;
    server {{
        listen unix:{here}/front;
        location / {{ proxy_pass http://unix:{here}/back; }}
    }}
    server {{
        listen unix:{here}/back;
        root {here}/files;
    }}
}}
"""


class Connection(http.client.HTTPConnection):
    def __init__(self):
        super().__init__("localhost")

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect("front")


def wait_until_ready():
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            Connection().connect()
            return
        except OSError:
            if time.monotonic() > end:
                sys.exit("nginx was not ready in time")
            time.sleep(0.02)


def ask(requests):
    digest = hashlib.sha256()
    connection = Connection()
    for number in range(requests):
        headers = {"Accept-Encoding": "gzip"} if number % 3 == 0 else {}
        connection.request("GET", f"/{number % 50}.txt", headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        # What is compressed may depend on how it came; its length is the file's business.
        digest.update(b"gzip" if answer.headers.get("Content-Encoding") else body)
        if answer.status != 200:
            sys.exit(f"status {answer.status}")
    connection.request("GET", "/missing")
    print(connection.getresponse().status, digest.hexdigest(), flush=True)


def main():
    here = Path.cwd()
    (here / "files").mkdir()
    for number in range(50):
        (here / "files" / f"{number}.txt").write_text(f"line {number}\n" * (number * 97 + 1))
    user = "user root;" if os.geteuid() == 0 else ""
    (here / "nginx.conf").write_text(CONFIGURATION.format(here=here, user=user))
    with subprocess.Popen(["nginx", "-e", here / "error.log", "-c", here / "nginx.conf"]) as server:
        try:
            wait_until_ready()
            ask(int(sys.argv[1]))
            server.send_signal(signal.SIGHUP)
            time.sleep(0.5)
            ask(int(sys.argv[1]))
        finally:
            server.send_signal(signal.SIGQUIT)
        print("ended with", server.wait(20))


main()
