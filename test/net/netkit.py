# SPDX-License-Identifier: GPL-3.0-or-later
"""For the tests of fixgate-net: keys, a scriptable fix server on loopback, and the other end of its socket (fixgated's)."""
import hashlib
import json
import os
import pwd
import select
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.environ.get("FG_BIN", os.path.join(TOP, "build/bin"))
SANITIZED = bool(os.environ.get("FG_SANITIZED"))
USER = "nobody"
GUEST = "f19a0000-0000-4000-8000-000000000011"
JOB = "f19a0000-0000-4000-8000-0000000000aa"


class Tap:
    """ok/not ok lines; `with tap.case(text)` turns any exception into not ok."""

    def __init__(self):
        self.count = 0
        self.failed = 0
        self.lock = threading.Lock()

    def ok(self, condition, text, detail=""):
        with self.lock:
            self.count += 1
            self.failed += not condition
            print("%s %d - %s" % ("ok" if condition else "not ok", self.count, text), flush=True)
            if not condition and detail:
                print("# " + str(detail).strip().replace("\n", "\n# "), flush=True)

    def case(self, text):
        return Case(self, text)

    def end(self):
        print("1..%d" % self.count)
        sys.exit(1 if self.failed else 0)


class Case:
    def __init__(self, tap, text):
        self.tap, self.text = tap, text

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.tap.ok(kind is None, self.text, "%s: %s" % (getattr(kind, "__name__", ""), value))
        return kind is not None and issubclass(kind, Exception)


def openssl(*args, **kw):
    subprocess.run(["openssl", *args], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **kw)


CATALOGUE_USAGE = "2.25.339170148893489558699657159158703192831"


def rfc3339(epoch):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch))


class Pki:
    """A CA, and what it issues; EC P-256 keys, good for a day."""

    def __init__(self, folder, name="ca"):
        self.folder = folder
        self.fixes = {}  # (id, version): bundle, what the catalogue has
        self.made = {}
        self.lock = threading.Lock()
        self.ca, self.ca_key = self.path(name + ".pem"), self.path(name + ".key")
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
                "-keyout", self.ca_key, "-out", self.ca, "-subj", "/CN=test " + name,
                "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign")

    def path(self, name):
        return os.path.join(self.folder, name)

    def issue(self, name, subject, extensions, days="1"):
        cert, key, csr, ext = (self.path(name + s) for s in (".pem", ".key", ".csr", ".ext"))
        with open(ext, "w") as f:
            f.write("\n".join(["basicConstraints=CA:FALSE", *extensions]) + "\n")
        openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
                "-out", csr, "-subj", subject)
        openssl("x509", "-req", "-in", csr, "-CA", self.ca, "-CAkey", self.ca_key, "-days", days, "-out", cert,
                "-extfile", ext)
        os.chmod(key, 0o600)
        return cert, key

    def online(self, generation=1, usage="critical," + CATALOGUE_USAGE, name=None):
        """A key for catalogues."""
        name = name or "online%d" % generation
        with self.lock:     # servers of several threads ask for the same one
            if name not in self.made:
                self.made[name] = self.issue(name, "/CN=catalogue/serialNumber=%d" % generation, [
                    "keyUsage=critical,digitalSignature", "extendedKeyUsage=" + usage, "subjectKeyIdentifier=hash",
                    "authorityKeyIdentifier=keyid"])
            return self.made[name]

    def catalogue(self, version=1, generation=1, published=0, lifetime=3600, fixes=None, withdrawn=(), revoked=(), key=None):
        """published: seconds from now."""
        began = int(time.time()) + published
        fixes = self.fixes if fixes is None else fixes
        text = json.dumps({
            "format": 1, "version": version, "published": rfc3339(began), "expires": rfc3339(began + lifetime),
            "fixes": [{"id": i, "version": v, "head": data[48:80].hex(), "bundle": hashlib.sha256(data).hexdigest()}
                      for (i, v), data in sorted(fixes.items())],
            "withdrawn": [{"id": i, "version": v} for i, v in sorted(withdrawn)],
            "revoked": [{"key": k, "name": "revoked"} for k in sorted(revoked)]})
        cert, key = key or self.online(generation)
        return subprocess.run(["openssl", "cms", "-sign", "-binary", "-nodetach", "-outform", "DER", "-md", "sha256",
                               "-nosmimecap", "-signer", cert, "-inkey", key], input=text.encode(), check=True,
                              stdout=subprocess.PIPE).stdout

    def server(self, name, address="127.0.0.1", days="1"):
        san = "IP:" + address if address[:1].isdigit() or ":" in address else "DNS:" + address
        return self.issue(name, "/CN=" + name, ["subjectAltName=" + san, "extendedKeyUsage=serverAuth"], days)


