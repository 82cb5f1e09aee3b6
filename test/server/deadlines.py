#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients that take their time are ended at the deadlines of server.conf, others are served meanwhile: TAP."""
import ctypes
import ctypes.util
import select
import socket
import sys
import threading
import time

import fgserver
from fgserver import ADMIN, AGENT, NOBODY, OTHER, SANITIZED, WEB1, bundle, guest, ok, same

FIRST_S, NEXT_S, STALL_S = 3, 5, 9
LATE_S = 10 if SANITIZED else 4    # so much later than the deadline may an end be seen on a busy machine
DEAF = 10


class Drip:
    """A connection that a byte is sent on each 0.1 s, until the server ends it."""

    def __init__(self, what, sock, deadline_s, start=b""):
        self.what, self.sock, self.deadline_s = what, sock, deadline_s
        self.began, self.ended = time.monotonic(), None
        if start:
            sock.sendall(start)
        sock.setblocking(False)

    def turn(self):
        try:
            self.sock.send(b"a")
            if not self.sock.recv(4096):
                self.ended = time.monotonic()
        except (BlockingIOError, fgserver.ssl.SSLWantReadError):
            pass
        except OSError:
            self.ended = time.monotonic()

    def check(self):
        took = self.ended and self.ended - self.began
        ok(took and self.deadline_s - 1 <= took <= self.deadline_s + LATE_S, f"{self.what} is ended after {self.deadline_s} s",
           f"{took} s")


def raw(s):
    return socket.create_connection(("127.0.0.1", s.port), timeout=30)


def asked(s, who):
    """A connection that has had its first request and the reply."""
    t = s.tls(who)
    t.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    seen = b""
    while b'{"ok":true}' not in seen:
        seen += t.recv(4096)
    return t


def test_drips(s):
    head = b"GET /healthz HTTP/1.1\r\nX-A: b\r\nX-"
    body = b"PUT /v1/guests HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{"
    chunks = b"PUT /v1/guests HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0000"
    drips = [Drip("a slow handshake", raw(s), FIRST_S, b"\x16\x03\x01\x08\x00\x01\x00\x07\xfc\x03\x03"),
             Drip("a slow header", s.tls(NOBODY), FIRST_S, head), Drip("a slow body", s.tls(AGENT), FIRST_S, body),
             Drip("a slow line of chunks", s.tls(AGENT), FIRST_S, chunks),
             Drip("a slow second header", asked(s, NOBODY), NEXT_S, head),
             Drip("a slow second body", asked(s, AGENT), NEXT_S, body)]
    slowest = 0
    while (left := [d for d in drips if not d.ended]) and time.monotonic() < drips[-1].began + NEXT_S + LATE_S + 1:
        for d in left:
            d.turn()
        began = time.monotonic()
        status = s.call(OTHER, "GET", "/v1/offers").status
        slowest = max(slowest, time.monotonic() - began if status == 200 else 99)
        select.select([], [], [], 0.1)
    for d in drips:
        d.check()
        d.sock.close()
    ok(slowest < LATE_S, "another client is served all the time", f"{slowest:.2f} s")


def test_silent(s):
    """Nothing comes at all."""
    silent = [("no handshake", raw(s), FIRST_S), ("no first request", s.tls(AGENT), FIRST_S), ("no second one", asked(s, AGENT), NEXT_S)]
    began = time.monotonic()
    for what, sock, deadline_s in silent:
        sock.settimeout(deadline_s + LATE_S)
        try:
            left = sock.recv(4096)
        except TimeoutError:
            left = b"not ended"
        except OSError:
            left = b""
        took = time.monotonic() - began
        ok(left == b"" and deadline_s - 1 <= took, f"who makes {what} is ended", f"{left} {took:.1f} s")
        sock.close()


