# SPDX-License-Identifier: GPL-3.0-or-later
"""The fix server with many hosts and many clients: memory of a host that waits in its long poll, the first page of clients × fixes."""

import os
import sqlite3
import subprocess
import time

import benchlib
from benchlib import Samples, goal, number, table

CERTS = os.path.join(os.path.dirname(benchlib.BIN), "bench", "load_certs")
HOST_KIB = 64
PAGE_MS = 100


# ---- memory ----

def memory_kib(pids):
    """PSS and private memory of the processes."""
    pss = private = 0
    for pid in pids:
        with open("/proc/%d/smaps_rollup" % pid, encoding="ascii") as f:
            for line in f:
                word = line.split()
                pss += int(word[1]) if word[0] == "Pss:" else 0
                private += int(word[1]) if word[0] in ("Private_Clean:", "Private_Dirty:") else 0
    return pss, private


def kernel_kib():
    """Slabs, and pages of TCP's buffers: of the whole machine, and of both ends of each connection."""
    with open("/proc/meminfo", encoding="ascii") as f:
        slab = next(int(line.split()[1]) for line in f if line.startswith("Slab:"))
    with open("/proc/net/sockstat", encoding="ascii") as f:
        line = next(line for line in f if line.startswith("TCP:")).split()
    return slab, int(line[line.index("mem") + 1]) * (os.sysconf("SC_PAGE_SIZE") // 1024)


class Held:
    """Hosts whose polls wait."""

    def __init__(self, driver, server, ca, hosts, n, path):
        self.p = subprocess.Popen([driver, "--to", server.to, "--ca", ca, "--hosts", hosts, "--connections", str(n), "--get", path,
                                   "--hold"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if not self.p.stdout.readline().startswith("held"):
            self.p.wait()
            raise RuntimeError("not all hosts could be connected")

    def close(self):
        self.p.stdin.close()
        self.p.wait()


def wait_for(what, seconds):
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            raise RuntimeError("not all polls came to wait")
        time.sleep(0.1)


def memory(driver, servers, ours, work, n):
    certs = os.path.join(work, "fleet")
    os.makedirs(certs)
    hosts = os.path.join(work, "fleet-hosts")
    with open(hosts, "w", encoding="ascii") as f:
        subprocess.run([CERTS, ours.s.dir, str(n), certs], stdout=f, check=True)
    rows, each = [], {}
    path = {"Fixgate": "/v1/offers?cursor=%d&wait_s=60" % ours.cursor, "nginx": "/none"}
    for name, server in servers.items():
        before, kernel = memory_kib(server.pids()), kernel_kib()
        held = Held(driver, server, ours.ca, hosts, n, path[name])
        try:
            if name == "Fixgate":
                wait_for(lambda: ours.s.metric("fixgate_polls") >= n, 30)
            after, kernel_after = memory_kib(server.pids()), kernel_kib()
        finally:
            held.close()
        each[name] = (after[0] - before[0]) / n
        rows.append([name + (", in long polls" if name == "Fixgate" else ", kept alive"), before[0] / 1024, after[0] / 1024,
                     each[name], (after[1] - before[1]) / n, (kernel_after[0] - kernel[0]) / n,
                     (kernel_after[1] - kernel[1]) / n])
    text = table(["{:,} hosts, a certificate each".format(n), "PSS before, MiB", "with them", "KiB a host", "private KiB a host",
                  "kernel: slabs KiB", "kernel: TCP buffers KiB"], rows)
    return text, goal("{:,} hosts connected, each in less than {} KiB".format(n, HOST_KIB), each["Fixgate"] < HOST_KIB,
                      "%.1f KiB" % each["Fixgate"])


# ---- pages ----

STATUSES = ("fixed", "needed", "offered", "in-progress", "failed", "held", "not-needed", "rejected")


def fill(path, clients, fixes):
    """By SQL, a hundred clients a host.  What the server counts by itself with each write is counted at the end."""
    db = sqlite3.connect(path, timeout=30)
    db.execute("PRAGMA cache_size = -262144")
    db.execute("PRAGMA synchronous = OFF")
    with db:
        for table_name in ("offer", "ledger", "report", "label", "client"):
            db.execute("DELETE FROM " + table_name)
        db.executemany("INSERT INTO host (id, name, first_seen_ms, last_seen_ms) VALUES (?, ?, 1, 1)",
                       ((1000000 + h, "page-%d" % h) for h in range((clients + 99) // 100)))
        uuids = ["%08x-1000-4000-8000-%012x" % (i * 2654435761 % (1 << 32), i) for i in range(clients)]
        db.executemany("INSERT INTO client (uuid, name, host_id, toolstack, state, identity, nics, present, first_seen_ms,"
                       " last_seen_ms, os_id, os) VALUES (?, ?, ?, 'xl', 'running', 'config', ?, 1, 1, 1, 'debian', 'debian:12')",
                       ((u, "guest%d" % i, 1000000 + i // 100, '[{"mac":"00:16:3e:00:00:01","addresses":["10.99.0.11"]}]')
                        for i, u in enumerate(uuids)))
        db.executemany("INSERT INTO ledger (client, fix, status, version, fixed_version, job, state, at_ms)"
                       " VALUES (?, ?, ?, 1, 0, 'job-1', 'done', 1)",
                       ((u, "fix-%02d" % x, STATUSES[0] if (i * 31 + x * 7) % 97 else STATUSES[(i + x) % len(STATUSES)])
                        for i, u in sorted(enumerate(uuids), key=lambda e: e[1]) for x in range(fixes)))
        db.execute("DELETE FROM ledger WHERE fix = 'fix-07' AND client = ?", (max(uuids),))  # the last one, found by passing all
        db.executemany("INSERT OR REPLACE INTO fix VALUES (?, 1, ?, 1, 'title', 'low', 1, 4102444800, 1, 'bench')",
                       (("fix-%02d" % x, "%064x" % x) for x in range(fixes + 1)))
        db.execute("DELETE FROM counter")
        db.execute("INSERT INTO counter SELECT 'ledger', fix, status, COUNT(*) FROM ledger GROUP BY fix, status")
        db.execute("INSERT INTO counter SELECT 'client', '', 'present', COUNT(*) FROM client")
    db.close()


PAGES = (("the first page", "/v1/clients?limit=100"),
         ("— by status", "/v1/clients?status=failed&limit=100"),
         ("— by fix and status", "/v1/clients?fix=fix-07&status=needed&limit=100"),
         ("— a fix that nobody was offered", "/v1/clients?fix=fix-50&status=unknown&limit=100"),
         ("— the clients without a fix, one of all", "/v1/clients?fix=fix-07&status=unknown&limit=1000"),
         ("— by status, of a system that nobody has", "/v1/clients?status=fixed&os=plan9&limit=100"),
         ("— by host", "/v1/clients?host=page-1&limit=100"),
         ("all fixes with their counters", "/v1/fixes"))


def pages(ours, clients, fixes, rounds):
    fill(os.path.join(ours.s.dir, "fixgate.db"), clients, fixes)
    samples, sizes = Samples(), {}
    connection = ours.s.connect("admin")
    for n in range(rounds + 1):
        for name, path in PAGES:
            began = time.monotonic()
            answer = ours.must(ours.s.call("admin", "GET", path, connection=connection))
            took = (time.monotonic() - began) * 1000
            if n == 0:  # from the disk
                samples.add((name, "first"), took)
                rows = answer.json.get("clients", [])
                sizes[name] = (len(rows), len(answer.body) / 1024)
            else:
                samples.add(name, took)
    connection.close()
    rows = [[name, samples.median(name), samples.least(name), samples.median((name, "first")), "%d" % sizes[name][0], sizes[name][1]]
            for name, _ in PAGES]
    text = table(["{:,} clients × {} fixes, ms".format(clients, fixes), "median", "least", "the first time", "clients", "KiB"], rows)
    text += "\n\nThe first time: after the database was filled, by a process that has read nothing of it."
    worst = max((name for name, _ in PAGES), key=samples.median)
    goals = [goal("the first page of {:,} clients × {} fixes in less than {} ms".format(clients, fixes, PAGE_MS),
                  max(samples.median(PAGES[0][0]), samples.median((PAGES[0][0], "first"))) < PAGE_MS,
                  "%s ms, %s ms the first time" % tuple(number(samples.median(n)) for n in (PAGES[0][0], (PAGES[0][0], "first")))),
             goal("any of these pages in less than %d ms" % PAGE_MS, samples.median(worst) < PAGE_MS,
                  "%s: %s ms" % (worst.lstrip("— "), number(samples.median(worst))))]
    return text, "\n".join(goals)
