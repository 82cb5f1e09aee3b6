#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The processes of fixgate-server: workers, reload, end, users, systemd: TAP."""
import http.client
import json
import os
import pwd
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

import fgserver
from fgserver import ADMIN, AGENT, BIN, DB1, NOBODY, ROOT, WEB1, bundle, guest, ok, run, same


def wait_for(what, seconds=20):
    """There is no event from outside for these."""
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def served_by(connection):
    """The process at the other end of a connection of ours, by its socket's inode."""
    local, remote = connection.sock.getsockname()[1], connection.sock.getpeername()[1]
    wanted = None
    with open("/proc/net/tcp", encoding="ascii") as f:
        for line in list(f)[1:]:
            fields = line.split()
            if int(fields[1].split(":")[1], 16) == remote and int(fields[2].split(":")[1], 16) == local:
                wanted = f"socket:[{fields[9]}]"
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            for fd in os.listdir(f"/proc/{pid}/fd"):
                if os.readlink(f"/proc/{pid}/fd/{fd}") == wanted:
                    return int(pid)
        except OSError:
            pass
    return None


def connected(s, who):
    h = s.connect(who)
    h.connect()
    s.call(who, "GET", "/healthz", connection=h)
    return h


def on_each_worker(s, who):
    """A connection to each of the two workers."""
    found = {}
    for _ in range(200):
        h = connected(s, who)
        if found.setdefault(served_by(h), h) is not h:
            h.close()
        if len(found) == 2:
            break
    return found


def test_workers(s):
    ok(wait_for(lambda: len(s.children()) == 3), "two workers and a signer")
    s.call(AGENT, "PUT", "/v1/guests", {"guests": [guest(WEB1, "web1"), guest(DB1, "db1")]})
    path, _, digest = bundle(s.work, "fix-1", size=3000000)
    s.admin("publish", path)
    agents, others = on_each_worker(s, AGENT), on_each_worker(s, AGENT)
    same((len(agents), len(others)), (2, 2), "connections come to both workers")
    slow = []
    for pid, h in agents.items():
        for other, a in others.items():
            cursor = s.call(AGENT, "GET", "/v1/offers?cursor=0", connection=h).json["cursor"]
            got = {}

            def poll(connection=h, after=cursor, into=got):
                into["answer"] = s.call(AGENT, "GET", f"/v1/offers?cursor={after}&wait_s=30", connection=connection).json
                into["at"] = time.monotonic()
            thread = threading.Thread(target=poll)
            thread.start()
            wait_for(lambda: s.metric("fixgate_polls") >= 1)
            began = time.monotonic()
            s.call(AGENT, "POST", "/v1/requests", {"fix": "fix-1", "guest": WEB1}, connection=a)
            thread.join(40)
            if "at" not in got or got["at"] - began > 1 or not got["answer"]["offers"]:
                slow.append((pid, other, got))
    same(slow, [], "an offer wakes a poll, whichever workers they are at")
    for h in [*agents.values(), *others.values()]:
        h.close()
    return digest


def test_other_writer(s):
    """Polls that find nothing are answered without the database until somebody writes; here it is no process of the server."""
    answer = s.call(AGENT, "GET", "/v1/offers?cursor=0").json
    at = answer["cursor"] - 1
    connections = on_each_worker(s, AGENT)
    wrong = []
    for n in range(20):
        state = n % 2
        s.query("UPDATE offer SET open = ? WHERE seq = ?", state, answer["cursor"])
        for pid, h in connections.items():
            for again in range(3):
                offers = s.call(AGENT, "GET", f"/v1/offers?cursor={at}", connection=h).json["offers"]
                if len(offers) != state:
                    wrong.append((n, pid, again, offers))
    same(wrong, [], "what another program takes out of the database, or puts there, is so for the next poll at each worker")
    for h in connections.values():
        h.close()


