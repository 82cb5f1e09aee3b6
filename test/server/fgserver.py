# SPDX-License-Identifier: GPL-3.0-or-later
"""A real fix server on loopback for the scripts of this folder: folder, processes, clients of every role; TAP.

FG_BIN names the folder of the programs.
"""
import hashlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import time
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SANITIZED = bool(os.environ.get("FG_SANITIZED"))
BIN = os.environ.get("FG_BIN", os.path.join(ROOT, "build", "bin"))
WEB1 = "aaaaaaaa-0000-4000-8000-000000000001"
DB1 = "bbbbbbbb-0000-4000-8000-000000000002"
ELSE1 = "cccccccc-0000-4000-8000-000000000003"
NOBODY, AGENT, OTHER, ADMIN, FOREIGN = "nobody", "agent", "other", "admin", "foreign"
VIEWER, OPERATOR = "viewer", "operator"
PART = 1 << 20

count = 0
failures = 0


def ok(good, text, detail=""):
    global count, failures
    count += 1
    failures += 0 if good else 1
    print(f"{'ok' if good else 'not ok'} {count} - {text}", flush=True)
    if not good and detail != "":
        print("\n".join("# " + line for line in str(detail).splitlines()), flush=True)


def same(got, wanted, text):
    ok(got == wanted, text, f"got {got!r}\nwanted {wanted!r}")


def run(program, *args, check=True, timeout=120):
    done = subprocess.run([os.path.join(BIN, program), *args], capture_output=True, text=True, timeout=timeout,
                          stdin=subprocess.DEVNULL)
    if check and done.returncode:
        raise RuntimeError(f"{program} {args}: {done.returncode}: {done.stderr}")
    return done


def openssl(*args, text=None):
    return subprocess.run(["openssl", *args], input=text, capture_output=True, text=True, timeout=60)


def aged(s, folder, host, left_days):
    """A certificate of 90 days for the host's key in the folder, of which so many are left."""
    w = s.work
    now = time.time()

    def stamp(days):
        return time.strftime("%y%m%d%H%M%SZ", time.gmtime(now + days * 86400 + 3600))
    with open(f"{w}/ca.conf", "w", encoding="ascii") as f:
        f.write(f"[ca]\ndefault_ca = x\n[x]\ndatabase = {w}/ca.index\nnew_certs_dir = {w}\ndefault_md = sha256\n"
                "policy = p\nunique_subject = no\nrand_serial = yes\nx509_extensions = e\n"
                "[p]\norganizationalUnitName = supplied\ncommonName = supplied\n"
                "[e]\nbasicConstraints = critical,CA:FALSE\nextendedKeyUsage = clientAuth\n")
    with open(f"{w}/ca.index", "w", encoding="ascii"):
        pass
    request = openssl("req", "-new", "-key", f"{folder}/agent.key", "-subj", f"/OU=agent/CN={host}", "-out", f"{w}/aged.csr")
    done = openssl("ca", "-batch", "-notext", "-config", f"{w}/ca.conf", "-cert", f"{s.dir}/server-ca.pem", "-keyfile",
                   f"{s.dir}/server-ca.key", "-startdate", stamp(left_days - 90), "-enddate", stamp(left_days), "-in",
                   f"{w}/aged.csr", "-out", f"{folder}/agent.pem")
    if request.returncode or done.returncode:
        raise RuntimeError(request.stderr + done.stderr)


class Answer:
    def __init__(self, response, body):
        self.status, self.headers, self.body = response.status, response.headers, body

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        return self.json["error"]["code"]


