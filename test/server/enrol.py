#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Enrolment with one-time codes, renewal and revocation, with the real fixgatectl: TAP."""
import http.client
import http.server
import os
import re
import signal
import ssl
import subprocess
import sys
import threading
import time

import fgserver
from fgserver import ADMIN, AGENT, NOBODY, VIEWER, WEB1, aged, guest, ok, openssl, run, same

TRY_AGAIN = 10  # exit code: the server cannot answer now


def csr(folder, name="key", algorithm=("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")):
    """A signing request whose subject claims what it must not get."""
    path = os.path.join(folder, name)
    done = openssl("req", "-new", *algorithm, "-nodes", "-keyout", path, "-subj", "/OU=admin/CN=eve")
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout


def enrol(s, host, *args, port=None, code=None, check=True):
    """fixgatectl enrol on that host."""
    code = code or run("fixgate-server", "enrol", host, "--dir", s.dir).stdout.strip()
    return run("fixgatectl", "enrol", "--server", f"127.0.0.1:{port or s.port}", "--code", code, "--dir",
               os.path.join(s.work, host), *args, check=check)


def subject(path):
    return openssl("x509", "-in", path, "-noout", "-subject").stdout.strip()


def test_enrol(s):
    answer = enrol(s, "xen7")
    folder = os.path.join(s.work, "xen7")
    ok("enrolled" in answer.stdout, "a host enrols with a code", answer.stdout + answer.stderr)
    same(sorted(os.listdir(folder)), ["agent.key", "agent.pem", "server-ca.pem"], "key, certificate and CA are there")
    same(os.stat(os.path.join(folder, "agent.key")).st_mode & 0o777, 0o600, "the key is for root only")
    same(subject(os.path.join(folder, "agent.pem")), "subject=O = Fixgate, OU = agent, CN = xen7",
         "the certificate is for the host of the code")
    same(s.call("xen7", "PUT", "/v1/guests", {"guests": [guest(WEB1, "web1")]}).status, 200, "and counts")
    with open(os.path.join(folder, "agent.key"), encoding="ascii") as f:
        secret = f.read().splitlines()[2]
    everything = subprocess.run(["grep", "-rc", "-F", secret, s.dir], capture_output=True, text=True, check=False)
    ok(not any(not line.endswith(":0") for line in everything.stdout.splitlines()), "the key never left the host")
    same(enrol(s, "xen7", check=False).returncode, 13, "a host that is enrolled is left alone")
    old = open(os.path.join(folder, "agent.key"), encoding="ascii").read()
    same(enrol(s, "xen7", "--force").returncode, 0, "unless it is forced")
    ok(open(os.path.join(folder, "agent.key"), encoding="ascii").read() != old, "then with a new key")
    stdin = subprocess.run([os.path.join(fgserver.BIN, "fixgatectl"), "enrol", "--server", f"127.0.0.1:{s.port}", "--code",
                            "-", "--dir", os.path.join(s.work, "xen8")], capture_output=True, text=True, check=False,
                           input=run("fixgate-server", "enrol", "xen8", "--dir", s.dir).stdout)
    same(stdin.returncode, 0, "a code is read from standard input")
    same(run("fixgate-server", "enrol", "a/b", "--dir", s.dir, check=False).returncode, 2, "no code for a name that is none")


