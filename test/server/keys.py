#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/keys.md, performed: ceremony with tokens, two signatures, revocation lists, a CA that changes, is lost, is stolen, a new
online key.  The commands that stand in the page are run as they stand there: TAP."""
import os
import re
import shlex
import shutil
import ssl
import subprocess
import sys
import time

import fgserver
from fgserver import ADMIN, AGENT, BIN, ROOT, SANITIZED, ok, same

UNTRUSTED = 7
SOFTHSM = "/usr/lib/softhsm/libsofthsm2.so"
ran = []


def sh(work, line, env=None, expect=0):
    """A line as an operator types it."""
    done = subprocess.run(["bash", "-ec", line], cwd=work, capture_output=True, text=True, timeout=120, check=False,
                          stdin=subprocess.DEVNULL,
                          env={**os.environ, "PATH": BIN + ":" + os.environ["PATH"], **(env or {})})
    ran.append(line)
    if expect is not None and done.returncode != expect:
        raise RuntimeError(f"{line}: {done.returncode}, not {expect}: {done.stdout} {done.stderr}")
    return done


def page():
    with open(os.path.join(ROOT, "docs", "keys.md"), encoding="utf-8") as f:
        text = f.read()
    blocks = [b.strip() for b in re.findall(r"^```\n(.*?)^```", text, re.M | re.S)]
    inline = re.findall(r"`((?:fixgate-\w+ |echo |openssl )[^`]+)`", " ".join(text.split()))
    return blocks, inline


def make_payload(work):
    os.makedirs(os.path.join(work, "payload"))
    with open(os.path.join(work, "payload", "run"), "w", encoding="ascii") as f:
        f.write("#!/bin/sh\nexit 0\n")
    os.chmod(f.name, 0o755)
    with open(os.path.join(work, "fix.json"), "w", encoding="ascii") as f:
        f.write('{"format":1,"id":"fix-1","version":1,"title":"t","applies_to":{"arch":["amd64"]},"entry":"run"}')


def token(work, name, env):
    """The publisher's key goes into a token, and the file away."""
    sh(work, f"softhsm2-util --init-token --free --label {name} --pin 1234 --so-pin 1234", env)
    sh(work, f"openssl pkcs8 -topk8 -nocrypt -in {name}/publisher.key -out {name}.p8")
    sh(work, f"softhsm2-util --import {name}.p8 --token {name} --label publisher --id 01 --pin 1234", env)
    os.unlink(os.path.join(work, name, "publisher.key"))
    os.unlink(os.path.join(work, name + ".p8"))


def test_ceremony(work, blocks, inline):
    env = {"SOFTHSM2_CONF": os.path.join(work, "softhsm.conf"), "PKCS11_MODULE_PATH": SOFTHSM}
    if SANITIZED:
        env["ASAN_OPTIONS"] = "detect_leaks=0"  # the token's library leaks
    os.makedirs(os.path.join(work, "tokens"))
    with open(env["SOFTHSM2_CONF"], "w", encoding="ascii") as f:
        f.write(f"directories.tokendir = {work}/tokens\n")
    alice, bob = (next(c for c in inline if f"--out {who}" in c) for who in ("alice", "bob"))
    sh(work, alice)
    sh(work, bob)
    shutil.copytree(os.path.join(work, "alice", "trust"), os.path.join(work, "trust"))
    ok(os.path.exists(f"{work}/alice/publisher-ca.key") and not os.path.exists(f"{work}/bob/publisher-ca.key"),
       "the ceremony makes one CA and two publishers")
    os.rename(f"{work}/alice/publisher-ca.key", f"{work}/ca-on-its-medium.key")
    token(work, "alice", env)
    token(work, "bob", env)
    sh(work, next(c for c in inline if c.startswith("echo 2 ")))
    print_ = sh(work, next(c for c in inline if c.startswith("openssl x509"))).stdout
    ok(print_.lower().startswith("sha256 fingerprint="), "its fingerprint can be compared", print_)
    make_payload(work)
    # The PIN is asked for; here it is in the URI.
    lines = blocks[0].replace("type=private'", "type=private;pin-value=1234'").splitlines()
    same([shlex.split(line)[:2][1] for line in lines], ["build", "sign", "sign", "verify"], "signing, as the page says it")
    for line in lines[:2]:
        sh(work, line, env)
    same(sh(work, lines[3], expect=None).returncode, UNTRUSTED, "one of two signatures is not enough")
    sh(work, lines[2], env)
    ok(sh(work, lines[3]).returncode == 0, "both are")
    os.unlink(f"{work}/trust/threshold")