class Request:
    def __init__(self, method, target, headers, body):
        self.method, self.target, self.headers, self.body = method, target, headers, body
        self.path, _, query = target.partition("?")
        self.query = dict(p.split("=", 1) for p in query.split("&") if "=" in p)
        self.at = time.monotonic()


def reply(sock, status, body=b"", headers=()):
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    lines = ["HTTP/1.1 %d x" % status, "Content-Length: %d" % len(body), *headers, "", ""]
    sock.sendall("\r\n".join(lines).encode() + body)


class FixServer:
    """A well-behaved server; `override(request, sock)` may answer instead (return True to keep the connection, False to close
    it, None to leave the request to the default)."""

    def __init__(self, pki, cert, key, plain=False, max_tls=None, address="127.0.0.1", port=0, client_ca=None,
                 mute=False):
        self.lock = threading.Condition()
        self.requests, self.connections, self.failures = [], 0, []
        self.offers, self.reports, self.guests, self.blobs = [], {}, None, {}
        self.acked = 0
        self.override = None
        self.pki = pki
        self.catalogue = None  # bytes; else one that has all that the Pki knows of
        self.open = []
        self.stopped = False
        self.mute = mute  # take the connection, say nothing
        self.context = None
        if not plain:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(cert, key)
            self.context.load_verify_locations(client_ca or pki.ca)
            self.context.verify_mode = ssl.CERT_REQUIRED
            if max_tls:
                self.context.maximum_version = max_tls
            else:
                self.context.minimum_version = ssl.TLSVersion.TLSv1_3
        self.listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((address, port))
        self.port = self.listener.getsockname()[1]
        self.listener.listen(32)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while not self.stopped:
            try:
                raw, _ = self.listener.accept()
            except OSError:
                return
            if self.mute:
                self.open.append(raw)
            else:
                threading.Thread(target=self.serve, args=(raw,), daemon=True).start()

    def serve(self, raw):
        try:
            raw.settimeout(60)
            sock = self.context.wrap_socket(raw, server_side=True) if self.context else raw
        except (OSError, ssl.SSLError) as e:
            self.failures.append(str(e))
            raw.close()
            return
        with self.lock:
            self.connections += 1
            self.open.append(sock)
        try:
            stream = sock.makefile("rb")
            while True:
                request = self.read_request(stream)
                if request is None:
                    break
                with self.lock:
                    self.requests.append(request)
                    self.lock.notify_all()
                keep = self.override(request, sock) if self.override else None
                if keep is None:
                    self.answer(request, sock)
                elif not keep:
                    break
        except (OSError, ValueError):
            pass
        finally:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()

    @staticmethod
    def read_request(stream):
        line = stream.readline(65536).split()
        if len(line) < 2:
            return None
        headers = {}
        while True:
            h = stream.readline(65536).strip()
            if not h:
                break
            k, _, v = h.decode("latin-1").partition(":")
            headers[k.lower()] = v.strip()
        body = stream.read(int(headers.get("content-length", 0)))
        return Request(line[0].decode(), line[1].decode(), headers, body)

    def answer(self, r, sock):
        key = (r.method, r.path)
        if key == ("GET", "/v1/offers"):
            self.answer_offers(r, sock)
        elif key == ("PUT", "/v1/guests"):
            self.guests = json.loads(r.body)["guests"]
            reply(sock, 200, {"guests": len(self.guests)})
        elif key == ("POST", "/v1/reports"):
            with self.lock:
                for report in json.loads(r.body)["reports"]:
                    if report["seq"] == self.acked + 1:
                        self.acked = report["seq"]
                        self.reports[report["seq"]] = report
                self.lock.notify_all()
            reply(sock, 200, {"acked": self.acked})
        elif key == ("POST", "/v1/tokens"):
            reply(sock, 200, {"token": "ab" * 32, "expires_ms": 1900000000000})
        elif key == ("POST", "/v1/requests"):
            if json.loads(r.body)["fix"] == "unknown-fix":
                reply(sock, 404, {"error": {"code": "not-found", "text": "no such fix"}})
            else:
                reply(sock, 200, {"seq": 1})
        elif key == ("GET", "/v1/catalogue"):
            reply(sock, 200, self.pki.catalogue(int(time.time())) if self.catalogue is None else self.catalogue)
        elif r.path.startswith("/v1/blobs/") and r.path[10:] in self.blobs:
            self.answer_blob(r, sock, self.blobs[r.path[10:]])
        else:
            reply(sock, 404, {"error": {"code": "not-found", "text": "no such thing"}})

    def answer_offers(self, r, sock):
        new = []
        cursor, end = int(r.query["cursor"]), time.monotonic() + int(r.query["wait_s"])
        with self.lock:
            while not self.stopped:
                new = [o for o in self.offers if o["seq"] > cursor]
                left = end - time.monotonic()
                if new or left <= 0:
                    break
                self.lock.wait(min(left, 1))
        reply(sock, 200, {"cursor": max([cursor] + [o["seq"] for o in new]), "offers": new})

    @staticmethod
    def answer_blob(r, sock, data):
        first, last = (int(x) for x in r.headers["range"].removeprefix("bytes=").split("-"))
        part = data[first:last + 1]
        reply(sock, 206, part, ["Content-Range: bytes %d-%d/%d" % (first, first + len(part) - 1, len(data))])

    def offer(self, **fields):
        with self.lock:
            self.offers.append(fields)
            self.lock.notify_all()

    def wait_requests(self, match, n=1, timeout=20):
        """Until n requests match; returns them."""
        end = time.monotonic() + timeout
        with self.lock:
            while True:
                found = [r for r in self.requests if match(r)]
                if len(found) >= n:
                    return found
                left = end - time.monotonic()
                if left <= 0:
                    raise TimeoutError("%d of %d requests came" % (len(found), n))
                self.lock.wait(left)

    def drop_connections(self):
        with self.lock:
            for sock in self.open:
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
            self.open.clear()

    def close(self):
        self.stopped = True
        with self.lock:
            self.lock.notify_all()
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        self.drop_connections()


