#!/usr/bin/python3
"""usage: booted.py BUILD CASE

Goal    hakd as it is installed, in its sandbox, does under a real systemd what its units promise:
        it is started, found, watched, restarted and stopped, and sees programs of other users.
Method  systemd is booted in namespaces (machine.py) over what `cmake --install` makes of BUILD,
        once for each CASE, and asked by systemctl and journalctl. The programs are python3 on
        libhak as a service of its own. On failure the journal is printed.
"""

import json
import re
import sys
import time

import machine

STEP_SECONDS = 20  # that something may take to become so

# A program that goes on allocating, so that it has slow paths.
CHURN = """
import time
while True:
    kept = [bytearray(i % 3000) for i in range(20000)]
    time.sleep(0.02)
"""

# Method, socket, path: prints the status and then the body.
ASK = """
import http.client, socket, sys
method, address, path = sys.argv[1:]
connection = http.client.HTTPConnection("hak", timeout=10)
if address.startswith("/"):
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(address)
else:
    connection.sock = socket.create_connection(("127.0.0.1", int(address)))
connection.request(method, path)
answer = connection.getresponse()
print(answer.status)
print(answer.read().decode())
"""


# The other end stays open, and says nothing.
LISTEN = """
import socket
with socket.socket(socket.AF_UNIX) as peer:
    peer.connect("/run/hak/pressure")
    peer.settimeout(1)
    try:
        raise SystemExit(f"heard {peer.recv(1)}")
    except TimeoutError:
        pass
"""


def expect(condition, *words):
    assert condition, " ".join(map(str, words))


def wait_for(what, condition):
    """The first true answer of condition()."""
    deadline = time.monotonic() + STEP_SECONDS
    while True:
        answer = condition()
        if answer:
            return answer
        expect(time.monotonic() < deadline, "not within", STEP_SECONDS, "s:", what)
        time.sleep(0.1)


class Host(machine.Machine):
    """The machine with the words that the cases use."""

    def do(self, *words, **options):
        answer = self.run(*words, **options)
        expect(answer.returncode == 0, words, "ends with", answer.returncode, answer.stdout)
        return answer.stdout

    def property(self, name, unit="hakd.service"):
        return self.do("systemctl", "show", "--value", "-p", name, unit).strip()

    def is_active(self, unit="hakd.service"):
        return self.property("ActiveState", unit) == "active"

    def ask(self, path, method="GET", address="/run/hak/control", **options):
        """(status, body), or None where it may not or cannot connect."""
        answer = self.run("/usr/bin/python3", "-c", ASK, method, address, path, **options)
        if answer.returncode != 0:
            return None
        status, body = answer.stdout.split("\n", 1)
        return int(status), body

    def ask_json(self, path, method="GET"):
        status, body = self.ask(path, method)
        expect(status in (200, 202), method, path, "gives", status, body)
        return json.loads(body)

    def start_program(self, name="tester", *properties):
        """A service on libhak, without any right. Its library is the manager's default, as where a
        whole host is preloaded."""
        self.do("systemctl", "set-environment", "LD_PRELOAD=libhak.so.0")
        options = [f"--property={text}" for text in properties or ("User=nobody",)]
        self.do("systemd-run", "--quiet", "--unit", name, *options,
                "/usr/bin/python3", "-c", CHURN)

    def client(self, name="tester"):
        """What hakd says of a service, as soon as it does."""
        def look():
            clients = self.ask_json("/v1/clients")["clients"]
            return next((one for one in clients if one["unit"] == f"{name}.service"), None)
        return wait_for(f"{name} is a client", look)

    def mode(self, path):
        return self.do("stat", "-c", "%U:%G %a", path).strip()

    def complaints(self):
        """What hakd and systemd have warned of; but that this host has few descriptors is so."""
        lines = self.do("journalctl", "-q", "-p", "warning", "-u", "hakd*").splitlines()
        return [line for line in lines if "RLIMIT_NOFILE" not in line]