def test_codes(s):
    def post(code, request, path="/v1/enrol"):
        return s.call(NOBODY, "POST", path, {"code": code, "csr": request})

    def code(host="xen9"):
        return s.call(ADMIN, "POST", "/v1/codes", {"host": host, "minutes": 5}).json["code"]
    first, second = csr(s.work, "k1"), csr(s.work, "k2")
    word = code()
    answer = post(word, first)
    same(answer.status, 200, "an administrator's code enrols")
    pem = answer.json["certificate"]
    text = openssl("x509", "-noout", "-subject", "-ext", "extendedKeyUsage,basicConstraints", text=pem).stdout
    ok("OU = agent, CN = xen9" in text and "eve" not in text, "what the request says of a name does not count", text)
    ok("CA:FALSE" in text and "TLS Web Client Authentication" in text and "Server" not in text,
       "the certificate is for clients only", text)
    same(post(word, second).status, 401, "a second key gets nothing for the code")
    same(post(word, first).json["certificate"], pem, "the same key gets the same answer again")
    ok(word not in str(s.query("SELECT * FROM enrolment")) and word[4:36] not in str(s.query("SELECT * FROM enrolment")),
       "the database does not hold the code")
    same(post("fg1-" + "0" * 32 + "-" + "0" * 32, first).status, 401, "an unknown code is refused")
    same(post("x", first).status, 400, "a code that is none is refused")
    late = code()
    s.query("UPDATE enrolment SET expires_ms = 1 WHERE used_ms IS NULL")
    same(post(late, second).status, 401, "an expired code is refused")
    for what, bad in (("no request", "x"), ("a certificate", pem), ("a long one", "x" * 7000),
                      ("a request signed by another key", first.replace(first.splitlines()[3], second.splitlines()[3]))):
        same(post(code(), bad).status, 400, f"{what} instead of a request is refused")
    weak = csr(s.work, "k3", ("-newkey", "rsa:1024"))
    same(post(code(), weak).status, 409, "a weak key is refused")
    same(post(code(), csr(s.work, "k4", ("-newkey", "rsa:2048"))).status, 200, "an RSA key is taken")
    same(post(code(), csr(s.work, "k5", ("-newkey", "ed25519"))).status, 200, "an Ed25519 key is taken")
    word = code()
    results = []

    def race(i):
        results.append(post(word, csr(s.work, f"r{i}")).status)
    threads = [threading.Thread(target=race, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    same(sorted(results), [200] + [401] * 7, "of eight keys with one code, one gets a certificate")
    same(s.call(ADMIN, "POST", "/v1/codes", {"host": "../x"}).status, 400, "no code for a name that is none")
    same(s.call(ADMIN, "POST", "/v1/codes", {"host": "x", "minutes": 0}).status, 400, "nor one without life")


def test_pin(s):
    """A server that is not the one of the code gets neither code nor request."""
    foreign = os.path.join(s.work, "foreign-server")
    with open(os.path.join(foreign, "server.conf"), "a", encoding="ascii") as f:
        f.write("workers = 1\n")
    log = open(os.path.join(s.work, "foreign-log"), "wb")
    other = subprocess.Popen([os.path.join(fgserver.BIN, "fixgate-server"), "serve", "--dir", foreign, "--listen",
                              "127.0.0.1:0", "--verbose"], stdout=subprocess.PIPE, stderr=log)
    port = int(other.stdout.readline().decode().rsplit(":", 1)[1])
    answer = enrol(s, "xen10", port=port, check=False)
    same(answer.returncode, 7, "another server is not trusted with the code")
    same(os.path.exists(os.path.join(s.work, "xen10", "agent.pem")), False, "and nothing is left")
    other.send_signal(signal.SIGTERM)
    same(other.wait(20), 0, "that server ends")
    log.close()
    ok("/v1/enrol" not in open(os.path.join(s.work, "foreign-log"), encoding="ascii").read(), "it never saw the code")
    # A man in the middle who relays the CA's certificate, but has not its key.
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ctx.load_cert_chain(os.path.join(foreign, "server.pem"), os.path.join(foreign, "server.key"))
    ca = open(os.path.join(s.dir, "server-ca.pem"), "rb").read()
    seen = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(ca)))
            self.end_headers()
            self.wfile.write(ca)

        def do_POST(self):
            seen.append(self.rfile.read(int(self.headers["Content-Length"])))

        def log_message(self, *args):
            pass
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = ctx.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    same(enrol(s, "xen10", port=server.server_address[1], check=False).returncode, 7, "a relayed CA certificate is not enough")
    server.shutdown()
    thread.join()
    server.server_close()
    same(seen, [], "the code was not sent")


