# SPDX-License-Identifier: GPL-3.0-or-later
"""The fix server beside nginx: the same machine, certificates, driver (load_driver), worker processes, TLS and cipher.

The cases take turns, each round beginning with the other server.  Figures are of the clock and of the servers' CPU time, with the
driver's own beside them: where server and driver share the processors, the clock's figures of a fast and a slow server are nearer to
each other than the servers are."""

import os
import re
import socket
import subprocess
import sys
import time

import benchlib
import load_fleet
from benchlib import Samples, goal, number, table

sys.path.insert(0, os.path.join(benchlib.TOP, "test", "server"))
import fgserver  # noqa: E402

DRIVER = os.path.join(os.path.dirname(benchlib.BIN), "bench", "load_driver")
HOSTS, WORKERS, PORT = 32, 2, 9443
FIX = "fix-load"
OURS, NGINX = "Fixgate", "nginx"

NGINX_CONF = """
daemon off;
user root;
worker_processes %(workers)d;
pid %(dir)s/pid;
error_log stderr warn;
events { worker_connections 20000; }
worker_rlimit_nofile 65536;
http {
	access_log off;
	sendfile on;
	tcp_nopush on;
	keepalive_requests 1000000000;
	keepalive_timeout 120s;
	client_max_body_size 1m;
	client_body_buffer_size 1m;
	client_body_temp_path %(dir)s/body;
	proxy_temp_path %(dir)s/proxy;
	fastcgi_temp_path %(dir)s/fastcgi;
	uwsgi_temp_path %(dir)s/uwsgi;
	scgi_temp_path %(dir)s/scgi;
	server {
		listen 127.0.0.1:%(port)d ssl;
		ssl_certificate %(server)s/server.pem;
		ssl_certificate_key %(server)s/server.key;
		ssl_client_certificate %(server)s/server-ca.pem;
		ssl_verify_client on;
		ssl_protocols TLSv1.3;
		ssl_session_tickets off;
		ssl_session_cache off;
		ssl_conf_command Options KTLS;
		default_type application/json;
		location / { return 200 '{"acked":1}'; }
		location /none { return 200 '%(none)s'; }
		location /one { return 200 '%(one)s'; }
		location /file/ { alias %(dir)s/file/; }
	}
}
"""


class Nginx:
    def __init__(self, work, server_dir, texts, blob):
        self.dir = os.path.join(work, "nginx")
        files = os.path.join(self.dir, "file")
        os.makedirs(files)
        for name, text in texts.items():
            with open(os.path.join(files, name), "w", encoding="ascii") as f:
                f.write(text)
        os.symlink(blob, os.path.join(files, "blob"))
        self.conf = os.path.join(self.dir, "nginx.conf")
        with open(self.conf, "w", encoding="ascii") as f:
            f.write(NGINX_CONF % {"workers": WORKERS, "dir": self.dir, "port": PORT, "server": server_dir, **texts})
        self.process = subprocess.Popen(["nginx", "-p", self.dir, "-c", self.conf], stderr=subprocess.PIPE)
        self.to = "127.0.0.1:%d" % PORT
        self.wait()

    def wait(self):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", PORT), timeout=5).close()
                return
            except OSError:
                time.sleep(0.02)
        self.process.kill()
        raise RuntimeError("nginx did not start: " + self.process.stderr.read().decode())

    def pids(self):
        return [self.process.pid, *children(self.process.pid)]

    def close(self):
        self.process.terminate()
        self.process.wait(30)


def children(pid):
    with open("/proc/%d/task/%d/children" % (pid, pid), encoding="ascii") as f:
        return [int(p) for p in f.read().split()]


