"""A PostgreSQL cluster of its own: initdb, a server, pgbench, a query that sorts on disk, a stop.

usage: postgres_session.py TRANSACTIONS

The server listens on a unix socket in the working directory and nowhere else. PostgreSQL refuses to
run as root: then all of it runs as nobody, in a folder that is handed over.
"""

import glob
import os
import subprocess
import sys
from pathlib import Path

AS_NOBODY = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--"]
QUERIES = """
select sum(abalance), count(*) from pgbench_accounts;
select sum(bbalance) from pgbench_branches;
select sum(delta), count(*) from pgbench_history;
set work_mem = '1MB';
select md5(string_agg(md5(filler || aid || abalance), '' order by abalance, aid desc))
from pgbench_accounts where aid % 7 = 0;
create index on pgbench_history (delta, aid);
select count(*) from (select * from generate_series(1, 200000) as n order by n % 977, n) as s;
"""


def run(*words, text=None):
    command = [*(AS_NOBODY if os.geteuid() == 0 else []), *map(str, words)]
    done = subprocess.run(command, input=text, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        sys.exit(f"{words}: {done.returncode}\n{done.stdout}")
    return done.stdout


def main():
    tools = Path(sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1])
    here = Path.cwd()
    data = here / "data"
    if os.geteuid() == 0:
        data.mkdir()
        for folder in (here, data):
            os.chown(folder, 65534, 65534)
        for folder in here.parents:
            if folder.stat().st_uid == 0 and str(folder).startswith("/tmp/"):
                folder.chmod(0o755)
    run(tools / "initdb", "-D", data, "-A", "trust", "-U", "hak", "--no-sync", "--locale=C")
    options = f"-k {here} -c listen_addresses= -c fsync=off -c jit=off"
    run(tools / "pg_ctl", "-D", data, "-w", "-l", here / "log", "-o", options, "start")
    try:
        place = ("-h", here, "-U", "hak")
        run(tools / "pgbench", *place, "-i", "-q", "-s", "1", "postgres")
        run(tools / "pgbench", *place, "-c", "4", "-j", "2", "-t", sys.argv[1],
            "--random-seed=42", "-n", "postgres")
        # Four clients meet in any order, but what each of them does is fixed.
        print(run(tools / "psql", *place, "-X", "-A", "-t", "postgres", text=QUERIES))
    finally:
        print(run(tools / "pg_ctl", "-D", data, "-w", "-m", "fast", "stop").splitlines()[-1])


main()
