#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""fixgate-fix from keys to unpacked payload, as a publisher uses it.  TAP."""
import glob
import hashlib
import json
import os
import pty
import select
import shutil
import ssl
import stat
import subprocess
import sys
import tempfile
import termios
import time

TOP = os.path.abspath(os.path.join(os.path.dirname(__file__), "../../../.."))
FIX = os.path.join(os.environ.get("FG_BIN", os.path.join(TOP, "build/bin")), "fixgate-fix")
SOFTHSM = "/usr/lib/softhsm/libsofthsm2.so"
ENGINE = glob.glob("/usr/lib/*/engines-3/pkcs11.so")
MANIFEST = {
    "id": "demo-1", "version": 2, "title": "A fix", "severity": "critical", "published": "2026-01-01T00:00:00Z",
    "expires": "2040-01-01T00:00:00Z", "entry": "run", "post_check": "bin/check", "timeout_s": 60, "tools": ["dpkg"],
    "applies_to": {"packages": [{"type": "dpkg", "name": "demo", "less_than": "1.1"}]},
}
OK, FAILED, REFUSED, UNTRUSTED, FORMAT, USAGE, EXISTS, NOTFOUND = 0, 1, 4, 7, 8, 2, 13, 3
tests = []


def test(fn):
    tests.append(fn)
    return fn


def fix(*args, expect=OK, env=None):
    p = subprocess.run([FIX, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60,
                       env={**os.environ, **(env or {})})
    assert p.returncode == expect, "%s: exit %d, not %d: %s" % (args, p.returncode, expect, p.stderr)
    return p.stdout


def write(path, text, mode=0o644):
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "w") as f:
        f.write(text)
    os.chmod(path, mode)


def payload(path="payload"):
    write(path + "/run", "#!/bin/sh\nexit 0\n", 0o755)
    write(path + "/bin/check", "#!/bin/sh\nexit 0\n", 0o755)
    write(path + "/data/big", "".join("%d\n" % (i * 2654435761 % 2 ** 32) for i in range(40000)))
    os.symlink("run", path + "/again")


def manifest(name="m.json", **changes):
    m = {**MANIFEST, **changes}
    write(name, json.dumps({k: v for k, v in m.items() if v is not None}))
    return name


def build(out="a.fix", signed=True, **kw):
    args = ["build", "payload", "--manifest", manifest(), "-o", out, "--json"]
    if signed:
        args += ["--key", "k/publisher.key", "--cert", "k/publisher.pem"]
    return json.loads(fix(*args, **kw))


def error(text):
    return json.loads(text.splitlines()[0])["error"]


@test
def keys_are_made_once_and_kept_private():
    fix("keygen", "--out", "k", "--name", "Alice")
    assert stat.S_IMODE(os.stat("k/publisher.key").st_mode) == 0o600
    assert stat.S_IMODE(os.stat("k/publisher-ca.key").st_mode) == 0o600
    assert open("k/trust/publisher-ca.pem").read() == open("k/publisher-ca.pem").read()
    before = open("k/publisher.key").read()
    fix("keygen", "--out", "k", expect=EXISTS)
    assert open("k/publisher.key").read() == before
    fix("keygen", "--out", "k2", "--ca", "k", "--name", "Bob")
    assert open("k2/trust/publisher-ca.pem").read() == open("k/publisher-ca.pem").read()
    assert not os.path.exists("k2/publisher-ca.key")


@test
def round_trip():
    payload()
    made = build()
    data = open("a.fix", "rb").read()
    assert made["digest"] == hashlib.sha256(data).hexdigest() and made["bytes"] == len(data)
    assert made["fix"] == "demo-1" and made["version"] == 2
    said = json.loads(fix("verify", "--trust", "k/trust", "--json", "a.fix"))
    assert said["verified"] is True and said["signers"] == ["CN=Alice"] and said["digest"] == made["digest"]
    fix("extract", "a.fix", "-o", "out", "--trust", "k/trust")
    assert open("out/data/big").read() == open("payload/data/big").read()
    assert os.stat("out/run").st_mode & 0o111 and os.readlink("out/again") == "run"
    fix("extract", "a.fix", "-o", "out", "--trust", "k/trust", expect=EXISTS)