def starts(host):
    """As an administrator starts it: ready, in its sandbox, in the journal."""
    host.do("systemctl", "set-environment", "LD_PRELOAD=libhak.so.0")
    host.do("systemctl", "start", "hakd")
    expect(host.is_active(), "hakd is not active")
    text = host.property("StatusText")
    expect("client" in text, "its status is", repr(text))
    expect(text.endswith("pressure none"), "in its sandbox it hears of no pressure:", repr(text))

    expect(host.property("WatchdogUSec") == "30s", "nobody watches its loop")

    expect(host.mode("/run/hak") == "root:root 755", host.mode("/run/hak"))
    expect(host.mode("/run/hak/client") == "root:root 666", host.mode("/run/hak/client"))
    expect(host.mode("/run/hak/control") == "root:hak-admin 660", host.mode("/run/hak/control"))

    pid = host.property("MainPID")
    expect(host.do("stat", "-c", "%U", f"/proc/{pid}").strip() == "hakd", "not its own user")
    status = dict(re.findall(r"^(\w+):\s+(\S+)", host.do("cat", f"/proc/{pid}/status"), re.M))
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        expect(int(status[name], 16) == 0, name, "is", status[name])
    expect(status["NoNewPrivs"] == "1" and status["Seccomp"] == "2", "no sandbox:", status)
    expect("libhak" not in host.do("cat", f"/proc/{pid}/maps"), "hakd runs on libhak")

    lines = [json.loads(line) for line in
             host.do("journalctl", "-q", "-o", "json", "_SYSTEMD_UNIT=hakd.service").splitlines()]
    ready = [line for line in lines if "is ready" in line["MESSAGE"]]
    expect(len(ready) == 1, "not one line that it is ready:", lines)
    expect(ready[0]["SYSLOG_IDENTIFIER"] == "hakd" and ready[0]["PRIORITY"] == "6", ready)
    expect(host.complaints() == [], host.complaints())


def answers_admins_only(host):
    host.do("systemctl", "enable", "--quiet", "--now", "hakd.service")
    for unit in ("hakd.socket", "hakd-control.socket", "hakd-pressure.socket"):
        expect(host.do("systemctl", "is-enabled", unit).strip() == "enabled", unit)
    expect(host.mode("/run/hak/pressure") == "root:root 666", host.mode("/run/hak/pressure"))
    expect(host.ask_json("/v1/status")["schema"] == 1, "no status")
    admin, anybody = (host.ask("/v1/status", user="nobody", group=group)
                      for group in ("hak-admin", "nogroup"))
    expect(admin is not None and admin[0] == 200, "an admin is refused", admin)
    expect(anybody is None, "everybody may control it")
    listener = host.run("/usr/bin/python3", "-c", LISTEN, user="nobody", group="nogroup")
    expect(listener.returncode == 0, "not everybody may hear of pressure:", listener.stdout)


def is_activated_by_a_client(host):
    """With the sockets alone, the first program that registers starts it, and is seen."""
    host.do("systemctl", "start", "hakd.socket", "hakd-control.socket")
    expect(host.property("ActiveState") == "inactive", "it runs before anybody came")
    host.start_program()
    wait_for("hakd is active", host.is_active)
    client = host.client()
    expect(client["group"] == "tester.service", client)
    expect(client["uid"] != 0 and client["plausible"], client)
    expect(str(client["pid"]) == host.property("MainPID", "tester.service"), client)

    path = f"/v1/clients/{client['pid']}"
    wait_for("its numbers are seen",
             lambda: host.ask_json(path)["metrics"]["live_bytes"] > 1 << 20)
    request = host.ask_json(path + "/trim", "POST")["trim_request"]
    wait_for("the trim is done", lambda: host.ask_json(path)["trim"]["ack"] == request)
    host.do("journalctl", "--sync")
    entries = [json.loads(line) for line in
               host.do("journalctl", "-q", "-o", "json", "HAK_TRIGGER=command").splitlines()]
    expect([(entry["HAK_PID"], entry["HAK_UNIT"], entry["HAK_ACTION"]) for entry in entries] ==
           [(str(client["pid"]), "tester.service", action) for action in ("mailbox", "remote")],
           "the journal has", entries)
    wait_for("the status counts it",
             lambda: host.property("StatusText").startswith("1 client,"))

    # A service with a filter of system calls registers only where it is told to.
    host.start_program("shy", "DynamicUser=yes")
    host.start_program("bold", "DynamicUser=yes", "Environment=HAK_REGISTER=1")
    expect(host.client("bold")["uid"] not in (0, client["uid"]), host.client("bold"))
    expect(host.ask_json("/v1/status")["client_count"] == 2, "a filtered program has registered")

    host.do("systemctl", "stop", "tester", "shy", "bold")
    wait_for("they have departed", lambda: host.ask_json("/v1/status")["client_count"] == 0)
    expect(host.complaints() == [], host.complaints())