def test_due(s, conf):
    """A third of its time before its end a certificate is renewed without being told to."""
    cert = os.path.join(s.work, "xen7", "agent.pem")
    with open(cert, encoding="ascii") as f:
        kept = f.read()
    for left, said in ((32, "not due yet\n"), (29, "renewed\n"), (1, "renewed\n")):
        aged(s, os.path.join(s.work, "xen7"), "xen7", left)
        answer = run("fixgatectl", "renew", "--config", conf, check=False)
        same((answer.returncode, answer.stdout), (0, said), f"of 90 days {left} are left: {said.strip()}")
        same(openssl("x509", "-in", cert, "-noout", "-checkend", str(33 * 86400)).returncode == 0, said == "renewed\n",
             "and the certificate is so")
        same(s.call("xen7", "GET", "/v1/offers").status, 200, "and counts")
    with open(cert, "w", encoding="ascii") as f:
        f.write(kept)


def test_renew(s):
    folder = os.path.join(s.work, "xen7")
    conf = os.path.join(folder, "agent.conf")
    with open(conf, "w", encoding="ascii") as f:
        f.write(f"[server]\naddress = 127.0.0.1\nport = {s.port}\nca = {folder}/server-ca.pem\ncert = {folder}/agent.pem\n"
                f"key = {folder}/agent.key\n[trust]\ndir = {s.work}/keys/trust\n")
    before = open(os.path.join(folder, "agent.pem"), encoding="ascii").read()
    key = open(os.path.join(folder, "agent.key"), encoding="ascii").read()
    answer = run("fixgatectl", "renew", "--config", conf, check=False)
    same((answer.returncode, answer.stdout), (0, "not due yet\n"), "a new certificate is not renewed")
    answer = run("fixgatectl", "renew", "--config", conf, "--force", check=False)
    same((answer.returncode, answer.stdout), (0, "renewed\n"), "unless it is forced")
    ok(open(os.path.join(folder, "agent.pem"), encoding="ascii").read() != before, "there is a new certificate")
    same(open(os.path.join(folder, "agent.key"), encoding="ascii").read(), key, "for the same key")
    same(s.call("xen7", "GET", "/v1/offers").status, 200, "and it counts")
    with open(os.path.join(folder, "agent.pem"), "w", encoding="ascii") as f:
        f.write(before)
    same(s.call("xen7", "GET", "/v1/offers").status, 200, "the old one counts until its end")
    test_due(s, conf)
    same(s.call(AGENT, "POST", "/v1/renew", {"csr": "x"}).status, 400, "a renewal without a request is refused")


def names(s):
    return {(c["name"], "revoked_ms" in c) for c in s.call(VIEWER, "GET", "/v1/certificates").json["certificates"]
            if c["role"] == "agent"}