class Fixgate:
    """With what a host asks for: a published fix, an offer of it to each host's guest."""

    def __init__(self, work, blob_bytes):
        conf = ["connections_per_client = 4096"]
        with open(os.path.join(benchlib.TOP, "server", "config.c"), encoding="utf-8") as f:
            if "requests_per_s" in f.read():
                conf += ["requests_per_s = 0", "handshakes_per_s = 0"]
        fgserver.BIN = benchlib.BIN
        self.s = fgserver.Server(work, conf=conf, workers=WORKERS)
        self.hosts = os.path.join(work, "hosts")
        with open(self.hosts, "w", encoding="ascii") as f:
            for i in range(HOSTS):
                name = "host-%d" % i
                self.s.enrol(name)
                f.write("%s/%s/agent.pem %s/%s/agent.key\n" % (work, name, work, name))
        self.s.start()
        self.to = "127.0.0.1:%d" % self.s.port
        self.ca = os.path.join(self.s.dir, "server-ca.pem")
        path, _, self.digest = fgserver.bundle(work, FIX, size=blob_bytes)
        self.s.admin("publish", path)
        self.blob = os.path.join(self.s.dir, "blobs", self.digest)
        self.offers()

    def offers(self):
        for i in range(HOSTS):
            uuid = "%08x-0000-4000-8000-%012x" % (0x10000 + i, 0)
            body = {"guests": [fgserver.guest(uuid, "offered-%d" % i)]}
            self.must(self.s.call("host-%d" % i, "PUT", "/v1/guests", body))
        self.must(self.s.call(fgserver.ADMIN, "POST", "/v1/offers", {"fix": FIX, "all": True}))
        answer = self.must(self.s.call("host-0", "GET", "/v1/offers?cursor=0&wait_s=0"))
        self.one, self.cursor = answer.body.decode(), answer.json["cursor"]
        for i in range(1, HOSTS):
            answer = self.must(self.s.call("host-%d" % i, "GET", "/v1/offers?cursor=0&wait_s=0"))
            self.cursor = max(self.cursor, answer.json["cursor"])
        self.none = self.must(self.s.call("host-0", "GET", "/v1/offers?cursor=%d&wait_s=0" % self.cursor)).body.decode()

    @staticmethod
    def must(answer):
        if answer.status != 200:
            raise RuntimeError("status %d: %s" % (answer.status, answer.body[:300]))
        return answer

    def pids(self):
        return [self.s.process.pid, *self.s.children()]

    def close(self):
        self.s.kill()


class Load:
    """What one run of the driver told, a request at a time."""

    def __init__(self, server, ours, *options, seconds):
        argv = [DRIVER, "--to", server.to, "--ca", ours.ca, "--hosts", ours.hosts, "--seconds", str(seconds),
                "--pids", ",".join(map(str, server.pids())), *options]
        p = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120 + seconds)
        if p.returncode != 0:
            raise RuntimeError("%s: %s" % (" ".join(argv), p.stderr.strip()))
        n, size, self.seconds, self.cpu, self.own, errors, self.slowest_ms = map(float, p.stdout.split())
        if errors or not n and not size:
            raise RuntimeError("%s: %d requests, %d errors: %s" % (" ".join(argv), n, errors, p.stderr.strip()))
        self.requests, self.bytes = n, size


class Case:
    """ours, nginx: the driver's options; unit: what is counted of a Load; per: how many of that make one of the table."""

    def __init__(self, name, ours, nginx, asked, unit=lambda load: load.requests):
        self.name, self.options, self.asked, self.unit = name, {OURS: ours, NGINX: nginx}, asked, unit


def small_cases(f):
    many = ["--connections", str(HOSTS)]
    none = "/v1/offers?cursor=%d&wait_s=0" % f.cursor
    return [
        Case("offers polled, none open", many + ["--get", none], many + ["--get", "/none"], 0.5),
        Case("— beside a file of that size", many + ["--get", none], many + ["--get", "/file/none"], 0.5),
        Case("offers polled, one open", many + ["--get", "/v1/offers?cursor=0&wait_s=0"], many + ["--get", "/one"], 0.5),
        Case("reports, one a request, durable", many + ["--check"], many, 0.5),
        Case("reports, 64 a request, durable", many + ["--check", "--batch", "64"], many + ["--batch", "64"], None),
    ]


def connection_cases():
    new = ["--connections", "16", "--new", "--get"]
    return [Case("new connections, mutual TLS, one request on each", new + ["/healthz"], new + ["/none"], 0.5)]


def download_cases(f):
    """The first download of each connection is not counted."""
    def case(name, n):
        n = ["--connections", str(n), "--get"]
        return Case(name, n + ["/v1/blobs/" + f.digest], n + ["/file/blob"], 0.8, lambda load: load.bytes)
    return [case("1 client", 1), case("32 clients", 32)]


def measure(servers, cases, rounds, seconds):
    samples = Samples()
    turn = 0
    for n in range(rounds):
        for case in cases:
            turn += 1
            for name in (OURS, NGINX) if (n + turn) % 2 else (NGINX, OURS):
                load = Load(servers[name], servers[OURS], *case.options[name], "--journal", "j%d" % turn, seconds=seconds)
                n_units = case.unit(load)
                for what, value in (("rate", n_units / load.seconds), ("cpu", load.cpu / n_units * 1e6),
                                    ("own", load.own / n_units * 1e6)):
                    samples.add((case.name, name, what), value)
    return samples


