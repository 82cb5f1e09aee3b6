#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""fixgate-net against servers that are broken, slow, dead or hostile: it survives, stays small, says why, and recovers."""
import concurrent.futures
import hashlib
import json
import os
import ssl
import sys
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from netkit import GUEST, JOB, SANITIZED, Agent, Pki, Tap, World, reply  # noqa: E402

MEMORY_MAX_KB = 64 << 10
tap = Tap()
world = World()


def small(agent):
    """The most memory it ever had."""
    if not SANITIZED:
        peak = int(agent.status("VmHWM").split()[0])
        assert peak < MEMORY_MAX_KB, "%d KiB at the peak" % peak


def polls(answer):
    """answer(sock) answers polls; everything else is answered as usual."""
    def override(r, sock):
        return answer(sock) if r.path == "/v1/offers" else None
    return override


def raw(*parts, keep=False):
    def answer(sock):
        for p in parts:
            sock.sendall(p)
        return keep
    return answer


def endless(head, part, limit=200 << 20):
    def answer(sock):
        sock.sendall(head)
        sent, block = 0, part * max(1, 65536 // len(part))
        while sent < limit:
            sock.sendall(block)
            sent += len(block)
        return False
    return answer


def body(value):
    return lambda sock: reply(sock, 200, value) or True


def offers(n, **wrong):
    return [dict({"seq": i + 1, "guest": GUEST, "fix": "f", "version": 1, "digest": "0" * 64, "bytes": 1000}, **wrong)
            for i in range(n)]


OK = b"HTTP/1.1 200 OK\r\n"
BAD_POLLS = [
    ("a body without end", endless(OK + b"\r\n", b"x"), "longer than allowed"),
    ("a chunked body without end", endless(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1000\r\n" + b"x" * 4096 + b"\r\n"),
     "longer than allowed"),
    ("a body said to be a terabyte", endless(OK + b"Content-Length: 1000000000000\r\n\r\n", b" "), "longer than allowed"),
    ("a header line without end", endless(OK + b"X: ", b"y"), ""),
    ("header lines without end", endless(OK, b"X-Header: y\r\n"), "header lines are too long"),
    ("interim answers without end", endless(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"), "header lines are too long"),
    ("trailers without end", endless(OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X-T: y\r\n"), ""),
    ("an error whose body has no end", endless(b"HTTP/1.1 500 no\r\n\r\n", b"x"), "longer than allowed"),
    ("a compressed body", raw(OK + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00"), "JSON"),
    ("truncated JSON", body(b'{"cursor":1,"offers":[{"seq"'), "JSON"),
    ("JSON that is no object", body(b"[1]"), "no JSON object"),
    ("JSON nested 100000 deep", body(b'{"cursor":1,"offers":' + b"[" * 100000), "nested deeper"),
    ("JSON with a key twice", body(b'{"cursor":1,"cursor":2,"offers":[]}'), "duplicate"),
    ("a number out of range", body(b'{"cursor":99999999999999999999,"offers":[]}'), "JSON"),
    ("no cursor", body({"offers": []}), "cursor"),
    ("a cursor that is a string", body({"cursor": "1", "offers": []}), "cursor"),
    ("a negative cursor", body({"cursor": -1, "offers": []}), "cursor"),
    ("a cursor that goes back", body({"cursor": 6, "offers": []}), "went back"),
    ("offers without a new cursor", body({"cursor": 7, "offers": offers(1)}), "stayed"),
    ("more offers than allowed", body({"cursor": 9, "offers": [1] * 5000}), "5000 entries"),
    ("a body that is not UTF-8", body(b'{"cursor":9,"offers":["\xff\xfe"]}'), "JSON"),
    ("an empty body", body(b""), "JSON"),
    ("204", raw(b"HTTP/1.1 204 none\r\n\r\n"), "JSON"),
    ("500", lambda sock: reply(sock, 500, b"oops") or True, "answered 500"),
    ("503 with its reason", lambda sock: reply(sock, 503, {"error": {"code": "busy", "text": "come later\x1b[31m"}}) or True,
     "come later"),
    ("403", lambda sock: reply(sock, 403, b"") or True, "answered 403"),
    ("101", raw(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"), ""),
    ("status 999", raw(b"HTTP/1.1 999 x\r\nContent-Length: 0\r\n\r\n"), "999"),
    ("HTTP/0.9", raw(b'{"cursor":1,"offers":[]}\n'), ""),
    ("HTTP/2 as if agreed", raw(b"HTTP/2 200\r\n\r\n{}"), ""),
    ("two different lengths", raw(OK + b"Content-Length: 2\r\nContent-Length: 30\r\n\r\n{}"), ""),
    ("a negative length", raw(OK + b"Content-Length: -5\r\n\r\n{}"), ""),
    ("a chunk of negative length", raw(OK + b"Transfer-Encoding: chunked\r\n\r\n-1\r\nx\r\n"), ""),
    ("NULs", raw(bytes(3000)), ""),
    ("nothing, and it hangs up", lambda sock: False, ""),
    ("half a body, and it hangs up", raw(OK + b"Content-Length: 50\r\n\r\n{\"cursor\""), ""),
]


def bad_poll(text, answer, says):
    server = world.server()
    server.override = polls(answer)
    agent = Agent(world, server.port, cursor=7)
    try:
        with tap.case("poll: " + text):
            m = agent.expect("online", online=False, timeout=40)
            assert says in m["text"], m
            server.override = None
            server.drop_connections()
            agent.expect("online", online=True, timeout=40)
            assert agent.alive()
            small(agent)
            assert not any(q["type"] == "offers" for q in agent.queue), agent.queue
            assert agent.close() == 0, agent.text()
            assert "\x1b" not in agent.text()
    finally:
        server.close()


def slow(text, says, override=None, limit=40, **kw):
    """It gives up by itself."""
    server = world.server(**kw)
    server.override = override
    agent = Agent(world, server.port)
    try:
        with tap.case(text):
            m = agent.expect("online", online=False, timeout=limit)
            assert says in m["text"], m
            assert agent.close() == 0, agent.text()
    finally:
        server.close()


def drip(sock):
    sock.sendall(OK + b"Content-Length: 1000\r\n\r\n")
    for _ in range(200):
        sock.sendall(b" ")
        time.sleep(0.2)
    return False


def silence(_):
    time.sleep(40)
    return False


def refused_tls(text, says, files=None, agent_kw=None, **kw):
    server = world.server(files=files, **kw)
    agent = Agent(world, server.port, **(agent_kw or {}))
    try:
        with tap.case("TLS: " + text):
            agent.send(type="guests", guests=[])
            agent.send(type="report", report={"seq": 1, "state": "done"})
            m = agent.expect("online", online=False)
            assert says in m["text"], m
            assert not server.requests, "a request was sent"
            assert agent.close() == 0, agent.text()
    finally:
        server.close()


def tls_cases():
    other = Pki(world.dir, "other-ca")
    wrong_ca = other.server("wrong-ca")
    wrong_ip = world.pki.server("wrong-ip", "127.0.0.2")
    name_only = world.pki.server("name-only", "localhost")
    cn_only = world.pki.issue("127.0.0.1", "/CN=127.0.0.1", ["extendedKeyUsage=serverAuth"])
    client_eku = world.pki.issue("client-eku", "/CN=x", ["subjectAltName=IP:127.0.0.1", "extendedKeyUsage=clientAuth"])
    expired = world.pki.server("expired", days="-1")
    yield "a certificate of another CA", "certificate", {"files": wrong_ca}
    yield "a certificate of another address", "IP address mismatch", {"files": wrong_ip}
    yield "a certificate with a name only", "IP address mismatch", {"files": name_only}
    yield "the address in the common name only", "IP address mismatch", {"files": cn_only}
    yield "a client's certificate", "certificate", {"files": client_eku}
    yield "an expired certificate", "expired", {"files": expired}
    yield "TLS 1.2", "", {"max_tls": ssl.TLSVersion.TLSv1_2}
    yield "no TLS at all", "", {"plain": True}
    yield "a server that does not take our certificate", "", {"client_ca": other.ca}


def paced():
    """A server that answers at once, always, with or without news, does not make it spin or flood fixgated."""
    for text, answer in [
            ("empty", body({"cursor": 7, "offers": []})),
            ("a new cursor each time", lambda sock: reply(sock, 200, {"cursor": int(time.monotonic() * 1000),
                                                                     "offers": []}) or True)]:
        server = world.server()
        server.override = polls(answer)
        agent = Agent(world, server.port, cursor=7)
        with tap.case("polls are paced when the server answers at once: " + text):
            polls_of = server.wait_requests(lambda r: r.path == "/v1/offers", 5, timeout=60)
            seconds = polls_of[4].at - polls_of[0].at
            assert seconds > 2, "five polls within %.3f s" % seconds  # one a second; the first may be seen late
            assert agent.close() == 0
        server.close()


def one_bad_offer():
    server = world.server()
    good = offers(1)[0]
    bad = [dict(good, seq=2, guest="x"), dict(good, seq=3, bytes=1 << 60), 7, None, [], dict(good, seq=4, fix="../../x")]
    server.override = polls(body({"cursor": 9, "offers": [*bad, dict(good, seq=9)]}))
    agent = Agent(world, server.port, cursor=7)
    with tap.case("malformed offers are dropped, the good one between them arrives"):
        m = agent.expect("offers")
        assert m["offers"] == [dict(good, seq=9)] and m["cursor"] == 9, m
        assert agent.text().count("malformed") == len(bad), agent.text()
        assert agent.close() == 0
    server.close()


def http_1_0():
    server = world.server()
    server.override = polls(raw(b'HTTP/1.0 200 OK\r\n\r\n{"cursor":8,"offers":[]}'))
    agent = Agent(world, server.port, cursor=7)
    with tap.case("an HTTP/1.0 server without lengths is understood"):
        agent.expect("online", online=True)
        assert agent.expect("offers")["cursor"] == 8
        assert agent.close() == 0
    server.close()


def redirect():
    server, trap = world.server(), world.server()
    server.override = polls(raw(b"HTTP/1.1 302 go\r\nLocation: https://127.0.0.1:%d/\r\nContent-Length: 0\r\n\r\n" % trap.port,
                                keep=True))
    agent = Agent(world, server.port)
    with tap.case("a redirect is not followed"):
        agent.expect("online", online=False)
        assert trap.connections == 0
        assert agent.close() == 0
    server.close()
    trap.close()


def environment():
    """Proxies and key logs of the environment are nobody's business."""
    keylog = os.path.join(world.dir, "keylog")
    os.environ.update(HTTPS_PROXY="http://127.0.0.1:9", SSLKEYLOGFILE=keylog, ALL_PROXY="socks5://127.0.0.1:9")
    server = world.server()
    agent = Agent(world, server.port)
    for name in ("HTTPS_PROXY", "SSLKEYLOGFILE", "ALL_PROXY"):
        del os.environ[name]
    with tap.case("the environment names no proxy and no key log"):
        agent.expect("online", online=True)
        assert not os.path.exists(keylog)
        assert agent.close() == 0
    server.close()


REPORT_ANSWERS = {
    "failures": [lambda s: reply(s, 500, b""), lambda s: reply(s, 400, b""), lambda s: reply(s, 404, b"")],
    "numbers that are not sent or not new": [lambda s: reply(s, 200, {"acked": 99}), lambda s: reply(s, 200, {"acked": 0})],
    "garbage": [lambda s: reply(s, 200, {"acked": "5"}), lambda s: reply(s, 200, b"{"), lambda s: reply(s, 200, b"")],
}


def bad_reports(text, answers):
    answers = list(answers)
    server = world.server()
    seen = []

    def override(r, sock):
        if r.path != "/v1/reports" or not answers:
            return None
        seen.append([x["seq"] for x in json.loads(r.body)["reports"]])
        answers.pop(0)(sock)
        return True

    server.override = override
    agent = Agent(world, server.port)
    with tap.case("reports are sent until they are acknowledged, in order, whatever is answered: " + text):
        agent.expect("online", online=True)
        for seq in range(1, 5):
            agent.send(type="report", report={"seq": seq, "state": "done"})
        server.wait_requests(lambda r: r.path == "/v1/reports", 2)
        assert not [q for q in agent.queue if q["type"] == "acked"]
        server.offer(**offers(1)[0])
        agent.expect("offers", timeout=3)  # polling does not wait for reports
        agent.expect("acked", seq=4, timeout=100)
        assert sorted(server.reports) == [1, 2, 3, 4] and all(s[0] == 1 for s in seen), seen
        assert agent.close() == 0
    server.close()


def server_away():
    server = world.server()
    agent = Agent(world, server.port)
    with tap.case("server away and back: offline, online, inventory again, reports delivered"):
        agent.expect("online", online=True)
        agent.send(type="guests", guests=[{"uuid": GUEST}])
        server.wait_requests(lambda r: r.method == "PUT")
        port = server.port
        server.close()
        agent.expect("online", online=False)
        agent.send(type="report", report={"seq": 1, "state": "done"})
        agent.send(type="token", id=3, job=JOB, guest=GUEST, digest="0" * 64)
        m = agent.expect("failed", id=3)
        assert m["code"] == "unreachable", m
        again = world.server(port=port)
        agent.expect("online", online=True, timeout=30)
        again.wait_requests(lambda r: r.method == "PUT")
        agent.expect("acked", seq=1)
        assert again.guests == [{"uuid": GUEST}]
        assert agent.close() == 0
        again.close()
    server.close()


def head_cases():
    """(text, override of blob requests, codes)"""
    data = world.bundle
    head = 80 + int.from_bytes(data[16:24], "big") + int.from_bytes(data[24:32], "big")

    def range_of(r):
        return [int(x) for x in r.headers["range"].removeprefix("bytes=").split("-")]

    def whole(_, sock):
        reply(sock, 200, data)
        return True

    def endless_whole(_, sock):
        return endless(OK + b"\r\n", data)(sock)

    def other_range(r, sock):
        a, b = range_of(r)
        reply(sock, 206, data[a + 1:b + 2], ["Content-Range: bytes %d-%d/%d" % (a + 1, b + 1, len(data))])
        return True

    def more(r, sock):
        a, b = range_of(r)
        reply(sock, 206, data[a:b + 2], ["Content-Range: bytes %d-%d/%d" % (a, b, len(data))])
        return True

    def less(r, sock):
        a, b = range_of(r)
        reply(sock, 206, data[a:b], ["Content-Range: bytes %d-%d/%d" % (a, b, len(data))])
        return True

    def no_range(r, sock):
        a, b = range_of(r)
        reply(sock, 206, data[a:b + 1])
        return True

    def multipart(r, sock):
        reply(sock, 206, b"--x\r\n\r\n", ["Content-Type: multipart/byteranges; boundary=x"])
        return True

    def other_total(r, sock):
        a, b = range_of(r)
        reply(sock, 206, data[a:b + 1], ["Content-Range: bytes %d-%d/%d" % (a, b, len(data) + (a > 0))])
        return True

    def changed(r, sock):
        a, b = range_of(r)
        part = data[a:b + 1] if a == 0 else bytes(b + 1 - a)
        reply(sock, 206, part, ["Content-Range: bytes %d-%d/%d" % (a, b, len(data))])
        return True

    def changed_header(r, sock):
        a, b = range_of(r)
        part = bytearray(data[a:b + 1])
        if a == 0:
            part[48] ^= 1
        reply(sock, 206, bytes(part), ["Content-Range: bytes %d-%d/%d" % (a, b, len(data))])
        return True

    def hangs_up_inside(r, sock):
        sock.sendall(b"HTTP/1.1 206 x\r\nContent-Length: 80\r\nContent-Range: bytes 0-79/%d\r\n\r\n" % len(data) + data[:9])
        return False

    unreachable = {"unreachable"}
    yield "the range is ignored", whole, unreachable
    yield "the range is ignored, without end", endless_whole, unreachable
    yield "another range", other_range, unreachable
    yield "more than the range", more, unreachable
    yield "less than the range", less, unreachable
    yield "no Content-Range", no_range, unreachable
    yield "several ranges", multipart, unreachable
    yield "it hangs up inside", hangs_up_inside, unreachable
    yield "500", lambda r, s: reply(s, 500, b"") or True, unreachable
    yield "403", lambda r, s: reply(s, 403, b"") or True, {"not-allowed"}
    yield "another total in the second answer", other_total, {"format"}
    yield "the rest is of another file (%d bytes)" % (head - 80), changed, {"format", "untrusted"}
    yield "the header is of another file", changed_header, {"format", "untrusted"}


def bad_heads():
    server = world.server()
    agent = Agent(world, server.port)
    agent.expect("online", online=True)
    offer = {"fix": "net-fix", "version": 3, "digest": hashlib.sha256(world.bundle).hexdigest(), "bytes": len(world.bundle)}
    for n, (text, override, codes) in enumerate(head_cases()):
        server.override = lambda r, s, o=override: o(r, s) if r.path.startswith("/v1/blobs/") else None
        with tap.case("head: " + text):
            agent.send(type="head", id=n, offer=offer)
            m = agent.expect("failed", id=n)
            assert m["code"] in codes, m
            assert os.listdir(agent.heads()) == []
    server.override = None
    server.blobs[offer["digest"]] = world.bundle
    with tap.case("after all that the head is verified"):
        agent.send(type="head", id=100, offer=offer)
        agent.expect("head-verified", id=100)
        small(agent)
        assert agent.close() == 0, agent.text()
    server.close()


def big_head():
    """The longest hash list there can be, of somebody who has no key: fetched, refused, memory given back."""
    size = 64 << 30
    hashes = size // 65536 * 32
    header = b"\x89FIXGATE" + (1).to_bytes(4, "big") + (80).to_bytes(4, "big") + (1000).to_bytes(8, "big") + \
        hashes.to_bytes(8, "big") + size.to_bytes(8, "big") + bytes(8)
    rest = bytes(1000 + hashes)
    header += hashlib.sha256(header + rest).digest()
    total = 80 + len(rest) + size
    server = world.server()

    def override(r, sock):
        if not r.path.startswith("/v1/blobs/"):
            return None
        a, b = (int(x) for x in r.headers["range"].removeprefix("bytes=").split("-"))
        reply(sock, 206, (header + rest)[a:b + 1] if a == 0 else rest[a - 80:b - 79],
              ["Content-Range: bytes %d-%d/%d" % (a, b, total)])
        return True

    server.override = override
    agent = Agent(world, server.port)
    with tap.case("heads of 33 MiB that nobody signed: refused, in bounded memory"):
        for i in range(6):
            agent.send(type="head", id=i, offer={"fix": "net-fix", "version": 3, "digest": "%064x" % i, "bytes": total})
        for i in range(6):
            m = agent.expect("failed", id=i, timeout=60)
            assert m["code"] in ("format", "untrusted"), m
        if not SANITIZED:
            peak = int(agent.status("VmHWM").split()[0])
            assert peak < 300 << 10, "%d KiB" % peak
        assert agent.close() == 0, agent.text()
    server.close()


def bad_tokens():
    answers = [b"{}", b'{"token":"","expires_ms":1}', b'{"token":"abcdef","expires_ms":1}', b'{"token":7,"expires_ms":1}',
               b'{"token":"' + b"ab" * 200 + b'","expires_ms":1}', b'{"token":"' + b"ab" * 32 + b'"}',
               b'{"token":"' + b"ab" * 31 + b'\\n\\n","expires_ms":1}']
    server = world.server()
    left = list(answers)
    server.override = lambda r, s: (reply(s, 200, left.pop(0)) or True) if r.path == "/v1/tokens" and left else None
    agent = Agent(world, server.port)
    with tap.case("tokens that are none are not passed on"):
        for n in range(len(answers)):
            agent.send(type="token", id=n, job=JOB, guest=GUEST, digest="0" * 64)
            m = agent.expect("failed", id=n)
            assert m["code"] == "unreachable", m
        agent.send(type="token", id=99, job=JOB, guest=GUEST, digest="0" * 64)
        agent.expect("token", id=99)
        assert agent.close() == 0
    server.close()


def garbage_from_fixgated():
    for text, data in [("a length of 4 GiB", b"\xff\xff\xff\xff"), ("no JSON", b"\0\0\0\2no"), ("half a message", b"\0\0\0\x09{")]:
        server = world.server()
        agent = Agent(world, server.port)
        with tap.case("socket of fixgated: %s ends it" % text):
            agent.expect("online")
            agent.sock.sendall(data)
            if "half" in text:
                agent.sock.shutdown(1)
            assert agent.process.wait(20) != 0
            agent.close()
        server.close()


def main():
    jobs = [(lambda *c: refused_tls(c[0], c[1], **c[2]), case) for case in tls_cases()]
    jobs += [(bad_poll, case) for case in BAD_POLLS]
    jobs = [(bad_reports, case) for case in REPORT_ANSWERS.items()] + jobs
    jobs += [(f, ()) for f in (one_bad_offer, http_1_0, redirect, server_away, bad_heads, big_head, bad_tokens,
                               garbage_from_fixgated)]
    environment()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        # The slow ones first, they only wait.
        futures = [pool.submit(slow, "a body that drips is cut off", "", polls(drip)),
                   pool.submit(slow, "a server that never answers is given up", "", polls(silence)),
                   pool.submit(slow, "a server that never ends its TLS handshake is given up", "", None, 40, mute=True),
                   pool.submit(paced)]
        futures += [pool.submit(f, *args) for f, args in jobs]
    for f in futures:
        if f.exception():
            tap.ok(False, "what is around a case", "".join(traceback.format_exception(f.exception())))
    world.close()
    tap.end()


main()