def restarts_when_it_hangs(host):
    """A loop that stands still is ended by the watchdog; clients find the new one by themselves."""
    host.do("mkdir", "-p", "/run/systemd/system/hakd.service.d")
    host.do("sh", "-c", "printf '[Service]\\nWatchdogSec=4s\\nTimeoutAbortSec=1s\\n' "
            ">/run/systemd/system/hakd.service.d/soon.conf")
    host.do("systemctl", "daemon-reload")
    host.do("systemctl", "start", "hakd")
    host.start_program()
    host.client()
    time.sleep(5)  # more than the watchdog's time: a loop that runs is left alone
    pid = host.property("MainPID")
    expect(host.property("NRestarts") == "0", "the watchdog ended a loop that ran")

    host.do("kill", "-STOP", pid)
    wait_for("it is restarted", lambda: host.property("NRestarts") == "1")
    wait_for("hakd is active", host.is_active)
    expect(host.property("MainPID") != pid, "it is the same process")
    expect("Watchdog timeout" in host.do("journalctl", "-q", "-u", "hakd"), "by something else")
    host.client()

    host.do("kill", "-KILL", host.property("MainPID"))
    wait_for("it is restarted again", lambda: host.property("NRestarts") == "2")
    wait_for("hakd is active again", host.is_active)
    host.client()


def restarts_as_often_as_it_takes(host):
    """Killed again and again, it comes back each time: nobody looks after it at night, and systemd
    takes the sockets of a service away that has been started too often."""
    host.do("systemctl", "start", "hakd")
    for number in range(1, 9):
        pid = host.property("MainPID")
        host.do("kill", "-KILL", pid)
        wait_for(f"it is restarted for the {number}. time",
                 lambda: host.is_active() and host.property("MainPID") not in ("0", pid))
    for unit in ("hakd.socket", "hakd-control.socket"):
        expect(host.is_active(unit), unit, "is gone")
    host.start_program()
    host.client()


def counters(host):
    """Of programs, not of the daemon's own process."""
    _, body = host.ask("/metrics")
    return {name: float(value) for name, value in
            re.findall(r"^(hak_\w+_total(?:\{.*\})?) (\S+)$", body, re.M)}


def ages(host):
    return {client["pid"]: client["registered"] for client in
            host.ask_json("/v1/clients")["clients"]}


def is_followed(host):
    """Killed and restarted, it is followed by one that has its clients, with their pages, and knows
    what it knew: nobody registers again, and no counter falls. One that is stopped is not."""
    host.do("systemctl", "start", "hakd")
    for name in ("first", "second", "silent"):
        host.start_program(name)
        host.client(name)
    # One that cannot register again: it is stopped.
    host.do("systemctl", "kill", "--signal=STOP", "silent")
    host.do("hakctl", "budget", "set", "first.service", "--soft", "900M")
    path = f"/v1/clients/{host.client('first')['pid']}"
    wait_for("it is told", lambda: host.ask_json(path)["soft_budget_bytes"] == 900 << 20)

    def is_stored():
        # Three pages and the state. Of what the store has 252 tells only the number.
        return host.property("NFileDescriptorStore") == "4"
    wait_for("the manager has all", is_stored)
    before, known = counters(host), ages(host)
    expect(len(known) == 3, known)
    for number, words in enumerate((("systemctl", "kill", "--signal=KILL", "hakd"),
                                    ("systemctl", "restart", "hakd"),
                                    ("systemctl", "kill", "--signal=KILL", "hakd")), 1):
        pid = host.property("MainPID")
        host.do(*words)
        wait_for("it is there again",
                 lambda: host.is_active() and host.property("MainPID") not in ("0", pid))
        expect(ages(host) == known, number, "clients are", ages(host), "and were", known)
        after = counters(host)
        fallen = {name: (before[name], after.get(name)) for name in before
                  if after.get(name, -1) < before[name]}
        expect(not fallen, number, "counters fell", fallen)
        accepted = 'hak_client_registrations_total{result="accepted"}'
        expect(after[accepted] == 3, number, "registrations are", after[accepted])
        expect(host.ask_json(path)["soft_budget_bytes"] == 900 << 20, "the budget is gone")
        before = after
    request = host.ask_json(path + "/trim", "POST")["trim_request"]
    wait_for("it does not hear any more", lambda: host.ask_json(path)["trim"]["ack"] == request)

    host.do("systemctl", "stop", "second")
    wait_for("who has ended is let go of", lambda: host.property("NFileDescriptorStore") == "3")
    host.do("systemctl", "restart", "hakd")
    expect(len(ages(host)) == 2, ages(host))
    complaints = [line for line in host.complaints() if " systemd[1]: " not in line]
    expect(complaints == [], complaints)


