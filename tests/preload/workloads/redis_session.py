"""A Redis server of its own under load, with a digest of its data as the result.

usage: redis_session.py KEYS REQUESTS

Fixed data goes into database 0 through `redis-cli --pipe`. Then redis-benchmark drives database 1
with random keys, database 1 is dropped, the server forks to save a snapshot and loads it again.
After each step the digest of all data must be that of the fixed data. The server listens on a unix
socket in the working directory and nowhere else.
"""

import subprocess
import sys
import time
from pathlib import Path

SOCKET = "redis.sock"
TESTS = "set,get,lpush,hset,sadd,zadd"
START_SECONDS = 20
SAVE_SECONDS = 60


def cli(*words, text=None):
    done = subprocess.run(["redis-cli", "-s", SOCKET, *words], input=text, check=True,
                          capture_output=True)
    return done.stdout.decode().strip()


def command(*words):
    parts = [str(word).encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts)


def fixed_data(keys):
    seed = 11
    for index in range(keys):
        seed = (seed * 1103515245 + 12345) % 2**31
        number = seed >> 8
        yield command("SET", f"string:{index}", "v" * (number % 400) + str(number))
        yield command("HSET", f"hash:{number % 2000}", f"field:{index}", number)
        yield command("RPUSH", f"list:{number % 500}", f"element-{number}")
        yield command("SADD", f"set:{number % 500}", number % 50000)
        yield command("ZADD", "sorted", number % 100000, f"member:{number % 30000}")
        if index % 3 == 0:
            yield command("APPEND", f"string:{number % (index + 1)}", "tail" * (number % 60))
        if index % 5 == 0:
            yield command("DEL", f"string:{number % (index + 1)}")


def wait_until(seconds, ready):
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            sys.exit(f"the server was not ready after {seconds} seconds")
        time.sleep(0.01)


def answers(server):
    if server.poll() is not None:
        sys.exit(f"redis-server ended with {server.returncode}:\n{Path('redis.log').read_text()}")
    done = subprocess.run(["redis-cli", "-s", SOCKET, "ping"], capture_output=True, check=False)
    return done.stdout.strip() == b"PONG"


def report(step):
    print(step, cli("dbsize"), cli("debug", "digest"), flush=True)


def session(keys, requests):
    print(cli("--pipe", text=b"".join(fixed_data(keys))).splitlines()[-1])
    report("loaded")
    print(cli("zrange", "sorted", "0", "20", "withscores").split())
    print(cli("lrange", "list:7", "0", "9").split(), cli("hlen", "hash:11"), cli("scard", "set:9"))

    subprocess.run(["redis-benchmark", "-s", SOCKET, "--dbnum", "1", "-t", TESTS, "-q", "-P", "16",
                    "-n", str(requests), "-r", str(requests), "-d", "100"],
                   check=True, stdout=sys.stderr)
    if cli("-n", "1", "dbsize") == "0":
        sys.exit("redis-benchmark left no key behind")
    print(cli("-n", "1", "flushdb"))
    report("after the benchmark")

    print(cli("bgsave"))
    wait_until(SAVE_SECONDS, lambda: "rdb_bgsave_in_progress:0" in cli("info", "persistence"))
    print("rdb_last_bgsave_status:ok" in cli("info", "persistence"))
    print(cli("debug", "reload"))
    report("loaded again")


def main():
    with subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket", SOCKET, "--unixsocketperm", "700",
             "--save", "", "--appendonly", "no", "--daemonize", "no", "--logfile", "redis.log",
             "--enable-debug-command", "local"]) as server:
        try:
            wait_until(START_SECONDS, lambda: answers(server))
            session(int(sys.argv[1]), int(sys.argv[2]))
            cli("shutdown", "nosave")
        finally:
            if server.poll() is None:
                try:
                    server.wait(10)
                except subprocess.TimeoutExpired:
                    server.kill()
    print("ended with", server.returncode)


main()
