#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fix server's API against a real server process on loopback: TAP.  FG_BIN names the folder of the programs."""
import http.client
import json
import os
import select
import socket
import ssl
import subprocess
import sys
import threading
import time

import fgserver
from fgserver import (ADMIN, AGENT, BIN, DB1, ELSE1, FOREIGN, NOBODY, OTHER, PART, WEB1, bundle, guest, ok, report, run,
                      same)


# --- groups of tests ----------------------------------------------------------------------------------------------


def test_tls(s):
    def refused(who, ctx=None):
        try:
            raw = socket.create_connection(("127.0.0.1", s.port), timeout=30)
            with (ctx or s.context(who)).wrap_socket(raw, server_hostname="127.0.0.1") as t:
                t.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
                return t.recv(100) == b""
        except (ssl.SSLError, ConnectionError):
            return True

    same(s.call(NOBODY, "GET", "/healthz").json, {"ok": True}, "healthz needs no certificate")
    h = s.connect(NOBODY, "::1", s.port6)
    same(s.call(NOBODY, "GET", "/healthz", connection=h).status, 200, "IPv6 is served")
    ok(refused(FOREIGN), "a certificate of another CA is refused")
    old = s.context(AGENT)
    old.minimum_version = ssl.TLSVersion.TLSv1_2
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    ok(refused(AGENT, old), "TLS 1.2 is refused")
    imposter = s.context(NOBODY)
    imposter.load_cert_chain(os.path.join(s.dir, "server.pem"), os.path.join(s.dir, "server.key"))
    ok(refused(NOBODY, imposter), "a server's certificate is no client's")
    distrust = ssl.create_default_context()
    try:
        distrust.wrap_socket(socket.create_connection(("127.0.0.1", s.port)), server_hostname="127.0.0.1")
        ok(False, "the server's certificate is of its own CA only")
    except ssl.SSLCertVerificationError:
        ok(True, "the server's certificate is of its own CA only")
    # An end certificate must not be able to make others: OU=admin signed by an agent's key.
    sub = os.path.join(s.work, "sub")
    os.makedirs(sub)
    agent = os.path.join(s.work, AGENT)
    subprocess.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-keyout", f"{sub}/key", "-out", f"{sub}/csr", "-subj", "/OU=admin/CN=eve"],
                   check=True, capture_output=True)
    subprocess.run(["openssl", "x509", "-req", "-in", f"{sub}/csr", "-CA", f"{agent}/agent.pem", "-CAkey",
                    f"{agent}/agent.key", "-out", f"{sub}/cert", "-CAcreateserial", "-CAserial", f"{sub}/srl"],
                   check=True, capture_output=True)
    with open(f"{sub}/chain", "w", encoding="ascii") as f:
        f.write(open(f"{sub}/cert", encoding="ascii").read() + open(f"{agent}/agent.pem", encoding="ascii").read())
    forged = s.context(NOBODY)
    forged.load_cert_chain(f"{sub}/chain", f"{sub}/key")
    ok(refused(NOBODY, forged), "a certificate made with an agent's key is refused")


def test_roles(s):
    blob = "/v1/blobs/" + "0" * 64
    routes = [("PUT", "/v1/guests", {AGENT}), ("POST", "/v1/reports", {AGENT}), ("POST", "/v1/tokens", {AGENT}),
              ("POST", "/v1/requests", {AGENT}), ("GET", "/v1/offers", {AGENT, ADMIN}), ("POST", "/v1/offers", {ADMIN}),
              ("PUT", "/v1/fixes/" + "0" * 64, {ADMIN}), ("GET", "/v1/fixes", {ADMIN}), ("GET", "/v1/clients", {ADMIN}),
              ("GET", "/v1/audit", {ADMIN}), ("GET", blob, {AGENT}), ("HEAD", blob, {AGENT})]
    for method, path, allowed in routes:
        for who in (NOBODY, AGENT, ADMIN):
            answer = s.call(who, method, path, b"{}" if method in ("PUT", "POST") else None)
            wanted = 401 if who == NOBODY else 403
            good = answer.status not in (401, 403) if who in allowed else answer.status == wanted
            ok(good, f"{method} {path[:12]} as {who}: {'allowed' if who in allowed else wanted}", answer.status)
    same(s.call(ADMIN, "GET", "/v1/nothing").status, 404, "an unknown path is 404")
    same(s.call(ADMIN, "DELETE", "/v1/fixes").status, 405, "an unknown method is 405")
    same(s.call(ADMIN, "GET", "/v1/blobs/../../etc/passwd").status, 404, "a path that leaves is 404")
    same(s.call(AGENT, "GET", "/v1/blobs/%2e%2e").status, 400, "a digest that is none is 400")


