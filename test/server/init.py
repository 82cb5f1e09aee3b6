#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""fixgate-server init: on a folder that is a server's, after a mistake, and after it was killed at any point: TAP."""
import fcntl
import os
import shutil
import subprocess
import sys

import fgserver
from fgserver import ADMIN, NOBODY, SANITIZED, Server, ok, run, same

EXISTS, USAGE = 13, 2


class Made(Server):
    """A server on a folder that a test has made."""

    def __init__(self, work):    # pylint: disable=super-init-not-called
        self.work, self.dir, self.log = work, os.path.join(work, "server"), os.path.join(work, "log")
        self.port = self.port6 = 0
        self.process = None
        self.configure("workers = 1")


def init(work, *more, check=False):
    return run("fixgate-server", *init_args(work), *more, check=check)


def init_args(work):
    return ["init", "--dir", os.path.join(work, "server"), "--address", "127.0.0.1,::1", "--trust", os.path.join(work, "keys", "trust")]


def contents(folder):
    found = {}
    for path, _, files in os.walk(folder):
        for name in files:
            with open(os.path.join(path, name), "rb") as f:
                found[os.path.relpath(os.path.join(path, name), folder)] = f.read()
    return found


def served(work):
    """None, or why the folder's server does not serve."""
    s = Made(work)
    try:
        s.start()
        status = s.call(NOBODY, "GET", "/healthz").status, s.call(ADMIN, "GET", "/v1/fixes").status
        names = sorted(name for name in os.listdir(s.dir) if name.endswith(".init"))
        return None if (status, names, s.stop()) == ((200, 200), [], 0) else (status, names)
    except (RuntimeError, OSError) as e:
        return repr(e)
    finally:
        if s.process and s.process.poll() is None:
            s.kill()


def test_again(work):
    same(init(work).returncode, 0, "init makes a folder")
    before = contents(os.path.join(work, "server"))
    same(init(work).returncode, EXISTS, "a second init is refused")
    same(contents(os.path.join(work, "server")) == before, True, "and changes nothing")
    os.unlink(os.path.join(work, "server", "server.conf"))
    same(init(work).returncode, EXISTS, "also where only the configuration is lost")
    del before["server.conf"]
    same(contents(os.path.join(work, "server")) == before, True, "and changes nothing then")
    shutil.rmtree(os.path.join(work, "server"))


def test_mistake(work):
    done = init(work, "--user", "nobody-of-that-name")
    same((done.returncode, "no user" in done.stderr), (USAGE, True), "a user that there is not is refused")
    same(run("fixgate-server", "serve", "--dir", os.path.join(work, "server"), check=False, timeout=30).returncode != 0, True,
         "what is left is not served")
    same(init(work).returncode, 0, "and with the mistake mended init makes the folder")
    same(served(work), None, "which serves")
    shutil.rmtree(os.path.join(work, "server"))
    same(init(work, "--trust", os.path.join(work, "absent")).returncode != 0, True, "a trust folder that is not there is refused")
    same((init(work).returncode, served(work)), (0, None), "and with that mended it serves too")
    shutil.rmtree(os.path.join(work, "server"))


def killed_at(work, n):
    """init, killed at its n-th call that makes something last; its exit status."""
    return subprocess.run(["strace", "-f", "-qq", "-o", os.devnull, "-e", "trace=rename,fsync,fdatasync,mkdir",
                           "-e", f"inject=rename,fsync,fdatasync,mkdir:signal=SIGKILL:when={n}",
                           os.path.join(fgserver.BIN, "fixgate-server"), *init_args(work)], capture_output=True, check=False,
                          env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"} if SANITIZED else None, timeout=120).returncode


def test_killed(work):
    wrong, n, ended = [], 0, 1
    while ended != 0 and n < 500:
        n += 1
        ended = killed_at(work, n)
        conf = os.path.exists(os.path.join(work, "server", "server.conf"))
        again = init(work).returncode
        if again != (EXISTS if conf else 0):
            wrong.append((n, ended, again))
        elif n % 8 == 0 or ended == 0 or conf:    # starting a server each time would take long
            why = served(work)
            if why:
                wrong.append((n, why))
        shutil.rmtree(os.path.join(work, "server"), ignore_errors=True)
    ok(n > 20 and ended == 0, f"init is killed at each of {n - 1} places")
    same(wrong, [], "after each the next init makes a server that serves")


def test_beside(work):
    """Another init is at work: what it has made so far is not taken for the rest of one that was killed."""
    folder = os.path.join(work, "server")
    killed_or_done = killed_at(work, 12)
    before = contents(folder)
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    second = init(work)
    same((killed_or_done != 0, second.returncode, "another init" in second.stderr), (True, EXISTS, True), "an init beside another is refused")
    same(contents(folder) == before, True, "and changes nothing")
    os.close(lock)
    same((init(work).returncode, served(work)), (0, None), "when that one has ended it makes a server that serves")
    shutil.rmtree(folder)


def tests(work):
    run("fixgate-fix", "keygen", "--out", os.path.join(work, "keys"))
    test_again(work)
    test_mistake(work)
    if subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, check=False).returncode:
        ok(True, "init killed # SKIP no process may be traced here")
        return
    test_beside(work)
    test_killed(work)


sys.exit(fgserver.without(tests))
