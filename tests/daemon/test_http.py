"""Goal    the control socket answers as proto/README.md says, and bears wrong and slow callers.
Method  requests by hand and by python's http.client against a real hakd."""

import contextlib
import json
import os
import pathlib
import re
import socket
import time

import pytest

from conftest import NOBODY, exit_status, fork, wait_for


def raw(path, request=b""):
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(15)
    connection.connect(str(path))
    connection.sendall(request)
    return connection


def read_all(connection):
    parts = []
    while True:
        try:
            part = connection.recv(65536)
        except ConnectionResetError:
            part = b""
        if not part:
            return b"".join(parts)
        parts.append(part)


def error_of(answer):
    status, headers, body = answer
    assert headers["Content-Type"] == "application/json"
    error = json.loads(body)
    assert list(error) == ["schema", "error"] and error["schema"] == 1 and error["error"]
    return status, error["error"]


@pytest.mark.parametrize("path", [
    "/", "/v1", "/v1/", "/v1/status/", "/v1/statusx", "/v1/clients/", "/v1/clients/x",
    "/v1/clients/-1", "/v1/clients/+1", "/v1/clients/01", "/v1/clients/0", "/v1/clients/1x",
    "/v1/clients/1/", "/v1/clients/1/trims", "/v1/clients/4294967297",
    "/v1/clients/99999999999999999999", "//metrics", "/metrics/", "/v1/clients/1%32", "/%00",
])
def test_paths_that_are_not(hakd, path):
    assert error_of(hakd.request("GET", path)) == (404, "there is nothing at this path")


def test_the_manual_has_every_metric(hakd, page):
    page.register(hakd.client_path)
    page.wait_for_mailbox("epoch", 2)
    families = dict(re.findall(r"^# HELP (\S+) (.*)$", hakd.metrics_text(), re.M))
    manual = (pathlib.Path(__file__).resolve().parents[2] / "docs/hakd.8.scd").read_text()
    section = manual.partition("# METRICS\n")[2].partition("\n# ")[0]
    assert re.findall(r"^\*(\w+)\*", section, re.M) == list(families)
    said = " ".join(section.replace("*", "").split())
    assert [name for name, text in families.items() if text not in said] == []


def test_no_such_client(hakd):
    assert error_of(hakd.request("GET", "/v1/clients/7")) == (404, "no client has the pid 7")
    assert error_of(hakd.request("POST", "/v1/clients/7/trim")) == (404, "no client has the pid 7")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "FOO"])
def test_methods(hakd, method):
    for path in ("/v1/status", "/v1/clients", "/v1/clients/1", "/metrics", "/-/healthy"):
        answer = hakd.request(method, path)
        assert error_of(answer)[0] == 405 and answer[1]["Allow"] == "GET, HEAD"
    for method in ("GET", "HEAD", "DELETE"):
        answer = hakd.request(method, "/v1/clients/1/trim")
        assert answer[0] == 405 and answer[1]["Allow"] == "POST"


def test_head(hakd):
    for path in ("/v1/status", "/-/healthy"):
        status, headers, body = hakd.request("GET", path)
        head = hakd.request("HEAD", path)
        assert head[0] == status == 200 and head[2] == b""
        assert head[1]["Content-Length"] == headers["Content-Length"] == str(len(body))
        assert head[1]["Content-Type"] == headers["Content-Type"]


def test_queries_and_content_types(hakd):
    assert hakd.request("GET", "/-/healthy?x=1")[2] == b"ok\n"
    status, headers, _ = hakd.request("GET", "/metrics")
    assert status == 200
    assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"


def test_one_connection_serves_many(hakd):
    request = b"GET /-/healthy HTTP/1.1\r\nHost: hak\r\n\r\n"
    last = b"GET /-/healthy HTTP/1.1\r\nHost: hak\r\nConnection: close\r\n\r\n"
    answer = read_all(raw(hakd.control_path, request * 5 + last))
    assert answer.count(b"200 OK") == 6
    assert read_all(raw(hakd.control_path, b"GET /-/healthy HTTP/1.0\r\n\r\n")).endswith(b"ok\n")