def ratios(samples, case):
    """Ours of nginx's, as more is better: by the clock, by the servers' CPU time."""
    return (samples.median((case.name, OURS, "rate")) / samples.median((case.name, NGINX, "rate")),
            samples.median((case.name, NGINX, "cpu")) / samples.median((case.name, OURS, "cpu")))


def report(samples, cases, what, scale=1.0):
    rows = []
    for case in cases:
        row = [case.name]
        for name in (OURS, NGINX):
            row += [samples.median((case.name, name, "rate")) / scale] + \
                   [samples.median((case.name, name, w)) * scale for w in ("cpu", "own")]
        rows.append(row + ["%.2f" % r for r in ratios(samples, case)])
    head = [""]
    for name in (OURS, NGINX):
        head += ["%s: %s" % (name, what), "server CPU µs", "driver CPU µs"]
    text = table(head + ["of nginx: clock", "CPU"], rows)
    goals = [goal("%s: at least %s of nginx" % (case.name, case.asked), min(ratios(samples, case)) >= case.asked,
                  "%.2f by the clock, %.2f by CPU time" % ratios(samples, case)) for case in cases if case.asked]
    return text, goals


def small(servers, rounds, seconds):
    cases = small_cases(servers[OURS])
    samples = measure(servers, cases, rounds, seconds)
    text, goals = report(samples, cases, "requests/s")
    batch = cases[-1].name
    text = ("%d connections kept alive, a certificate each; %d rounds of %.1f s a case; medians.\n\n" % (HOSTS, rounds, seconds)
            ) + text
    goals.append(goal("at least 10,000 durable reports/s in batches", 64 * samples.median((batch, OURS, "rate")) >= 10000,
                      "%s/s in batches of 64" % number(64 * samples.median((batch, OURS, "rate")))))
    return text + "\n\n" + "\n".join(goals)


def s_time(servers, seconds):
    """openssl s_time: one connection at a time, nothing asked; both ends on the clock."""
    ours = servers[OURS]
    with open(ours.hosts, encoding="ascii") as f:
        cert, key = f.readline().split()
    out = []
    for name in (OURS, NGINX):
        text = benchlib.sh("openssl", "s_time", "-connect", servers[name].to, "-new", "-tls1_3", "-cert", cert, "-key", key,
                           "-CAfile", ours.ca, "-verify", "2", "-time", str(seconds))
        found = re.search(r"(\d+) connections in (\d+) real seconds", text)
        if not found:
            raise RuntimeError("openssl s_time: " + text)
        out.append("%s %s/s" % (name, number(int(found[1]) / int(found[2]))))
    return "`openssl s_time -new`, one connection at a time, nothing asked, %d s: %s." % (seconds, ", ".join(out))


def connections(servers, rounds, seconds):
    cases = connection_cases()
    text, goals = report(measure(servers, cases, rounds, seconds), cases, "connections/s")
    return text + "\n\n" + s_time(servers, max(1, int(seconds))) + "\n\n" + "\n".join(goals)


def kernel_tls(to):
    tcp_ulp = 31
    with socket.create_connection(to.rsplit(":", 1), timeout=5) as c:
        try:
            c.setsockopt(socket.IPPROTO_TCP, tcp_ulp, b"tls")
        except OSError:
            return False
    return True


def downloads(servers, rounds, seconds):
    cases = download_cases(servers[OURS])
    size = os.stat(servers[OURS].blob).st_size >> 20
    ktls = "there" if kernel_tls(servers[NGINX].to) else "not there (so nginx's sendfile reads and encrypts as well)"
    text, goals = report(measure(servers, cases, rounds, seconds), cases, "MiB/s", 1 << 20)
    return "A blob of %d MiB; CPU times are of a MiB. The kernel's TLS (kTLS) is %s.\n\n" % (size, ktls) + text + "\n\n" + \
        "\n".join(goals)


def run(rounds, work, smoke):
    work = os.path.join(work, "load")
    os.makedirs(work)
    ours = Fixgate(work, (1 if smoke else 16) << 20)
    nginx = None
    out = []
    try:
        nginx = Nginx(work, ours.s.dir, {"none": ours.none, "one": ours.one}, ours.blob)
        servers = {OURS: ours, NGINX: nginx}
        seconds = 0.1 if smoke else 2.0
        for part in (small, connections, downloads):
            out.append(part(servers, rounds, seconds))
        out.append("\n\n".join(load_fleet.memory(DRIVER, servers, ours, work, 200 if smoke else 10000)))
        out.append("\n\n".join(load_fleet.pages(ours, *((1000, 5) if smoke else (100000, 50)), rounds)))
        return "\n\n".join(out)
    finally:
        if nginx:
            nginx.close()
        ours.close()