def test_bodies(s):
    def put(body, headers=None):
        return s.call(AGENT, "PUT", "/v1/guests", body, headers)

    for text, body in (("no JSON", b"{"), ("no object", b"[]"), ("bytes after it", b"{} x"), ("nothing", b""),
                       ("a duplicate key", b'{"guests":[],"guests":[]}'), ("a NUL", b'{"guests":[]}\0'),
                       ("no UTF-8", b'{"guests":["\xff"]}'), ("another type", b'{"guests":{}}'),
                       ("depth", b"[" * 100000)):
        same(put(body).status, 400, f"a body with {text} is 400")
    for text, bad in (("no UUID", guest("x", "n")), ("a newline in the name", guest(WEB1, "a\nb")),
                      ("an empty name", guest(WEB1, "")), ("a long name", guest(WEB1, "n" * 257)),
                      ("an unknown state", guest(WEB1, "n", "crashed")),
                      ("a bad MAC", guest(WEB1, "n", nics=[{"mac": "zz"}])),
                      ("a bad address", guest(WEB1, "n", nics=[{"mac": "00:16:3e:00:00:01", "addresses": ["1.2.3"]}])),
                      ("NICs of another type", guest(WEB1, "n", nics=[1]))):
        same(put({"guests": [bad]}).code, "format", f"a guest with {text} is refused")
    same(put({"guests": [guest(WEB1, "a"), guest(WEB1, "b")]}).code, "format", "a UUID twice is refused")
    same(put({"guests": [guest(WEB1, "a")] * 4097}).status, 413, "more than 4096 guests are refused")
    try:
        status = put(b" " * (PART + 1)).status
    except OSError:  # the server closes without reading it all: the answer may be lost on its way
        status = 413
    same(status, 413, "a body of more than 1 MiB is 413")
    same(put(b"{}", {"X": "x" * 20000}).status, 400, "headers of more than 16 KiB are refused")
    with s.tls() as t:
        t.sendall(b"\x00\xff" * 20000)
        try:
            ok(b" 200 " not in t.recv(100), "garbage in the tunnel is refused")
        except (ssl.SSLError, ConnectionError):
            ok(True, "garbage in the tunnel is refused")
    with s.tls(AGENT) as t:
        t.sendall(b"PUT /v1/guests HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
        ok(b" 413 " in t.recv(100), "a length that is too much is refused before the body comes")
    with s.tls(AGENT) as t:
        t.sendall(b"PUT /v1/guests HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n")
        ok(b" 200 " not in t.recv(100), "a negative length is refused")
    same(s.call(NOBODY, "GET", "/healthz").status, 200, "the server still answers")


def test_inventory(s):
    same(s.call(AGENT, "PUT", "/v1/guests", {"guests": [guest(WEB1.upper(), "web1"), guest(DB1, "db1", "off")]}).json,
         {"guests": 2}, "an inventory is taken")
    same(s.call(OTHER, "PUT", "/v1/guests", {"guests": [guest(ELSE1, "else1")]}).json, {"guests": 1}, "another host's")
    clients = {c["uuid"]: c for c in s.call(ADMIN, "GET", "/v1/clients").json["clients"]}
    same(sorted(clients), [WEB1, DB1, ELSE1], "all are clients")
    web1 = clients[WEB1]
    same([web1[k] for k in ("name", "mac", "macs", "host", "state", "present", "fixes")],
         ["web1", "00:16:3e:00:00:01", ["00:16:3e:00:00:01"], AGENT, "running", True, {}], "as they were said to be")
    pages, after = [], ""
    while after is not None:
        answer = s.call(ADMIN, "GET", f"/v1/clients?limit=1&after={after}").json
        pages += [c["uuid"] for c in answer["clients"]]
        after = answer.get("next")
    same(pages, [WEB1, DB1, ELSE1], "clients come in pages")
    same(s.call(ADMIN, "GET", "/v1/clients?limit=0").status, 400, "a page of nothing is refused")


def test_publish(s):
    path, data, digest = bundle(s.work, "fix-1", size=2500000)

    def put(first, last, total=len(data), name=digest, body=None):
        return s.call(ADMIN, "PUT", "/v1/fixes/" + name, body or data[first:last + 1],
                      {"Content-Range": f"bytes {first}-{last}/{total}"})
    same(put(0, PART - 1).json, {"received": PART, "total": len(data)}, "a part is taken")
    same(put(0, PART - 1).json["received"], PART, "the same part again changes nothing")
    same(put(2 * PART, len(data) - 1).json["received"], PART, "a part that leaves a hole is not taken")
    same(put(0, 9, 5).status, 400, "a range beyond the total is refused")
    same(put(0, 9, body=b"123").status, 400, "a range that does not fit the body is refused")
    same(put(0, 9, total=1 << 40).status, 413, "a bundle beyond the limit is refused")
    same(put(0, 9, name="x").status, 400, "a digest that is none is refused")
    answer = s.admin("publish", path)
    ok(digest in answer.stdout, "fixgate-admin goes on with the upload", answer.stdout + answer.stderr)
    same(os.listdir(os.path.join(s.dir, "uploads")), [], "no upload is left")
    answer = s.call(ADMIN, "PUT", "/v1/fixes/" + digest, None)
    same(answer.status, 400, "an upload of nothing is refused")
    same(json.loads(s.admin("publish", path, "--json").stdout)["digest"], digest, "publishing again is no error")
    other, _, _ = bundle(s.work, "fix-1", size=1000)
    same(s.admin("publish", other, check=False).returncode, 13, "other bytes for a version are refused")
    broken = bytearray(data)
    broken[-1] ^= 1
    with open(os.path.join(s.work, "broken.fix"), "wb") as f:
        f.write(broken)
    same(s.admin("publish", os.path.join(s.work, "broken.fix"), check=False).returncode, 7, "a flipped byte is refused")
    same(put(0, PART - 1, PART, name="0" * 64).status, 422, "bytes of another digest are refused")
    stranger = os.path.join(s.work, "stranger")
    run("fixgate-fix", "keygen", "--out", stranger)
    keys, s_keys = os.path.join(s.work, "keys"), os.path.join(s.work, "keys.mine")
    os.rename(keys, s_keys)
    os.rename(stranger, keys)
    unsigned, _, _ = bundle(s.work, "fix-9")
    os.rename(keys, stranger)
    os.rename(s_keys, keys)
    same(s.admin("publish", unsigned, check=False).returncode, 7, "an unknown publisher is refused")
    fixes = json.loads(s.admin("fixes", "--json").stdout)["fixes"]
    same([(f["fix"], f["version"], f["digest"], f["bytes"]) for f in fixes], [("fix-1", 1, digest, len(data))],
         "the list of fixes")
    return data, digest


def test_blobs(s, data, digest):
    path = "/v1/blobs/" + digest
    size = len(data)

    def get(headers=None, method="GET"):
        return s.call(AGENT, method, path, headers=headers)
    answer = get()
    ok(answer.status == 200 and answer.body == data, "a blob, whole")
    same((answer.headers["ETag"], answer.headers["Accept-Ranges"]), (f'"{digest}"', "bytes"), "ETag, Accept-Ranges")
    head = get(method="HEAD")
    same((head.status, head.headers["Content-Length"], head.body), (200, str(size), b""), "HEAD")
    for value, first, last in (("0-99", 0, 99), ("100-", 100, size - 1), ("-100", size - 100, size - 1),
                               (f"{size - 1}-", size - 1, size - 1), ("5-99999999999", 5, size - 1),
                               (f"-{size + 5}", 0, size - 1), ("262143-262144", 262143, 262144)):
        answer = get({"Range": "bytes=" + value})
        ok(answer.status == 206 and answer.body == data[first:last + 1] and
           answer.headers["Content-Range"] == f"bytes {first}-{last}/{size}", f"Range {value}", answer.status)
    for value in (f"{size}-", "-0"):
        answer = get({"Range": "bytes=" + value})
        same((answer.status, answer.headers["Content-Range"]), (416, f"bytes */{size}"), f"Range {value} is 416")
    for value in ("bytes=0-1,3-4", "lines=1-2", "bytes=9-1", "bytes=x"):
        same(len(get({"Range": value}).body), size, f"Range {value} is ignored")
    same(get({"If-None-Match": f'"{digest}"'}).status, 304, "If-None-Match with the ETag is 304")
    same(get({"If-None-Match": '"other"'}).status, 200, "If-None-Match with another is 200")
    same(get({"Range": "bytes=0-1", "If-Range": f'"{digest}"'}).status, 206, "If-Range with the ETag is 206")
    same(get({"Range": "bytes=0-1", "If-Range": '"other"'}).status, 200, "If-Range with another is 200")
    same(get({"Range": "bytes=0-1", "If-Range": f'W/"{digest}"'}).status, 200, "If-Range with a weak tag is 200")
    same(s.call(AGENT, "GET", "/v1/blobs/" + "0" * 64).status, 404, "an unknown blob is 404")
    h = s.connect(AGENT)
    bodies = [s.call(AGENT, "GET", path, headers={"Range": f"bytes={i}-{i}"}, connection=h).body for i in range(20)]
    same(b"".join(bodies), data[:20], "many ranges over one connection")


def test_beyond_4_gib(s, data, digest):
    """The published file grows to 5 GiB, as a hole but for its end: what counts here is only where bytes come from."""
    file = os.path.join(s.dir, "blobs", digest)
    mark, at, size = b"beyond", (1 << 32) + 12345, (5 << 30) + 7
    with open(file, "r+b") as f:
        f.truncate(size)
        f.seek(at)
        f.write(mark)
    try:
        for value, first, last, body in (
                (f"{at}-{at + 5}", at, at + 5, mark), (f"{at - 2}-{at + 1}", at - 2, at + 1, b"\0\0" + mark[:2]),
                (f"{(1 << 32) - 2}-{(1 << 32) + 1}", (1 << 32) - 2, (1 << 32) + 1, bytes(4)), ("-7", size - 7, size - 1, bytes(7)),
                (f"{size - 3}-{1 << 62}", size - 3, size - 1, bytes(3)), ("0-3", 0, 3, data[:4])):
            answer = s.call(AGENT, "GET", "/v1/blobs/" + digest, headers={"Range": "bytes=" + value})
            ok(answer.status == 206 and answer.body == body and answer.headers["Content-Range"] == f"bytes {first}-{last}/{size}",
               f"Range {value} of 5 GiB", (answer.status, answer.headers.get("Content-Range"), answer.body[:20]))
        head = s.call(AGENT, "HEAD", "/v1/blobs/" + digest)
        same(head.headers["Content-Length"], str(size), "HEAD of 5 GiB")
        same(s.call(AGENT, "GET", "/v1/blobs/" + digest, headers={"Range": f"bytes={size}-"}).status, 416, "a range behind its end is 416")
    finally:
        with open(file, "r+b") as f:
            f.truncate(0)
            f.write(data)


def test_tokens(s, data, digest, second):
    def token(uuid=WEB1, name=digest, who=AGENT):
        return s.call(who, "POST", "/v1/tokens", {"job": "job-1", "guest": uuid, "digest": name})

    def fetch(word, name=digest, method="GET"):
        return s.call(NOBODY, method, "/v1/blobs/" + name, headers={"Authorization": "Bearer " + word})
    answer = token()
    word = answer.json["token"]
    life = answer.json["expires_ms"] / 1000 - time.time()
    ok(3590 < life <= 3600, "a token lives for an hour", life)
    ok(fetch(word).body == data, "a token fetches its blob")
    same(fetch(word, method="HEAD").status, 200, "and its head")
    same(fetch(word, second).status, 401, "not another blob")
    same(fetch(word[:-1]).status, 401, "a wrong token does not")
    same(s.call(NOBODY, "GET", "/v1/blobs/" + digest).status, 401, "nor does none")
    for path in ("/v1/offers", "/v1/clients", "/v1/fixes"):
        same(s.call(NOBODY, "GET", path, headers={"Authorization": "Bearer " + word}).status, 401,
             f"a token is nothing for {path}")
    same(token(ELSE1).status, 403, "no token for another host's guest")
    same(token(name="0" * 64).status, 404, "no token for an unknown blob")
    ok(word not in str(s.query("SELECT * FROM token")), "the database does not hold the token itself")
    s.query("UPDATE token SET expires_ms = ?", int(time.time() * 1000) - 1)
    same(fetch(word).status, 401, "an expired token does not fetch")


def test_offers(s):
    def offers(cursor=0, wait=0, who=AGENT):
        return s.call(who, "GET", f"/v1/offers?cursor={cursor}&wait_s={wait}").json

    def offer(body, who=ADMIN):
        return s.call(who, "POST", "/v1/offers", {"fix": "fix-1", **body})
    start = offers()
    same(start["offers"], [], "no offer yet")
    began = time.monotonic()
    same(offers(start["cursor"], 1)["offers"], [], "a poll ends without offer")
    ok(0.9 < time.monotonic() - began < 5, "after its time")
    got = {}

    def poll(who):
        got[who] = offers(start["cursor"], 20, who)
        got[who, "at"] = time.monotonic()
    threads = [threading.Thread(target=poll, args=(who,)) for who in (AGENT, OTHER)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)  # let both polls arrive: there is nothing to see from outside when they have
    began = time.monotonic()
    same(offer({"guests": ["web1", "nobody"]}).json,
         {"offered": 1, "skipped": [{"guest": "nobody", "code": "not-found",
                                     "reason": "not in the inventory of any host"}]}, "an offer by name")
    threads[0].join(20)
    ok(AGENT in got and got[AGENT, "at"] - began < 1, "wakes the poll of its host within a second", got)
    ok(OTHER not in got, "and not that of another")
    first = got[AGENT]["offers"]
    same([(o["guest"], o["fix"], o["version"]) for o in first], [(WEB1, "fix-1", 1)], "with the offer")
    cursor = got[AGENT]["cursor"]
    ok(cursor >= first[0]["seq"], "and a cursor past it")
    same(offers(cursor)["offers"], [], "after the cursor there is nothing")
    same(offers()["offers"], first, "before it there is the offer, again")
    same(offers(10 ** 12)["offers"], first, "a cursor of another database begins anew")
    same(offers(0, 0, OTHER)["offers"], [], "another host does not see it")
    same(offer({"guests": [WEB1]}).json["skipped"][0]["reason"], "offered already", "a second time it is skipped")
    same(offer({"fix": "none", "all": True}).status, 404, "an unknown fix is 404")
    same(offer({"version": 7, "all": True}).status, 404, "an unknown version is 404")
    same(offer({}).status, 400, "an offer to nobody is 400")
    same(offer({"guests": ["web1"], "all": True}).status, 400, "to some and all is 400")
    same(offer({"fix": "fix-2", "all": True}).json, {"offered": 3, "skipped": []}, "an offer to all")
    threads[1].join(20)
    same([o["guest"] for o in got[OTHER]["offers"]], [ELSE1], "reaches the other host's poll")
    same(s.call(AGENT, "GET", "/v1/offers?cursor=-1").status, 400, "a negative cursor is 400")
    same(s.call(AGENT, "GET", "/v1/offers?cursor=x").status, 400, "a cursor that is none is 400")
    answer = s.call(AGENT, "POST", "/v1/requests", {"guest": WEB1, "fix": "fix-1"})
    ok(answer.status == 200 and answer.json["seq"] > cursor, "a host asks for an offer to a guest of its own")
    same([o["guest"] for o in offers(cursor)["offers"] if o["fix"] == "fix-1"], [WEB1], "and gets it")
    same(s.call(AGENT, "POST", "/v1/requests", {"guest": ELSE1, "fix": "fix-1"}).status, 404, "not to another's")
    same(s.call(AGENT, "POST", "/v1/requests", {"guest": WEB1, "fix": "none"}).status, 404, "nor of no fix")
    ok("fix-1" in s.admin("offers").stdout, "the administrator sees open offers")


def status(s, uuid=WEB1, fix="fix-1"):
    clients = json.loads(s.admin("clients", "--json").stdout)["clients"]
    row = next(c for c in clients if c["uuid"] == uuid)["fixes"].get(fix, {})
    return row.get("status"), row.get("state")


def test_reports(s):
    def send(*reports, who=AGENT, **more):
        return s.call(who, "POST", "/v1/reports", {"reports": list(reports), **more})
    same(send().json, {"acked": 0}, "no report yet")
    same(status(s), ("offered", None), "the ledger says offered")
    for seq, state in enumerate(("offered", "queued", "isolated", "stopped", "fixing", "fixed", "released",
                                 "rebooting"), 1):
        send(report(seq, state))
        same(status(s), ("in-progress", state), f"then in progress, {state}")
    same(send(report(9, "done", reason="verified")).json, {"acked": 9}, "done is acknowledged")
    same(status(s), ("fixed", "done"), "and the ledger says fixed")
    same(send(report(9, "done")).json, {"acked": 9}, "a duplicate is ignored")
    same(send(report(3, "isolated"), report(4, "stopped")).json, {"acked": 9}, "old ones too")
    same(status(s), ("fixed", "done"), "and change nothing")
    same(send(report(9, "failed")).code, "differs", "another report under a number that was taken is refused")
    same(send(report(1, "not-needed", job="job-2"), journal="second").json, {"acked": 1}, "a new journal starts at 1")
    same(status(s)[0], "fixed", "not-needed after fixed leaves it fixed")
    same(send(report(12, "offered", job="job-3")).json, {"acked": 12}, "a gap is taken")
    ok("10..11 never came" in s.admin("audit").stdout, "and audited")
    same(s.call(ADMIN, "POST", "/v1/offers", {"fix": "fix-1", "guests": ["web1"]}).json["skipped"][0]["reason"],
         "fixed already", "a fixed guest is not offered the fix again")
    same(s.call(ADMIN, "POST", "/v1/offers", {"fix": "fix-1", "guests": ["web1"], "force": True}).json["offered"], 1,
         "unless forced")
    for seq, (state, wanted) in enumerate((("not-needed", "not-needed"), ("failed", "failed"), ("held", "held"),
                                           ("rolled-back", "rolled-back"), ("rejected", "rejected")), 13):
        send(report(seq, state, job=f"job-{seq}", uuid=DB1, fix="fix-2"))
        same(status(s, DB1, "fix-2"), (wanted, state), f"{state} in the ledger")
    send(report(1, "not-needed", job="na", uuid=DB1, fix="fix-2", evidence={"applies": "not-applicable"}), journal="na")
    same(status(s, DB1, "fix-2"), ("not-applicable", "not-needed"), "not-needed because it is not for this guest: not-applicable")
    numbers = {f["fix"]: f["clients"] for f in s.call(ADMIN, "GET", "/v1/fixes").json["fixes"]}
    same(sum(numbers["fix-2"].values()), len(s.call(ADMIN, "GET", "/v1/clients").json["clients"]), "each client is counted in one status")
    answer = send(report(1, "done", uuid=WEB1, job="x", fix="fix-2"), who=OTHER).json
    same((answer["acked"], answer["refused"]), (1, [{"seq": 1, "text": "not a guest of this host"}]),
         "another host's guest is refused")
    same(status(s, WEB1, "fix-2")[0], "offered", "and unchanged")
    answer = send(report(18, "dancing"), report(19, "done", uuid="x"), report(20, "done", fix="../x"),
                  report(21, "held", uuid=DB1, fix="fix-2", reason="r" * 9000, evidence={"e": "x" * 30000})).json
    same((answer["acked"], [r["seq"] for r in answer["refused"]]), (21, [18, 19, 20]),
         "malformed reports are refused one by one and do not stop the others")
    same(send(*[report(i, "queued") for i in range(22, 279)]).status, 413, "more than 256 reports are refused")
    for text, reports in (("no seq", [{"state": "done"}]), ("seq 0", [report(0, "done")]),
                          ("seqs that do not ascend", [report(30, "done"), report(30, "done")]),
                          ("no object", [1])):
        same(send(*reports).status, 400, f"a batch with {text} is refused")
    batch = [report(i, "queued", job="big", uuid=DB1, fix="fix-2") for i in range(22, 278)]
    same(send(*batch).json, {"acked": 277}, "256 reports are one batch")


def test_moves(s):
    def put(who, *guests):
        return s.call(who, "PUT", "/v1/guests", {"guests": list(guests)}).json["guests"]
    same(put(OTHER, guest(ELSE1, "else1"), guest(WEB1, "web1", "off")), 1, "a stale definition takes no guest away")
    for _ in range(3):
        same(put(OTHER, guest(ELSE1, "else1"), guest(WEB1, "web1")), 1, "nor one that says that it runs there, while it runs here")
    same(s.admin("audit").stdout.count("guest-claimed"), 1, "which is audited, once")
    claimed = s.call(OTHER, "GET", "/v1/offers?cursor=0").json["offers"]
    ok(WEB1 not in [o["guest"] for o in claimed], "it gets no offers of it", claimed)
    answer = s.call(OTHER, "POST", "/v1/reports", {"journal": "claim", "reports": [report(1, "done", job="claim")]}).json
    same([r["seq"] for r in answer["refused"]], [1], "nor may report on it")
    put(AGENT, guest(DB1, "db1", "off"))
    same(s.admin("audit").stdout.count("guest-moved"), 1, "a guest that runs no more where it did moves to where it runs")
    client = next(c for c in s.call(ADMIN, "GET", "/v1/clients").json["clients"] if c["uuid"] == WEB1)
    same(client["host"], OTHER, "and is that host's")
    moved = s.call(OTHER, "GET", "/v1/offers?cursor=0").json["offers"]
    ok(WEB1 in [o["guest"] for o in moved], "with its open offers", moved)
    ok(f"guest {WEB1} (web1) from host {AGENT} to {OTHER}" in s.admin("audit").stdout, "and it is audited")
    same(s.call(AGENT, "POST", "/v1/tokens", {"job": "j", "guest": WEB1, "digest": "0" * 64}).status, 403,
         "its old host has no rights on it")


def test_audit(s):
    answer = s.admin("audit", "verify")
    ok("entries, the last hash is" in answer.stdout, "the audit log verifies", answer.stdout)
    before = s.query("SELECT n, detail FROM audit WHERE n = 3")[0][1]
    s.query("UPDATE audit SET detail = 'nothing to see' WHERE n = 3")
    answer = s.admin("audit", "verify", check=False)
    ok(answer.returncode == 5 and "entry 3 was changed" in answer.stderr, "a changed entry is found", answer.stderr)
    s.query("UPDATE audit SET detail = ? WHERE n = 3", before)
    same(s.admin("audit", "verify").returncode, 0, "put back it verifies")


def test_hostile(s, digest):
    idle = [socket.create_connection(("127.0.0.1", s.port)) for _ in range(200)]
    drip = [s.tls() for _ in range(20)]
    for t in drip:
        t.sendall(b"GET /healthz HTTP/1.1\r\nX: ")
    noise = socket.create_connection(("127.0.0.1", s.port))
    try:
        noise.sendall(os.urandom(1 << 20))
    except OSError:
        pass
    plain = socket.create_connection(("127.0.0.1", s.port), timeout=30)
    plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    try:
        ok(b"200" not in plain.recv(100), "plain HTTP is not served")
    except ConnectionError:
        ok(True, "plain HTTP is not served")
    deaf = []
    before = s.memory_kib()
    for _ in range(20):
        t = s.tls(AGENT)
        t.sendall(f"GET /v1/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n".encode() * 3)
        deaf.append(t)
    began = time.monotonic()
    same(s.call(NOBODY, "GET", "/healthz").status, 200, "the server answers beside idle, slow and deaf clients")
    ok(time.monotonic() - began < 5, "at once")
    grown = s.memory_kib() - before
    ok(grown < 20 * 1024 * (10 if "asan" in BIN else 1), "a client that never reads costs little memory", f"{grown} KiB")
    for t in deaf[:10]:
        t.close()
    for t in deaf[10:]:  # an abort in the middle of a transfer
        t.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        t.close()
    for t in idle + drip + [noise, plain]:
        t.close()
    polls = []
    cursor = s.call(AGENT, "GET", "/v1/offers?cursor=0").json["cursor"]
    for _ in range(9):  # more than a host may have in each of two processes: the oldest there are answered
        t = s.tls(AGENT)
        t.sendall(f"GET /v1/offers?cursor={cursor}&wait_s=60 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        polls.append(t)
    ready = select.select(polls, [], [], 30)[0]
    ok(ready and b" 200 " in ready[0].recv(1000), "a host's oldest poll gives way")
    for t in polls:
        t.close()
    same(s.call(NOBODY, "GET", "/healthz").status, 200, "the server answers after them")


def test_restart(s, digest):
    got = {}

    def poll():
        cursor = s.call(AGENT, "GET", "/v1/offers").json["cursor"]
        got["answer"] = s.call(AGENT, "GET", f"/v1/offers?cursor={cursor}&wait_s=60").json
    thread = threading.Thread(target=poll)
    thread.start()
    time.sleep(0.5)
    began = time.monotonic()
    same(s.stop(), 0, "SIGTERM ends the server cleanly")
    ok(time.monotonic() - began < 5, "at once")
    thread.join(10)
    ok("answer" in got, "a poll that waits is answered")
    s.start()
    same(status(s)[0], "fixed", "after a restart all is as it was")
    same(s.call(AGENT, "HEAD", "/v1/blobs/" + digest).status, 200, "blobs too")


def test_kill(s):
    """kill -9 while reports come: what was acknowledged is there, and nothing is there twice."""
    acked, lock, stop = [0], threading.Lock(), threading.Event()

    def send():
        h = None
        while not stop.is_set():
            first = acked[0] + 1
            batch = [report(i, "queued", job="k", uuid=DB1, fix="fix-2") for i in range(first, first + 20)]
            try:
                h = h or s.connect(AGENT)
                answer = s.call(AGENT, "POST", "/v1/reports", {"journal": "kill", "reports": batch}, connection=h)
                with lock:
                    acked[0] = answer.json["acked"]
            except (OSError, http.client.HTTPException):
                h = None
                stop.wait(0.02)
    thread = threading.Thread(target=send)
    thread.start()
    lost = []
    for _ in range(4):
        before = acked[0]
        deadline = time.monotonic() + 20
        while acked[0] < before + 100 and time.monotonic() < deadline:
            time.sleep(0.01)
        s.kill()
        with lock:
            known = acked[0]
        rows = s.query("SELECT COUNT(*), MAX(seq) FROM report r JOIN journal j ON j.id = r.journal_id"
                       " WHERE j.name = 'kill'")[0]
        if rows[1] < known or rows[0] != rows[1]:
            lost.append((known, rows))
        s.start()
    stop.set()
    thread.join(70)
    same(lost, [], f"four times kill -9 under load: no acknowledged report is lost or twice ({acked[0]} reports)")
    same(s.admin("audit", "verify").returncode, 0, "the audit log verifies")


def tests(s):
    test_tls(s)
    test_roles(s)
    test_bodies(s)
    test_inventory(s)
    data, digest = test_publish(s)
    test_blobs(s, data, digest)
    test_beyond_4_gib(s, data, digest)
    second_path, _, second = bundle(s.work, "fix-2")
    s.admin("publish", second_path)
    test_offers(s)
    test_tokens(s, data, digest, second)
    test_reports(s)
    test_moves(s)
    test_audit(s)
    test_hostile(s, digest)
    test_restart(s, digest)
    test_kill(s)


sys.exit(fgserver.main(tests, foreign=True))
