#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was acknowledged is there: killed processes under load, a full disk, a locked database: TAP."""
import contextlib
import ctypes
import http.client
import itertools
import os
import random
import re
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import tempfile
import threading
import time

import fgserver
from fgserver import ADMIN, AGENT, NOBODY, OTHER, SANITIZED, bundle, guest, ok, report, run, same

HOSTS = (AGENT, OTHER)


def uuid_of(who):
    return f"aaaaaaaa-0000-4000-8000-{HOSTS.index(who):012x}"


STATES = ("queued", "isolated", "stopped", "fixing")
FIXES = 4


def report_of(who, seq):
    """The same for the same number: job after job, each of a newer version of one of four fixes; every third fails."""
    n, step = divmod(seq - 1, len(STATES) + 1)
    state = STATES[step] if step < len(STATES) else "failed" if n % 3 == 2 else "done"
    return report(seq, state, job=f"k{n}", uuid=uuid_of(who), fix=f"kill-{n % FIXES}", version=1 + n // FIXES, at_ms=seq)


def ledger_of(highest):
    """What the ledger says after so many of them."""
    found = {}
    for seq in range(1, highest + 1):
        r = report_of(HOSTS[0], seq)
        found[r["fix"]] = ({"done": "fixed", "failed": "failed"}.get(r["state"], "in-progress"), r["job"], r["version"])
    return found


class Reporter(threading.Thread):
    """One host: batches of reports, each from the oldest that was not acknowledged, over what ever breaks."""

    make = staticmethod(lambda who, seq: report(seq, "queued", job="k", uuid=uuid_of(who)))

    def __init__(self, s, who, journal):
        super().__init__(daemon=True)
        self.s, self.who, self.journal = s, who, journal
        self.acked = 0
        self.errors = {}
        self.stop = threading.Event()

    def run(self):
        h = None
        while not self.stop.is_set():
            batch = [self.make(self.who, i) for i in range(self.acked + 1, self.acked + 1 + random.randint(1, 40))]
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


def reporters(s, journal, make=None):
    found = [Reporter(s, who, journal) for who in HOSTS]
    for r in found:
        r.make = make or r.make
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


def check_ledger(s, journal):
    """The ledger is that of the reports, in their order, and what is counted with each write is what is there."""
    wrong = []
    for who in HOSTS:
        highest = s.query("SELECT MAX(r.seq) FROM report r JOIN journal j ON j.id = r.journal_id JOIN host h ON h.id = j.host_id"
                          " WHERE j.name = ? AND h.name = ?", journal, who)[0][0]
        rows = {fix: rest for fix, *rest in s.query("SELECT fix, status, job, version FROM ledger WHERE client = ? AND fix LIKE 'kill-%'",
                                                    uuid_of(who))}
        wanted = {fix: list(rest) for fix, rest in ledger_of(highest).items()}
        if rows != wanted:
            wrong.append((who, highest, rows, wanted))
    same(wrong, [], "the ledger is what the reports say")
    counted = s.query("SELECT name, word, n FROM counter WHERE kind = 'ledger' AND n <> 0 ORDER BY 1, 2")
    same(counted, s.query("SELECT fix, status, COUNT(*) FROM ledger GROUP BY fix, status ORDER BY 1, 2"), "and the counters count it")


def test_kill(s):
    found = reporters(s, "kill", report_of)
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
    check_ledger(s, "kill")
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
        before, status, made = len(s.query("SELECT * FROM enrolment")), 201, -1
        while status == 201 and made < 2000:    # what the log has of room from before is used up first
            made += 1
            status = s.call(ADMIN, "POST", "/v1/codes", {"host": f"full{made}"}).status
        same(status, 500, f"no code for a new host is made, after {made} that had room")
        same(len(s.query("SELECT * FROM enrolment")), before + made, "and none is kept by half")
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
        same(s.call(ADMIN, "POST", "/v1/codes", {"host": "xen9"}).status, 201, "a code is made")
        same(s.call(ADMIN, "PUT", "/v1/fixes/" + digest, data).status, 201, "and the upload is taken")
        same(s.stop(), 0, "the server ends")
    finally:
        if s and s.process and s.process.poll() is None:
            s.kill()
        subprocess.run(["umount", "-l", small], check=False)


def test_backup_without_room(s):
    """The backup's disk is full: it fails, leaves nothing, and what was there before is what it was."""
    disk = os.path.join(s.work, "backups")
    os.makedirs(disk)
    if os.getuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "fixgate-test", disk], check=False).returncode:
        ok(True, "a backup without room # SKIP no mount here")
        return
    file = os.path.join(disk, "b")
    try:
        run("fixgate-admin", "--dir", s.dir, "backup", file)
        with open(file, "rb") as f:
            before = f.read()
        fill(os.path.join(disk, "ballast"))
        done = run("fixgate-admin", "--dir", s.dir, "backup", file, check=False)
        with open(file, "rb") as f:
            same(f.read() == before, True, "a backup without room: the older one is what it was")
        same((done.returncode, sorted(os.listdir(disk))), (14, ["b", "ballast"]), "it fails and leaves nothing")
        ok("full" in done.stderr or "space" in done.stderr, "and says why", done.stderr)
    finally:
        subprocess.run(["umount", disk], check=True)


