#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests and handshakes in a second; a database that somebody has locked; the catalogue's lifetime: TAP."""
import os
import signal
import sqlite3
import sys
import threading
import time

import fgserver
from fgserver import ADMIN, AGENT, NOBODY, OTHER, SANITIZED, WEB1, bundle, guest, ok, report, same

BURST = 40


def ask(s, who, n, path="/v1/offers", connection=None):
    """Statuses of n requests on one connection, and the answers that are 429."""
    h = connection or s.connect(who)
    answers = [s.call(who, "GET", path, connection=h) for _ in range(n)]
    if not connection:
        h.close()
    return [a.status for a in answers], [a for a in answers if a.status == 429]


def test_requests(s):
    statuses, refused = ask(s, AGENT, 3 * BURST)
    ok(set(statuses) == {200, 429} and statuses[:BURST] == [200] * BURST, "a client may ask so often, then it gets 429", statuses)
    same((refused[0].code, refused[0].headers["Retry-After"]), ("limit", "1"), "with Retry-After, in the form of every error")
    same(ask(s, OTHER, 5)[0], [200] * 5, "another client is not touched by it")
    same(s.call(ADMIN, "GET", "/v1/fixes").status, 200, "nor is an administrator")
    same(s.metric("fixgate_requests_limited_total"), len(refused), "what was refused is counted")
    ok("peer=agent/agent asks more than 1 times a second" in s.log_text(), "and logged once, by name", s.log_text()[-500:])
    statuses, _ = ask(s, AGENT, BURST)
    ok(statuses.count(429) > BURST // 2, "a new connection brings no new tokens", statuses)
    h = s.connect(AGENT)
    statuses = [s.call(AGENT, "PUT", "/v1/guests", {"guests": []}, connection=h).status for _ in range(20)]
    h.close()
    ok(set(statuses) <= {200, 429} and statuses.count(429) > 10, "a body is refused as well", statuses)
    wait_until(s, AGENT)
    ok(True, "and after a while it is served again")


def wait_until(s, who):
    """Does what Retry-After says."""
    deadline = time.monotonic() + 20
    while (answer := s.call(who, "GET", "/v1/offers")).status == 429 and time.monotonic() < deadline:
        time.sleep(int(answer.headers["Retry-After"]))
    same(answer.status, 200, "who waits as long as Retry-After says is served")


def test_nobody(s):
    """Before it is known who asks, it is the address that counts."""
    statuses, refused = ask(s, NOBODY, 3 * BURST, "/healthz")
    ok(statuses.count(429) > BURST, "an address without certificate may ask so often", statuses)
    same(s.call(OTHER, "GET", "/healthz").status, 200, "a client with a certificate at that address is not touched")
    h = s.connect(NOBODY)
    statuses = [s.call(NOBODY, "POST", "/v1/enrol", {"code": "x", "csr": "y"}, connection=h).status for _ in range(20)]
    h.close()
    ok(set(statuses) <= {400, 401, 403, 429} and statuses.count(429) > 10, "guessing codes is slowed down", statuses)
    ok(refused and "Retry-After" in refused[0].headers, "with Retry-After")


def handshakes(s, n):
    """How many of n are made."""
    made = 0
    for _ in range(n):
        try:
            s.tls(NOBODY).close()
            made += 1
        except OSError:
            pass
    return made


def test_handshakes(s):
    before = s.metric("fixgate_handshakes_limited_total")
    made = handshakes(s, 150)
    # 60 at once, of which the metric took one
    ok(59 <= made < 140, "an address may make so many handshakes, then they are refused", made)
    deadline, counted = time.monotonic() + 10, None
    while counted is None and time.monotonic() < deadline:
        try:
            counted = s.metric("fixgate_handshakes_limited_total")
        except OSError:
            time.sleep(0.2)
    ok(counted is not None and counted >= before + 150 - made, "they are counted, and after a while one is made again", counted)


def honest(s):
    """What an agent does in its busiest seconds, at the default limits: nothing of it is refused."""
    h, p = s.connect(AGENT), s.connect(AGENT)
    s.call(AGENT, "PUT", "/v1/guests", {"guests": [guest(WEB1, "web1")]}, connection=h)
    statuses, seq = [], 1
    for i in range(100):
        batch = [report(seq + k, "isolated", job=f"job-{i}") for k in range(50)]
        seq += len(batch)
        statuses.append(s.call(AGENT, "POST", "/v1/reports", {"reports": batch}, connection=h).status)
        statuses.append(s.call(AGENT, "GET", "/v1/offers?cursor=0&wait_s=0", connection=p).status)
        if i % 5 == 0:
            statuses.append(s.call(AGENT, "GET", "/v1/catalogue", connection=h).status)
    h.close()
    p.close()
    ok(set(statuses) == {200}, "an agent that reports and polls as fast as it can is not refused", set(statuses))
    path, _, _ = bundle(s.work, "large", size=60 << 20)
    began = time.monotonic()
    done = s.admin("publish", path, check=False)
    same(done.returncode, 0, f"nor an administrator who publishes 60 MiB ({time.monotonic() - began:.1f} s)")
    same(s.metric("fixgate_requests_limited_total"), 0, "none was counted")


class Lock:
    """Another process has the database locked for writing."""

    def __init__(self, s):
        self.db = sqlite3.connect(os.path.join(s.dir, "fixgate.db"), timeout=10, isolation_level=None)

    def __enter__(self):
        self.db.execute("BEGIN IMMEDIATE")

    def __exit__(self, *_):
        self.db.execute("ROLLBACK")
        self.db.close()


def test_locked(s):
    s.call(AGENT, "PUT", "/v1/guests", {"guests": [guest(WEB1, "web1")]})
    reports = s.query("SELECT COUNT(*) FROM report")[0][0]
    same(s.call(AGENT, "POST", "/v1/reports", {"journal": "l", "reports": [report(1, "isolated")]}).json, {"acked": 1},
         "before the lock a report is taken")
    with Lock(s):
        answer = s.call(AGENT, "POST", "/v1/reports", {"journal": "l", "reports": [report(2, "stopped")]})
        same((answer.status, answer.headers["Retry-After"]), (503, "2"), "database locked: 503 with Retry-After")
        same(answer.code, "timeout", "in the form of every error")
        began = time.monotonic()
        statuses = [s.call(AGENT, "POST", "/v1/reports", {"journal": "l", "reports": [report(2, "stopped")]}).status,
                    s.call(AGENT, "PUT", "/v1/guests", {"guests": [guest(WEB1, "web1")]}).status,
                    s.call(ADMIN, "POST", "/v1/labels", {"guests": [WEB1], "labels": {"a": "b"}}).status,
                    s.call(AGENT, "POST", "/v1/tokens", {"job": "job-1", "guest": WEB1, "digest": "0" * 64}).status]
        ok(set(statuses) <= {503, 404}, "each kind of write", statuses)
        ok(time.monotonic() - began < 8, "the wait is not made anew for each", time.monotonic() - began)
        began = time.monotonic()
        reads = [s.call(ADMIN, "GET", "/v1/clients").status, s.call(NOBODY, "GET", "/healthz").status,
                 s.call(ADMIN, "GET", "/metrics").status]
        ok(reads == [200] * 3 and time.monotonic() - began < 3, "who reads is served meanwhile", reads)
        # Many writes at once: none is acknowledged, none holds up the loop for long.
        got, began = [], time.monotonic()

        def write(i):
            got.append(s.call(OTHER, "POST", "/v1/reports", {"journal": f"j{i}", "reports": []}).status)
        threads = [threading.Thread(target=write, args=(i,)) for i in range(12)]
        for t in threads:
            t.start()
        same(s.call(NOBODY, "GET", "/healthz").status, 200, "also beside many writes that wait")
        for t in threads:
            t.join()
        ok(time.monotonic() - began < 10 * (3 if SANITIZED else 1), "they are answered soon", (got, time.monotonic() - began))
    deadline = time.monotonic() + 30
    while True:
        answer = s.call(AGENT, "POST", "/v1/reports", {"journal": "l", "reports": [report(2, "stopped"), report(3, "fixing")]})
        if answer.status == 200 or time.monotonic() > deadline:
            break
    same((answer.status, answer.json), (200, {"acked": 3}), "once it is free, what was not acknowledged is taken")
    same(s.query("SELECT COUNT(*) FROM report")[0][0], reports + 3, "each report once")
    ok("another server" not in s.log_text() and "locked" in s.log_text(), "the log says why")
    same(s.admin("audit", "verify", check=False).returncode, 0, "the audit log is whole")


def lifetime(s):
    c = s.call(ADMIN, "GET", "/v1/catalogue").json["catalogue"]
    stamp = "%Y-%m-%dT%H:%M:%SZ"
    return (time.mktime(time.strptime(c["expires"], stamp)) - time.mktime(time.strptime(c["published"], stamp)), c["version"])


def test_lifetime(s):
    same(lifetime(s)[0], 3 * 86400, "a catalogue is good for three days")
    before = lifetime(s)[1]
    same(lifetime(s)[1], before, "and is not made anew for each who asks")
    s.configure("catalogue_lifetime_s = 7200")
    ok(s.reload(), "the server reads its limits again")
    got = lifetime(s)
    ok(got[0] == 7200 and got[1] > before, "unless it is configured shorter: then at once", got)
    for bad in ("catalogue_lifetime_s = 3599", "catalogue_lifetime_s = 2592001", "requests_per_s = -1", "requests_burst = 0",
                "requests_per_s = 1000001", "handshakes_per_s = x", "handshakes_burst = 0"):
        ok(s.refuses(bad), f"'{bad}' is refused")


def tests(s):
    honest(s)
    test_locked(s)
    test_lifetime(s)
    # What comes back in a second is little beside what is asked in one, also where the server is slow.
    s.configure("requests_per_s = 1", f"requests_burst = {BURST}")
    s.stop()
    s.start()
    test_requests(s)
    test_nobody(s)
    s.configure("handshakes_per_s = 1", "handshakes_burst = 60")
    s.stop()
    s.start()
    test_handshakes(s)


sys.exit(fgserver.main(tests, workers=1))
