#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""What fixgate-net takes and refuses by the catalogue; then keys that change, are lost and are stolen, with the real server.
TAP."""
import contextlib
import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from netkit import BIN, GUEST, Agent, FixServer, Tap, World, openssl  # noqa: E402

tap = Tap()
world = World()
folder = os.path.join(world.dir, "server")
question = 0


def offer_of(data, fix="net-fix", version=3):
    return {"fix": fix, "version": version, "digest": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def ask(agent, offer):
    """The message that answers a question for this head."""
    global question
    question += 1
    agent.send(type="head", id=question, offer=offer)
    end = time.monotonic() + 30
    while time.monotonic() < end:
        for i, m in enumerate(agent.queue):
            if m.get("id") == question:
                return agent.queue.pop(i)
        agent.queue.append(agent.receive(end - time.monotonic()))
    raise TimeoutError


def refused(answer, says, code):
    assert answer["type"] == "failed" and answer["code"] == code and says in answer["text"], answer


def taken(answer, version=None):
    assert answer["type"] == "head-verified", answer
    assert version is None or answer["catalogue"]["version"] == version, answer


def key_of(cert):
    text = subprocess.run(["openssl", "x509", "-in", cert, "-noout", "-pubkey"], check=True, stdout=subprocess.PIPE).stdout
    der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "DER"], input=text, check=True,
                         stdout=subprocess.PIPE).stdout
    return hashlib.sha256(der).hexdigest()


# ---- by the catalogue alone, with a server that says what the test wants ----

def with_catalogue(text, catalogue, offer, check, start=None):
    """A new fixgate-net each, so that nothing is remembered."""
    server = world.server()
    for data in world.pki.fixes.values():
        server.blobs[hashlib.sha256(data).hexdigest()] = data
    server.catalogue = catalogue
    agent = Agent(world, server.port, **({"catalogue": start} if start else {}))
    with tap.case(text):
        agent.expect("online", online=True)
        check(ask(agent, offer))
        assert agent.close() == 0, agent.text()
    server.close()


def refusals():
    pki, good = world.pki, offer_of(world.bundle)
    other = world.build("other-fix", 1)
    newer = world.build("net-fix", 5)
    tls = pki.issue("tls", "/CN=xen1/serialNumber=1", ["extendedKeyUsage=clientAuth", "keyUsage=critical,digitalSignature",
                                                       "subjectKeyIdentifier=hash", "authorityKeyIdentifier=keyid"])
    foreign = type(pki)(pki.folder, "foreign")
    foreign.fixes = pki.fixes
    swapped = dict(pki.fixes)
    swapped["net-fix", 3], swapped["other-fix", 1] = other, world.bundle
    without = {k: v for k, v in pki.fixes.items() if k != ("net-fix", 3)}
    unreachable, untrusted = "unreachable", "untrusted"
    cases = [
        ("none", b"", "no CMS", unreachable, None),
        ("no catalogue but text", b'{"format":1}', "no CMS", unreachable, None),
        ("one of another CA", foreign.catalogue(key=foreign.online(name="foreign-online")), "signers count", unreachable, None),
        ("one signed with a key for TLS", pki.catalogue(key=tls), "not for signing catalogues", unreachable, None),
        ("one signed with a publisher's key", pki.catalogue(key=(world.dir + "/keys/publisher.pem",
                                                                 world.dir + "/keys/publisher.key")),
         "not for signing catalogues", unreachable, None),
        ("an expired one", pki.catalogue(published=-7200), "expired", unreachable, None),
        ("one from the future: the clock here is behind", pki.catalogue(published=3 * 86400), "clock", unreachable, None),
        ("an older version", pki.catalogue(6), "older", unreachable, {"generation": 1, "version": 7}),
        ("an older generation", pki.catalogue(8, generation=1), "older", unreachable, {"generation": 2, "version": 1}),
        ("a fix that is not in it", pki.catalogue(fixes=without), "not in the catalogue", untrusted, None),
        ("a fix that was withdrawn", pki.catalogue(withdrawn=[("net-fix", 4)]), "withdrawn", untrusted, None),
        ("a manifest swapped between fixes", pki.catalogue(fixes=swapped), "another bundle", untrusted, None),
        ("a revoked signer", pki.catalogue(revoked=[key_of(world.dir + "/keys/publisher.pem")]), "key is revoked", untrusted,
         None),
        ("a revoked publisher CA", pki.catalogue(revoked=[key_of(world.dir + "/keys/publisher-ca.pem")]), "key is revoked",
         untrusted, None),
    ]
    for text, catalogue, says, code, start in cases:
        with_catalogue("refused: " + text, catalogue, good, lambda m, s=says, c=code: refused(m, s, c), start)
    with_catalogue("the same version again is taken", pki.catalogue(7), good, lambda m: taken(m, 7),
                   {"generation": 1, "version": 7})
    with_catalogue("a new generation may begin anew", pki.catalogue(1, generation=2), good, lambda m: taken(m, 1),
                   {"generation": 1, "version": 2 ** 63 - 1})
    with_catalogue("the withdrawal of an older version touches no newer one", pki.catalogue(withdrawn=[("net-fix", 4)]),
                   offer_of(newer, version=5), taken)
    with_catalogue("another fix's bundle under this offer", pki.catalogue(), offer_of(other), lambda m: refused(m, "manifest", untrusted))


def signed_by(usage):
    """world.bundle as if a certificate of the publishers' CA with that usage had signed it: fixgate-fix would not sign."""
    keys, d = world.dir + "/keys/", world.dir
    with open(d + "/usage.ext", "w") as f:
        f.write("basicConstraints=critical,CA:FALSE\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid:always\n" + usage)
    openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", d + "/usage.key", "-subj",
            "/CN=Usage", "-out", d + "/usage.csr")
    openssl("x509", "-req", "-in", d + "/usage.csr", "-CA", keys + "publisher-ca.pem", "-CAkey", keys + "publisher-ca.key", "-days", "1",
            "-extfile", d + "/usage.ext", "-out", d + "/usage.pem")
    length, hashes = (int.from_bytes(world.bundle[at:at + 8], "big") for at in (16, 24))
    with open(d + "/usage.in", "wb") as f:
        f.write(world.bundle[80:80 + length])
    openssl("cms", "-verify", "-noverify", "-inform", "DER", "-in", d + "/usage.in", "-binary", "-out", d + "/usage.json")
    openssl("cms", "-sign", "-in", d + "/usage.json", "-binary", "-nodetach", "-outform", "DER", "-md", "sha256", "-signer",
            d + "/usage.pem", "-inkey", d + "/usage.key", "-out", d + "/usage.cms")
    with open(d + "/usage.cms", "rb") as f:
        cms = f.read()
    header = world.bundle[:16] + len(cms).to_bytes(8, "big") + world.bundle[24:48]
    rest = cms + world.bundle[80 + length:80 + length + hashes]
    return header + hashlib.sha256(header + rest).digest() + rest + world.bundle[80 + length + hashes:]


