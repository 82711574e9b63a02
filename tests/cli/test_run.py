"""hak-run runs real programs on libhak, or says why it cannot and runs nothing.

Goal    what runs, runs on the libhak that was meant, with its settings and with what was in
        LD_PRELOAD before; whatever stands in the way is one sentence and a status of its own.
Method  real programs that say what they map and what their environment is; copies of them, and of
        libhak, that are spoiled in one place.
"""

import os
import pathlib
import re
import shutil
import stat
import subprocess

import pytest

ROOT = os.geteuid() == 0
NOBODY = 65534
MAPS = "print(open('/proc/self/maps').read())"


@pytest.fixture
def hak_run(request):
    program = (request.config.getoption("programs") / "hak-run").resolve()

    def run(*arguments, program=program, **how):
        environment = dict(os.environ, **how.pop("environment", {}))
        return subprocess.run([program, *map(str, arguments)], env=environment, timeout=60,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, **how)
    return run


@pytest.fixture
def library(request):
    return request.config.getoption("library")


def fails(done, status, *words):
    assert done.returncode == status, done
    assert done.stdout == "" and done.stderr.startswith("hak-run: "), done
    for word in words:
        assert word in done.stderr, done.stderr
    if status != 2:
        assert done.stderr.count("\n") == 1, done.stderr


def copy_with(source, target, old, new):
    """A copy of a file in which each `old` is `new`, of the same length."""
    content = pathlib.Path(source).read_bytes()
    assert old in content
    target.write_bytes(content.replace(old, new.ljust(len(old), b"\0")))
    target.chmod(0o755)
    return target


def mapped(text, name):
    return set(re.findall(rf"/\S*/{re.escape(name)}\S*", text))


@pytest.mark.parametrize("arguments, words", [
    ([], "what is to be run?"),
    (["--nonsense", "true"], "unrecognized option"),
    (["--budget"], "requires an argument"),
    (["--budget", "0", "true"], "'0' is not a size"),
    (["--limit", "12X", "true"], "'12X' is not a size"),
    (["--budget", "2G", "--limit", "1G", "true"], "the limit is below the budget"),
    (["--secure", "--lib", "/x", "true"], "both say which library"),
])
def test_usage(hak_run, arguments, words):
    fails(hak_run(*arguments), 2, words, "Try 'hak-run --help'.")


def test_runs_on_libhak(hak_run, library):
    done = hak_run("python3", "-c", MAPS)
    assert done.returncode == 0 and done.stderr == ""
    assert mapped(done.stdout, "libhak") == {str(library.resolve())}
    # What it starts does, too.
    done = hak_run("--", "sh", "-c", 'python3 -c "$0"', MAPS)
    assert mapped(done.stdout, "libhak") == {str(library.resolve())}


def test_command_is_left_as_it_is(hak_run):
    """Its arguments, its name, its outputs and its status are its own."""
    done = hak_run("sh", "-c", 'echo "$0 $*"; echo oh >&2; exit 7', "a b", "--budget", "-c")
    assert (done.returncode, done.stdout, done.stderr) == (7, "a b --budget -c\n", "oh\n")
    done = hak_run("sh", "-c", "kill -9 $$")
    assert done.returncode == -9


def test_settings(hak_run, library):
    done = hak_run("--budget", "1.5G", "--limit", "2G", "--stats", "env")
    settings = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    assert settings["HAK_BUDGET_SOFT"] == str(3 << 29)
    assert settings["HAK_BUDGET_HARD"] == str(2 << 30)
    assert settings["LD_PRELOAD"] == str(library.resolve())
    assert "live" in done.stderr
    done = hak_run("env", environment={"HAK_BUDGET_SOFT": "77M"})
    assert "HAK_BUDGET_SOFT=77M\n" in done.stdout and "HAK_STATS" not in done.stdout


def test_agent(hak_run):
    """A thread of libhak's own, in a program that stands still as well."""
    code = ("import os, time\nx = [bytes(4000) for _ in range(9000)]\ndel x\ntime.sleep(0.2)\n"
            "tasks = '/proc/self/task'\n"
            "print(*(open(f'{tasks}/{task}/comm').read() for task in os.listdir(tasks)))")
    assert "hak-agent" in hak_run("--agent", "python3", "-c", code,
                                  environment={"PYTHONMALLOC": "malloc"}).stdout
    assert "hak-agent" not in hak_run("python3", "-c", code,
                                      environment={"PYTHONMALLOC": "malloc"}).stdout


