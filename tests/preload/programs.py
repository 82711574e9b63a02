"""programs - the real programs that are run with and without the library, and their sizes.

A Program is one command line over prepared inputs. What it prints must depend on its work alone,
never on time, chance, addresses or the order of threads: the two runs are compared byte by byte.
The preload tests and the demo share this list; the demo takes those with a `full` size.
"""

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCE_TREE = HERE.parent.parent
WORKLOADS = HERE / "workloads"

# The system's programs, whatever else is first in the caller's PATH: these are what Debian ships
# and what users preload.
PATH = "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
PYTHON = "/usr/bin/python3"


def nothing_to_prepare(_inputs, _size):
    pass


@dataclass(frozen=True)
class Program:
    """One program under test.

    needs     commands that must be installed
    watched   the executables that do the work: each must be seen with the library mapped, and the
              largest of them gives the peak; empty for a program with no allocation to speak of
    command   (inputs, size) -> the words of the command; it runs in an empty directory
    prepare   (inputs, size): makes the inputs, once for both runs
    quick     the size in the tests; full: the size in the demo, None if it is not part of it
    seldom    only in `scripts/test --all`: it takes long, or needs large packages
    limit_seconds  of one run
    """

    name: str
    needs: tuple
    watched: tuple
    command: Callable
    quick: tuple = ()
    full: tuple | None = None
    seldom: bool = False
    limit_seconds: int = 100
    prepare: Callable = nothing_to_prepare

    def missing(self):
        return [need for need in self.needs if not shutil.which(need, path=PATH)]

    def image_names(self):
        return {image_name(watched) for watched in self.watched}


def image_name(command):
    """The name that /proc/PID/exe ends in: redis-server, say, is a link to redis-check-rdb."""
    if command in ("cc1", "cc1plus"):
        return command
    found = shutil.which(command, path=PATH)
    return os.path.basename(os.path.realpath(found)) if found else command


def environment(scratch):
    """What a program under test sees: nothing of the caller's but the settings of libhak."""
    settings = {key: value for key, value in os.environ.items() if key.startswith("HAK_")}
    return {
        "PATH": PATH,
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "GIT_CONFIG_NOSYSTEM": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        # Else Python serves small objects from arenas of its own.
        "PYTHONMALLOC": "malloc",
        **settings,
    }


def _to_file(command, path):
    with open(path, "wb") as out:
        subprocess.run([str(word) for word in command], check=True, stdout=out,
                       env={**os.environ, "PATH": PATH})


def _make_history(inputs, size):
    _to_file([PYTHON, WORKLOADS / "make_history.py", *size], inputs / "history")


def _make_sql(inputs, size):
    text = (WORKLOADS / "sqlite_tables.sql").read_text()
    (inputs / "tables.sql").write_text(text.replace("ROWS", str(size[0])))


def _make_lines(inputs, size):
    with open(inputs / "lines", "w", encoding="ascii") as out:
        seed = 3
        for number in range(size[0]):
            seed = (seed * 6364136223846793005 + 1442695040888963407) % 2**64
            out.write(f"{seed:x} {number} {'=' * (seed >> 40 & 31)}\n")


def _copy_tree(inputs, _size):
    shutil.copytree(SOURCE_TREE, inputs / "tree",
                    ignore=shutil.ignore_patterns("build", ".git", "__pycache__"))


def _make_page(inputs, size):
    rows = "".join(f"<tr><td>{number}<td>row {number * 7919}</tr>" for number in range(size[0]))
    (inputs / "page.html").write_text(
        f"<!doctype html><title>page</title><table>{rows}</table><p id=sum><script>"
        "let sum = 0; for (const cell of document.querySelectorAll('td'))"
        " sum = (sum * 31 + cell.textContent.length) % 65521;"
        "document.getElementById('sum').textContent = sum;</script>", encoding="ascii")


def _copy_sources(inputs, _size):
    # A copy, so that an edit between the two runs is not taken for a fault of the compiler.
    for folder in ("include", "libhak", "proto"):
        if (SOURCE_TREE / folder).is_dir():
            shutil.copytree(SOURCE_TREE / folder, inputs / folder)


def _pipe(text, *arguments):
    return ["bash", "-c", "set -euo pipefail; " + text, "bash", *arguments]