def test_uploads(s):
    """The same bundle at once over several workers: published once, and each is told so or to try again."""
    odd = []
    for i in range(5):
        _, data, digest = bundle(s.work, f"many-{i}", size=300000)
        statuses = []

        def upload(name=digest, body=data, into=statuses):
            into.append(s.call(ADMIN, "PUT", "/v1/fixes/" + name, body).status)
        threads = [threading.Thread(target=upload) for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        if statuses.count(201) != 1 or set(statuses) - {200, 201, 503}:
            odd.append(statuses)
    same(odd, [], "uploads of one bundle at once: one publishes it")
    same(os.listdir(os.path.join(s.dir, "uploads")), [], "and none is left over")


def test_worker_dies(s):
    h = connected(s, AGENT)
    pid = served_by(h)
    time.sleep(2)  # one that ran for two seconds is replaced at once
    os.kill(pid, signal.SIGKILL)
    ok(wait_for(lambda: len(s.children()) == 3 and pid not in s.children()), "a worker that dies is replaced")
    same(s.call(AGENT, "GET", "/v1/offers").status, 200, "others serve meanwhile")
    same(s.metric("fixgate_worker_restarts_total"), 1, "and it is counted")


def serial(s):
    with socket.create_connection(("127.0.0.1", s.port), timeout=30) as raw:
        with s.context(NOBODY).wrap_socket(raw, server_hostname="127.0.0.1") as t:
            return t.getpeercert()["serialNumber"]


def new_server_certificate(s):
    d = s.dir
    with open(os.path.join(s.work, "ext"), "w", encoding="ascii") as f:
        f.write("basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth\n"
                "subjectAltName=IP:127.0.0.1,IP:::1\n")
    subprocess.run(f"openssl req -new -key {d}/server.key -subj /CN=fixgate-server | openssl x509 -req -CA {d}/server-ca.pem"
                   f" -CAkey {d}/server-ca.key -extfile {s.work}/ext -set_serial 0x77 -days 30 -out {s.work}/new.pem",
                   shell=True, check=True, capture_output=True)
    shutil.copy(f"{s.work}/new.pem", f"{d}/server.pem")


def test_reload(s, digest):
    got = {}
    cursor = s.call(AGENT, "GET", "/v1/offers?cursor=0").json["cursor"]

    def poll():
        got["poll"] = s.call(AGENT, "GET", f"/v1/offers?cursor={cursor}&wait_s=30").status
    thread = threading.Thread(target=poll)
    thread.start()
    # A download that is under way: read slowly, over the reload.
    t = s.tls(AGENT)
    t.sendall(f"GET /v1/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    first = t.recv(1000)
    wait_for(lambda: s.metric("fixgate_polls") >= 1)
    old = serial(s)
    new_server_certificate(s)
    s.configure("workers = 3")
    before = set(s.children())
    ok(s.reload() and s.metric("fixgate_reloads_total") == 1, "SIGHUP reloads")
    same({serial(s) for _ in range(8)}, {"77"}, "a new certificate is served")
    ok(old != "77", "and was not before")
    thread.join(20)
    same(got.get("poll"), 200, "a poll that waits is answered")
    body = first
    while chunk := t.recv(1 << 20):
        body += chunk
        if len(body) > 2900000 and len(body.split(b"\r\n\r\n", 1)[1]) >= int(re.search(rb"Content-Length: (\d+)", body)[1]):
            break
    ok(hashed(body.split(b"\r\n\r\n", 1)[1]) == digest, "a download under way goes on to its end", len(body))
    t.close()
    ok(wait_for(lambda: len(s.children()) == 4), "the old workers end, three new ones serve", s.children())
    ok(len(set(s.children()) & before) == 1, "the signer stays")
    # A client that has connected and not asked yet, over two reloads.
    early = s.tls(AGENT)
    ok(s.reload() and s.reload(), "two reloads, one soon after the other")
    try:
        early.sendall(b"GET /v1/offers HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = early.recv(100)
    except OSError as e:
        answer = repr(e).encode()
    ok(answer.startswith(b"HTTP/1.1 200 "), "who had connected before them is answered after them", answer)
    early.close()
    ok(wait_for(lambda: len(s.children()) == 4), "then the old ones end", s.children())
    s.configure("workers = 16")
    for _ in range(4):
        s.process.send_signal(signal.SIGHUP)
        wait_for(lambda: len(s.children()) >= 17)
    ok(s.refuses("workers = none"), "a configuration that is not in order is refused among them")
    ok(wait_for(lambda: len(s.children()) == 17), "reloads in a row leave the workers that are wanted", len(s.children()))
    same(s.call(AGENT, "GET", "/v1/offers").status, 200, "which serve")
    s.configure("workers = 3")
    s.process.send_signal(signal.SIGHUP)
    ok(wait_for(lambda: len(s.children()) == 4), "back to three")
    pids = s.children()
    ok(s.refuses("workers = many"), "a configuration that is not in order changes nothing")
    same(s.children(), pids, "the workers serve on")
    conf = os.path.join(s.dir, "server.conf")
    text = open(conf, encoding="ascii").read().replace("workers = 16\n", "").replace("workers = 3\n", "")
    with open(conf, "w", encoding="ascii") as f:
        f.write(text)
    os.rename(f"{s.dir}/server.key", f"{s.dir}/away")
    s.process.send_signal(signal.SIGHUP)
    ok(wait_for(lambda: "No such file" in s.log_text()), "nor does a key that is not there")
    os.rename(f"{s.dir}/away", f"{s.dir}/server.key")
    same(s.call(AGENT, "GET", "/v1/offers").status, 200, "it serves")


def hashed(data):
    import hashlib
    return hashlib.sha256(data).hexdigest()


def test_second(s):
    """A second server on the folder waits for the lock for five seconds, then says so."""
    return subprocess.Popen([os.path.join(BIN, "fixgate-server"), "serve", "--dir", s.dir, "--listen", "127.0.0.1:0"],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_killed(s):
    pids = s.children()
    s.kill()
    ok(wait_for(lambda: not any(os.path.exists(f"/proc/{p}") and "Z" not in open(f"/proc/{p}/stat").read().split(")")[1]
                                for p in pids), 10), "kill -9 of the parent ends all its processes")
    s.start()
    pids = s.children()
    s.kill()
    s.start()
    same(s.call(NOBODY, "GET", "/healthz").status, 200, "the next one starts at once on the same port")
    s.process.send_signal(signal.SIGSTOP)
    same(s.call(NOBODY, "GET", "/healthz").status, 200, "the workers do not need their parent")
    s.process.send_signal(signal.SIGCONT)


def test_clean_end(s):
    """Also when a worker ended without closing the database."""
    s.call(AGENT, "PUT", "/v1/guests", {"guests": [guest(WEB1, "web1"), guest(DB1, "db1")]})
    stuck = s.children()[-1]
    os.kill(stuck, signal.SIGSTOP)
    s.process.send_signal(signal.SIGTERM)
    ok(wait_for(lambda: s.children() == [stuck]), "all processes but one have ended")
    os.kill(stuck, signal.SIGKILL)
    same(s.process.wait(20), 0, "it ends")
    same([name for name in ("fixgate.db-wal", "fixgate.db-shm") if os.path.exists(os.path.join(s.dir, name))], [],
         "the database is one file after a clean end")


def test_notify(s):
    path = os.path.join(s.work, "notify")
    n = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    n.bind(path)
    n.settimeout(20)
    s.start(env={"NOTIFY_SOCKET": path})
    same(n.recv(1000), b"READY=1", "systemd is told: ready")
    s.process.send_signal(signal.SIGHUP)
    text = n.recv(1000)
    ok(text.startswith(b"RELOADING=1\nMONOTONIC_USEC="), "reloading", text)
    same(n.recv(1000), b"READY=1", "ready again")
    s.process.send_signal(signal.SIGTERM)
    same(n.recv(1000), b"STOPPING=1", "stopping")
    same(s.process.wait(20), 0, "it ends")
    n.close()


def test_activation(s):
    if not shutil.which("systemd-socket-activate"):
        ok(True, "socket activation # SKIP no systemd-socket-activate")
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    p = subprocess.Popen(["systemd-socket-activate", "-l", f"127.0.0.1:{port}", os.path.join(BIN, "fixgate-server"), "serve",
                          "--dir", s.dir], stdout=subprocess.PIPE, stderr=open(s.log, "ab"))
    wait_for(lambda: listens(port))
    h = s.connect(NOBODY, port=port)
    same(s.call(NOBODY, "GET", "/healthz", connection=h).status, 200, "a socket of systemd is taken, its first client served")
    h.close()
    same(p.stdout.readline(), f"listening on 127.0.0.1:{port}\n".encode(), "and named")
    p.send_signal(signal.SIGTERM)
    same(p.wait(20), 0, "it ends")


def listens(port):
    with open("/proc/net/tcp", encoding="ascii") as f:
        return any(line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A" for line in list(f)[1:])


def uids(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return set(next(line for line in f if line.startswith("Uid")).split()[1:])


def test_user():
    """Started as root: all but the parent are another user; the CA's key stays root's."""
    if os.getuid() != 0:
        ok(True, "users # SKIP not root")
        return
    work = tempfile.mkdtemp(prefix="fg-server-user-")
    os.chmod(work, 0o711)
    d = os.path.join(work, "server")
    run("fixgate-server", "init", "--dir", d, "--address", "127.0.0.1", "--user", "nobody")
    ok("user = nobody" in open(os.path.join(d, "server.conf"), encoding="ascii").read(), "init --user is remembered")
    with open(os.path.join(d, "server.conf"), "a", encoding="ascii") as f:
        f.write("workers = 1\n")
    p = subprocess.Popen([os.path.join(BIN, "fixgate-server"), "serve", "--dir", d, "--listen", "127.0.0.1:0"],
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        port = int(p.stdout.readline().decode().rsplit(":", 1)[1])
        ctx = ssl.create_default_context(cafile=os.path.join(d, "server-ca.pem"))
        ctx.load_cert_chain(os.path.join(d, "admin.pem"), os.path.join(d, "admin.key"))
        h = http.client.HTTPSConnection("127.0.0.1", port, context=ctx, timeout=30)
        h.request("POST", "/v1/codes", json.dumps({"host": "xen1"}))
        response = h.getresponse()
        same((response.status, "code" in json.loads(response.read())), (201, True), "it serves")
        with open(f"/proc/{p.pid}/task/{p.pid}/children", encoding="ascii") as f:
            children = [int(pid) for pid in f.read().split()]
        nobody = str(pwd.getpwnam("nobody").pw_uid)
        same([uids(pid) for pid in children], [{nobody}] * 2, "signer and worker are the user")
        same(os.stat(os.path.join(d, "server-ca.key")).st_uid, 0, "who cannot read the CA's key")
        looks = subprocess.run(["setpriv", "--reuid", "nobody", "--clear-groups", "--regid", "nogroup", "head", "-c1",
                                f"/proc/{children[0]}/maps"], capture_output=True, check=False)
        ok(looks.returncode != 0, "nor look into the process that has it", looks.stdout)
        h.request("GET", "/healthz")
        same(h.getresponse().status, 200, "the connection lives")
        h.close()
        p.send_signal(signal.SIGTERM)
        same(p.wait(20), 0, "and ends")
    finally:
        if p.poll() is None:
            p.kill()
        shutil.rmtree(work, ignore_errors=True)


def test_units():
    if not shutil.which("systemd-analyze"):
        ok(True, "units # SKIP no systemd-analyze")
        return
    with tempfile.TemporaryDirectory(prefix="fg-units-") as work:
        for folder, names in (("server/systemd", ("fixgate-server.service", "fixgate-server.socket")),
                              ("dom0-agent/systemd", ("fixgate-renew.service", "fixgate-renew.timer"))):
            for name in names:
                text = open(os.path.join(ROOT, folder, name), encoding="ascii").read()
                text = text.replace("@sbindir@", BIN).replace("/usr/bin/fixgatectl", BIN + "/fixgatectl")
                text = re.sub(r"^Documentation=.*\n", "", text, flags=re.M)
                with open(os.path.join(work, name), "w", encoding="ascii") as f:
                    f.write(text)
        for name in sorted(os.listdir(work)):
            done = subprocess.run(["systemd-analyze", "verify", "--recursive-errors=no", os.path.join(work, name)],
                                  capture_output=True, text=True, timeout=120, check=False)
            ours = [line for line in done.stderr.splitlines() if "fixgate" in line]
            ok(done.returncode == 0 and not ours, f"systemd-analyze verify {name}", done.stderr)


def tests(s):
    digest = test_workers(s)
    test_other_writer(s)
    test_uploads(s)
    test_worker_dies(s)
    second = test_second(s)
    test_reload(s, digest)
    out, err = second.communicate(timeout=30)
    ok(second.returncode == 13 and "another server runs" in err, "a second server on the folder is refused", (out, err))
    test_killed(s)
    test_clean_end(s)
    test_notify(s)
    test_activation(s)
    test_user()
    test_units()


sys.exit(fgserver.main(tests))
