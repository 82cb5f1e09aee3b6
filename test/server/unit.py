#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""fixgate-server.service and .socket, and fixgate-renew.timer, as they are installed, started by a systemd of the test's own: TAP.

It has namespaces and a cgroup of its own, and no units but ours and the targets that they name.
"""
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import fgserver
from fgserver import ADMIN, AGENT, BIN, NOBODY, ROOT, SANITIZED, WEB1, Server, aged, bundle, guest, ok, report, run, same

DIR, USER, PORT = "/var/lib/fixgate-server", "fixgate-server", 8443
UNIT = os.path.join(ROOT, "server", "systemd", "fixgate-server")
EXPOSURE = 26    # tenths; what is left is root, the network and the capabilities that the unit names
CAPABILITIES = {"CAP_DAC_OVERRIDE": 1, "CAP_KILL": 5, "CAP_SETGID": 6, "CAP_SETUID": 7, "CAP_NET_BIND_SERVICE": 10}
TARGETS = ("basic", "sysinit", "sockets", "shutdown", "multi-user", "network-online", "idle")
# Our folders over those of the machine; what is mounted here nobody else sees.
SETUP = """
mount --make-rprivate /
for d in /run /var/lib /lib/systemd/system /lib/systemd/system-generators /etc/systemd/system; do
	mkdir -p $d
	mount -t tmpfs tmpfs $d