def usages():
    """The same way with the right usage is taken: it is the usage that counts."""
    right = "keyUsage=critical,digitalSignature\nextendedKeyUsage=codeSigning\n"
    cases = [("for code signing", right, None)]
    cases += [(text, right.replace(a, b), "not for code signing") for text, a, b in (
        ("for TLS servers", "=codeSigning", "=serverAuth"), ("for mail", "=codeSigning", "=emailProtection"),
        ("for anything", "=codeSigning", "=anyExtendedKeyUsage"), ("that does not say for what", "extendedKeyUsage=codeSigning\n", ""))]
    cases += [("for code signing that may not sign", right.replace("digitalSignature", "keyAgreement"), "sign")]
    kept = world.pki.fixes["net-fix", 3]
    for text, usage, says in cases:
        world.pki.fixes["net-fix", 3] = data = signed_by(usage)
        with_catalogue(("refused: " if says else "taken: ") + "a bundle signed with a certificate " + text, world.pki.catalogue(),
                       offer_of(data), (lambda m, s=says: refused(m, s, "untrusted")) if says else taken)
    world.pki.fixes["net-fix", 3] = kept


def sizes():
    """As many fixes as there may be, with the longest names, and one more."""
    many = {("%05d-%s" % (i, "x" * 122), 2 ** 63 - 1): b"%080d" % i for i in range(8190)}
    many["net-fix", 3] = world.bundle
    with_catalogue("a catalogue of 8191 fixes is taken, inside the sandbox", world.pki.catalogue(fixes=many),
                   offer_of(world.bundle), taken)
    many["one", 1] = many["two", 1] = b"%080d" % 1
    with_catalogue("refused: a catalogue of 8193 fixes", world.pki.catalogue(fixes=many), offer_of(world.bundle),
                   lambda m: refused(m, "at most 8192", "unreachable"))
    with_catalogue("refused: a catalogue of 5 MiB", bytes(5 << 20), offer_of(world.bundle),
                   lambda m: refused(m, "catalogue", "unreachable"))