_ALL = [
    Program(
        name="python3", needs=(PYTHON,), watched=(PYTHON,),
        command=lambda _, size: [PYTHON, WORKLOADS / "python_objects.py", *size],
        quick=(2, 5000), full=(3, 20000)),
    Program(
        name="git", needs=("git",), watched=("git",), prepare=_make_history,
        command=lambda inputs, _: [WORKLOADS / "git_history.sh", inputs / "history"],
        quick=(400, 60), full=(2000, 120)),
    Program(
        name="gcc", needs=("gcc",), watched=("cc1",), prepare=_copy_sources,
        command=lambda inputs, size: [WORKLOADS / "gcc_library.sh", inputs, *size],
        quick=(1,), full=(2,)),
    Program(
        name="sqlite3", needs=("sqlite3",), watched=("sqlite3",), prepare=_make_sql,
        command=lambda inputs, _: _pipe('sqlite3 -bail tables.db < "$1"', inputs / "tables.sql"),
        quick=(40000,), full=(200000,)),
    Program(
        name="redis", needs=("redis-server", "redis-cli", "redis-benchmark", PYTHON),
        watched=("redis-server",),
        command=lambda _, size: [PYTHON, WORKLOADS / "redis_session.py", *size],
        quick=(5000, 20000), full=(25000, 150000)),
    Program(
        name="perl", needs=("perl",), watched=("perl",),
        command=lambda _, size: ["perl", WORKLOADS / "perl_strings.pl", *size],
        quick=(150000,)),
    Program(
        name="bash-forks", needs=("bash",), watched=("bash",),
        command=lambda _, size: [WORKLOADS / "bash_forks.sh", *size],
        quick=(400,)),
    Program(
        name="python-forks", needs=(PYTHON,), watched=(PYTHON, "sort"),
        command=lambda _, size: [PYTHON, WORKLOADS / "python_fork.py", *size],
        quick=(24,)),
    Program(
        # The status 1 is for a directory that only root may read.
        name="ls", needs=("ls",), watched=("ls",),
        command=lambda _, size: _pipe(
            '{ ls -lR --time-style=full-iso "$1" || [ $? -eq 1 ]; } | sha256sum', *size),
        quick=("/usr/share",)),
    Program(
        name="true", needs=("true",), watched=("true",),
        command=lambda _, __: [shutil.which("true", path=PATH)]),
    Program(
        name="sort", needs=("sort",), watched=("sort",), prepare=_make_lines,
        command=lambda inputs, _: _pipe('sort --parallel=2 "$1" | sha256sum', inputs / "lines"),
        quick=(400000,)),
    Program(
        name="tar-xz", needs=("tar", "xz"), watched=("tar", "xz"),
        command=lambda _, size: _pipe(
            'tar -c --sort=name --mtime=@0 -C "$1" . | xz -T2 -1 > a.tar.xz; sha256sum a.tar.xz; '
            'mkdir out; xz -dc a.tar.xz | tar -x -C out; cd out; '
            'find . -type f | sort | xargs -d "\\n" sha256sum | sha256sum', *size),
        quick=("/usr/include/linux",)),
    Program(
        name="g++", needs=("g++",), watched=("cc1plus", "forms_of_new"),
        command=lambda _, __: [WORKLOADS / "cxx_program.sh", WORKLOADS / "forms_of_new.cpp"]),
    Program(
        name="python-tests", needs=(PYTHON,),
        watched=(PYTHON,),
        command=lambda _, size: [PYTHON, WORKLOADS / "python_tests.py", *size],
        quick=("test_list", "test_dict", "test_gc", "test_mmap")),
    Program(
        name="lua", needs=("lua5.4",), watched=("lua5.4",),
        command=lambda _, size: ["lua5.4", WORKLOADS / "lua_objects.lua", *size],
        quick=(8,)),
    Program(
        name="ruby", needs=("ruby",), watched=("ruby",),
        command=lambda _, size: ["ruby", WORKLOADS / "ruby_objects.rb", *size],
        quick=(4,)),
    Program(
        name="memcached", needs=("memcached", PYTHON), watched=("memcached",),
        command=lambda _, size: [PYTHON, WORKLOADS / "memcached_session.py", *size],
        quick=(40000,)),
    Program(
        name="nginx", needs=("nginx", PYTHON), watched=("nginx",),
        command=lambda _, size: [PYTHON, WORKLOADS / "nginx_session.py", *size],
        quick=(1000,)),
    Program(
        name="stress-ng", needs=("stress-ng",), watched=("stress-ng",),
        command=lambda _, size: _pipe(
            'stress-ng --quiet --malloc 2 --malloc-ops "$1" --malloc-thresh 65536 --verify '
            '--timeout 60 && echo verified', *size),
        quick=(40000,)),
    Program(
        name="python-tests-long", needs=(PYTHON,), watched=(PYTHON,), seldom=True,
        limit_seconds=400,
        command=lambda _, size: [PYTHON, WORKLOADS / "python_tests.py", *size],
        quick=("test_threading", "test_multiprocessing_fork", "test_ctypes", "test_json",
               "test_re", "test_set", "test_bytes", "test_pickle", "test_zlib")),
    Program(
        name="node", needs=("node",), watched=("node",), seldom=True,
        command=lambda _, size: ["node", WORKLOADS / "node_objects.js", *size],
        quick=(4,)),
    Program(
        name="postgres", needs=("setpriv", "psql"), watched=("postgres", "initdb"), seldom=True,
        command=lambda _, size: [PYTHON, WORKLOADS / "postgres_session.py", *size],
        quick=(400,)),
    Program(
        # -n: its extensions are loaded with RTLD_DEEPBIND, which no preloaded malloc outlives.
        name="php", needs=("php",), watched=("php",), seldom=True,
        command=lambda _, size: ["env", "USE_ZEND_ALLOC=0", "php", "-n",
                                 WORKLOADS / "php_objects.php", *size],
        quick=(4,)),
    Program(
        name="java", needs=("java", "javac"), watched=("java",), seldom=True,
        command=lambda _, size: ["java", "-XX:-UsePerfData", WORKLOADS / "Objects.java", *size],
        quick=(8,)),
    Program(
        name="ffmpeg", needs=("ffmpeg",), watched=("ffmpeg",), seldom=True,
        command=lambda _, size: [
            "ffmpeg", "-nostdin", "-loglevel", "error", "-f", "lavfi", "-i",
            f"testsrc=duration={size[0]}:size=640x360:rate=25", "-c:v", "mpeg4", "-threads", "2",
            "-f", "framemd5", "-"],
        quick=(4,)),
    Program(
        name="make", needs=("make", "cmake", "objcopy"), watched=("make", "cc1"),
        prepare=_copy_tree, seldom=True,
        command=lambda inputs, _: [WORKLOADS / "make_project.sh", inputs / "tree"]),
    Program(
        name="chromium", needs=("chromium",), watched=("chromium",), prepare=_make_page,
        seldom=True,
        command=lambda inputs, _: [
            "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--dump-dom", f"file://{inputs}/page.html"],
        quick=(500,)),
]

PROGRAMS = {program.name: program for program in _ALL}
DEMO = [program for program in _ALL if program.full]
