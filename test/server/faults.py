#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients that mean harm, or do it: the server answers others meanwhile: TAP."""
import os
import resource
import select
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time

import fgserver
from fgserver import ADMIN, AGENT, NOBODY, OTHER, SANITIZED, VIEWER, WEB1, bundle, guest, ok, same

HALF_OPEN = 10000
BUNDLE_MAX = 4 << 20
SLOW = 5 if SANITIZED else 1


def served(s, text, seconds=3):
    """Agents and administrators are answered, soon."""
    began = time.monotonic()
    statuses = [s.call(AGENT, "GET", "/v1/offers").status, s.call(ADMIN, "GET", "/v1/fixes").status,
                s.call(NOBODY, "GET", "/healthz").status]
    took = time.monotonic() - began
    ok(statuses == [200] * 3 and took < seconds * SLOW, f"others are served beside {text}", f"{statuses} in {took:.2f} s")


def raw(s):
    return socket.create_connection(("127.0.0.1", s.port), timeout=30)


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def ended(sock, seconds=10):
    """Did the server end this connection?"""
    sock.settimeout(seconds)
    try:
        while sock.recv(65536):
            pass
        return True
    except TimeoutError:
        return False
    except OSError:
        return True


def test_half_open(s):
    many = []
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (HALF_OPEN + 1000, max(files[1], HALF_OPEN + 1000)))
    for i in range(HALF_OPEN):
        try:
            many.append(socket.create_connection(("127.0.0.1", s.port), timeout=20))
        except OSError as e:
            print(f"# {i}: {e}")
            break
        if i in (HALF_OPEN // 3, HALF_OPEN // 2):
            served(s, f"{i} connections that say nothing, while more come")
    same(len(many), HALF_OPEN, "ten thousand connections that say nothing")
    served(s, "them")
    ok(s.metric("fixgate_connections_gave_way_total") > 0, "the oldest of them give way")
    # Those that gave way count until their end was seen: a burst of new ones is taken before that.
    deadline = time.monotonic() + 20
    while (left := s.metric("fixgate_connections")) > 420 and time.monotonic() < deadline:
        select.select([], [], [], 0.1)
    ok(left <= 420, "so that the limit of connections holds", left)
    hello = ssl.create_default_context(cafile=os.path.join(s.dir, "server-ca.pem"))
    half = []
    for sock in many[-100:]:
        sock.settimeout(0)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = hello.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        try:
            sock.send(outgoing.read()[:100])    # a part of the client's first message
        except OSError:
            pass
        half.append(sock)
    served(s, "a hundred handshakes that stop")
    for sock in many:
        reset(sock)
    served(s, "ten thousand connections that are reset")


def test_slow(s):
    drips = [s.tls(AGENT if i % 2 else NOBODY) for i in range(60)]
    stop = threading.Event()

    def drip():
        heads = [b"PUT /v1/guests HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{",
                 b"GET /healthz HTTP/1.1\r\nX-A: b\r\nX-"]
        for i, t in enumerate(drips):
            t.sendall(heads[i % 2])
        while not stop.wait(0.2):
            for t in drips:
                try:
                    t.sendall(b"a")
                except OSError:
                    pass
    thread = threading.Thread(target=drip)
    thread.start()
    served(s, "sixty clients that send a byte at a time")
    time.sleep(1)
    served(s, "them, a second later")
    stop.set()
    thread.join()
    for t in drips:
        t.close()


def test_per_client(s):
    """connections_per_client: one certificate cannot take all connections."""
    mine, refused = [], 0
    for _ in range(120):
        t = s.tls(OTHER)
        t.sendall(b"GET /v1/offers HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = t.recv(4000)
        if b" 200 " in answer:
            mine.append(t)
            continue
        while chunk := t.recv(4000):
            answer += chunk
        refused += b" 503 " in answer and b'"limit"' in answer and b"Retry-After" in answer
        t.close()
    ok(50 <= len(mine) <= 100 and refused >= 20, "one client has so many connections and no more", (len(mine), refused))
    served(s, "it")
    for t in mine:
        t.close()
    polls = []
    for _ in range(20):
        t = s.tls(OTHER)
        t.sendall(b"GET /v1/offers?cursor=0&wait_s=60 HTTP/1.1\r\nHost: x\r\n\r\n")
        polls.append(t)
    answered = 0
    deadline = time.monotonic() + 20
    while answered < 12 and time.monotonic() < deadline:
        answered = len(select.select(polls, [], [], 0.2)[0])
    ok(answered >= 12, "of one host's polls at most four wait in a process", answered)
    for t in polls:
        t.close()


def test_deaf(s, digest):
    before = s.memory_kib()
    deaf = []
    for _ in range(30):
        t = s.tls(AGENT)
        t.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        t.sendall(f"GET /v1/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n".encode() * 20)
        deaf.append(t)
    served(s, "thirty clients that never read")
    grown = s.memory_kib() - before
    ok(grown < 30 * 1500 * (4 if SANITIZED else 1), "who cost little memory", f"{grown} KiB")
    for t in deaf:
        reset(t)


def test_noise(s):
    for _ in range(4):
        sock = raw(s)
        try:
            sock.sendall(os.urandom(1 << 20))
        except OSError:
            pass
        ok(ended(sock), "a megabyte of random bytes ends the connection")
        sock.close()
    t = s.tls(AGENT)
    try:
        t.sendall(os.urandom(1 << 20))
    except OSError:
        pass
    ok(ended(t), "the same inside TLS")
    t.close()
    for what, data in (("a version that is none", b"GET / HTTP/9.9\r\n\r\n"), ("no method", b" / HTTP/1.1\r\n\r\n"),
                       ("a long request line", b"GET /" + b"a" * 40000 + b" HTTP/1.1\r\n\r\n"),
                       ("many headers", b"GET /healthz HTTP/1.1\r\n" + b"A: b\r\n" * 5000 + b"\r\n"),
                       ("a header without end", b"GET /healthz HTTP/1.1\r\nA: " + b"x" * 40000),
                       ("two lengths", b"PUT /v1/guests HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 30\r\n\r\n{}"),
                       ("a huge chunk", b"PUT /v1/guests HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                                        b"ffffffffffffffff\r\n{}"),
                       ("a negative chunk", b"PUT /v1/guests HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n"),
                       ("a body that is too long", b"PUT /v1/guests HTTP/1.1\r\nHost: x\r\nContent-Length: 1048577\r\n\r\n"),
                       ("a NUL in the path", b"GET /v1/\0offers HTTP/1.1\r\nHost: x\r\n\r\n")):
        t = s.tls(AGENT)
        answer = b""
        try:
            t.settimeout(5 * SLOW)
            t.sendall(data)
            answer = t.recv(1000)
        except TimeoutError:
            answer = b"HTTP/1.1 200 it waits for more"
        except OSError:
            pass
        ok(not answer.startswith(b"HTTP/1.1 200") and not answer.startswith(b"HTTP/1.1 5"), f"{what} is refused", answer[:60])
        t.close()
    served(s, "all of that")


def test_chunks(s):
    """Bodies in chunks have the same limit."""
    t = s.tls(AGENT)
    t.sendall(b"PUT /v1/guests HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    sent = 0
    try:
        while sent < 8 << 20:
            t.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")
            sent += 65536
    except OSError:
        pass
    ok(sent < 8 << 20 or b" 413 " in t.recv(100), "a body in chunks without end is refused", sent)
    t.close()


def s_client(s, *args, text=""):
    return subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{s.port}", "-CAfile",
                           os.path.join(s.dir, "server-ca.pem"), *args], input=text, capture_output=True, text=True,
                          timeout=30, check=False)


def test_new_keys(s):
    """'K' asks s_client for new keys, 'R' for a renegotiation: TLS 1.3 has only the first."""
    client = subprocess.Popen(["openssl", "s_client", "-connect", f"127.0.0.1:{s.port}", "-CAfile",
                               os.path.join(s.dir, "server-ca.pem"), "-tls1_3", "-msg", "-crlf"], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0)

    def say(command, wanted, seconds=10 * SLOW):
        """Does what comes then have it?"""
        client.stdin.write(command)
        seen, deadline = b"", time.monotonic() + seconds
        while wanted not in seen and select.select([client.stdout], [], [], max(0, deadline - time.monotonic()))[0]:
            more = os.read(client.stdout.fileno(), 65536)
            if not more:
                break
            seen += more
        ok(wanted in seen, f"s_client {command[:1].decode()}: {wanted.decode()}", seen[-300:])

    say(b"", b"Finished")
    for _ in range(3):
        say(b"K\n", b">>> TLS 1.3, Handshake [length 0005], KeyUpdate")
    say(b"GET /healthz HTTP/1.1\nHost: x\n\n", b'{"ok":true}')
    say(b"R\n", b"can_renegotiate:wrong ssl version")
    client.stdin.close()
    same(client.wait(10 * SLOW), 1, "where there is no renegotiation the client ends")
    client.stdout.close()


def hello12():
    """A first message for TLS 1.2 with 1.3 in no extension, as a record."""
    hello = bytes.fromhex("0303") + os.urandom(32) + b"\0" + bytes.fromhex("0004c02bc02f0100")
    body = b"\1" + len(hello).to_bytes(3, "big") + hello
    return b"\x16\x03\x01" + len(body).to_bytes(2, "big") + body


def test_second_hello(s):
    """s_client refuses to renegotiate by itself: here the message is sent past the client's TLS."""
    for what, asked in (("before a request", False), ("after one", True)):
        t = s.tls(AGENT)
        if asked:
            t.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            ok(b" 200 " in t.recv(4096), "a request")
        with socket.socket(fileno=os.dup(t.fileno())) as below:
            below.sendall(hello12())
            ok(ended(below), f"a second ClientHello {what} ends the connection")
        t.close()
    served(s, "them")


def test_tls(s):
    for version in ("-tls1", "-tls1_1", "-tls1_2"):
        done = s_client(s, version, "-cipher", "ALL:@SECLEVEL=0")
        ok(done.returncode != 0 and "Cipher is (NONE)" in done.stdout, f"{version[1:]} is refused", done.stdout[-300:])
    same(s_client(s, "-tls1_3").returncode, 0, "TLS 1.3 is not")
    with s.tls(NOBODY) as t:
        t.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        same((t.recv(1000)[:12], t.session.has_ticket, t.session_reused), (b"HTTP/1.1 200", False, False),
             "no session tickets are given: none has come before the first answer")
    same(s_client(s, "-tls1_3", "-fallback_scsv", "-tls1_2").returncode != 0, True, "a downgrade is refused")
    test_new_keys(s)
    test_second_hello(s)
    sock = raw(s)
    sock.sendall(hello12())
    reply = sock.recv(100)
    same((reply[:1], reply[5:7]), (b"\x15", b"\x02\x46"), "a bare TLS 1.2 hello gets the alert protocol_version")
    sock.close()
    sock = raw(s)
    sock.sendall(b"\x16\x03\x01\xff\xff" + b"\1" * 65535)
    ok(ended(sock), "a record that is too long ends the connection")
    sock.close()
    served(s, "them")


def test_certificates(s):
    w = s.work

    def sign(name, subject, days, ca=s.dir):
        with open(f"{w}/ext", "w", encoding="ascii") as f:
            f.write("basicConstraints=critical,CA:FALSE\nextendedKeyUsage=clientAuth\n")
        subprocess.run(f"openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {w}/{name}.key -subj "
                       f"{subject} | openssl x509 -req -CA {ca}/server-ca.pem -CAkey {ca}/server-ca.key -extfile {w}/ext "
                       f"-set_serial 0x{os.urandom(8).hex()} -days {days} -out {w}/{name}.pem", shell=True, check=True,
                       capture_output=True)
        ctx = s.context(NOBODY)
        ctx.load_cert_chain(f"{w}/{name}.pem", f"{w}/{name}.key")
        return ctx

    def refused(ctx):
        try:
            with ctx.wrap_socket(raw(s), server_hostname="127.0.0.1") as t:
                t.sendall(b"GET /v1/offers HTTP/1.1\r\nHost: x\r\n\r\n")
                return b" 200 " not in t.recv(1000)
        except TimeoutError: # it was let in, and waits
            return False
        except OSError:
            return True
    ok(not refused(sign("good", "/OU=agent/CN=x", 1)), "a certificate of the server's CA counts")
    ok(refused(sign("old", "/OU=agent/CN=x", -1)), "an expired one does not")
    ok(refused(sign("other", "/OU=agent/CN=x", 1, os.path.join(w, "foreign-server"))), "nor one of another server")
    self_signed = s.context(NOBODY)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                    f"{w}/self.key", "-out", f"{w}/self.pem", "-subj", "/OU=admin/CN=x"], check=True, capture_output=True)
    self_signed.load_cert_chain(f"{w}/self.pem", f"{w}/self.key")
    ok(refused(self_signed), "nor one that signs itself")
    served(s, "them")