class Agent:
    """fixgated's end: starts fixgate-net, sends frames, waits for messages."""

    def __init__(self, world, port, address="127.0.0.1", ca=None, cert=None, key=None, start=True, cursor=0, acked=0, extra=(),
                 **more):
        self.dir = tempfile.mkdtemp(prefix="agent-", dir=world.dir)
        os.chmod(self.dir, 0o755)
        cert_, key_ = world.agent_files
        self.conf = os.path.join(self.dir, "agent.conf")
        with open(self.conf, "w") as f:
            f.write("[server]\naddress = %s\nport = %d\nca = %s\ncert = %s\nkey = %s\n[trust]\ndir = %s\n"
                    "[agent]\nstate_dir = %s/state\nuser = %s\n" %
                    (address, port, ca or world.pki.ca, cert or cert_, key or key_, world.trust, self.dir, USER))
        argv = [os.path.join(BIN, "fixgate-net"), "--config", self.conf, *extra]
        become = {}
        if SANITIZED:
            # A sanitizer needs more than the sandbox gives, and --no-sandbox is refused to root.
            argv[0] = world.copy
            argv.append("--no-sandbox")
            pw = pwd.getpwnam(USER)
            for path in (key or key_, self.dir):
                os.chown(path, pw.pw_uid, pw.pw_gid)
            become = {"user": pw.pw_uid, "group": pw.pw_gid, "extra_groups": []}
        self.sock, other = socket.socketpair()
        self.log_path = os.path.join(self.dir, "log")
        self.log = open(self.log_path, "wb")
        # sh moves the socket to descriptor 3: no code of ours runs between fork and exec, so threads may start agents.
        self.process = subprocess.Popen(["/bin/sh", "-c", 'exec 3<&0 </dev/null; exec "$@"', "sh", *argv], stdin=other,
                                        stdout=self.log, stderr=self.log, **become)
        other.close()
        self.buffer, self.queue = b"", []
        if start:
            self.send(type="start", cursor=cursor, acked=acked, **more)

    def send(self, **message):
        data = json.dumps(message).encode()
        self.sock.sendall(struct.pack(">I", len(data)) + data)

    def receive(self, timeout):
        end = time.monotonic() + timeout
        while True:
            if len(self.buffer) >= 4:
                n = struct.unpack(">I", self.buffer[:4])[0]
                if len(self.buffer) >= 4 + n:
                    message = json.loads(self.buffer[4:4 + n])
                    self.buffer = self.buffer[4 + n:]
                    return message
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.sock], [], [], left)[0]:
                raise TimeoutError("no message")
            data = self.sock.recv(1 << 20)
            if not data:
                raise EOFError("fixgate-net hung up: " + self.text())
            self.buffer += data

    def expect(self, kind, timeout=20, **fields):
        """The next message of this type with these fields; others stay in the queue."""
        end = time.monotonic() + timeout
        tried = 0
        while True:
            while tried < len(self.queue):
                m = self.queue[tried]
                if m["type"] == kind and all(m.get(k) == v for k, v in fields.items()):
                    return self.queue.pop(tried)
                tried += 1
            try:
                self.queue.append(self.receive(end - time.monotonic()))
            except TimeoutError:
                raise TimeoutError("no %s %s; there is %s; log: %s" %
                                   (kind, fields, self.queue, self.text())) from None

    def none(self, kind, timeout):
        """No message of this type for so long."""
        try:
            m = self.expect(kind, timeout)
        except TimeoutError:
            return
        raise AssertionError("unexpected " + str(m))

    def text(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()[-3000:]

    def status(self, key):
        with open("/proc/%d/status" % self.process.pid) as f:
            for line in f:
                if line.startswith(key + ":"):
                    return line.split(":", 1)[1].strip()
        raise KeyError(key)

    def alive(self):
        return self.process.poll() is None

    def heads(self):
        return os.path.join(self.dir, "state/net/heads")

    def close(self, timeout=15):
        """Hangs up, as fixgated does at its end; returns the exit status."""
        self.sock.close()
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("fixgate-net did not end: " + self.text()) from None
        finally:
            self.log.close()


class World:
    """A temporary folder with keys, trust, one fix."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="fixgate-net-")
        os.chmod(self.dir, 0o755)
        self.pki = Pki(self.dir)
        self.server_files = self.pki.server("server")
        self.agent_files = self.pki.issue("agent", "/OU=agent/CN=xen1", ["extendedKeyUsage=clientAuth"])
        self.trust = os.path.join(self.dir, "keys/trust")
        self.fix_tool("keygen", "--out", os.path.join(self.dir, "keys"))
        os.chmod(os.path.join(self.dir, "keys"), 0o755)
        self.bundle = self.build("net-fix", 3)
        # Copied while there are no threads: what a child of another thread has open for writing cannot be executed.
        self.copy = shutil.copy(os.path.join(BIN, "fixgate-net"), self.dir) if SANITIZED else None

    @staticmethod
    def fix_tool(*args):
        subprocess.run([os.path.join(BIN, "fixgate-fix"), *args], check=True, stdout=subprocess.DEVNULL)

    def build(self, fix, version, expires="2090-01-01T00:00:00Z", keys="keys"):
        payload = os.path.join(self.dir, "payload")
        os.makedirs(payload, exist_ok=True)
        with open(os.path.join(payload, "run"), "w") as f:
            f.write("#!/bin/sh\nexit 0\n")
        os.chmod(f.name, 0o755)
        manifest = os.path.join(self.dir, "manifest.json")
        with open(manifest, "w") as f:
            json.dump({"format": 1, "id": fix, "version": version, "title": "a fix of the tests", "severity": "critical",
                       "published": "2020-01-01T00:00:00Z", "expires": expires, "applies_to": {"os": [{"id": "debian"}]},
                       "entry": "run", "context": "chroot", "timeout_s": 60}, f)
        out = os.path.join(self.dir, "%s-%d.fix" % (fix, version))
        self.fix_tool("build", payload, "--manifest", manifest, "--out", out, "--key",
                      os.path.join(self.dir, keys, "publisher.key"), "--cert",
                      os.path.join(self.dir, keys, "publisher.pem"))
        with open(out, "rb") as f:
            data = f.read()
        if keys == "keys":
            self.pki.fixes[fix, version] = data
        return data

    def server(self, files=None, **kw):
        if files:
            return FixServer(self.pki, *files, **kw)
        return FixServer(self.pki, *self.server_files, **kw)

    def close(self):
        shutil.rmtree(self.dir, ignore_errors=True)


def end_process(process):
    process.send_signal(signal.SIGTERM)
    return process.wait(20)