def stops(host):
    host.do("systemctl", "start", "hakd")
    host.start_program()
    host.client()
    # Without the program, which may come back at any moment.
    host.do("systemctl", "kill", "--signal=STOP", "tester")
    begin = time.monotonic()
    host.do("systemctl", "stop", "hakd.service")
    expect(time.monotonic() - begin < 5, "it takes its time to stop")
    for name, value in (("ActiveState", "inactive"), ("Result", "success"),
                        ("ExecMainCode", "1"), ("ExecMainStatus", "0")):
        expect(host.property(name) == value, name, "is", host.property(name))
    for unit in ("hakd.socket", "hakd-control.socket"):
        expect(host.is_active(unit), unit, "went with it")
    expect(host.mode("/run/hak/client") == "root:root 666", "its socket went with it")

    expect(host.ask_json("/v1/status")["schema"] == 1, "it does not come back when it is asked")
    expect(host.is_active(), "somebody else has answered")
    host.do("systemctl", "stop", "hakd.socket")
    wait_for("it goes with its socket", lambda: host.property("ActiveState") == "inactive")
    expect(host.run("stat", "/run/hak/client").returncode != 0, "the socket's file stays")
    for unit in ("hakd-control.socket", "hakd-pressure.socket"):
        expect(not host.is_active(unit), unit, "would start it again")
    expect(host.complaints() == [], host.complaints())


def reloads(host):
    """`systemctl reload` puts a configuration in force, or fails and says where it is wrong."""
    host.do("systemctl", "start", "hakd")
    host.start_program()
    expect(host.client()["policy"]["name"] is None, "a policy from nowhere")
    write = "mkdir -p /etc/hak/hakd.conf.d && cat >/etc/hak/hakd.conf.d/10-test.conf <<EOT\n{}\nEOT"
    # Of another user's process hakd may not look which program it runs: it says so itself.
    host.do("sh", "-c", write.format("[policy tester]\nunit=tester.service\n"
                                     "exe=/usr/bin/python3.*\nhard=1G"))
    host.do("systemctl", "reload", "hakd")
    client = host.client()
    expect(client["uid"] != 0 and client["exe"].startswith("/usr/bin/python3."), client)
    expect(client["policy"]["name"] == "tester", client)
    expect(client["hard_budget_bytes"] == 1 << 30, client)
    host.do("hakctl", "budget", "set", "tester.service", "--soft", "900M", "--persist")
    host.do("test", "-e", "/etc/hak/hakd.conf.d/50-budget-tester.service.conf")
    expect(host.client()["soft_budget_bytes"] == 900 << 20, host.client())

    host.do("sh", "-c", write.format("[policy tester]\nhard=much"))
    expect(host.run("systemctl", "reload", "hakd").returncode != 0, "errors are not told")
    expect("10-test.conf:2: hard is 'much'" in host.do("journalctl", "-q", "-u", "hakd"), "where")
    expect(host.is_active(), "it does not live on")
    expect(host.client()["hard_budget_bytes"] == 1 << 30, "what was in force is gone")
    wait_for("its status tells", lambda: "bad configuration" in host.property("StatusText"))


# Takes 128 MiB, frees all of it but for a little, and sleeps.
BURST = """
import ctypes, time
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
blocks = [libc.malloc(2000) for _ in range(65536)]
for block in blocks:
    ctypes.memset(block, 1, 2000)
for block in blocks[:65000]:
    libc.free(block)
time.sleep(1000)
"""