@test
def the_same_input_gives_the_same_bytes():
    one = build("r1.fix", signed=False)
    for path, _, files in os.walk("payload"):
        for f in files:
            os.utime(os.path.join(path, f), (1, 1), follow_symlinks=False)
    shutil.copytree("payload", "copied/elsewhere", symlinks=True)
    fix("build", "copied/elsewhere", "--manifest", "m.json", "-o", "r2.fix", env={"SOURCE_DATE_EPOCH": "77", "TZ": "Asia/Tokyo"})
    assert open("r1.fix", "rb").read() == open("r2.fix", "rb").read()
    assert one["digest"] == build("r3.fix", signed=False)["digest"]
    before = os.umask(0o077)
    try:
        if os.getuid() == 0:
            for path, folders, files in os.walk("copied/elsewhere"):
                for f in folders + files:
                    os.chown(os.path.join(path, f), 12345, 54321, follow_symlinks=False)
        fix("build", "copied/elsewhere", "--manifest", "m.json", "-o", "r4.fix")
    finally:
        os.umask(before)
    assert open("r1.fix", "rb").read() == open("r4.fix", "rb").read()


def many_files(folder, names):
    """Small files, which share fragments, and some of several blocks; the same whatever the order of names."""
    for name in names:
        n = int(name)
        write("%s/d%d/%s" % (folder, n % 7, name), ("%d\n" % n) * (1 + n * n % 1000) * (100 if n % 50 == 0 else 1), 0o644)
    write(folder + "/zeros", "\0" * 300000)
    write(folder + "/run", "#!/bin/sh\nexit 0\n", 0o755)
    write(folder + "/bin/check", "#!/bin/sh\nexit 0\n", 0o755)