def test_revoke(s):
    got = {}
    h = s.connect("xen7")
    cursor = s.call("xen7", "GET", "/v1/offers", connection=h).json["cursor"]

    def poll():
        try:
            got["answer"] = s.call("xen7", "GET", f"/v1/offers?cursor={cursor}&wait_s=60").status
        except (OSError, http.client.HTTPException):
            got["answer"] = "closed"
    thread = threading.Thread(target=poll)
    thread.start()
    deadline = time.monotonic() + 20
    while s.metric("fixgate_polls") < 1 and time.monotonic() < deadline:
        time.sleep(0.05)
    began = time.monotonic()
    answer = run("fixgate-server", "revoke", "xen7", "--dir", s.dir)
    ok("revoked 5 certificates of agent xen7" in answer.stdout and "no server" not in answer.stdout,
       "fixgate-server revoke", answer.stdout)
    thread.join(20)
    ok(got.get("answer") in ("closed", 403) and time.monotonic() - began < 5, "ends a poll that waits", got)
    try:
        refused = s.call("xen7", "GET", "/v1/offers", connection=h).status
    except (OSError, http.client.HTTPException):
        refused = 403
    same(refused, 403, "an open connection is of no use any more")
    same(s.call("xen7", "GET", "/v1/offers").status, 403, "nor a new one")
    same(s.call("xen7", "POST", "/v1/renew", {"csr": csr(s.work, "k6")}).status, 403, "it cannot be renewed")
    ok(("xen7", True) in names(s) and ("xen7", False) not in names(s), "the list of certificates says so")
    same(s.call(AGENT, "GET", "/v1/offers").status, 200, "others go on")
    same(enrol(s, "xen7", "--force").returncode, 0, "a revoked host enrols again with a new code")
    same(s.call("xen7", "GET", "/v1/offers").status, 200, "and counts again")
    code = s.admin("enrol", "xen11").stdout.strip()
    same(s.admin("revoke", "xen11").stdout, "revoked 0 certificates of agent xen11\n", "a host that has only a code")
    same(enrol(s, "xen11", code=code, check=False).returncode, 6, "loses it")
    # An old certificate that the server has no record of.
    s.query("DELETE FROM certificate WHERE name = ?", AGENT)
    same(s.call(AGENT, "GET", "/v1/offers").status, 200, "a certificate without record counts")
    same(s.call(ADMIN, "POST", "/v1/revocations", {"name": AGENT}).status, 200, "until its host is revoked")
    same(s.call(AGENT, "GET", "/v1/offers").status, 403, "then it does not")
    run("fixgate-server", "admin", "eve", "--role", "operator", "--dir", s.dir, "--out", os.path.join(s.work, "eve"))
    ctx = s.context(NOBODY)
    ctx.load_cert_chain(os.path.join(s.work, "eve", "admin.pem"), os.path.join(s.work, "eve", "admin.key"))

    def eve():
        c = http.client.HTTPSConnection("127.0.0.1", s.port, context=ctx, timeout=30)
        c.request("GET", "/v1/fixes")
        return c.getresponse().status
    same(eve(), 200, "an operator's certificate")
    same(s.admin("revoke", "operator", "eve").returncode, 0, "is revoked")
    listed = s.admin("certificates").stdout
    ok(re.search(r"^operator  eve  \w+  \S+ to \S+  revoked \S+$", listed, re.M), "fixgate-admin lists them", listed)
    same(eve(), 403, "and of no use")
    ok("agent xen7: 5 certificates" in s.admin("audit").stdout, "revocations are audited")
    same(s.admin("audit", "verify").returncode, 0, "the audit log verifies")


def test_signer(s):
    code = run("fixgate-server", "enrol", "xen12", "--dir", s.dir).stdout.strip()
    signer = s.children()[0]
    os.kill(signer, signal.SIGKILL)
    deadline = time.monotonic() + 20
    answer = enrol(s, "xen12", code=code, check=False)
    while answer.returncode == TRY_AGAIN and time.monotonic() < deadline:   # a signer that lived under 2 s is replaced after a pause
        time.sleep(0.05)
        answer = enrol(s, "xen12", code=code, check=False)
    same(answer.returncode, 0, "the signer is replaced when it dies, and the code is still good")
    ok(signer not in s.children() and s.metric("fixgate_worker_restarts_total") == 1, "it is another one", s.children())
    same(s.stop(), 0, "the server ends")
    os.rename(os.path.join(s.dir, "server-ca.key"), os.path.join(s.work, "away.key"))
    s.start()
    answer = enrol(s, "xen13", check=False)
    ok(answer.returncode == 4 and "CA's key" in answer.stderr, "without the CA's key there is no enrolment", answer.stderr)
    same(s.call("xen12", "GET", "/v1/offers").status, 200, "and all else goes on")
    os.rename(os.path.join(s.work, "away.key"), os.path.join(s.dir, "server-ca.key"))


def tests(s):
    test_enrol(s)
    test_codes(s)
    test_pin(s)
    test_renew(s)
    test_revoke(s)
    test_signer(s)


sys.exit(fgserver.main(tests, foreign=True, people=(VIEWER,)))