def test_what_is_no_http(hakd):
    for request in (b"\0" * 100 + b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
                    b"hakHELLO" * 5 + b"\r\n\r\n",
                    b"POST /v1/clients/1/trim HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
                    b"POST /v1/clients/1/trim HTTP/1.1\r\nContent-Length: 99999999999999999999999"
                    b"\r\n\r\n",
                    b"GET /" + b"x" * 20000 + b" HTTP/1.1\r\n\r\n",
                    b"GET / HTTP/1.1\r\n" + b"X-Y: z\r\n" * 2000 + b"\r\n"):
        answer = read_all(raw(hakd.control_path, request))
        assert answer == b"" or b" 400 " in answer or b" 413 " in answer, answer
    assert hakd.status()["client_count"] == 0


def test_body_that_is_too_long(hakd):
    head = b"POST /v1/clients/1/trim HTTP/1.1\r\nHost: hak\r\nContent-Length: %d\r\n\r\n"
    for length in (4097, 1 << 40):
        answer = read_all(raw(hakd.control_path, head % length + b"x" * 8000))
        assert b" 413 " in answer or answer == b"", answer
    answer = read_all(raw(hakd.control_path,
                          b"POST /v1/clients/1/trim HTTP/1.1\r\nConnection: close\r\n"
                          b"Transfer-Encoding: chunked\r\n\r\n" + b"1000\r\n" + b" " * 4096
                          + b"\r\n1000\r\n" + b" " * 4096 + b"\r\n0\r\n\r\n"))
    assert b" 413 " in answer or answer == b"", answer
    status, _, _ = hakd.request("POST", "/v1/clients/1/trim", b" " * 4096)
    assert status == 400, "as long as it may be, and no JSON"


def test_slow_callers_and_many(hakd):
    """Who says nothing is closed after five seconds; until then others wait, beyond 64."""
    silent = [raw(hakd.control_path, b"GET /-/heal") for _ in range(64)]
    time.sleep(0.2)
    waiting = raw(hakd.control_path, b"GET /-/healthy HTTP/1.0\r\n\r\n")
    waiting.settimeout(0.5)
    with pytest.raises(TimeoutError):
        waiting.recv(1)
    waiting.settimeout(15)
    silent.pop().close()
    assert read_all(waiting).endswith(b"ok\n")
    started = time.monotonic()
    assert read_all(silent[0]) == b""
    assert time.monotonic() - started < 8
    before = hakd.fd_count()
    for connection in silent:
        connection.close()
    wait_for(lambda: hakd.fd_count() < before or before < 30)
    assert hakd.request("GET", "/-/healthy")[0] == 200


def test_metrics_socket_shows_nothing_else(daemon):
    path = daemon.folder.parent / "metrics"
    daemon.start("--metrics-socket", path)
    for asked, status in (("/metrics", 200), ("/-/healthy", 200), ("/v1/status", 404),
                          ("/v1/clients", 404), ("/v1/clients/1/trim", 404)):
        assert daemon.request("GET", asked, socket_path=path)[0] == status
    assert daemon.request("POST", "/v1/clients/1/trim", socket_path=path)[0] == 404
    assert path.stat().st_mode & 0o777 == 0o666
    assert daemon.stop() == 0 and not path.exists()


@pytest.mark.skipif(os.getuid() != 0, reason="needs another user")
def test_one_user_does_not_keep_the_others_out(daemon):
    """Who sends a byte now and then is never closed for silence: one has a part of the 64."""
    path = daemon.folder.parent / "metrics"
    daemon.start("--metrics-socket", path)
    holding, ending = os.pipe(), os.pipe()

    def hold():
        os.close(ending[1])
        held = [socket.socket(socket.AF_UNIX) for _ in range(64)]
        for connection in held:
            connection.connect(str(path))
            with contextlib.suppress(ConnectionError):  # closed already
                connection.sendall(b"GET /-/heal")
        os.write(holding[1], b"x")
        os.read(ending[0], 1)

    child = fork(hold, NOBODY)
    os.close(holding[1])
    assert os.read(holding[0], 1) == b"x"
    asking = raw(path, b"GET /-/healthy HTTP/1.0\r\n\r\n")
    asking.settimeout(2)
    try:
        assert read_all(asking).endswith(b"ok\n")
        assert daemon.fd_count() < 40
    finally:
        for fd in (*ending, holding[0]):
            os.close(fd)
        assert exit_status(child) == 0
    assert daemon.request("GET", "/-/healthy", socket_path=path)[0] == 200