class KeyUpdates(threading.Thread):
    """Asks for new keys as fast as it can (RFC 8446, 4.6.3: each costs the server keys and a reply), reads nothing."""

    def __init__(self, s):
        super().__init__(daemon=True)
        self.sent, self.took = 0, None
        lib = self.lib = ctypes.CDLL(ctypes.util.find_library("ssl"))
        for name in ("TLS_client_method", "SSL_CTX_new", "SSL_new"):
            getattr(lib, name).restype = ctypes.c_void_p
        self.ctx = ctypes.c_void_p(lib.SSL_CTX_new(ctypes.c_void_p(lib.TLS_client_method())))
        self.tls = ctypes.c_void_p(lib.SSL_new(self.ctx))
        self.sock = raw(s)
        self.sock.settimeout(None)
        lib.SSL_set_fd(self.tls, self.sock.fileno())
        self.began = time.monotonic()
        if lib.SSL_connect(self.tls) != 1:
            raise RuntimeError("no handshake")

    def run(self):
        while self.lib.SSL_key_update(self.tls, 1) == 1 and self.lib.SSL_do_handshake(self.tls) == 1:
            self.sent += 1
        self.took = time.monotonic() - self.began

    def end(self):
        if self.is_alive():
            self.sock.shutdown(socket.SHUT_RDWR)
        self.join(30)
        self.lib.SSL_free(self.tls)
        self.lib.SSL_CTX_free(self.ctx)
        self.sock.close()


def test_key_updates(s):
    before = s.memory_kib()
    floods = [KeyUpdates(s) for _ in range(3)]
    for f in floods:
        f.start()
    slowest = 0
    while any(f.is_alive() for f in floods) and time.monotonic() < floods[-1].began + FIRST_S + LATE_S:
        began = time.monotonic()
        status = s.call(OTHER, "GET", "/v1/offers").status
        slowest = max(slowest, time.monotonic() - began if status == 200 else 99)
    grown = s.memory_kib() - before
    for f in floods:
        ok(f.took and f.sent > 100 and f.took >= FIRST_S - 1, f"a flood of key updates is ended after {FIRST_S} s", (f.sent, f.took))
        f.end()
    ok(slowest < LATE_S, "another client is served meanwhile", f"{slowest:.2f} s")
    # AddressSanitizer keeps 256 MiB of what was freed.
    ok(grown < (400000 if SANITIZED else 4000), "it cost little memory", f"{grown} KiB")


def test_deaf(s, digest):
    """Who never reads does not see its end: the server counts its connections."""
    before = s.metric("fixgate_connections")
    deaf = []
    for _ in range(DEAF):
        t = s.tls(AGENT)
        t.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        t.sendall(f"GET /v1/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n".encode() * 20)
        deaf.append(t)
    began = time.monotonic()
    ok(s.metric("fixgate_connections") >= before + DEAF, "clients that never read")
    while (left := s.metric("fixgate_connections")) > before + 1 and time.monotonic() < began + STALL_S + LATE_S:
        select.select([], [], [], 0.2)
    took = time.monotonic() - began
    ok(left <= before + 1 and took >= STALL_S - 2, f"are ended after {STALL_S} s", f"{left} of {before} after {took:.1f} s")
    for t in deaf:
        t.close()
    same(s.call(ADMIN, "GET", "/v1/fixes").status, 200, "and others are served")


def test_patient(s):
    """A poll that waits is no slow request."""
    answer = s.call(AGENT, "GET", f"/v1/offers?cursor=0&wait_s={STALL_S - 2}")
    same((answer.status, answer.json["offers"]), (200, []), "a poll that waits for longer than a request may take is answered")


def test_configuration(s):
    same(s.stop(), 0, "the server is stopped")
    for line in ("first_request_s = 0", "next_request_s = 3601", "stall_s = x"):
        with open(f"{s.dir}/server.conf", encoding="ascii") as f:
            good = f.read()
        s.configure(line)
        done = fgserver.run("fixgate-server", "serve", "--dir", s.dir, "--listen", "127.0.0.1:0", check=False, timeout=30)
        same((done.returncode, "bad value" in done.stderr), (2, True), f"{line} is refused")
        with open(f"{s.dir}/server.conf", "w", encoding="ascii") as f:
            f.write(good)


def tests(s):
    path, _, digest = bundle(s.work, "fix-1", size=3000000)
    s.admin("publish", path)
    s.call(AGENT, "PUT", "/v1/guests", {"guests": [guest(WEB1, "web1")]})
    test_drips(s)
    test_silent(s)
    test_patient(s)
    test_key_updates(s)
    test_deaf(s, digest)
    test_configuration(s)


sys.exit(fgserver.main(tests, workers=1, conf=(f"first_request_s = {FIRST_S}", f"next_request_s = {NEXT_S}", f"stall_s = {STALL_S}")))