def test_backup_under_load(s):
    """Each is of one moment: whole, and with at least what was acknowledged before it began; an older one is not replaced by half."""
    found = reporters(s, "backup")
    file = os.path.join(s.work, "under-load")
    short, moved = [], True
    for i in range(4):
        moved = moved and progress(found, 40)
        before = {r.who: r.acked for r in found}
        run("fixgate-admin", "--dir", s.dir, "backup", file + str(i))
        with contextlib.closing(sqlite3.connect(file + str(i))) as db:
            whole_copy = db.execute("PRAGMA integrity_check").fetchall()
            have = dict(db.execute("SELECT h.name, COUNT(*) FROM report r JOIN journal j ON j.id = r.journal_id JOIN host h"
                                   " ON h.id = j.host_id WHERE j.name = 'backup' GROUP BY h.name"))
            top = dict(db.execute("SELECT h.name, MAX(r.seq) FROM report r JOIN journal j ON j.id = r.journal_id JOIN host h"
                                  " ON h.id = j.host_id WHERE j.name = 'backup' GROUP BY h.name"))
        if whole_copy != [("ok",)] or have != top or any(have.get(who, 0) < n for who, n in before.items()):
            short.append((i, whole_copy, before, have, top))
    ok(moved, "reports go on while backups are made")
    same(short, [], "each of four backups under load is whole, without a gap, and has all that was acknowledged before")
    for r in found:
        r.end()
    check(s, found, "backup", "backups under load")


def acknowledged(lines):
    """Of the system calls on database and connections, process by process: what each acknowledgement came after."""
    done, found = {}, []
    for line in lines:
        pid, call = line.split(None, 1)
        mine = done.setdefault(pid, [])
        if re.match(r"pwrite64\(\d+<[^>]*fixgate\.db-wal>", call):
            mine.append("written")
        elif re.match(r"f(data)?sync\(\d+<[^>]*fixgate\.db-wal>\) += 0", call):
            mine.append("synced")
        elif re.match(r"(write|writev|sendto|sendmsg)\(\d+<(TCP|socket)", call):
            found.append([key for key, _ in itertools.groupby(mine)])
            mine.clear()
    return found


def test_synced(s):
    """A crash of the machine cannot be had here; but the order of the system calls can."""
    same(s.stop(), 0, "the server is stopped")
    trace = os.path.join(s.work, "trace")
    probe = subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, check=False)
    if probe.returncode:
        ok(True, "sync before the acknowledgement # SKIP no process may be traced here")
        s.start()
        return
    s.start({"ASAN_OPTIONS": "detect_leaks=0"} if SANITIZED else None,    # its tracing and ours exclude each other
            ["strace", "-D", "-f", "-y", "-s", "0", "-o", trace, "-e", "trace=pwrite64,fdatasync,fsync,write,writev,sendto,sendmsg",
             os.path.join(fgserver.BIN, "fixgate-server")])
    h = s.connect(AGENT)
    s.call(AGENT, "GET", "/v1/offers", connection=h)
    with open(trace, encoding="ascii", errors="replace") as f:
        f.seek(0, os.SEEK_END)
        for i in range(1, 6):
            s.call(AGENT, "POST", "/v1/reports", {"journal": "synced", "reports": [
                report(i, "queued", job="s", uuid=uuid_of(AGENT))]}, connection=h)
        after = [a for a in acknowledged(f.readlines()) if a]
    same(after, [["written", "synced"]] * 5, "each acknowledgement comes after the log's fdatasync, which comes after its write")
    h.close()
    same(s.stop(), 0, "the server ends")
    s.start()


