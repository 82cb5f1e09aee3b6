#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was acknowledged is there: killed processes under load, a full disk, a locked database: TAP."""
import http.client
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

import fgserver
from fgserver import ADMIN, AGENT, NOBODY, OTHER, bundle, guest, ok, report, same

HOSTS = (AGENT, OTHER)


def uuid_of(who):
    return f"aaaaaaaa-0000-4000-8000-{HOSTS.index(who):012x}"


class Reporter(threading.Thread):
    """One host: batches of reports, each from the oldest that was not acknowledged, over what ever breaks."""

    def __init__(self, s, who, journal):
        super().__init__(daemon=True)
        self.s, self.who, self.journal = s, who, journal
        self.acked = 0
        self.errors = {}
        self.stop = threading.Event()

    def run(self):
        h = None
        while not self.stop.is_set():
            batch = [report(i, "queued", job="k", uuid=uuid_of(self.who))
                     for i in range(self.acked + 1, self.acked + 1 + random.randint(1, 40))]
            try:
                h = h or self.s.connect(self.who)
                answer = self.s.call(self.who, "POST", "/v1/reports", {"journal": self.journal, "reports": batch},
                                     connection=h)
                if answer.status == 200:
                    self.acked = answer.json["acked"]
                else:
                    self.errors[answer.status] = self.errors.get(answer.status, 0) + 1
                    self.stop.wait(0.05)
            except (OSError, http.client.HTTPException):
                h = None
                self.stop.wait(0.02)

    def end(self):
        self.stop.set()
        self.join(90)


def reporters(s, journal):
    found = [Reporter(s, who, journal) for who in HOSTS]
    for r in found:
        r.start()
    return found


def wait_for(what, seconds=40):
    deadline = time.monotonic() + seconds
    while not what() and time.monotonic() < deadline:
        time.sleep(0.02)
    return what()


def progress(found, n):
    start = [r.acked for r in found]
    return wait_for(lambda: all(r.acked >= a + n for r, a in zip(found, start)))


def check(s, found, journal, text):
    """Every acknowledged report is there, and each once."""
    bad = []
    for r in found:
        n, highest = s.query("SELECT COUNT(*), MAX(r.seq) FROM report r JOIN journal j ON j.id = r.journal_id JOIN host h"
                             " ON h.id = j.host_id WHERE j.name = ? AND h.name = ?", journal, r.who)[0]
        if (highest or 0) < r.acked or n != (highest or 0):
            bad.append((r.who, r.acked, n, highest))
    same(bad, [], f"{text}: no acknowledged report is lost, none is counted twice ({sum(r.acked for r in found)} reports)")


def whole(s):
    same(s.query("PRAGMA integrity_check"), [("ok",)], "the database is whole")
    same(s.admin("audit", "verify").returncode, 0, "the audit log verifies")


def test_kill(s):
    found = reporters(s, "kill")
    moved = True
    for _ in range(3):    # one worker after the other
        moved = moved and progress(found, 60)
        workers = s.children()[1:]
        os.kill(random.choice(workers), signal.SIGKILL)
    for _ in range(3):    # all at once
        moved = moved and progress(found, 60)
        s.kill()
        s.start()
    moved = moved and progress(found, 60)
    for r in found:
        r.end()
    ok(moved, "reports go on after each kill -9")
    check(s, found, "kill", "three workers and three servers killed under load")
    whole(s)


def test_reload(s):
    found = reporters(s, "reload")
    moved = True
    for _ in range(3):
        moved = moved and progress(found, 40)
        s.process.send_signal(signal.SIGHUP)
    moved = moved and progress(found, 40)
    for r in found:
        r.end()
    ok(moved, "reports go on over reloads")
    check(s, found, "reload", "three reloads under load")


def test_locked(s):
    """Another process holds the database's write lock for longer than the server waits for it."""
    found = reporters(s, "locked")
    progress(found, 20)
    db = sqlite3.connect(os.path.join(s.dir, "fixgate.db"), timeout=30, isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    refused = wait_for(lambda: any(r.errors for r in found), 30)
    ok(refused and all(status in (500, 503) for r in found for status in r.errors),
       "while the database is locked reports are refused", [r.errors for r in found])
    same(s.call(NOBODY, "GET", "/healthz").status, 200, "the server answers")
    db.execute("ROLLBACK")
    db.close()
    ok(progress(found, 20), f"and go on when it is free ({time.monotonic() - began:.1f} s)")
    for r in found:
        r.end()
    check(s, found, "locked", "a locked database")
    whole(s)


def fill(path):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    for size in (1 << 20, 1 << 12):
        try:
            while os.write(fd, b"\0" * size):
                pass
        except OSError:
            pass
    os.close(fd)


def test_full(work):
    """The folder is on a file system of its own, which fills up."""
    if os.getuid() != 0:
        ok(True, "disk full # SKIP not root")
        return
    small = os.path.join(work, "small")
    os.makedirs(small)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "fixgate-test", small], check=False).returncode:
        ok(True, "disk full # SKIP no mount here")
        return
    s = None
    try:
        s = fgserver.Server(small)
        s.log = os.path.join(work, "full-log")    # not on the full disk
        s.start()
        prepare(s)
        found = reporters(s, "full")
        progress(found, 40)
        fill(os.path.join(small, "ballast"))
        refused = wait_for(lambda: all(r.errors for r in found))
        ok(refused and all(status == 500 for r in found for status in r.errors), "a full disk refuses reports",
           [r.errors for r in found])
        same(s.call(NOBODY, "GET", "/healthz").status, 200, "the server answers")
        same(s.call(AGENT, "GET", "/v1/offers").status, 200, "and what only reads works")
        os.symlink(os.path.join(small, "keys"), os.path.join(work, "keys"))
        _, data, digest = bundle(work, "big", size=300000)
        answer = s.call(ADMIN, "PUT", "/v1/fixes/" + digest, data)
        same(answer.status, 500, "an upload is refused")
        same([f for f in os.listdir(os.path.join(s.dir, "blobs"))], [], "and leaves nothing that counts")
        os.unlink(os.path.join(small, "ballast"))
        ok(progress(found, 40), "with room again reports go on")
        for r in found:
            r.end()
        check(s, found, "full", "a full disk")
        whole(s)
        same(s.call(ADMIN, "PUT", "/v1/fixes/" + digest, data).status, 201, "and the upload is taken")
        same(s.stop(), 0, "the server ends")
    finally:
        if s and s.process and s.process.poll() is None:
            s.kill()
        subprocess.run(["umount", "-l", small], check=False)


def prepare(s):
    for who in HOSTS:
        s.call(who, "PUT", "/v1/guests", {"guests": [guest(uuid_of(who), who)]})


def tests(s):
    prepare(s)
    test_kill(s)
    test_reload(s)
    test_locked(s)
    work = tempfile.mkdtemp(prefix="fg-full-")
    try:
        test_full(work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


sys.exit(fgserver.main(tests))