def test_limit_is_one(hak_run):
    """An allocation above it fails, and so does one that together with others is."""
    code = ("a = [bytes(1 << 20) for _ in range(30)]\n"
            "try:\n  b = [bytes(1 << 20) for _ in range(80)]\n"
            "except MemoryError:\n  print('refused')\n")
    assert hak_run("--limit", "100M", "python3", "-c", code).stdout == "refused\n"
    assert hak_run("--limit", "1G", "python3", "-c", code).stdout == ""


def test_secure(hak_run, library, request):
    done = hak_run("--secure", "python3", "-c", MAPS)
    secure = library.with_name("libhak-secure.so").resolve()
    assert done.returncode == 0 and mapped(done.stdout, "libhak") == {str(secure)}
    # Within a hak-run, the inner one counts.
    inner = request.config.getoption("programs") / "hak-run"
    done = hak_run(inner, "--secure", "python3", "-c", MAPS)
    assert mapped(done.stdout, "libhak") == {str(secure)}


def test_keeps_what_is_preloaded(hak_run, library):
    """In its order, whatever stands between; a libhak that was there makes way."""
    others = [path for path in ("libm.so.6", "libdl.so.2")]
    for between in (":", " "):
        old = between.join([others[0], "/nowhere/libhak.so.0", others[1]])
        done = hak_run("env", environment={"LD_PRELOAD": old})
        assert f"LD_PRELOAD={library.resolve()}:{others[0]}:{others[1]}\n" in done.stdout, done


def test_script(hak_run, library, tmp_path):
    """It is its interpreter that matters, found or not."""
    script = tmp_path / "script"
    for first, status in (("#! /usr/bin/env python3", 0), ("#!/usr/bin/python3 -B", 0), ("", 0),
                          ("#!/nowhere/python", 126), (f"#!{script}", 126)):
        body = MAPS if "python" in first else "cat /proc/self/maps"
        script.write_text(f"{first}\n{body}\n")
        script.chmod(0o755)
        done = hak_run(script)
        assert done.returncode == status, done
        assert mapped(done.stdout, "libhak") == ({str(library.resolve())} if status == 0 else set())
        assert "nowhere" not in first or "its interpreter '/nowhere/python'" in done.stderr
    fails(done, 126, "Too many levels")


def test_commands_that_are_none(hak_run, tmp_path):
    plain = tmp_path / "plain"
    plain.write_text("text")
    fails(hak_run("no-such-command"), 127, "no command 'no-such-command' in $PATH")
    fails(hak_run(""), 127)
    fails(hak_run(tmp_path / "nothing"), 127, "No such file")
    fails(hak_run(plain), 126, "Permission denied")
    fails(hak_run(tmp_path), 126, "Permission denied")
    fails(hak_run("plain", environment={"PATH": f"/nowhere:{tmp_path}"}), 126, "Permission denied")
    fails(hak_run(plain / "x"), 126, "Not a directory")
    damaged = tmp_path / "damaged"
    damaged.write_bytes(pathlib.Path("/bin/true").read_bytes()[:100])
    damaged.chmod(0o755)
    fails(hak_run(damaged), 126, "no complete ELF file")


def test_path_is_searched(hak_run, tmp_path):
    (tmp_path / "mine").write_text("#!/bin/sh\necho mine\n")
    (tmp_path / "mine").chmod(0o755)
    for path, folder in ((f"/nowhere:{tmp_path}:/bin", "/"), (":/bin", tmp_path)):
        done = hak_run("mine", environment={"PATH": path}, cwd=folder)
        assert done.stdout == "mine\n", done