done
umount -l /sys/fs/cgroup
mount -t tmpfs tmpfs /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t proc proc /proc
mkdir -p /run/etc /run/bin
cp -a /etc/. /run/etc
cp -a "$1"/etc/. /run/etc
mount --bind /run/etc /etc
mkdir -p /etc/fixgate
cp "$1"/units/* /lib/systemd/system
cp "$2"/fixgate-server "$2"/fixgatectl "$2"/fixgate-enrol /run/bin
ip link set lo up
export container=fixgate
exec /lib/systemd/systemd --system --unit=idle.target --log-target=console --log-level=notice --show-status=no
"""


RENEW = os.path.join(ROOT, "dom0-agent", "systemd", "fixgate-renew")


def unit_text(path):
    """With the programs where the test has them."""
    with open(path, encoding="ascii") as f:
        text = f.read().replace("@sbindir@", "/run/bin").replace("=/usr/bin/fixgatectl", "=/run/bin/fixgatectl")
    if SANITIZED:    # its search for leaks traces the process, which a unit forbids
        text = text.replace("[Service]\n", "[Service]\nEnvironment=ASAN_OPTIONS=detect_leaks=0\n")
    return text


def write(path, text):
    with open(path, "w", encoding="ascii") as f:
        f.write(text)


# ---- inside ----

def systemctl(*args):
    return subprocess.run(["systemctl", *args], capture_output=True, text=True, timeout=60, check=False)


def show(name, unit=USER + ".service"):
    return systemctl("show", "-P", name, unit).stdout.strip()


def wait_for(what, seconds=30):
    deadline = time.monotonic() + seconds
    while not what() and time.monotonic() < deadline:
        time.sleep(0.05)
    return what()


class Unit(Server):
    """The folder is the unit's, the process systemd's."""

    def __init__(self, work):    # pylint: disable=super-init-not-called
        self.work, self.dir, self.port = work, DIR, PORT
        run("fixgate-fix", "keygen", "--out", os.path.join(work, "keys"))
        run("fixgate-server", "init", "--dir", DIR, "--address", "127.0.0.1", "--trust", os.path.join(work, "keys", "trust"),
            "--user", USER)
        self.configure("workers = 2")
        self.enrol(AGENT)


def status(pid, key):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return next(line.split()[1:] for line in f if line.startswith(key + ":"))


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
        return [int(p) for p in f.read().split()]


def test_processes():
    pid = int(show("MainPID"))
    uid = str(os.stat(os.path.join(DIR, "fixgate.db")).st_uid)
    wanted = "0", [uid] * 3    # soon: they are ready to be connected to before
    wait_for(lambda: (status(pid, "Uid")[0], [status(p, "Uid")[0] for p in children(pid)]) == wanted)
    same((status(pid, "Uid")[0], [status(p, "Uid")[0] for p in children(pid)]), wanted, "who serves is the user, their parent root")
    allowed = sum(1 << n for n in CAPABILITIES.values())
    with open(f"/proc/{pid}/mountinfo", encoding="ascii") as f:
        mounts = {line.split()[4]: line.split()[5].split(",")[0] for line in f}
    same([mounts.get(d) for d in ("/", DIR, "/tmp")], ["ro", "rw", "rw"], "all but its folder and a /tmp of its own is read-only")
    for p in [pid, *children(pid)]:
        got = int(status(p, "CapBnd")[0], 16), status(p, "NoNewPrivs"), status(p, "Seccomp")
        same(got, (allowed, ["1"], ["2"]), "capabilities, privileges and system calls are what the unit allows")
        if p != pid:
            same(int(status(p, "CapEff")[0], 16), 0, "who serves has no capability")


def test_serves(s):
    path, data, digest = bundle(s.work, "fix-1", size=300000)
    same(s.admin("publish", path).returncode, 0, "a fix is published")
    same(s.call(AGENT, "PUT", "/v1/guests", {"guests": [guest(WEB1, "web1")]}).status, 200, "a host has a guest")
    s.admin("offer", "--fix", "fix-1", "--guest", "web1")
    same(len(s.call(AGENT, "GET", "/v1/offers?cursor=0&wait_s=5").json["offers"]), 1, "and an offer")
    same(s.call(AGENT, "GET", "/v1/blobs/" + digest).body == data, True, "the blob is served")
    same(s.call(AGENT, "POST", "/v1/reports", {"reports": [report(1, "queued"), report(2, "done")]}).status, 200, "reports are taken")
    same(s.call(AGENT, "GET", "/v1/catalogue").status, 200, "the signer signs the catalogue")
    code = s.call(ADMIN, "POST", "/v1/codes", {"host": "xen7"}).json["code"]
    key = os.path.join(s.work, "xen7.key")
    csr = subprocess.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
                          "-subj", "/CN=x"], capture_output=True, text=True, check=True).stdout
    same(s.call(NOBODY, "POST", "/v1/enrol", {"code": code, "csr": csr}).status, 200, "and a new host's certificate")
    same(s.call(ADMIN, "GET", "/metrics").status, 200, "metrics")
    same(run("fixgate-admin", "--dir", DIR, "backup", os.path.join(s.work, "backup"), check=False).returncode, 0, "a backup beside it")


def test_reload(s):
    before = children(int(show("MainPID")))
    same(systemctl("reload", USER).returncode, 0, "systemctl reload")
    ok(wait_for(lambda: len(set(children(int(show("MainPID")))) - set(before)) >= 2), "brings new workers")
    same((show("ActiveState"), s.call(NOBODY, "GET", "/healthz").status), ("active", 200), "which serve")


def test_killed(s):
    before = show("MainPID")
    os.kill(int(before), signal.SIGKILL)
    ok(wait_for(lambda: show("ActiveState") == "active" and show("MainPID") not in ("0", before)), "after kill -9 it is started again")
    same(s.call(AGENT, "POST", "/v1/reports", {"reports": [report(2, "done")]}).json["acked"], 2, "and knows what it acknowledged")
    same(systemctl("stop", USER).returncode, 0, "systemctl stop")
    same((show("ActiveState"), show("Result")), ("inactive", "success"), "ends it cleanly")
    same(os.path.exists(os.path.join(DIR, "fixgate.db-wal")), False, "its database is one file")


def test_socket(s):
    same(systemctl("start", USER + ".socket").returncode, 0, "the socket")
    same(show("ActiveState"), "inactive", "the server is not started for it")
    same(s.call(NOBODY, "GET", "/healthz").status, 200, "its first client starts the server and is served")
    refused, tried, over = [], [], threading.Event()

    def connect():
        while not over.is_set():
            try:
                tried.append(socket.create_connection(("127.0.0.1", PORT), timeout=10).close())
            except ConnectionRefusedError as e:
                refused.append(e)
    thread = threading.Thread(target=connect)
    thread.start()
    same(systemctl("restart", USER).returncode, 0, "systemctl restart")
    over.set()
    thread.join(20)
    ok(tried and not refused, "nobody who connects meanwhile is refused", (len(tried), len(refused)))
    same(s.call(NOBODY, "GET", "/healthz").status, 200, "it serves")
    systemctl("stop", USER + ".socket", USER)


def test_mistakes():
    conf = os.path.join(DIR, "server.conf")
    good = open(conf, encoding="ascii").read()
    write(conf, good + "workers = many\n")
    same(systemctl("start", USER).returncode != 0, True, "a wrong configuration does not start")
    same((show("ActiveState"), show("ExecMainStatus"), show("NRestarts")), ("failed", "2", "0"), "and is not tried again")
    os.unlink(conf)
    systemctl("reset-failed", USER)
    systemctl("start", USER)
    same((show("ActiveState"), show("ConditionResult")), ("inactive", "no"), "without one there is nothing to start")
    write(conf, good)
    same((systemctl("start", USER).returncode, show("ActiveState")), (0, "active"), "with it there is")
    systemctl("stop", USER)


def test_renewal(s):
    """The host's side: the timer has the certificate renewed when it is time, and fixgated restarted when it was."""
    run("fixgate-server", "enrol", "xen8", "--dir", DIR, "--out", "/etc/fixgate")
    write("/etc/fixgate/agent.conf", f"[server]\naddress = 127.0.0.1\nport = {PORT}\nca = /etc/fixgate/server-ca.pem\n"
          "cert = /etc/fixgate/agent.pem\nkey = /etc/fixgate/agent.key\n[trust]\ndir = " + s.work + "/keys/trust\n")
    systemctl("start", USER, "fixgated")

    def renew():
        """Is the certificate another one, and fixgated's process?"""
        before = open("/etc/fixgate/agent.pem", "rb").read(), show("MainPID", "fixgated")
        done = systemctl("start", "fixgate-renew.service")
        after = open("/etc/fixgate/agent.pem", "rb").read(), show("MainPID", "fixgated")
        return done.returncode, before[0] != after[0], before[1] != after[1]
    same(renew(), (0, False, False), "fixgate-renew.service: a new certificate is left as it is, and fixgated too")
    aged(s, "/etc/fixgate", "xen8", 29)
    same(renew(), (0, True, True), "one that is due is renewed, and fixgated restarted")
    systemctl("stop", "fixgated")
    aged(s, "/etc/fixgate", "xen8", 29)
    same((renew(), show("ActiveState", "fixgated")), ((0, True, False), "inactive"), "where fixgated does not run it is not started")
    aged(s, "/etc/fixgate", "xen8", 29)
    old = open("/etc/fixgate/agent.pem", "rb").read()
    os.makedirs("/etc/systemd/system/fixgate-renew.timer.d")
    write("/etc/systemd/system/fixgate-renew.timer.d/now.conf", "[Timer]\nRandomizedDelaySec=0\n")
    os.makedirs("/var/lib/systemd/timers", exist_ok=True)
    write("/var/lib/systemd/timers/stamp-fixgate-renew.timer", "")
    os.utime("/var/lib/systemd/timers/stamp-fixgate-renew.timer", (time.time() - 3 * 86400,) * 2)
    systemctl("daemon-reload")
    same(systemctl("start", "fixgate-renew.timer").returncode, 0, "the timer, after three days without power")
    ok(wait_for(lambda: open("/etc/fixgate/agent.pem", "rb").read() != old), "renews at once")
    ok(wait_for(lambda: show("NextElapseUSecRealtime", "fixgate-renew.timer")), "and will look again")
    systemctl("stop", "fixgate-renew.timer", USER)


def inside(work):
    s = Unit(work)
    done = systemctl("start", USER)
    same((done.returncode, show("ActiveState")), (0, "active"), "systemctl start: it says when it is ready")
    test_processes()
    test_serves(s)
    test_reload(s)
    test_killed(s)
    test_socket(s)
    test_mistakes()
    test_renewal(s)


# ---- outside ----

def cgroup_root():
    with open("/proc/self/mounts", encoding="ascii") as f:
        return next((line.split()[1] for line in f if line.split()[2] == "cgroup2"), None)


def test_exposure(work):
    done = subprocess.run(["systemd-analyze", "security", "--no-pager", "--offline=yes", f"--threshold={EXPOSURE}",
                           os.path.join(work, "units", USER + ".service")], capture_output=True, text=True, timeout=60, check=False)
    level = re.search(r"exposure level for \S+: (\S+)", done.stdout)
    ok(done.returncode == 0 and level, f"systemd-analyze security: at most {EXPOSURE / 10}", done.stdout[-1500:] + done.stderr)


def prepare(work):
    os.makedirs(os.path.join(work, "units"))
    os.makedirs(os.path.join(work, "etc"))
    for name in TARGETS:
        write(os.path.join(work, "units", name + ".target"), f"[Unit]\nDescription={name}\nDefaultDependencies=no\n")
    for path in (UNIT + ".service", UNIT + ".socket", RENEW + ".service", RENEW + ".timer"):
        write(os.path.join(work, "units", os.path.basename(path)), unit_text(path))
    write(os.path.join(work, "units", "fixgated.service"), "[Service]\nExecStart=/bin/sleep infinity\n")
    for name in ("passwd", "group", "shadow", "gshadow"):
        if os.path.exists("/etc/" + name):
            shutil.copy("/etc/" + name, os.path.join(work, "etc", name))
    return subprocess.run(["systemd-sysusers", "--root=" + work, UNIT + ".sysusers"], capture_output=True, text=True, check=False)


def started(work, cgroup):
    """systemd, as the first process of its namespaces; None where that is not allowed."""
    def enter():
        write(os.path.join(cgroup, "cgroup.procs"), str(os.getpid()))
    p = subprocess.Popen(["unshare", "--mount", "--pid", "--net", "--ipc", "--uts", "--cgroup", "--fork", "--kill-child",
                          "sh", "-ec", SETUP, "setup", work, BIN], preexec_fn=enter,    # pylint: disable=subprocess-popen-preexec-fn
                         stdout=open(os.path.join(work, "systemd"), "wb"), stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    wait_for(lambda: p.poll() is not None or children(p.pid))
    first = children(p.pid)[0] if p.poll() is None else None
    ready = first and wait_for(lambda: p.poll() is not None or subprocess.run(
        ["nsenter", "-t", str(first), "-a", "systemctl", "is-active", "idle.target"], capture_output=True, check=False).returncode == 0)
    return p, first if ready and p.poll() is None else None


def outside(work):
    done = prepare(work)
    same(done.returncode, 0, "the user is made by systemd-sysusers")
    test_exposure(work)
    root = cgroup_root()
    cgroup = os.path.join(root or "/", f"fixgate-unit.{os.getpid()}")
    if os.getuid() != 0 or not root or not os.path.exists("/lib/systemd/systemd"):
        ok(True, "the units with systemd # SKIP needs root, cgroup2 and systemd")
        return
    os.mkdir(cgroup)
    p = None
    try:
        p, first = started(work, cgroup)
        if not first:
            ok(True, "the units with systemd # SKIP no systemd can be started here")
            print("# " + open(os.path.join(work, "systemd"), errors="replace").read()[-2000:].replace("\n", "\n# "))
            return
        done = subprocess.run(["nsenter", "-t", str(first), "-a", sys.executable, os.path.abspath(__file__), "--inside", work,
                               str(fgserver.count)], capture_output=True, text=True, timeout=240, check=False)
        print(done.stdout, end="", flush=True)
        said = done.stdout.splitlines()
        fgserver.count += sum(line.startswith(("ok ", "not ok ")) for line in said)
        fgserver.failures += sum(line.startswith("not ok ") for line in said)
        ok(done.returncode == 0, "the script ran to its end", done.stderr[-3000:] + open(os.path.join(work, "systemd"),
                                                                                         errors="replace").read()[-3000:])
    finally:
        if p:
            p.kill()    # and with it systemd and all that it started (--kill-child)
            p.wait()
        wait_for(lambda: "populated 0" in open(os.path.join(cgroup, "cgroup.events"), encoding="ascii").read())
        for path, folders, _ in os.walk(cgroup, topdown=False):
            for name in folders:
                os.rmdir(os.path.join(path, name))
        os.rmdir(cgroup)


if sys.argv[1:2] == ["--inside"]:
    fgserver.count = int(sys.argv[3])
    inside(sys.argv[2])
    sys.exit(1 if fgserver.failures else 0)
sys.exit(fgserver.without(outside))