class Server:
    """One server folder; start and stop it as often as needed, always on the same port.

    conf: lines for server.conf.  foreign: make another server's folder too, for certificates that do not count here.
    """

    def __init__(self, work, conf=(), foreign=False, people=(), workers=2):
        self.work = work
        self.dir = os.path.join(work, "server")
        self.log = os.path.join(work, "log")
        self.port = self.port6 = 0
        self.process = None
        run("fixgate-fix", "keygen", "--out", os.path.join(work, "keys"))
        run("fixgate-server", "init", "--dir", self.dir, "--address", "127.0.0.1,::1,localhost",
            "--trust", os.path.join(work, "keys", "trust"))
        self.configure(f"workers = {workers}", *conf)
        for host in (AGENT, OTHER):
            self.enrol(host)
        for role in people:
            run("fixgate-server", "admin", role, "--role", role, "--dir", self.dir, "--out", os.path.join(work, role))
        if foreign:
            folder = os.path.join(work, "foreign-server")
            run("fixgate-server", "init", "--dir", folder, "--address", "127.0.0.1")
            run("fixgate-server", "enrol", AGENT, "--dir", folder, "--out", os.path.join(work, FOREIGN))

    def configure(self, *lines):
        with open(os.path.join(self.dir, "server.conf"), "a", encoding="ascii") as f:
            f.write("".join(line + "\n" for line in lines))

    def enrol(self, host):
        run("fixgate-server", "enrol", host, "--dir", self.dir, "--out", os.path.join(self.work, host))

    def start(self, env=None, program=None, args=()):
        self.process = subprocess.Popen([*(program or [os.path.join(BIN, "fixgate-server")]), "serve", "--dir", self.dir,
                                         "--listen", f"127.0.0.1:{self.port}", "--listen", f"[::1]:{self.port}", *args],
                                        stdout=subprocess.PIPE, stderr=open(self.log, "ab"),
                                        env={**os.environ, **(env or {})})
        line = self.process.stdout.readline().decode()
        if not line.startswith("listening on 127.0.0.1:"):
            raise RuntimeError("the server did not start: " + self.log_text())
        self.port = int(line.rsplit(":", 1)[1])
        self.port6 = int(self.process.stdout.readline().decode().rsplit(":", 1)[1])

    def log_text(self):
        with open(self.log, encoding="utf-8", errors="replace") as f:
            return f.read()

    def children(self):
        """Process ids of signer and workers."""
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children", encoding="ascii") as f:
            return [int(pid) for pid in f.read().split()]

    def accepts(self, pid):
        """Does the process wait for connections?  What it waits for is in its epoll sets, listening sockets that rest are not."""
        listening = set()
        for name in ("tcp", "tcp6"):
            with open(f"/proc/{pid}/net/{name}", encoding="ascii") as f:
                listening |= {line.split()[9] for line in f.readlines()[1:] if line.split()[3] == "0A"}
        links = {fd: os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
        for fd, link in links.items():
            if link == "anon_inode:[eventpoll]":
                with open(f"/proc/{pid}/fdinfo/{fd}", encoding="ascii") as f:
                    for watched in re.findall(r"^tfd:\s*(\d+)", f.read(), re.M):
                        if links.get(watched, "")[len("socket:["):-1] in listening:
                            return True
        return False

    def reload(self):
        """Until new workers serve, and no older one takes a connection any more; False: not within 30 seconds."""
        old, before, deadline = self.children(), self.metric("fixgate_reloads_total"), time.monotonic() + 30

        def is_over(pid):
            try:
                return not self.accepts(pid)
            except OSError:     # it has ended
                return True
        assert any(not is_over(pid) for pid in old), "no worker takes connections"
        self.process.send_signal(signal.SIGHUP)
        while self.metric("fixgate_reloads_total") == before or not all(is_over(pid) for pid in old):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def refuses(self, line):
        """Is a configuration with this line refused at a reload?  It is as before then, and every SIGHUP before this one was heard."""
        path, told = os.path.join(self.dir, "server.conf"), "unknown key or bad value; all stays as it was"
        with open(path, encoding="ascii") as f:
            good = f.read()
        before, deadline = self.log_text().count(told), time.monotonic() + 20
        self.configure(line)
        self.process.send_signal(signal.SIGHUP)
        while self.log_text().count(told) == before and time.monotonic() < deadline:
            time.sleep(0.02)
        with open(path, "w", encoding="ascii") as f:
            f.write(good)
        return self.log_text().count(told) > before

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def kill(self):
        self.process.kill()
        self.process.wait(30)

    def admin(self, *args, check=True):
        return run("fixgate-admin", "--dir", self.dir, "--server", f"https://127.0.0.1:{self.port}", *args, check=check)

    def context(self, who):
        ctx = ssl.create_default_context(cafile=os.path.join(self.dir, "server-ca.pem"))
        folder = os.path.join(self.work, who)
        if who == ADMIN:
            ctx.load_cert_chain(os.path.join(self.dir, "admin.pem"), os.path.join(self.dir, "admin.key"))
        elif who in (VIEWER, OPERATOR):
            ctx.load_cert_chain(os.path.join(folder, "admin.pem"), os.path.join(folder, "admin.key"))
        elif who != NOBODY:
            ctx.load_cert_chain(os.path.join(folder, "agent.pem"), os.path.join(folder, "agent.key"))
        return ctx

    def connect(self, who, host="127.0.0.1", port=None):
        return http.client.HTTPSConnection(host, port or self.port, context=self.context(who), timeout=60)

    def call(self, who, method, path, body=None, headers=None, connection=None):
        h = connection or self.connect(who)
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        h.request(method, path, body, headers or {})
        response = h.getresponse()
        answer = Answer(response, response.read())
        if not connection:
            h.close()
        return answer

    def tls(self, who=NOBODY):
        raw = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        return self.context(who).wrap_socket(raw, server_hostname="127.0.0.1")

    def query(self, sql, *args):
        db = sqlite3.connect(os.path.join(self.dir, "fixgate.db"), timeout=10)
        with db:
            rows = db.execute(sql, args).fetchall()
        db.close()
        return rows

    def memory_kib(self):
        """Of all its processes."""
        total = 0
        for pid in [self.process.pid, *self.children()]:
            with open(f"/proc/{pid}/status", encoding="ascii") as f:
                total += next(int(line.split()[1]) for line in f if line.startswith("RssAnon"))
        return total

    def metric(self, name):
        """Sum of the samples of that name."""
        text = self.call(ADMIN, "GET", "/metrics").body.decode()
        values = re.findall(r"^%s(?:\{[^}]*\})? (\S+)$" % re.escape(name), text, re.M)
        return sum(float(v) for v in values)


def main(tests, **options):
    """Runs tests(server), checks what the server leaves behind; for sys.exit."""
    work = tempfile.mkdtemp(prefix="fg-server-")
    s = None
    try:
        s = Server(work, **options)
        s.start()
        tests(s)
        if s.process.poll() is None:
            same(s.stop(), 0, "the server ends cleanly")
        log = s.log_text()
        ok("Sanitizer" not in log and "runtime error" not in log, "no sanitizer complains", log[-3000:])
    except Exception as e:  # pylint: disable=broad-except
        ok(False, f"the script ran to its end: {e!r}")
        print("\n".join("# " + line for line in traceback.format_exc().splitlines()))
        if os.path.exists(os.path.join(work, "log")):
            print("\n".join("# " + line for line in s.log_text()[-3000:].splitlines()))
    finally:
        if s and s.process and s.process.poll() is None:
            s.kill()
        shutil.rmtree(work, ignore_errors=True)
    print(f"1..{count}")
    return 1 if failures else 0


def without(tests):
    """Runs tests(folder), which start what they need themselves; for sys.exit."""
    work = tempfile.mkdtemp(prefix="fg-server-")
    try:
        tests(work)
    except Exception:  # pylint: disable=broad-except
        ok(False, "the script ran to its end", traceback.format_exc())
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(f"1..{count}")
    return 1 if failures else 0


def bundle(work, fix, version=1, size=100000, title="a fix"):
    folder = os.path.join(work, "fix")
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    with open(os.path.join(folder, "run"), "w", encoding="ascii") as f:
        f.write("#!/bin/sh\nexit 0\n")
    os.chmod(os.path.join(folder, "run"), 0o755)
    with open(os.path.join(folder, "data"), "wb") as f:
        f.write(os.urandom(size))
    now = time.time()
    stamp = "%Y-%m-%dT%H:%M:%SZ"
    manifest = {"format": 1, "id": fix, "version": version, "title": title, "severity": "critical", "cves": [],
                "published": time.strftime(stamp, time.gmtime(now - 60)),
                "expires": time.strftime(stamp, time.gmtime(now + 86400)), "applies_to": {"arch": ["amd64"]},
                "entry": "run", "context": "chroot", "timeout_s": 60, "tools": []}
    with open(os.path.join(work, "manifest.json"), "w", encoding="ascii") as f:
        json.dump(manifest, f)
    path = os.path.join(work, f"{fix}-{version}-{size}.fix")
    keys = os.path.join(work, "keys")
    run("fixgate-fix", "build", folder, "--manifest", os.path.join(work, "manifest.json"), "-o", path,
        "--key", os.path.join(keys, "publisher.key"), "--cert", os.path.join(keys, "publisher.pem"))
    with open(path, "rb") as f:
        data = f.read()
    return path, data, hashlib.sha256(data).hexdigest()


def guest(uuid, name, state="running", **more):
    return {"uuid": uuid, "name": name, "toolstack": "xl", "state": state, "identity": "config",
            "nics": [{"mac": "00:16:3E:00:00:01", "addresses": ["10.99.0.11", "fd00::11"]}], **more}


def report(seq, state, job="job-1", uuid=WEB1, fix="fix-1", version=1, **more):
    return {"seq": seq, "job": job, "guest": uuid, "fix": fix, "version": version, "state": state,
            "at_ms": int(time.time() * 1000), "isolator": "vmm", **more}