def test_missing(s):
    """A database that is not there is not made anew: it would not know who was revoked."""
    run("fixgate-server", "revoke", HOSTS[0], "--dir", s.dir)
    same(s.stop(), 0, "the server is stopped")
    path, away = os.path.join(s.dir, "fixgate.db"), os.path.join(s.work, "away")
    ends = [end for end in ("", "-wal", "-shm") if os.path.exists(path + end)]
    for end in ends:
        os.rename(path + end, away + end)
    for what, args in (("serve", ["serve", "--listen", "127.0.0.1:0"]), ("a code", ["enrol", "new"]),
                       ("a revocation", ["revoke", HOSTS[1]])):
        try:
            done = run("fixgate-server", *args, "--dir", s.dir, check=False, timeout=20)
            same((done.returncode, "fixgate.db is missing" in done.stderr), (3, True), f"without a database: {what} is refused")
        except subprocess.TimeoutExpired:
            ok(False, f"without a database: {what} is refused")
        ok(not os.path.exists(path), "and none is made")
        for end in ("", "-wal", "-shm"):
            if os.path.exists(path + end):
                os.unlink(path + end)
    for end in ends:
        os.rename(away + end, path + end)
    s.query("PRAGMA journal_mode=DELETE")    # all of it in the one file
    with open(path, "r+b") as f:
        f.seek(0, os.SEEK_END)
        size = f.tell()
        f.seek(size // 4096 // 2 * 4096)
        good = f.read(4096)
        f.seek(-4096, os.SEEK_CUR)
        f.write(b"Z" * 4096)
    done = run("fixgate-server", "serve", "--listen", "127.0.0.1:0", "--dir", s.dir, check=False, timeout=20)
    same(done.returncode in (7, 14), True, "one that is damaged is not served")
    with open(path, "r+b") as f:
        f.seek(size // 4096 // 2 * 4096)
        f.write(good)
    s.start()
    same(s.call(HOSTS[0], "GET", "/v1/offers").status, 403, "put back it knows who was revoked")


def gone_names(folder, during):
    """Names that went from the folder while during() ran, as inotify(7) tells."""
    libc = ctypes.CDLL(None, use_errno=True)
    moved_from, delete = 0x40, 0x200
    fd = libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
    if libc.inotify_add_watch(fd, folder.encode(), moved_from | delete) < 0:
        raise OSError(ctypes.get_errno(), "inotify")
    during()
    data, names = os.read(fd, 1 << 16), set()
    os.close(fd)
    while data:
        length = struct.unpack_from("iIII", data)[3]
        names.add(data[16:16 + length].rstrip(b"\0").decode())
        data = data[16 + length:]
    return names


def entries(path):
    """The audit log of a database; what its log still holds included."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT * FROM audit ORDER BY 1").fetchall()


def test_restore(s):
    """While a backup is put in place there is always a database."""
    path, file = os.path.join(s.dir, "fixgate.db"), os.path.join(s.work, "backup")
    run("fixgate-admin", "--dir", s.dir, "backup", file)
    same(s.stop(), 0, "the server is stopped")
    for _ in range(2):
        before = entries(path)
        names = gone_names(s.dir, lambda: run("fixgate-admin", "--dir", s.dir, "restore", file))
        ok("fixgate.db.restore" in names and "fixgate.db" not in names, "there is no moment without a database", names)
        same(entries(path + ".before-restore"), before, "what was there is kept")
    s.start()
    same(s.call(ADMIN, "GET", "/v1/fixes").status, 200, "and the server runs on what was restored")


def test_health(s):
    """A page of the database goes bad below a running server."""
    path = os.path.join(s.dir, "fixgate.db")
    db = sqlite3.connect(path, timeout=10, isolation_level=None)
    same(db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0], 0, "all is in the one file")
    page = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'host'").fetchone()[0] - 1
    size = db.execute("PRAGMA page_size").fetchone()[0]
    with open(path, "r+b") as f:
        f.seek(page * size)
        good = f.read(size)
        f.seek(page * size)
        f.write(b"Z" * size)
    db.execute("INSERT INTO setting (name, value) VALUES ('test', '1')")    # who reads forgets what it had read
    answers = [s.call(NOBODY, "GET", "/healthz") for _ in range(8)]
    same(({a.status for a in answers}, answers[0].json.get("error", {}).get("code")), ({503}, "unreachable"),
         "a server that cannot read its database is not healthy")
    with open(path, "r+b") as f:
        f.seek(page * size)
        f.write(good)
    db.execute("DELETE FROM setting WHERE name = 'test'")
    db.close()
    same({s.call(NOBODY, "GET", "/healthz").status for _ in range(8)}, {200}, "and is when it can again")


def prepare(s):
    for who in HOSTS:
        s.call(who, "PUT", "/v1/guests", {"guests": [guest(uuid_of(who), who)]})


def tests(s):
    prepare(s)
    test_kill(s)
    test_reload(s)
    test_locked(s)
    test_synced(s)
    test_backup_under_load(s)
    test_backup_without_room(s)
    test_restore(s)
    test_missing(s)
    test_health(s)
    work = tempfile.mkdtemp(prefix="fg-full-")
    try:
        test_full(work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


sys.exit(fgserver.main(tests))
