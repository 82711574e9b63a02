"""What the tests of the command line share: folders, programs and servers, each for one test."""

import pathlib
import shutil
import tempfile

import pytest

import hosts


def pytest_addoption(parser):
    parser.addoption("--programs", type=pathlib.Path, required=True,
                     help="the folder of hak-status, hakctl and hak-run")
    parser.addoption("--library", type=pathlib.Path, help="libhak.so as it was built")
    parser.addoption("--hakd", type=pathlib.Path, help="the daemon")


@pytest.fixture
def runtime_dir():
    """Short, for a socket's path has 107 bytes at most; open to all, as /run/hak is."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="hak-cli-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def programs(request, runtime_dir):
    return hosts.Programs(request.config.getoption("programs"), runtime_dir)


@pytest.fixture
def server(runtime_dir):
    """Says what hakd would say, of three clients, or what a test gives it to say."""
    with hosts.Server(runtime_dir / "control") as server:
        yield server


@pytest.fixture
def daemon(request, runtime_dir):
    with hosts.Daemon(request.config.getoption("hakd"), runtime_dir) as daemon:
        yield daemon