def test_programs_that_take_no_library(hak_run, tmp_path):
    fails(hak_run("/sbin/ldconfig"), 125, "is static")
    musl = copy_with("/bin/true", tmp_path / "musl", b"/lib64/ld-linux-x86-64.so.2",
                     b"/lib/ld-musl-x86_64.so.1")
    fails(hak_run(musl), 125, "the loader '/lib/ld-musl-x86_64.so.1', not that of the GNU C")
    other = copy_with("/bin/true", tmp_path / "other", b"\x7fELF\2", b"\x7fELF\1")
    fails(hak_run(other), 125, "for another machine", "32 bits")
    content = bytearray(pathlib.Path("/bin/true").read_bytes())
    content[18] = 183  # aarch64
    other.write_bytes(content)
    fails(hak_run(other), 125, "ELF machine 183 and not 62")


@pytest.mark.skipif(not ROOT, reason="changes owners")
def test_programs_that_run_as_somebody_else(hak_run, runtime_dir):
    program = runtime_dir / "program"
    shutil.copy("/bin/true", program)
    os.chown(program, NOBODY, NOBODY)
    for mode, words in ((stat.S_ISUID, "it is set-user-ID"), (stat.S_ISGID, "it is set-group-ID")):
        program.chmod(0o755 | mode)
        fails(hak_run(program), 125, "takes no LD_PRELOAD", words)
        assert hak_run(program, user=NOBODY, group=NOBODY, extra_groups=[]).returncode == 0
    os.chown(program, 0, 0)
    program.chmod(0o755)
    # VFS_CAP_REVISION_2, effective, CAP_NET_RAW
    os.setxattr(program, "security.capability",
                bytes.fromhex("0100000200200000000000000000000000000000"))
    assert hak_run(program).returncode == 0
    fails(hak_run(program, user=NOBODY, group=NOBODY, extra_groups=[]), 125, "file capabilities")


def test_libraries_that_will_not_do(hak_run, library, tmp_path):
    def fails_with(path, *words):
        fails(hak_run("--lib", path, "true"), 125, str(path), *words)

    fails_with(tmp_path / "nothing", "No such file")
    fails_with(tmp_path, "not a file")
    fails_with(pathlib.Path("/bin/sh").resolve(), "another library")
    fails_with(pathlib.Path("/lib/x86_64-linux-gnu/libm.so.6").resolve(), "another library")
    (tmp_path / "text.so").write_text("text " * 100)
    fails_with(tmp_path / "text.so", "no shared library")
    fails_with(copy_with(library, tmp_path / "a b.so", b"\x7fELF", b"\x7fELF"), "blank")
    newer = copy_with(library, tmp_path / "newer.so", b"\0GLIBC_2.34\0", b"\0GLIBC_9.99\0")
    fails_with(newer, "GLIBC_9.99' not found")
    needy = copy_with(library, tmp_path / "needy.so", b"\0libc.so.6\0", b"\0libq.so.6\0")
    fails_with(needy, "libq.so.6")
    other = copy_with(library, tmp_path / "other.so", b"\x7fELF\2", b"\x7fELF\1")
    fails_with(other, "for another machine")
    good = copy_with(library, tmp_path / "good.so", b"\x7fELF", b"\x7fELF")
    assert hak_run("--lib", good, "true").returncode == 0
    if ROOT:
        good.chmod(0o600)
        tmp_path.chmod(0o755)
        done = hak_run("--lib", good, "true", user=NOBODY)
        assert done.returncode == 125 and "Permission denied" in done.stderr


def test_library_is_missing(hak_run, request, tmp_path):
    alone = tmp_path / "hak-run"
    shutil.copy(request.config.getoption("programs") / "hak-run", alone)
    fails(hak_run("true", program=alone), 125, "neither in", "--lib")


def test_as_installed(hak_run, request, tmp_path):
    """Beside its library below any prefix."""
    build = request.config.getoption("library").parents[1]
    subprocess.run(["cmake", "--install", build, "--prefix", tmp_path, "--component", "lib"],
                   check=True, stdout=subprocess.DEVNULL)
    for options, name in (([], "libhak.so"), (["--secure"], "libhak-secure.so")):
        done = hak_run(*options, "python3", "-c", MAPS, program=tmp_path / "bin/hak-run")
        assert done.returncode == 0, done
        (path,) = mapped(done.stdout, "libhak")
        assert path.startswith(f"{tmp_path}/lib/") and f"/{name}." in path