def thresholds():
    with open(os.path.join(world.trust, "threshold"), "w") as f:
        f.write("2\n")
    with_catalogue("refused: too few signatures", world.pki.catalogue(), offer_of(world.bundle),
                   lambda m: refused(m, "1 of 2 needed signers", "untrusted"))
    os.unlink(os.path.join(world.trust, "threshold"))


def while_running():
    server = world.server()
    offer = offer_of(world.bundle)
    server.blobs[offer["digest"]] = world.bundle
    agent = Agent(world, server.port)
    agent.expect("online", online=True)
    asked = lambda: len([r for r in server.requests if r.path == "/v1/catalogue"])  # noqa: E731
    with tap.case("many questions at once: one catalogue"):
        server.catalogue = world.pki.catalogue(10)
        for _ in range(20):
            taken(ask(agent, offer), 10)
        assert asked() == 1, asked()
    with tap.case("a fix that is not in it yet: asked again at once, then taken"):
        late = world.build("late-fix", 1)
        server.blobs[hashlib.sha256(late).hexdigest()] = late
        server.catalogue = world.pki.catalogue(11)
        taken(ask(agent, offer_of(late, "late-fix", 1)), 11)
        assert asked() == 2, asked()
    with tap.case("what it took in this run it does not go behind either: an older one that has the fix is fetched and refused"):
        later = world.build("later-fix", 1)
        server.blobs[hashlib.sha256(later).hexdigest()] = later
        server.catalogue = world.pki.catalogue(10)
        before = asked()
        refused(ask(agent, offer_of(later, "later-fix", 1)), "older", "unreachable")
        assert asked() == before + 1, (before, asked())
        taken(ask(agent, offer), 11)  # by the one that it has
    with tap.case("nor behind its generation; then a newer one is taken"):
        server.catalogue = world.pki.catalogue(12, generation=2)
        taken(ask(agent, offer_of(later, "later-fix", 1)), 12)
        last = world.build("last-fix", 1)
        server.blobs[hashlib.sha256(last).hexdigest()] = last
        server.catalogue = world.pki.catalogue(13, generation=1)
        refused(ask(agent, offer_of(last, "last-fix", 1)), "older", "unreachable")
        server.catalogue = world.pki.catalogue(1, generation=3)
        taken(ask(agent, offer_of(last, "last-fix", 1)), 1)
    assert agent.alive() and agent.close() == 0, agent.text()
    server.close()


# ---- keys: the real server ----

