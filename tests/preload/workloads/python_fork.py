"""Forks while threads allocate: every child must find a whole heap, allocate, free and answer.

Four threads churn without a pause. Beside them the main thread forks, by os.fork, by a pool of
multiprocessing and by subprocess; children start threads and fork once more. The sums that come
back are printed. A lock held, or a block lost, at the moment of a fork shows as a hang or a crash.
"""

import hashlib
import multiprocessing
import os
import subprocess
import sys
import threading


def churn(seed, count):
    """Allocates and frees blocks of mixed sizes; the digest depends on every byte kept."""
    digest, held = hashlib.sha256(), [b""] * 257
    for step in range(count):
        seed = (seed * 1103515245 + 12345) % 2**31
        held[seed % 257] = bytes([seed >> 8 & 255]) * (seed >> 5 & 4095)
        if step % 64 == 0:
            digest.update(held[(seed >> 7) % 257])
    return digest.hexdigest()


def in_child(seed):
    """A child of many threads' parent makes threads of its own and forks again."""
    answers = {}
    threads = [threading.Thread(target=lambda n=n: answers.update({n: churn(seed + n, 2000)}))
               for n in range(3)]
    for thread in threads:
        thread.start()
    reader, writer = os.pipe()
    grandchild = os.fork()
    if grandchild == 0:
        os.write(writer, churn(seed, 500).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        answers["grandchild"] = pipe.read()
    _, status = os.waitpid(grandchild, 0)
    for thread in threads:
        thread.join()
    return status, sorted((str(key), value) for key, value in answers.items())


def by_hand(count):
    for index in range(count):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(writer, churn(index, 300).encode())
            os._exit(index % 100)
        os.close(writer)
        with os.fdopen(reader) as pipe:
            answer = pipe.read()
        _, status = os.waitpid(child, 0)
        print("fork", index, os.waitstatus_to_exitcode(status), answer[:16])


def main():
    forks = int(sys.argv[1])
    over = threading.Event()

    def churn_until_over(seed):
        while not over.is_set():
            churn(seed, 500)

    threads = [threading.Thread(target=churn_until_over, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    try:
        by_hand(forks)
        with multiprocessing.get_context("fork").Pool(4, maxtasksperchild=2) as pool:
            results = pool.map(in_child, range(forks), chunksize=1)
        # Not before the pool is gone: a thread of its own forks new workers, each of which would
        # print at its end what lay in the buffer of our output then.
        for status, answers in results:
            print(status, hashlib.sha256(repr(answers).encode()).hexdigest())
        for index in range(forks // 4):
            answer = subprocess.run(["sort"], input=b"c\nb\na\n" * index, check=True,
                                    capture_output=True)
            print("sort", index, len(answer.stdout))
    finally:
        over.set()
        for thread in threads:
            thread.join()


main()