def reclaims_remotely(host):
    """The daemon holds no capability; its advisor, in a sandbox of its own, takes memory back from
    another user's program that is stopped, comes back when it is killed, and may be masked."""
    host.do("systemctl", "enable", "--quiet", "--now", "hakd.service")
    expect(host.do("systemctl", "is-enabled", "hakd-advisor.socket").strip() == "enabled",
           "its socket is not enabled with the daemon")
    expect(host.mode("/run/hak/advisor") == "hakd:hakd 600", host.mode("/run/hak/advisor"))

    def state():
        return host.ask_json("/v1/status")["remote_reclaim"]["state"]
    wait_for("remote reclaim is ready", lambda: state() == "ready")
    pid = host.property("MainPID", "hakd-advisor.service")
    expect(host.do("stat", "-c", "%U", f"/proc/{pid}").strip() == "hakd-advisor", "another user")
    status = dict(re.findall(r"^(\w+):\s+(\S+)", host.do("cat", f"/proc/{pid}/status"), re.M))
    for name in ("CapPrm", "CapEff", "CapBnd"):
        expect(int(status[name], 16) == 1 << 23 | 1 << 19, name, "is", status[name])
    expect(int(status["CapAmb"], 16) == 0, "a program of it would have them")
    expect(status["NoNewPrivs"] == "1" and status["Seccomp"] == "2", "no sandbox:", status)

    host.do("systemctl", "set-environment", "LD_PRELOAD=libhak.so.0")
    for name in ("first", "second"):
        host.do("systemd-run", "--quiet", "--unit", name, "--property=User=nobody",
                "/usr/bin/python3", "-c", BURST)
        path = f"/v1/clients/{host.client(name)['pid']}"
        wait_for("it has marked much or lost it", lambda: sum(
            (lambda one: (one["metrics"]["lazyfree_bytes"], one["remote"]["returned_bytes"]))(
                host.ask_json(path))) > 64 << 20)
        host.do("systemctl", "kill", "--signal=STOP", name)
        wait_for("it is taken", lambda: host.ask_json(path)["remote"]["returned_bytes"] > 64 << 20)
        said = f'of process {path.split("/")[-1]} (python3, {name}.service)'
        wait_for("it is in the journal", lambda: said in host.do(
            "journalctl", "-q", "-o", "cat", "-u", "hakd"))
        host.do("systemctl", "kill", "--signal=KILL", "hakd-advisor")
        wait_for("it is ready again", lambda: host.property("NRestarts", "hakd-advisor") != "0"
                 and state() == "ready")

    host.do("systemctl", "mask", "--quiet", "--now", "hakd-advisor.socket", "hakd-advisor.service")
    wait_for("hakd has heard", lambda: state() == "unavailable")
    host.do("systemctl", "restart", "hakd")
    expect(wait_for("it goes on without", state) != "ready", "who answers?")
    expect(host.is_active(), "it does not")


def serves_metrics(host):
    """On the socket that is off by default: everybody may read, over TCP as well."""
    host.do("mkdir", "-p", "/run/systemd/system/hakd-metrics.socket.d")
    host.do("sh", "-c", "printf '[Socket]\\nListenStream=127.0.0.1:9119\\n' "
            ">/run/systemd/system/hakd-metrics.socket.d/port.conf")
    host.do("systemctl", "daemon-reload")
    host.do("systemctl", "start", "hakd")
    expect(host.run("stat", "/run/hak/metrics").returncode != 0, "metrics are served unasked")
    host.do("systemctl", "stop", "hakd")
    host.do("systemctl", "start", "hakd-metrics.socket", "hakd")
    for address in ("/run/hak/metrics", "9119"):
        status, body = host.ask("/metrics", address=address, user="nobody")
        expect(status == 200 and "\n# TYPE hak_clients gauge\n" in body, address, status, body)
        status, body = host.ask("/v1/status", address=address, user="nobody")
        expect(status == 404, "metrics and no more, but", status, body)
    expect(host.complaints() == [], host.complaints())


def hears_at_once(host):
    """With the capability that an administrator may give it, as systemd/README.md has it."""
    with open("/proc/self/status", encoding="ascii") as status:
        if int(re.search(r"^CapBnd:\s+(\w+)", status.read(), re.M)[1], 16) >> 24 & 1 == 0:
            print("skipped: nobody has CAP_SYS_RESOURCE here")
            sys.exit(77)
    host.do("mkdir", "-p", "/run/systemd/system/hakd.service.d")
    host.do("sh", "-c", "printf '[Service]\\nCapabilityBoundingSet=CAP_SYS_RESOURCE\\n"
            "AmbientCapabilities=CAP_SYS_RESOURCE\\n' "
            ">/run/systemd/system/hakd.service.d/pressure.conf")
    host.do("systemctl", "daemon-reload")
    host.do("systemctl", "start", "hakd")
    pressure = host.ask_json("/v1/status")["pressure"]
    expect(pressure["source"] == "trigger" and pressure["window_seconds"] == 1, pressure)
    expect(host.complaints() == [], host.complaints())


CASES = (starts, answers_admins_only, is_activated_by_a_client, restarts_when_it_hangs,
         restarts_as_often_as_it_takes, is_followed, stops, reloads, reclaims_remotely,
         serves_metrics, hears_at_once)


def main(build, name):
    case = next(case for case in CASES if case.__name__ == name)
    machine.enter_own_mounts()
    with Host(build) as host:
        try:
            case(host)
        except BaseException:
            host.show()
            raise


if __name__ == "__main__":
    main(*sys.argv[1:])