def tool(name, *args, expect=0):
    r = subprocess.run([os.path.join(BIN, name), *args], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    assert r.returncode == expect, "%s %s: %d %s%s" % (name, args, r.returncode, r.stdout, r.stderr)
    return r.stdout + r.stderr


def admin(*args, **kw):
    return tool("fixgate-admin", "--dir", folder, *args, **kw)


def serve(port):
    with open(os.path.join(world.dir, "server.log"), "ab") as log:
        process = subprocess.Popen([os.path.join(BIN, "fixgate-server"), "serve", "--dir", folder, "--listen",
                                    "127.0.0.1:%d" % port], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    end = time.monotonic() + 20
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return process
        time.sleep(0.05)
    raise AssertionError("fixgate-server does not listen")


def host(port, mark=None):
    where = os.path.join(world.dir, "xen1")
    return Agent(world, port, ca=where + "/server-ca.pem", cert=where + "/agent.pem", key=where + "/agent.key",
                 **({"catalogue": mark} if mark else {}))


def publish(fix, version, keys="keys", expect=0):
    data = world.build(fix, version, keys=keys)
    return data, admin("publish", os.path.join(world.dir, "%s-%d.fix" % (fix, version)), expect=expect)


def ask_new(port, offer, mark=None):
    """A host that was started now, as after a reboot."""
    agent = host(port, mark)
    try:
        agent.expect("online", online=True)
        return ask(agent, offer)
    finally:
        agent.close()


def withdrawals(port):
    first, _ = publish("net-fix", 3)
    second, _ = publish("net-fix", 4)
    with tap.case("what was published is in the catalogue"):
        taken(ask_new(port, offer_of(first)))
        taken(ask_new(port, offer_of(second, version=4)))
        fixes = json.loads(admin("catalogue", "--json"))["catalogue"]["fixes"]
        assert [(f["id"], f["version"], f["bundle"]) for f in fixes] == [
            ("net-fix", v, hashlib.sha256(d).hexdigest()) for v, d in ((3, first), (4, second))], fixes
    with tap.case("a fix is withdrawn: up to a version, and not offered any more"):
        admin("withdraw", "net-fix", "--version", "3", "--reason", "it breaks printing")
        refused(ask_new(port, offer_of(first)), "withdrawn", "untrusted")
        taken(ask_new(port, offer_of(second, version=4)))
        admin("withdraw", "net-fix")
        refused(ask_new(port, offer_of(second, version=4)), "withdrawn", "untrusted")
        assert "withdrawn" in admin("offer", "--fix", "net-fix", "--all", expect=3)
        assert "it breaks printing" in admin("audit")
        admin("withdraw", "no-such-fix", expect=3)
    with tap.case("offers of a fix that is withdrawn are closed, and clients are not said to have one"):
        offered, _ = publish("offered-fix", 1)
        guest = {"uuid": GUEST, "name": "web1", "toolstack": "xl", "state": "running", "identity": "config", "nics": []}
        assert call(port, world.dir + "/xen1/agent", "PUT", "/v1/guests", {"guests": [guest]})[0] == 200
        admin("offer", "--fix", "offered-fix", "--guest", "web1")
        status = lambda: {c["uuid"]: c for c in json.loads(admin("clients", "--json"))["clients"]}[GUEST]  # noqa: E731
        assert status()["fixes"]["offered-fix"]["status"] == "offered"
        assert json.loads(admin("withdraw", "offered-fix", "--json"))["closed"] == 1
        assert json.loads(admin("offers", "--json"))["offers"] == []
        assert status()["fixes"]["offered-fix"]["status"] == "unknown", status()
    with tap.case("the next version of it is valid again"):
        third, _ = publish("net-fix", 5)
        taken(ask_new(port, offer_of(third, version=5)))


def online_key_rotation(port):
    """A new online key while a host runs, and one that is off; nothing is done on the hosts."""
    data, _ = publish("online-fix", 1)
    offer = offer_of(data, "online-fix", 1)
    with tap.case("the online key changes: hosts that run and hosts that were off take the new one"):
        running = host(port)
        running.expect("online", online=True)
        before = ask(running, offer)["catalogue"]
        tool("fixgate-server", "online-key", "--dir", folder)
        more, _ = publish("online-fix", 2)
        after = ask(running, offer_of(more, "online-fix", 2))["catalogue"]
        assert (before["generation"], after["generation"]) == (1, 2), (before, after)
        assert after["version"] > before["version"]
        running.close()
        assert ask_new(port, offer, before)["catalogue"]["generation"] == 2
    with tap.case("what the old key signs counts no more: stolen, and used for the highest version there is"):
        stolen = os.path.join(world.dir, "stolen.pem")
        shutil.copy(os.path.join(folder, "online.pem"), stolen)
        thief = FixServer(world.pki, folder + "/server.pem", folder + "/server.key", client_ca=folder + "/server-ca.pem")
        thief.blobs[offer["digest"]] = data
        thief.catalogue = world.pki.catalogue(2 ** 63 - 1, key=(stolen, stolen))
        seen = ask_new(thief.port, offer)["catalogue"]
        assert seen == {"generation": 2, "version": 2 ** 63 - 1}, seen
        refused(ask_new(port, offer, seen), "older", "unreachable")
        tool("fixgate-server", "online-key", "--dir", folder)
        seen = ask_new(port, offer, seen)["catalogue"]
        assert seen["generation"] == 3, seen
        refused(ask_new(thief.port, offer, seen), "older", "unreachable")
        thief.close()
    return offer


def restored(server, port, offer):
    """The database of yesterday: its catalogue's version would be an old one."""
    with tap.case("a server restored from a backup goes on above what hosts have seen"):
        database = os.path.join(folder, "fixgate.db")
        saved = os.path.join(world.dir, "yesterday.db")
        with contextlib.closing(sqlite3.connect(database, timeout=20)) as db, contextlib.closing(sqlite3.connect(saved)) as to:
            db.backup(to)
        for n in range(3):
            admin("revoke-signer", "%064x" % (n + 1))
        seen = ask_new(port, offer)["catalogue"]
        server.send_signal(signal.SIGTERM)
        server.wait(20)
        for end in ("-wal", "-shm"):
            if os.path.exists(database + end):
                os.unlink(database + end)
        shutil.copy(saved, database)
        time.sleep(max(0, seen["version"] + 1 - time.time()))  # the versions of a burst run ahead of the clock
        server = serve(port)
        again = ask_new(port, offer, seen)
        assert again["type"] == "head-verified" and again["catalogue"]["version"] >= seen["version"], (seen, again)
    return server


def publisher_key_lost(port):
    """docs/keys.md, "A publisher's key is lost or stolen": nothing is done on the hosts."""
    old, _ = publish("lost-fix", 1)
    with tap.case("a publisher's key is replaced under the same CA, both count for a while"):
        World.fix_tool("keygen", "--out", world.dir + "/carol", "--ca", world.dir + "/keys", "--name", "Carol")
        new, _ = publish("lost-fix", 2, keys="carol")
        taken(ask_new(port, offer_of(old, "lost-fix", 1)))
        taken(ask_new(port, offer_of(new, "lost-fix", 2)))
    with tap.case("the lost one is revoked: its fixes are refused, by hosts and at publishing"):
        admin("revoke-signer", world.dir + "/keys/publisher.pem", "--reason", "stolen")
        refused(ask_new(port, offer_of(old, "lost-fix", 1)), "key is revoked", "untrusted")
        _, text = publish("lost-fix", 9, expect=7)
        assert "key is revoked" in text, text
        admin("revoke-signer", world.dir + "/keys/publisher.pem", expect=13)
    with tap.case("what the new one signs goes on: the fix again, under the next version"):
        again, _ = publish("lost-fix", 3, keys="carol")
        taken(ask_new(port, offer_of(new, "lost-fix", 2)))
        taken(ask_new(port, offer_of(again, "lost-fix", 3)))
    with tap.case("another certificate for the stolen key does not help"):
        world_key = os.path.join(world.dir, "keys")
        openssl("req", "-new", "-key", world_key + "/publisher.key", "-subj", "/CN=Again", "-out", world.dir + "/again.csr")
        os.makedirs(world.dir + "/again", exist_ok=True)
        with open(world.dir + "/again.ext", "w") as f:
            f.write("basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=critical,codeSigning\n"
                    "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid:always\n")
        openssl("x509", "-req", "-in", world.dir + "/again.csr", "-CA", world_key + "/publisher-ca.pem", "-CAkey",
                world_key + "/publisher-ca.key", "-days", "1", "-extfile", world.dir + "/again.ext", "-out",
                world.dir + "/again/publisher.pem")
        os.symlink(world_key + "/publisher.key", world.dir + "/again/publisher.key")
        _, text = publish("lost-fix", 10, keys="again", expect=7)
        assert "key is revoked" in text, text
    return offer_of(again, "lost-fix", 3)


def call(port, who, method, path, body=None):
    """Status, headers and body; who: the folder and name of a certificate, or None."""
    context = ssl.create_default_context(cafile=folder + "/server-ca.pem")
    if who:
        context.load_cert_chain(who + ".pem", who + ".key")
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=20)
    connection.request(method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read()


def roles(port):
    people = {"agent": world.dir + "/xen1/agent", "admin": folder + "/admin", "nobody": None}
    for role in ("viewer", "operator"):
        tool("fixgate-server", "admin", role, "--role", role, "--dir", folder, "--out", world.dir + "/" + role)
        people[role] = "%s/%s/admin" % (world.dir, role)
    key, bad = {"key": "77" * 32, "name": "x"}, {"fix": "no-such-fix"}
    table = [("GET", "/v1/catalogue", None, {"agent": 200, "viewer": 200, "operator": 200, "admin": 200, "nobody": 401}),
             ("POST", "/v1/withdrawals", bad, {"agent": 403, "viewer": 403, "operator": 403, "admin": 404, "nobody": 401}),
             ("POST", "/v1/signers/revoked", key, {"agent": 403, "viewer": 403, "operator": 403, "nobody": 401, "admin": 201})]
    for method, path, body, expected in table:
        for role, status in expected.items():
            with tap.case("%s %s as %s: %d" % (method, path, role, status)):
                got = call(port, people[role], method, path, body)
                assert got[0] == status, got
    with tap.case("malformed withdrawals and revocations are refused"):
        for path, body in (("withdrawals", {}), ("withdrawals", {"fix": 1}), ("withdrawals", {"fix": "../x"}),
                           ("withdrawals", {"fix": "net-fix", "version": 0}), ("withdrawals", {"fix": "net-fix", "reason": "a\nb"}),
                           ("signers/revoked", {"key": "00", "name": "x"}), ("signers/revoked", {"key": "77" * 32}),
                           ("signers/revoked", {"key": "AB" * 32, "name": "x"})):
            got = call(port, people["admin"], "POST", "/v1/" + path, body)
            assert got[0] == 400, (path, body, got)
    with tap.case("a host gets CMS, with its mark as ETag"):
        _, headers, data = call(port, people["agent"], "GET", "/v1/catalogue")
        assert data[:1] == b"0" and headers["ETag"].startswith('"1.'), (headers, data[:20])


def renewal(port):
    with tap.case("a catalogue that is half a day old is made anew when somebody asks; a younger one is not"):
        read = lambda: json.loads(admin("catalogue", "--json"))["catalogue"]  # noqa: E731
        first = read()
        assert read() == first
        with contextlib.closing(sqlite3.connect(os.path.join(folder, "fixgate.db"), timeout=20)) as db, db:
            db.execute("UPDATE catalogue SET published_s = published_s - 43201")
        second = read()
        assert second["version"] > first["version"], (first, second)
        assert read() == second


def without_key(server, port, offer):
    key = os.path.join(folder, "online.pem")
    os.rename(key, key + ".away")
    with tap.case("the online key is gone: the last catalogue is given out, the log says why there is no newer one"):
        taken(ask_new(port, offer))
        with contextlib.closing(sqlite3.connect(os.path.join(folder, "fixgate.db"), timeout=20)) as db, db:
            db.execute("UPDATE catalogue SET published_s = published_s - 43201")
        taken(ask_new(port, offer))
        with open(os.path.join(world.dir, "server.log")) as log:
            assert "online key" in log.read()
    os.rename(key + ".away", key)
    for what, does in (("a fix is withdrawn", ("withdraw", "left-fix")), ("a signer is revoked", ("revoke-signer", "5" * 64))):
        version = 1 if does[0] == "withdraw" else 2
        left, _ = publish("left-fix", version, keys="carol")
        taken(ask_new(port, offer_of(left, "left-fix", version)))
        os.rename(key, key + ".away")
        with tap.case("while the key is gone %s: no process gives out the catalogue from before, and the administrator is told" % what):
            said = admin(*does, expect=12)
            assert "no catalogue can be made" in said and "run fixgate-server online-key" in said, said
            statuses = [call(port, world.dir + "/xen1/agent", "GET", "/v1/catalogue")[0] for _ in range(40)]
            assert set(statuses) == {404}, statuses
        os.rename(key + ".away", key)
        with tap.case("the key is back: the catalogue has it, from every process"):
            seen = [json.loads(call(port, folder + "/admin", "GET", "/v1/catalogue")[2])["catalogue"] for _ in range(20)]
            for c in seen:
                there = [f["id"] for f in c["withdrawn"]] if does[0] == "withdraw" else [r["key"] for r in c["revoked"]]
                assert does[1] in there, c
    os.rename(key, key + ".away")
    with tap.case("started without it: no catalogue rather than one that may be wrong"):
        server.send_signal(signal.SIGTERM)
        server.wait(20)
        server = serve(port)
        refused(ask_new(port, offer), "online key", "unreachable")
    with tap.case("the key is back: hosts go on"):
        os.rename(key + ".away", key)
        taken(ask_new(port, offer))
    return server


def real_server():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    tool("fixgate-server", "init", "--dir", folder, "--address", "127.0.0.1", "--port", str(port), "--trust", world.trust)
    tool("fixgate-server", "enrol", "xen1", "--dir", folder, "--out", os.path.join(world.dir, "xen1"))
    os.chmod(os.path.join(world.dir, "xen1"), 0o755)
    with open(os.path.join(folder, "server.conf"), "a") as f:
        f.write("workers = 2\n")
    server = serve(port)
    try:
        roles(port)
        renewal(port)
        withdrawals(port)
        offer = online_key_rotation(port)
        server = restored(server, port, offer)
        offer = publisher_key_lost(port)
        server = without_key(server, port, offer)
    finally:
        server.send_signal(signal.SIGTERM)
        status = server.wait(20)
    tap.ok(status == 0, "the server ends in order", "status %d" % status)


def main():
    try:
        refusals()
        usages()
        thresholds()
        sizes()
        while_running()
        real_server()
    finally:
        world.close()
    tap.end()


main()