def test_revocation(work, blocks):
    """Mallory's certificate on a list that goes with the trust folder."""
    sh(work, "cp ca-on-its-medium.key alice/publisher-ca.key; fixgate-fix keygen --out mallory --ca alice --name Mallory")
    sh(work, "fixgate-fix build payload --manifest fix.json -o mallory.fix --key mallory/publisher.key --cert "
             "mallory/publisher.pem; fixgate-fix verify --trust trust mallory.fix")
    sh(work, "cp alice/publisher-ca.pem alice/publisher-ca.key .; cp mallory/publisher.pem mallory.pem")
    sh(work, blocks[3])
    same(sh(work, "fixgate-fix verify --trust trust mallory.fix", expect=None).returncode, UNTRUSTED,
         "who is on the list does not count")
    ok(sh(work, "fixgate-fix verify --trust trust fix-1.fix").returncode == 0, "the others do")
    os.unlink(f"{work}/trust/crl.pem")


def test_ca_changes(work):
    sh(work, "fixgate-fix keygen --out new --name 'New CA'; cp -r trust both; cp -r new/trust new-trust")
    sh(work, "cat trust/publisher-ca.pem new-trust/publisher-ca.pem > both/publisher-ca.pem")
    sh(work, "fixgate-fix build payload --manifest fix.json -o two.fix --key mallory/publisher.key --cert mallory/publisher.pem"
             "; fixgate-fix sign --key new/publisher.key --cert new/publisher.pem two.fix")
    for folder in ("trust", "both", "new-trust"):
        same(sh(work, f"fixgate-fix verify --trust {folder} two.fix", expect=None).returncode, 0,
             f"signed under both CAs, it is taken with the folder '{folder}'")
    same(sh(work, "fixgate-fix verify --trust new-trust fix-1.fix", expect=None).returncode, UNTRUSTED,
         "with the new folder alone old signatures count nowhere")
    same(sh(work, "fixgate-fix sign --key mallory/publisher.key --cert mallory/publisher.pem two.fix", expect=None).returncode, 13,
         "a key signs once")


def test_ca_lost(work):
    os.unlink(f"{work}/alice/publisher-ca.key")
    os.unlink(f"{work}/publisher-ca.key")
    done = sh(work, "fixgate-fix keygen --out dave --ca alice --name Dave", expect=None)
    ok(done.returncode != 0 and not os.path.exists(f"{work}/dave/publisher.pem"), "without the CA's key no publisher is made")
    ok(sh(work, "fixgate-fix build payload --manifest fix.json -o still.fix --key mallory/publisher.key --cert "
                "mallory/publisher.pem; fixgate-fix verify --trust trust still.fix").returncode == 0,
       "those that are go on signing")


def test_server(s, work, blocks, inline):
    before = s.call(ADMIN, "GET", "/v1/catalogue").json["generation"]
    sh(work, blocks[1].replace("/var/lib/fixgate-server", s.dir).replace("--user fixgate-server", "--user root"))
    same(s.call(ADMIN, "GET", "/v1/catalogue").json["generation"], before + 1, "a new online key: the next generation")
    where = f"--dir {s.dir} --server https://127.0.0.1:{s.port}"
    same(sh(work, f"fixgate-admin {where} catalogue", expect=None).returncode, 0, "the page's command shows its end")
    revoke = next(c for c in inline if "revoke-signer" in c)
    same(sh(work, revoke.replace("fixgate-admin", "fixgate-admin " + where).replace("publisher.pem", "mallory.pem"),
            expect=None).returncode, 0, "a signer's key is revoked")
    carol = next(c for c in inline if "--out carol" in c)
    sh(work, "cp -r new ceremony; " + carol)
    ok(os.path.exists(f"{work}/carol/publisher.pem"), "and a new publisher made under the CA that hosts pin")


