"""A memcached of its own: values set, read, changed and pushed out; what it says is the result.

usage: memcached_session.py KEYS

It listens on a unix socket in the working directory and nowhere else, with one thread's worth of
memory less than the values need, so that it has to push out old ones.
"""

import hashlib
import os
import socket
import subprocess
import sys
import time

SOCKET = "memcached.sock"
START_SECONDS = 20


def connect():
    end = time.monotonic() + START_SECONDS
    while True:
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            client.connect(SOCKET)
            return client.makefile("rwb")
        except OSError:
            if time.monotonic() > end:
                sys.exit("memcached was not ready in time")
            time.sleep(0.01)


def session(stream, keys):
    digest = hashlib.sha256()
    for index in range(keys):
        value = bytes([index % 256]) * (index * 7919 % 5000)
        stream.write(b"set key:%d 0 0 %d noreply\r\n%s\r\n" % (index, len(value), value))
        if index % 3 == 0:
            stream.write(b"append key:%d 0 0 4 noreply\r\ntail\r\n" % index)
        if index % 5 == 0:
            stream.write(b"delete key:%d noreply\r\n" % index)
    for index in range(keys - 100, keys):
        stream.write(b"get key:%d\r\n" % index)
        stream.flush()
        while (line := stream.readline()) != b"END\r\n":
            digest.update(line)
            digest.update(stream.read(int(line.split()[3]) + 2))
    stream.write(b"incr counter 1\r\nversion\r\n")
    stream.flush()
    print(stream.readline(), stream.readline().startswith(b"VERSION"), digest.hexdigest())


def main():
    command = ["memcached", "-s", SOCKET, "-m", "64", "-t", "4"]
    if os.geteuid() == 0:
        command += ["-u", "root"]
    with subprocess.Popen(command) as server:
        try:
            session(connect(), int(sys.argv[1]))
        finally:
            server.terminate()
        print("ended with", server.wait(20))


main()
