# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixgate in the lab: the fix server outside dom0, the agent in dom0, a signed fix, and what scenarios ask of them.

    scene = Scene(lab, workdir)
    scene.server_init(); scene.server_start(); scene.install(); scene.agent_start()
    scene.publish(scene.bundle("fgdemo-1.1"))
    scene.offer("fgdemo-1.1", ["web1"])
    scene.wait_status("web1", "fgdemo-1.1", {"fixed"}, 300)
"""

import contextlib
import filecmp
import glob
import json
import os
import shlex
import shutil
import sqlite3
import subprocess
import tempfile
import threading
import time

import fglab
from fglab import LabError, SERVER4, SERVER6, wait_for

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
PORT = 8443
DIGEST = "/root/diskdigest.py"     # in dom0
END_STATES = {"done", "not-needed", "rejected", "failed", "rolled-back", "held"}

RUN_OK = """#!/bin/sh
# Upgrade the daemon. dpkg does not start services here: the guest is not running.
set -eu
dpkg -i "$FIXGATE_PAYLOAD"/fgdemo_1.1_*.deb
"""
CHECK_OK = """#!/bin/sh
set -eu
test "$(dpkg-query -W -f '${Version} ${db:Status-Status}' fgdemo)" = "1.1 installed"
"""


class Scene:
    def __init__(self, lab, work, verbose=False):
        self.lab = lab
        self.work = os.path.abspath(work)
        self.bin = os.environ.get("FG_BIN", os.path.join(TOP, "build/bin"))
        self.server_dir = os.path.join(self.work, "server")
        self.keys = os.path.join(self.work, "keys")
        self.trust = os.path.join(self.keys, "trust")
        self.server = None
        self.verbose = verbose
        self.events = []            # every change of state that the agent has told, with "t" on this machine's clock
        self._news = threading.Condition()
        self._follow = None
        os.makedirs(self.work, exist_ok=True)

    @classmethod
    @contextlib.contextmanager
    def started(cls, lab, **policy):
        """Server and agent up, all four guests known to the server; on an error the logs are shown."""
        with tempfile.TemporaryDirectory(prefix="fixgate-scene-") as work:
            scene = cls(lab, work)
            scene.server_init()
            scene.server_start()
            scene.install(**policy)
            scene.agent_start()
            with scene.told():
                scene.all_known()
                yield scene

    def all_known(self):
        wait_for(lambda: len([c for c in self.clients() if c["name"] in fglab.GUESTS]) == 4, 90, "the server to know all guests")

    @contextlib.contextmanager
    def told(self):
        """What a person needs to see is printed when something is raised inside."""
        try:
            yield
        except BaseException:
            print("\n".join("# " + line for line in self.failure().splitlines()), flush=True)
            raise

    # --- programs outside dom0 ----------------------------------------------------------------------------------

    def run(self, program, *args, check=True, ns=None, timeout=120):
        argv = [os.path.join(self.bin, program), *map(str, args)]
        if ns:
            argv = ["ip", "netns", "exec", self.lab.ns(ns)] + argv
        result = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL)
        if check and result.returncode:
            raise fglab.CommandFailed("here", " ".join(argv), result)
        return result

    def keygen(self):
        self.run("fixgate-fix", "keygen", "--out", self.keys)

    def server_init(self):
        self.keygen()
        self.run("fixgate-server", "init", "--dir", self.server_dir, "--address", f"{SERVER4},{SERVER6}",
                 "--port", PORT, "--trust", self.trust)

    def server_start(self):
        log = open(os.path.join(self.work, "server.log"), "ab")
        self.server = self.lab.server_ns(
            [os.path.join(self.bin, "fixgate-server"), "serve", "--dir", self.server_dir,
             "--listen", f"{SERVER4}:{PORT}", "--listen", f"[{SERVER6}]:{PORT}"], stdout=log, stderr=log)
        log.close()

        def answers():
            if self.server.poll() is not None:
                with open(os.path.join(self.work, "server.log"), encoding="utf-8", errors="replace") as f:
                    raise RuntimeError("fixgate-server ended: " + f.read()[-2000:])
            return self.admin("fixes", "--json", check=False).returncode == 0
        wait_for(answers, 30, "the fix server to answer")

    def server_kill(self):
        self.server.kill()
        self.server.wait(10)

    def admin(self, *args, check=True):
        return self.run("fixgate-admin", "--dir", self.server_dir, *args, check=check, ns="server")

    def clients(self):
        return json.loads(self.admin("clients", "--json").stdout)["clients"]

    def fixes(self):
        return json.loads(self.admin("fixes", "--json").stdout)["fixes"]

    def client(self, name):
        return next((c for c in self.clients() if c["name"] == name), None)

    def status(self, name, fix):
        client = self.client(name)
        return ((client or {}).get("fixes") or {}).get(fix) or {}

    # --- fixes ----------------------------------------------------------------------------------------------------

    def bundle(self, fix, version=1, run=RUN_OK, check=CHECK_OK, context="chroot", payload=None, timeout_s=120,
               package="1.1", manifest=None):
        """Build and sign a bundle; its path. The default upgrades the real package fgdemo with dpkg."""
        folder = os.path.join(self.work, "fixes", fix)
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(os.path.join(folder, "payload"))
        for name, text in (("run", run), ("check", check)):
            if text is not None:
                path = os.path.join(folder, "payload", name)
                with open(path, "w", encoding="utf-8") as f:
                    f.write(text)
                os.chmod(path, 0o755)
        for deb in glob.glob(os.path.join(self.lab.image, "fgdemo_1.1_*.deb")):
            shutil.copy(deb, os.path.join(folder, "payload"))
        for name, data in (payload or {}).items():
            with open(os.path.join(folder, "payload", name), "wb") as f:
                f.write(data)
        now = int(time.time())
        text = {"format": 1, "id": fix, "version": version, "title": "fgdemo answers to strangers",
                "severity": "critical", "cves": ["CVE-2026-99999"],
                "published": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now - 3600)),
                "expires": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now + 30 * 86400)),
                "applies_to": {"os": [{"id": "debian", "version": "12"}], "arch": ["amd64"],
                            "packages": [{"type": "dpkg", "name": "fgdemo", "less_than": package}]},
                "entry": "run", "context": context, "timeout_s": timeout_s, "tools": ["dpkg"]}
        if check is not None:
            text["post_check"] = "check"
        text.update(manifest or {})
        with open(os.path.join(folder, "manifest.json"), "w", encoding="utf-8") as f:
            json.dump(text, f, indent=1)
        path = os.path.join(folder, fix + ".fix")
        self.run("fixgate-fix", "build", os.path.join(folder, "payload"), "--manifest",
                 os.path.join(folder, "manifest.json"), "-o", path, "--key", os.path.join(self.keys, "publisher.key"),
                 "--cert", os.path.join(self.keys, "publisher.pem"))
        self.run("fixgate-fix", "verify", "--trust", self.trust, path)
        return path

    def publish(self, path):
        self.admin("publish", path)

    def offer(self, fix, guests, force=False):
        argv = ["offer", "--fix", fix]
        for guest in guests:
            argv += ["--guest", guest]
        self.admin(*argv, *(["--force"] if force else []))

    def rollout(self, fix, guests, waves):
        """The fix for these guests, wave after wave; the rollout's number."""
        select = ",".join("name=" + guest for guest in guests)
        return json.loads(self.admin("rollout", "create", fix, "--select", select, "--waves", waves, "--json").stdout)["id"]

    def rollout_show(self, number):
        return json.loads(self.admin("rollout", "show", number, "--targets", "--json").stdout)

    # --- the agent in dom0 ----------------------------------------------------------------------------------------

    def config(self, **policy):
        lines = {"on_failure": "isolate", "release": "before-boot", "inspect": "yes", **policy}
        return "\n".join([
            "[server]", f"address = {SERVER4}", f"port = {PORT}", "ca = /etc/fixgate/server-ca.pem",
            "cert = /etc/fixgate/agent.pem", "key = /etc/fixgate/agent.key",
            "[trust]", "dir = /etc/fixgate/trust",
            "[agent]", "user = fixgate", "net = /usr/libexec/fixgate/fixgate-net",
            "[fixvm]", "kernel = /usr/lib/fixgate/vmlinux", "initrd = /usr/lib/fixgate/initrd", "memory_mb = 384",
            "type = pv",    # the emulation of nested paging lets a PVH domain triple-fault now and then
            "parallel = 2",
            "[toolstack]", "xl = yes", "libvirt = " + os.environ.get("FG_LIBVIRT", "xen:///system"),
            "[policy]"] + [f"{k} = {v}" for k, v in lines.items()] + [
            "[deadlines]", "shutdown = 60", "health = 240", ""])

    def install(self, enrol=True, **policy):
        """`make install` into a stage, the stage into dom0; dom0 enrols with a one-time code at the server that runs."""
        stage = os.path.join(self.work, "stage")
        shutil.rmtree(stage, ignore_errors=True)
        subprocess.run(["make", "-s", "--no-print-directory", "install", f"DESTDIR={stage}", "PREFIX=/usr",
                        "O=" + os.path.dirname(self.bin)], cwd=TOP,
                       check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        kernel = os.path.join(stage, "usr/lib/fixgate/vmlinux")
        if filecmp.cmp(kernel, os.path.join(self.lab.image, "vmlinux"), shallow=False):
            os.unlink(kernel)       # dom0 has it: the guests' kernel is from the same package
            self.lab.dom0("install -D -m 644 /var/lib/xen/kernels/vmlinux /usr/lib/fixgate/vmlinux")
        self._merge(stage, "/")
        self.lab.put(os.path.join(HERE, "diskdigest.py"), DIGEST)
        etc = os.path.join(self.work, "etc")
        shutil.rmtree(etc, ignore_errors=True)
        os.mkdir(etc)
        shutil.copytree(self.trust, os.path.join(etc, "trust"))
        with open(os.path.join(etc, "agent.conf"), "w", encoding="utf-8") as f:
            f.write(self.config(**policy))
        self._merge(etc, "/etc/fixgate")
        if not enrol:
            return
        code = self.run("fixgate-server", "enrol", "dom0", "--dir", self.server_dir).stdout
        self.lab.dom0(f"chmod 700 /etc/fixgate; fixgatectl enrol --server {SERVER4}:{PORT} --code - --dir /etc/fixgate",
                      input=code)
        self.lab.dom0("fixgated --check-config")

    def reconfigure(self, **policy):
        self.lab.put_text(self.config(**policy), "/etc/fixgate/agent.conf")

    def _merge(self, local, remote):
        """Copy the content of a folder into one that may exist.

        Over the emulated network, as it is: what comes by ssh is deciphered in the emulated machine, at 2 MB/s, and what is packed is
        unpacked there, at 4 MB/s.
        """
        tar = subprocess.run(["tar", "-C", local, "--owner=0", "--group=0", "-cf", "-", "."],
                             stdout=subprocess.PIPE, check=True).stdout
        with self.lab.ns_socket("test") as listener:
            listener.bind((fglab.TEST4, 0))
            listener.listen(1)
            listener.settimeout(60)

            def serve():
                peer = listener.accept()[0]
                with peer:
                    peer.settimeout(60)
                    peer.sendall(tar)
            sender = threading.Thread(target=serve, daemon=True)
            sender.start()
            unpack = f"mkdir -p {remote} && tar --no-overwrite-dir -xf - -C {remote} </dev/tcp/{fglab.TEST4}/{listener.getsockname()[1]}"
            self.lab.dom0(f"bash -c {shlex.quote(unpack)}", timeout=120)
            sender.join()

    def agent_start(self):
        self.lab.dom0("cd / && setsid -f fixgated </dev/null >>/var/log/fixgated.log 2>&1", timeout=60)
        wait_for(lambda: self.ctl("status", check=False).returncode == 0, 120, "fixgated to answer")
        self._follow_start()

    def agent_signal(self, signal, guest, fix, state):
        """A process in dom0 that ends when it has sent the agent a signal (KILL, STOP), at the news of this state.

        It may be started before the agent. From here, a second away, the news would come too late.
        """
        news = "".join(f'(?=.*"{key}": *"{value}")' for key, value in (("guest", guest), ("fix", fix), ("state", state)))
        script = (f"while ! grep -m1 -Pq {shlex.quote('^' + news)} < <(fixgatectl events --follow --json 2>/dev/null); do sleep 0.05; done; "
                  f"kill -{signal} $(pidof fixgated)")
        if signal == "KILL":
            script += "; while pidof fixgated >/dev/null; do sleep 0.05; done"
        return self.lab.dom0_popen(f"bash -c {shlex.quote(script)}")

    def agent_log(self):
        return self.lab.dom0("cat /var/log/fixgated.log", check=False).stdout

    def ctl(self, *args, check=True, timeout=60):
        return self.lab.dom0("fixgatectl " + " ".join(args), check=check, timeout=timeout)

    def ctl_json(self, *args, **kw):
        return json.loads(self.ctl(*args, "--json", **kw).stdout)

    def clock_offset(self):
        """This machine's clock minus dom0's, in seconds (best of three round trips)."""
        best = None
        for _ in range(3):
            before = time.time()
            theirs = float(self.lab.dom0("date +%s.%N").stdout)
            after = time.time()
            if best is None or after - before < best[0]:
                best = (after - before, (before + after) / 2 - theirs)
        return best[1]

    # --- events ---------------------------------------------------------------------------------------------------

    def _follow_start(self):
        proc = self.lab.dom0_popen("fixgatectl events --follow --json", stdout=subprocess.PIPE, text=True)
        self._follow = proc

        def read():
            for line in proc.stdout:
                try:
                    event = json.loads(line)
                except ValueError:
                    continue
                event["t"] = time.time()
                with self._news:
                    if not any(e["job"] == event["job"] and e["state"] == event["state"] and
                               e["at_ms"] == event["at_ms"] for e in self.events):
                        self.events.append(event)
                        if self.verbose:
                            print("  event", json.dumps(event), flush=True)
                    self._news.notify_all()
        threading.Thread(target=read, daemon=True).start()

    def events_of(self, guest, fix=None):
        with self._news:
            return [e for e in self.events if e["guest"] == guest and (fix is None or e.get("fix") == fix)]

    def wait_event(self, guest, states, deadline, fix=None, after=0.0):
        """The first event of the guest with one of these states, seen after a time of this machine's clock."""
        end = time.monotonic() + deadline
        with self._news:
            while True:
                fglab.check_emulator()
                for e in self.events:
                    if (e["guest"] == guest and e["state"] in states and e["t"] >= after and
                            (fix is None or e.get("fix") == fix)):
                        return e
                left = end - time.monotonic()
                if left <= 0:
                    seen = [(e["state"], e.get("reason")) for e in self.events if e["guest"] == guest]
                    raise LabError(f"waited {deadline} s for {guest} to be {' or '.join(states)}; seen: {seen}")
                self._news.wait(left)

    def wait_end(self, guest, deadline, fix=None, after=0.0):
        return self.wait_event(guest, END_STATES, deadline, fix=fix, after=after)

    def now(self):
        return time.time()

    def step_time(self, job, step):
        """When the journal noted a step of the job (the first that begins so), on this machine's clock."""
        steps = self.ctl_json("job", job)["steps"]
        at = next(s["at_ms"] for s in steps if s["what"].startswith(step))
        return at / 1000 + self.clock_offset()

    def journal_states(self):
        """{guest: state of its newest job} as it is on dom0's disk; the agent need not live."""
        with tempfile.TemporaryDirectory(prefix="fixgate-journal-") as work:
            for name in self.lab.dom0("cd /var/lib/fixgate && ls journal.db*").stdout.split():
                self.lab.get(f"/var/lib/fixgate/{name}", os.path.join(work, name))
            with contextlib.closing(sqlite3.connect(os.path.join(work, "journal.db"))) as db:
                return dict(db.execute("SELECT name, state FROM jobs ORDER BY n"))

    def guest_state(self, name):
        return self.lab.guest_state(name)

    def wait_status(self, guest, fix, statuses, deadline):
        """Until the server's list says so; the entry."""
        def there():
            entry = self.status(guest, fix)
            return entry if entry.get("status") in statuses else None
        try:
            return wait_for(there, deadline, f"the server to list {guest} as {' or '.join(statuses)}", every=1.0)
        except LabError as error:
            raise LabError(f"{error}; the list says {self.status(guest, fix)}") from error

    # --- truths ---------------------------------------------------------------------------------------------------

    def digest(self, guest):
        """Of what is on the guest's disk as dom0 has it (the guest must be off, or the answer is of no use)."""
        return self.lab.dom0("sync; " + self.digest_command(guest), timeout=300).stdout.split()[0]

    @staticmethod
    def digest_command(guest):
        return f"python3 {DIGEST} {fglab.GUESTS[guest].disk}"

    def isolation(self, guest):
        """(rules in the kernel, mark on disk, does it run?), asked in this order."""
        uuid = fglab.GUESTS[guest].uuid
        listed = json.loads(self.lab.dom0("netback-filter list --json").stdout)
        filtered = any(g["uuid"] == uuid for g in listed["guests"])
        marked = self.lab.dom0(f"test -e /var/lib/fixgate/isolated/{uuid}.json", check=False).returncode == 0
        vif = self.lab.vif(guest)
        runs = vif is not None and self.lab.dom0(f"test -e /sys/class/net/{vif}", check=False).returncode == 0
        return filtered, marked, runs

    def isolated(self, guest):
        """Is its mark on the disk and, if it runs, its filter in the kernel?"""
        filtered, marked, runs = self.isolation(guest)
        return marked and (filtered or not runs)

    def free(self, guest):
        """Neither rules nor a mark are left."""
        return self.isolation(guest)[:2] == (False, False)

    def leftovers(self):
        """What a finished job must not leave in dom0."""
        return self.lab.dom0("ls /dev/mapper | grep ^fixgate-; xl list | grep -o '^fixgate-[^ ]*'; "
                             "ls /var/lib/fixgate/layers 2>/dev/null; losetup -l -n -O BACK-FILE | grep '/layers/'; true"
                             ).stdout.split()

    def failure(self):
        """What a person needs to see after a failure."""
        return "\n".join(["--- fixgated.log", self.agent_log()[-6000:], "--- its service",
                          self.lab.dom0("journalctl -b --no-pager -u 'fixgate*' -u xendomains | tail -n 60", check=False).stdout,
                          "--- xl list", self.lab.dom0("xl list", check=False).stdout])