def served(s):
    with s.tls() as t:
        return t.getpeercert()


def reload(s):
    """The certificate that is served after it."""
    ok(s.reload(), "the server reads its certificate again")
    return served(s)


def test_server_certificate(s, work, command):
    """The server's certificate is about to end."""
    d, first = s.dir, served(s)
    sh(work, f"openssl req -new -key {d}/server.key -subj /CN=fixgate-server | openssl x509 -req -CA {d}/server-ca.pem "
             f"-CAkey {d}/server-ca.key -extfile <(echo extendedKeyUsage=serverAuth; echo "
             f"subjectAltName=IP:127.0.0.1,IP:::1,DNS:localhost) -days 29 -out short.pem; cp short.pem {d}/server.pem")
    ok("server.pem ends at" not in s.log_text(), "a certificate of a year is not warned of")
    short = reload(s)
    ok("server.pem ends at" in s.log_text(), "one of 29 days is", s.log_text()[-500:])
    same(s.metric("fixgate_server_certificate_end_seconds"), ssl.cert_time_to_seconds(short["notAfter"]), "the metric is its end")
    key = open(f"{d}/server.key", encoding="ascii").read()
    command = command.replace("/var/lib/fixgate-server", d)
    os.rename(f"{d}/server-ca.key", f"{d}/away")
    ok(sh(work, command, expect=None).returncode != 0, "without the CA's key it is not renewed")
    os.rename(f"{d}/away", f"{d}/server-ca.key")
    same(open(f"{d}/server.pem", "rb").read(), open(f"{work}/short.pem", "rb").read(), "and stays as it was")
    sh(work, command)
    same(served(s)["serialNumber"], short["serialNumber"], "renewed it is not served yet")
    new = reload(s)
    ok(ssl.cert_time_to_seconds(new["notAfter"]) > time.time() + 364 * 86400, "after a reload it is, for a year", new)
    same(set(new["subjectAltName"]), set(first["subjectAltName"]), "for the same addresses")
    same(open(f"{d}/server.key", encoding="ascii").read(), key, "with the same key")
    same(s.metric("fixgate_server_certificate_end_seconds"), ssl.cert_time_to_seconds(new["notAfter"]), "and the metric is that end")
    same(s.call(AGENT, "GET", "/v1/offers").status, 200, "hosts go on with what they have")
    sh(work, command + " --address 127.0.0.1,fix.example.org")
    same(set(reload(s)["subjectAltName"]), {("IP Address", "127.0.0.1"), ("DNS", "fix.example.org")}, "or for others")


def tests(s):
    work = os.path.join(s.work, "ceremony-room")
    os.makedirs(work)
    blocks, inline = page()
    same((len(blocks), [b.split()[0] for b in blocks]), (4, ["fixgate-fix", "fixgate-server", "fixgate-server", "touch"]), "the page's commands")
    test_ceremony(work, blocks, inline)
    test_revocation(work, blocks)
    test_ca_changes(work)
    test_ca_lost(work)
    test_server(s, work, blocks, inline)
    test_server_certificate(s, work, blocks[2])
    missed = [c for c in inline if not any(re.sub(r"\W+", " ", c.split(" --reason")[0].replace("fixgate-admin ", ""))
                                           .replace("publisher pem", "").strip() in re.sub(r"\W+", " ", r) for r in ran)]
    same(missed, [], "every command of the page was run")


sys.exit(fgserver.main(tests, workers=1))