def test_bytes(s):
    """What is no UTF-8, or cut where it is none, gets an answer that says why."""
    for what, who, path in (("a status", VIEWER, "/v1/clients?status=%ff"),
                            ("a long status", VIEWER, "/v1/clients?status=x" + "%c3%a9" * 400)):
        answer = s.call(who, "GET", path)
        same((answer.status, answer.code if answer.body else None), (400, "format"), f"{what} of other bytes is refused with a reason")
    long = "e" + "é" * 70
    answer = s.call(AGENT, "PUT", "/v1/guests", {"guests": [guest(long, "web1")]})
    same((answer.status, answer.code if answer.body else None), (400, "format"), "so is a UUID that is none")
    sent = [{"seq": 1, "job": "j", "guest": long, "fix": "fix-1", "version": 1, "state": "done", "at_ms": 1}]
    answer = s.call(AGENT, "POST", "/v1/reports", {"reports": sent, "journal": "bytes"})
    same([r["seq"] for r in answer.json.get("refused", [])], [1], "a report on one is named as refused")
    same(s.admin("audit", "verify").returncode, 0, "and the audit log holds it")


def test_large(s):
    """More than bundle_max_bytes: refused with the first part, whatever comes of it."""
    for total in (BUNDLE_MAX + 1, 5 << 30, 1 << 62):
        answer = s.call(ADMIN, "PUT", "/v1/fixes/" + "a" * 64, b"\0" * 65536, {"Content-Range": f"bytes 0-65535/{total}"})
        same((answer.status, "bundle_max_bytes" in answer.json["error"]["text"]), (413, True), f"a bundle of {total} bytes is refused")
    path, _, digest = bundle(s.work, "fix-9", size=BUNDLE_MAX + 1)
    done = s.admin("publish", path, check=False)
    ok(done.returncode and "bundle_max_bytes" in done.stderr, "fixgate-admin says why", done.stderr)
    left = os.listdir(os.path.join(s.dir, "uploads"))
    same((left, digest in os.listdir(os.path.join(s.dir, "blobs"))), ([], False), "and nothing of them is kept")
    same(s.query("SELECT COUNT(*) FROM fix WHERE id = 'fix-9'"), [(0,)], "nor known")


def tests(s):
    path, _, digest = bundle(s.work, "fix-1", size=3000000)
    s.admin("publish", path)
    s.call(AGENT, "PUT", "/v1/guests", {"guests": [guest(WEB1, "web1")]})
    test_half_open(s)
    test_slow(s)
    test_per_client(s)
    test_deaf(s, digest)
    test_noise(s)
    test_chunks(s)
    test_tls(s)
    test_large(s)
    test_certificates(s)
    test_bytes(s)
    same(s.metric("fixgate_worker_restarts_total"), 0, "no process died of it")


sys.exit(fgserver.main(tests, foreign=True, people=(VIEWER,), conf=(
    "connections_max = 400", "connections_per_client = 40", f"bundle_max_bytes = {BUNDLE_MAX}")))