@test
def the_same_bytes_wherever_it_is_built():
    """Order in which files were made and are listed, kind of file system, number of CPUs, locale, memory, attributes beside the content."""
    names = [str(n) for n in range(400)]
    many_files("many", names)
    fix("build", "many", "--manifest", manifest(), "-o", "many.fix")

    def again(what, folder, *before, env=None):
        p = subprocess.run([*before, FIX, "build", folder, "--manifest", "m.json", "-o", "again.fix"], stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, text=True, timeout=120, env={**os.environ, **(env or {})})
        assert p.returncode == OK, (what, p.stderr)
        assert open("again.fix", "rb").read() == open("many.fix", "rb").read(), what
    for n in range(3):
        again("a second time", "many")
    cpus = sorted(os.sched_getaffinity(0))
    again("one CPU", "many", "taskset", "-c", str(cpus[0]))
    many_files("backwards", reversed(names))
    os.makedirs("backwards/d0/gone")
    os.rmdir("backwards/d0/gone")
    again("made in another order", "backwards")
    with tempfile.TemporaryDirectory(prefix="fg-order-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as where:
        many_files(where + "/m", sorted(names))
        again("on a file system in memory", where + "/m")
        # What is no content: extended attributes, holes.
        try:
            os.setxattr("backwards/run", "user.note", b"x")
        except OSError:
            pass    # this file system has none
        with open("backwards/zeros", "wb") as f:
            f.truncate(300000)
        os.link("backwards/d0/0", "backwards/d0/copy")
        shutil.copy("many/d0/0", "many/d0/copy")
        fix("build", "many", "--manifest", "m.json", "-o", "many.fix")
        again("with attributes, a hole and a hard link", "backwards")
    for env in ({"LC_ALL": "C", "LANG": "C"}, {"LC_ALL": "C.UTF-8"}, {"LC_ALL": "tr_TR.UTF-8", "TZ": "Asia/Tokyo"},
                {"TMPDIR": "/dev/shm" if os.path.isdir("/dev/shm") else "."}, {"SOURCE_DATE_EPOCH": "1"}, {"HOME": "/nowhere"}):
        again(env, "many", env=env)


@test
def defaults_follow_the_build_time():
    m = manifest("d.json", published=None, expires=None, severity=None, timeout_s=None)
    fix("build", "payload", "--manifest", m, "-o", "d.fix", env={"SOURCE_DATE_EPOCH": "1767225600"})
    shown = json.loads(fix("show", "--json", "d.fix"))["manifest"]
    assert shown["published"] == "2026-01-01T00:00:00Z" and shown["expires"] == "2026-04-01T00:00:00Z"
    assert (shown["format"], shown["severity"], shown["context"], shown["timeout_s"]) == (1, "moderate", "chroot", 600)


@test
def k_of_n_signatures():
    build("s.fix", signed=False)
    assert error(fix("verify", "--trust", "k/trust", "--json", "s.fix", expect=UNTRUSTED))["code"] == "untrusted"
    fix("sign", "--key", "k/publisher.key", "--cert", "k/publisher.pem", "s.fix")
    fix("verify", "--trust", "k/trust", "s.fix")
    fix("verify", "--trust", "k/trust", "--threshold", "2", "s.fix", expect=UNTRUSTED)
    fix("sign", "--key", "k/publisher.key", "--cert", "k/publisher.pem", "s.fix", expect=EXISTS)
    fix("sign", "--key", "k2/publisher.key", "--cert", "k2/publisher.pem", "s.fix")
    said = json.loads(fix("verify", "--trust", "k/trust", "--threshold", "2", "--json", "s.fix"))
    assert sorted(said["signers"]) == ["CN=Alice", "CN=Bob"]


@test
def openssl_agrees_with_the_signature():
    data = open("s.fix", "rb").read()
    length = int.from_bytes(data[16:24], "big")
    open("s.cms", "wb").write(data[80:80 + length])
    for purpose in ("any",):
        p = subprocess.run(["openssl", "cms", "-verify", "-in", "s.cms", "-inform", "DER", "-CAfile", "k/publisher-ca.pem",
                            "-purpose", purpose, "-binary"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
        assert p.returncode == 0, p.stderr
        assert json.loads(p.stdout)["id"] == "demo-1"


@test
def a_change_of_the_publishers_ca():
    """Signed under the old and the new CA, it verifies on hosts that have either."""
    fix("keygen", "--out", "new", "--name", "Carol")
    build("n.fix")
    fix("verify", "--trust", "new/trust", "n.fix", expect=UNTRUSTED)
    fix("sign", "--key", "new/publisher.key", "--cert", "new/publisher.pem", "n.fix")
    for trust, signer in (("k", "CN=Alice"), ("new", "CN=Carol")):
        said = json.loads(fix("verify", "--trust", trust + "/trust", "--json", "n.fix"))
        assert said["signers"] == [signer], said


@test
def times():
    fix("verify", "--trust", "k/trust", "--now", "2041-01-01T00:00:00Z", "a.fix", expect=UNTRUSTED)
    fix("verify", "--trust", "k/trust", "--now", "2001-01-01T00:00:00Z", "a.fix", expect=UNTRUSTED)
    fix("verify", "--trust", "k/trust", "--now", "tomorrow", "a.fix", expect=USAGE)


@test
def damage():
    data = open("a.fix", "rb").read()
    for at in (0, 22, 60, 100, len(data) // 2, len(data) - 1):
        bad = bytearray(data)
        bad[at] ^= 1
        open("bad.fix", "wb").write(bad)
        code = fix("verify", "--trust", "k/trust", "--json", "bad.fix", expect=FORMAT if at < 48 else UNTRUSTED)
        assert error(code)["code"] in ("format", "untrusted")
        fix("sign", "--key", "k2/publisher.key", "--cert", "k2/publisher.pem", "bad.fix", expect=FORMAT if at < 48 else UNTRUSTED)
        fix("extract", "bad.fix", "-o", "never", "--trust", "k/trust", expect=FORMAT if at < 48 else UNTRUSTED)
        assert not os.path.exists("never") and open("bad.fix", "rb").read() == bad
    open("bad.fix", "wb").write(data + b"x")
    fix("verify", "--trust", "k/trust", "bad.fix", expect=FORMAT)


@test
def show_says_what_is_not_verified():
    assert fix("show", "a.fix").startswith("NOT VERIFIED")
    assert fix("show", "--trust", "k/trust", "a.fix").startswith("VERIFIED")
    assert json.loads(fix("show", "--json", "a.fix"))["verified"] is False
    assert json.loads(fix("show", "--json", "--trust", "k/trust", "a.fix"))["verified"] is True
    fix("show", "--trust", "new/trust", "a.fix", expect=UNTRUSTED)


@test
def show_says_what_is_superseded():
    fix("build", "payload", "--manifest", manifest("sup.json", supersedes=["older-fix"]), "-o", "sup.fix")
    assert '"older-fix"' in fix("show", "sup.fix")
    assert json.loads(fix("show", "--json", "sup.fix"))["manifest"]["supersedes"] == ["older-fix"]


@test
def show_names_keys_as_openssl_does():
    public = subprocess.run(["openssl", "x509", "-in", "k/publisher.pem", "-noout", "-pubkey"], check=True,
                            stdout=subprocess.PIPE).stdout
    der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "DER"], input=public, check=True,
                         stdout=subprocess.PIPE).stdout
    key = hashlib.sha256(der).hexdigest()
    assert json.loads(fix("show", "--json", "a.fix"))["certificates"] == [{"subject": "CN=Alice", "key": key}]
    assert "certificate of CN=Alice, key " + key in fix("show", "a.fix")


@test
def payloads_that_are_refused():
    os.mkfifo("payload/pipe")
    build(expect=REFUSED)
    os.unlink("payload/pipe")
    os.chmod("payload/run", 0o4755)
    build(expect=REFUSED)
    os.chmod("payload/run", 0o644)
    build(expect=REFUSED)
    os.chmod("payload/run", 0o755)
    for change in ({"entry": "again"}, {"entry": "bin"}):
        fix("build", "payload", "--manifest", manifest("x.json", **change), "-o", "x.fix", expect=REFUSED)
    fix("build", "payload", "--manifest", manifest("x.json", entry="absent"), "-o", "x.fix", expect=NOTFOUND)
    fix("build", "nowhere", "--manifest", "m.json", "-o", "x.fix", expect=NOTFOUND)
    assert not os.path.exists("x.fix")


@test
def manifests_that_are_refused():
    for change in ({"entry": "../run"}, {"surprise": 1}, {"payload": {}}, {"version": 0}, {"id": "A"}, {"title": None}):
        fix("build", "payload", "--manifest", manifest("x.json", **change), "-o", "x.fix", expect=FORMAT)
    write("x.json", '{"id":"a","id":"b"}')
    fix("build", "payload", "--manifest", "x.json", "-o", "x.fix", expect=FORMAT)


def signed_by_hand(out, length, hashes, sha256):
    """Header and signature for a payload that `build` would not make."""
    m = {**MANIFEST, "format": 1, "context": "chroot", "payload": {
        "bytes": length, "sha256": sha256, "hashes_sha256": hashlib.sha256(hashes).hexdigest()}}
    write("hand.json", json.dumps(m))
    subprocess.run(["openssl", "cms", "-sign", "-in", "hand.json", "-binary", "-nodetach", "-outform", "DER", "-md", "sha256",
                    "-signer", "k/publisher.pem", "-inkey", "k/publisher.key", "-out", "hand.cms"], check=True)
    cms = open("hand.cms", "rb").read()
    header = (b"\x89FIXGATE" + (1).to_bytes(4, "big") + (80).to_bytes(4, "big") + len(cms).to_bytes(8, "big") +
              len(hashes).to_bytes(8, "big") + length.to_bytes(8, "big") + bytes(8))
    digest = hashlib.sha256(header + cms + hashes).digest()
    open(out, "wb").write(header + digest + cms + hashes)


def signed_image(out, image):
    hashes = b"".join(hashlib.sha256(image[i:i + 65536]).digest() for i in range(0, len(image), 65536))
    signed_by_hand(out, len(image), hashes, hashlib.sha256(image).hexdigest())
    with open(out, "ab") as f:
        f.write(image)


def squashfs(folder, *options):
    subprocess.run(["mksquashfs", folder, "hand.sqsh", "-quiet", "-no-progress", "-noappend", "-comp", "zstd", *options],
                   check=True, stdout=subprocess.DEVNULL)
    with open("hand.sqsh", "rb") as f:
        return f.read()


def signed_squashfs(out, folder, *options):
    signed_image(out, squashfs(folder, *options))


@test
def signed_payloads_that_are_not_unpacked():
    """mksquashfs can do what build refuses."""
    for name, options in (("device", ["-p", "disk b 0600 0 0 8 0"]), ("terminal", ["-p", "tty c 0666 0 0 5 0"]),
                          ("pipe", ["-p", "fifo i 0600 0 0 f"]), ("setuid", ["-p", "run m 4755 0 0"]),
                          ("setgid", ["-p", "run m 2755 0 0"])):
        signed_squashfs(name + ".fix", "payload", *options)
        fix("verify", "--trust", "k/trust", name + ".fix")
        text = fix("extract", "--json", name + ".fix", "-o", name + ".out", "--trust", "k/trust", expect=REFUSED)
        assert "payload holds" in error(text)["text"], text
        assert not os.path.exists(name + ".out")


# name, offset, bytes of squashfs 4.0's superblock; all but the magic
SUPERBLOCK = (("inodes", 4, 4), ("mkfs_time", 8, 4), ("block_size", 12, 4), ("fragments", 16, 4), ("compression", 20, 2),
              ("block_log", 22, 2), ("flags", 24, 2), ("no_ids", 26, 2), ("major", 28, 2), ("minor", 30, 2), ("root_inode", 32, 8),
              ("bytes_used", 40, 8), ("id_table", 48, 8), ("xattr_table", 56, 8), ("inode_table", 64, 8), ("directory_table", 72, 8),
              ("fragment_table", 80, 8), ("lookup_table", 88, 8))


def odd_numbers(size):
    top = 1 << 8 * size
    return sorted({0, 1, top - 1, top >> 1} | {n for n in (1 << 31, 1 << 32, (1 << 63) - 1) if n < top})


def tree(folder):
    """Names, and what regular files and links hold."""
    found = {}
    for path, folders, files in os.walk(folder):
        for name in folders + files:
            one = os.path.join(path, name)
            found[os.path.relpath(one, folder)] = (os.readlink(one) if os.path.islink(one) else
                                                   open(one, "rb").read() if os.path.isfile(one) else None)
    return found


@test
def odd_numbers_in_the_superblock_of_a_signed_payload():
    """What a signer's broken tool may make.  Unpacked as it was or refused with a reason; nothing is left behind."""
    good, whole, taken = squashfs("payload"), tree("payload"), 0
    for name, at, size in SUPERBLOCK:
        for n in odd_numbers(size):
            signed_image("odd.fix", good[:at] + n.to_bytes(size, "little") + good[at + size:])
            fix("verify", "--trust", "k/trust", "odd.fix")
            fix("show", "--trust", "k/trust", "odd.fix")
            before = set(os.listdir("."))
            p = subprocess.Popen([FIX, "extract", "--json", "--trust", "k/trust", "-o", "odd.out/", "odd.fix"], stdout=subprocess.PIPE,
                                 stderr=subprocess.DEVNULL, text=True)
            said = p.stdout.read()
            p.stdout.close()
            _, status, used = os.wait4(p.pid, 0)
            p.returncode = os.waitstatus_to_exitcode(status)
            what = "%s = %#x: exit %d: %s" % (name, n, p.returncode, said)
            assert used.ru_maxrss < (64 << 10 if not os.environ.get("FG_SANITIZED") else 512 << 10), (what, used.ru_maxrss)
            if p.returncode == OK:
                assert tree("odd.out") == whole, what
                shutil.rmtree("odd.out")
                taken += 1
            else:
                assert p.returncode in (FAILED, REFUSED) and "signal" not in said and error(said)["text"], what
            assert set(os.listdir(".")) == before and os.listdir("tmp") == [], what
    assert taken >= 5, taken    # mkfs_time, for one, changes nothing


@test
def symlinks_stay_in_the_payload():
    os.makedirs("links/a/b")
    write("links/run", "#!/bin/sh\nexit 0\n", 0o755)
    write("links/bin/check", "#!/bin/sh\nexit 0\n", 0o755)
    for path, target, stays in (
            ("a/b/x", "../../run", True), ("a/b/x", "..", True), ("a/x", "b/./c//", True), ("x", "a/b", True), ("x", ".", True),
            ("x", "absent", True), ("x", "..", False), ("x", "../links/run", False), ("a/b/x", "../../../run", False),
            ("x", "/etc/shadow", False), ("a/x", "b/../../../run", False), ("a/x", "b/..", False), ("a/x", "./../..", False),
            ("x", "a -> b", False), ("a/line\nlrwx x", "b", None)):
        os.symlink(target, "links/" + path)
        built = fix("build", "links", "--manifest", manifest(), "-o", "l.fix", expect=REFUSED if stays is False and " -> " not in
                    target else OK)
        assert built is not None
        signed_squashfs("l.fix", "links")
        fix("verify", "--trust", "k/trust", "l.fix")
        fix("extract", "l.fix", "-o", "l.out", "--trust", "k/trust", expect=OK if stays else REFUSED)
        shutil.rmtree("l.out", ignore_errors=True)
        os.unlink("links/" + path)


@test
def a_payload_of_5_gib():
    """Zeros, as a sparse file: it is streamed, in a memory of its own size at most."""
    if os.environ.get("FG_SANITIZED"):
        return "SKIP hashing 10 GiB takes too long with sanitizers"
    length = (5 << 30) + 4097
    whole, block = hashlib.sha256(), bytes(1 << 20)
    for _ in range(length >> 20):
        whole.update(block)
    whole.update(bytes(length & 0xfffff))
    last = length % 65536
    hashes = hashlib.sha256(bytes(65536)).digest() * (length // 65536) + hashlib.sha256(bytes(last)).digest()
    # Reading a hole of tmpfs takes no memory; elsewhere 5 GiB of zeros would go through the page cache.
    with tempfile.TemporaryDirectory(prefix="fg-big-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as where:
        big = os.path.join(where, "big.fix")
        signed_by_hand(big, length, hashes, whole.hexdigest())
        head = os.path.getsize(big)
        os.truncate(big, head + length)
        p = subprocess.run(["/usr/bin/env", "prlimit", "--as=%d" % (512 << 20), FIX, "verify", "--trust", "k/trust", "--json", big],
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=250)
        assert p.returncode == OK and json.loads(p.stdout)["bytes"] == head + length, p.stderr
        with open(big, "r+b") as f:
            f.seek(head + 65536)
            f.write(b"x")
        fix("verify", "--trust", "k/trust", big, expect=UNTRUSTED)
        os.truncate(big, head + length - 1)
        fix("verify", "--trust", "k/trust", big, expect=FORMAT)
        os.truncate(big, head + length + 1)
        fix("verify", "--trust", "k/trust", big, expect=FORMAT)
    return None


@test
def keys_that_do_not_fit():
    fix("build", "payload", "--manifest", "m.json", "-o", "x.fix", "--key", "k/publisher.key", expect=USAGE)
    fix("build", "payload", "--manifest", "m.json", "-o", "x.fix", "--key", "k2/publisher.key", "--cert",
        "k/publisher.pem", expect=1)
    fix("build", "payload", "--manifest", "m.json", "-o", "x.fix", "--key", "k/publisher-ca.key", "--cert",
        "k/publisher-ca.pem", expect=UNTRUSTED)
    fix("build", "payload", "--manifest", "m.json", "-o", "x.fix", "--key", "absent", "--cert", "k/publisher.pem", expect=1)
    assert not os.path.exists("x.fix")


def at_terminal(word, *args, env=None):
    """fixgate-fix with a terminal, at which its questions are answered with the word; its exit status and what it printed."""
    pid, fd = pty.fork()
    if pid == 0:
        os.execve(FIX, [FIX, *args], {**os.environ, **(env or {})})
    said, answered, end = b"", 0, time.monotonic() + 60
    while time.monotonic() < end and select.select([fd], [], [], end - time.monotonic())[0]:
        try:
            said += os.read(fd, 4096)
        except OSError:    # its end is closed (pty(7))
            break
        if said.count(b":") > answered and said.rstrip().endswith(b":"):
            answered = said.count(b":")
            while termios.tcgetattr(fd)[3] & termios.ECHO and time.monotonic() < end:   # OpenSSL asks first, and then turns the echo off
                time.sleep(0.01)
            os.write(fd, word.encode() + b"\n")
    os.close(fd)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said.decode(errors="replace")


@test
def a_key_with_a_passphrase():
    subprocess.run(["openssl", "pkcs8", "-topk8", "-v2", "aes-256-cbc", "-passout", "pass:wonderland", "-in", "k/publisher.key", "-out",
                    "k/locked.key"], check=True)
    build("p.fix", signed=False)
    before = open("p.fix", "rb").read()
    sign = ["sign", "--key", "k/locked.key", "--cert", "k/publisher.pem", "p.fix"]
    p = subprocess.run(["setsid", "--wait", FIX, *sign], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                       timeout=60)
    assert p.returncode == FAILED and "k/locked.key" in p.stderr, (p.returncode, p.stderr)    # nobody to ask: it does not wait
    status, said = at_terminal("looking-glass", *sign)
    assert status == FAILED and "looking-glass" not in said, (status, said)
    assert open("p.fix", "rb").read() == before
    status, said = at_terminal("wonderland", *sign)
    assert status == OK and "wonderland" not in said, (status, said)
    assert json.loads(fix("verify", "--trust", "k/trust", "--json", "p.fix"))["signers"] == ["CN=Alice"]


@test
def one_publisher_of_three_is_lost():
    """Two of three have to sign: whichever is lost, the other two are enough, and one alone is not."""
    people = {"Alice": "k", "Bob": "k2", "Chris": "k3"}
    fix("keygen", "--out", "k3", "--ca", "k", "--name", "Chris")
    for lost in [*people, None]:
        for alone in [name for name in people if name != lost]:
            build("two.fix", signed=False)
            fix("sign", "--key", people[alone] + "/publisher.key", "--cert", people[alone] + "/publisher.pem", "two.fix")
            fix("verify", "--trust", "k/trust", "--threshold", "2", "two.fix", expect=UNTRUSTED)
            for name in people:
                if name not in (alone, lost):
                    fix("sign", "--key", people[name] + "/publisher.key", "--cert", people[name] + "/publisher.pem", "two.fix")
            said = json.loads(fix("verify", "--trust", "k/trust", "--threshold", "2", "--json", "two.fix"))
            assert sorted(said["signers"]) == sorted("CN=" + name for name in people if name != lost), said
    fix("verify", "--trust", "k/trust", "--threshold", "3", "two.fix")


@test
def usage():
    for verb in ("keygen", "build", "sign", "verify", "show", "extract"):
        assert fix(verb, "--help").startswith("Usage: fixgate-fix " + verb)
    assert "Verbs:" in fix("--help")
    fix(expect=USAGE)
    fix("nonsense", expect=USAGE)
    fix("verify", "a.fix", expect=USAGE)
    fix("verify", "--trust", "k/trust", expect=USAGE)
    fix("verify", "--trust", "k/trust", "a.fix", "b.fix", expect=USAGE)
    fix("verify", "--trust", "k/trust", "--key", "x", "a.fix", expect=USAGE)
    fix("verify", "--trust", "k/trust", "--threshold", "0", "a.fix", expect=USAGE)
    assert error(fix("verify", "--json", expect=USAGE))["code"] == "usage"
    fix("verify", "--trust", "k/trust", "absent.fix", expect=NOTFOUND)
    fix("verify", "--trust", "absent", "a.fix", expect=NOTFOUND)


def cert_into_token(pem, label, env):
    """softhsm2-util takes keys only: PKCS#11 itself, in a process of its own."""
    der = ssl.PEM_cert_to_DER_cert(open(pem).read())
    program = """
import ctypes as c, sys
class Attribute(c.Structure):
    _fields_ = [("type", c.c_ulong), ("value", c.c_void_p), ("len", c.c_ulong)]
lib, der = c.CDLL(sys.argv[1]), bytes.fromhex(sys.argv[3])
number = lambda n: bytes(c.c_ulong(n))
wanted = [(0, number(1)), (1, b"\\1"), (2, b"\\0"), (3, sys.argv[2].encode()), (0x80, number(0)), (0x101, b"0\\0"), (0x102, b"\\1"), (0x11, der)]
keep = [c.create_string_buffer(v, len(v)) for _, v in wanted]
attributes = (Attribute * len(wanted))(*[Attribute(t, c.cast(k, c.c_void_p), len(k)) for (t, _), k in zip(wanted, keep)])
slots, n, session, object = (c.c_ulong * 8)(), c.c_ulong(8), c.c_ulong(), c.c_ulong()
assert lib.C_Initialize(None) == 0 and lib.C_GetSlotList(1, slots, c.byref(n)) == 0
assert lib.C_OpenSession(c.c_ulong(slots[0]), c.c_ulong(6), None, None, c.byref(session)) == 0
assert lib.C_Login(session, c.c_ulong(1), b"1234", c.c_ulong(4)) == 0
assert lib.C_CreateObject(session, attributes, c.c_ulong(len(wanted)), c.byref(object)) == 0
lib.C_Finalize(None)
"""
    subprocess.run([sys.executable, "-c", program, SOFTHSM, label, der.hex()], check=True, env={**os.environ, **env})


@test
def a_key_in_a_token():
    assert shutil.which("softhsm2-util") and os.path.exists(SOFTHSM) and ENGINE, "no PKCS#11 token in software: make deps"
    if os.environ.get("FG_SANITIZED"):
        return "SKIP the token's library leaks"
    os.mkdir("tokens")
    write("softhsm.conf", "directories.tokendir = %s/tokens\n" % os.getcwd())
    env = {"SOFTHSM2_CONF": os.path.abspath("softhsm.conf"), "PKCS11_MODULE_PATH": SOFTHSM}
    for argv in (["openssl", "pkcs8", "-topk8", "-nocrypt", "-in", "k2/publisher.key", "-out", "k2/pkcs8.pem"],
                 ["softhsm2-util", "--init-token", "--free", "--label", "fg", "--pin", "1234", "--so-pin", "1234"],
                 ["softhsm2-util", "--import", "k2/pkcs8.pem", "--token", "fg", "--label", "pub", "--id", "01", "--pin", "1234"]):
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **env})
    build("t.fix", signed=False)
    fix("sign", "--key", "pkcs11:token=fg;object=pub;type=private?pin-value=1234", "--cert", "k2/publisher.pem", "t.fix",
        env=env)
    assert json.loads(fix("verify", "--trust", "k/trust", "--json", "t.fix"))["signers"] == ["CN=Bob"]
    cert_into_token("k2/publisher.pem", "pub", env)
    build("u.fix", signed=False)
    fix("sign", "--key", "pkcs11:token=fg;object=pub;type=private?pin-value=1234", "--cert", "pkcs11:token=fg;object=pub;type=cert",
        "u.fix", env=env)
    assert json.loads(fix("verify", "--trust", "k/trust", "--json", "u.fix"))["signers"] == ["CN=Bob"]
    fix("sign", "--key", "k2/publisher.key", "--cert", "pkcs11:token=fg;object=absent;type=cert", "u.fix", env=env, expect=FAILED)
    build("v.fix", signed=False)
    ask = ["sign", "--key", "pkcs11:token=fg;object=pub;type=private", "--cert", "k2/publisher.pem", "v.fix"]
    assert at_terminal("9999", *ask, env=env)[0] == FAILED
    status, said = at_terminal("1234", *ask, env=env)
    assert status == OK and "1234" not in said, (status, said)
    return None


@test
def the_revocation_of_the_manual():
    """The commands of docs/keys.md, as they stand there."""
    text = open(os.path.join(TOP, "docs/keys.md")).read()
    commands = next(b for b in text.split("```\n")[1::2] if b.startswith("touch index.txt"))
    for name in ("publisher-ca.pem", "publisher-ca.key"):
        shutil.copy("k/" + name, name)
    shutil.copy("k2/publisher.pem", "mallory.pem")
    shutil.copytree("k/trust", "trust")
    build("m.fix", signed=False)
    fix("sign", "--key", "k2/publisher.key", "--cert", "k2/publisher.pem", "m.fix")
    fix("verify", "--trust", "trust", "m.fix")
    subprocess.run(["sh", "-ec", commands.replace("openssl ca ", "openssl ca -batch ")], check=True, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert "revoked" in error(fix("verify", "--trust", "trust", "--json", "m.fix", expect=UNTRUSTED))["text"]
    fix("sign", "--key", "k/publisher.key", "--cert", "k/publisher.pem", "m.fix")
    assert json.loads(fix("verify", "--trust", "trust", "--json", "m.fix"))["signers"] == ["CN=Alice"]
    far = "2039-01-01T00:00:00Z"
    fix("verify", "--trust", "trust", "--now", far, "m.fix", expect=UNTRUSTED)


@test
def nothing_is_left_behind():
    assert not [f for f in os.listdir(".") if ".fix." in f], os.listdir(".")
    assert os.listdir("tmp") == []


def main():
    failed = 0
    where = tempfile.mkdtemp(prefix="fg-fix-")
    os.chdir(where)
    os.mkdir("tmp")
    os.environ["TMPDIR"] = os.path.join(where, "tmp")
    print("1..%d" % len(tests))
    for n, t in enumerate(tests, 1):
        name = t.__name__.replace("_", " ")
        try:
            note = t()
            print("ok %d - %s%s" % (n, name, " # " + note if note else ""))
        except (AssertionError, OSError, ValueError, KeyError, subprocess.SubprocessError) as e:
            failed = 1
            print("not ok %d - %s\n# %s: %s" % (n, name, type(e).__name__, str(e).replace("\n", "\n# ")))
        sys.stdout.flush()
    shutil.rmtree(where)
    sys.exit(failed)


main()
