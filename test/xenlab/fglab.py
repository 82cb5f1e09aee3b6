# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab: a real Xen with a Debian dom0 and four guests in an emulated machine, and peers outside it.

    with Lab("mine") as lab:            # up, from the snapshot; down at the end, whatever happens
        print(lab.dom0("xl list").stdout)

Outside dom0, in network namespaces of this instance, are a switch (bridge br0: tap0 = dom0's eth0), the server
(10.99.0.2, fd00:99::2), the forbidden host (10.99.0.3, fd00:99::3) and the tests' own host (10.99.0.4), from which they ask
guests at no cost for the emulated machine. dom0's bridge xenbr0 has 10.99.0.1, fd00:99::1.
Several labs run at the same time; everything is per instance. All waits have a deadline and say what they waited for.
"""

import contextlib
import ctypes
import fcntl
import io
import json
import os
import re
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tarfile
import threading
import time

import fgwatch

HERE = os.path.dirname(os.path.abspath(__file__))
CACHE = os.environ.get("FIXGATE_CACHE", "/var/cache/fixgate")
RUN = os.environ.get("FIXGATE_LAB_RUN", "/var/tmp/fixgate-lab")

MEMORY_MIB = 5120
DOM0_MIB = 2048

SERVER4, SERVER6, SERVER_MAC = "10.99.0.2", "fd00:99::2", "02:f1:9a:00:00:02"
FORBIDDEN4, FORBIDDEN6, FORBIDDEN_MAC = "10.99.0.3", "fd00:99::3", "02:f1:9a:00:00:03"
TEST4, TEST6, TEST_MAC = "10.99.0.4", "fd00:99::4", "02:f1:9a:00:00:04"
NAMESPACES = ("sw", "server", "forbidden", "test")
DOM0_4, DOM0_6, DOM0_MAC = "10.99.0.1", "fd00:99::1", "02:f1:9a:00:00:01"
BANNERS = {"web1": "vulnerable 1.0", "web2": "fixed 1.1", "db1": "vulnerable 1.0", "idle1": "vulnerable 1.0"}


class Guest:
    """What is pinned in a guest's definition."""

    def __init__(self, name, number, owner, kind):
        self.name, self.number, self.owner, self.kind = name, number, owner, kind
        self.uuid = f"f19a0000-0000-4000-8000-0000000000{number}"
        self.mac = f"00:16:3e:99:00:{number}"
        self.ip4, self.ip6 = f"10.99.0.{number}", f"fd00:99::{number}"
        self.disk = f"/var/lib/xen/images/{name}.img"
        self.banner = BANNERS[name]


GUESTS = {g.name: g for g in (Guest("web1", 11, "xl", "pv"), Guest("web2", 12, "xl", "pvh"),
                              Guest("db1", 13, "libvirt", "pv"), Guest("idle1", 14, "xl", "pv"))}

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1
_CLONE_NEWNET = 0x40000000
_TUNSETIFF, _IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x400454CA, 0x0002, 0x1000, 0x4000


class LabError(Exception):
    pass


class EmulatorFault(LabError):
    """The emulator has failed, not what runs in it."""


class CommandFailed(LabError):
    def __init__(self, where, command, result):
        self.result = result
        text = (result.stderr or "") + (result.stdout or "")
        super().__init__(f"{where}: '{command}' exited {result.returncode}: {text.strip()[-2000:]}")


def check_emulator():
    """Raise EmulatorFault if waiting for anything in a lab of this process has become pointless."""
    if fgwatch.fatal():
        raise EmulatorFault(fgwatch.fatal())


def wait_for(fn, deadline, noun, every=0.5):
    """Call fn until it returns something true (returned), or raise LabError naming the noun after `deadline` seconds."""
    end = time.monotonic() + deadline
    last = None
    while True:
        check_emulator()
        try:
            value = fn()
            if value:
                return value
        except (LabError, OSError, subprocess.TimeoutExpired) as error:
            last = error
        if time.monotonic() >= end:
            raise LabError(f"waited {deadline} s for {noun}" + (f": {last}" if last else ""))
        time.sleep(every)


def _start_time(pid):
    """The process' start time, which tells it from another one with the same number; None if there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
            return None if fields[0] == "Z" else int(fields[19])
    except (OSError, IndexError):
        return None


def _kill(pid, start, sig=signal.SIGKILL):
    if start is not None and _start_time(pid) == start:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, sig)
        end = time.monotonic() + 10
        while _start_time(pid) == start and time.monotonic() < end:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
            time.sleep(0.02)


def _die_with_parent():
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _run(*argv, check=True, **kw):
    result = subprocess.run(argv, capture_output=True, text=True, **kw)
    if check and result.returncode:
        raise CommandFailed("here", shlex.join(argv), result)
    return result


def _in_netns(path, fn):
    """Call fn in a thread that has entered a network namespace; sockets made there stay there."""
    box = {}

    def enter():
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if _libc.setns(fd, _CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")
            finally:
                os.close(fd)
            box["value"] = fn()
        except BaseException as error:  # pylint: disable=broad-except
            box["error"] = error

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if "error" in box:
        raise box["error"]
    return box["value"]


def _tap(name):
    fd = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR))
    return fd


class Qmp:
    """QEMU's monitor."""

    def __init__(self, path, deadline=10):
        def connect():
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(deadline)
            try:
                sock.connect(path)
            except OSError:
                sock.close()
                raise
            return sock
        self.sock = wait_for(connect, deadline, "QEMU's monitor", every=0.02)
        self.file = self.sock.makefile("rwb")
        self._read()
        self("qmp_capabilities")

    def _read(self):
        line = self.file.readline()
        if not line:
            raise LabError("QEMU closed its monitor")
        return json.loads(line)

    def __call__(self, command, **arguments):
        self.file.write(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        self.file.flush()
        while True:
            answer = self._read()
            if "error" in answer:
                raise LabError(f"QEMU: {command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def migrated(self, deadline):
        def done():
            status = self("query-migrate").get("status")
            if status == "failed":
                raise RuntimeError("QEMU: saving or loading the snapshot failed")
            return status == "completed"
        wait_for(done, deadline, "QEMU's snapshot", every=0.02)

    def close(self):
        self.file.close()
        self.sock.close()


class Lab:
    """One instance of the lab. image: directory of a built image (default: the one of this checkout, built if needed).

    keep=True: the lab outlives this process (the command `lab up`); otherwise everything dies with it.
    """

    def __init__(self, instance="lab", image=None, keep=False, verbose=False):
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,23}", str(instance)):
            raise LabError(f"instance name '{instance}': use a-z, 0-9 and '-', at most 24")
        self.instance = str(instance)
        self.image = image
        self.keep = keep
        self.verbose = verbose
        self.dir = os.path.join(RUN, self.instance)
        self.state = None
        self.procs = []
        self.captures = {}
        self._forbidden = None
        self._watch = None
        self._faults = []
        self._lock = threading.Lock()

    # --- life -------------------------------------------------------------------------------------------------

    def __enter__(self):
        self.up()
        return self

    def __exit__(self, *_):
        self.down()

    def ns(self, which):
        """Name of the namespace: "sw", "server", "forbidden" or "test"."""
        return f"fg-{self.instance}-{which}"

    def _say(self, text):
        if self.verbose:
            print(f"# lab {self.instance}: {text}", file=sys.stderr, flush=True)

    def up(self):
        """Start the lab from its snapshot; returns when dom0 answers and has the right time."""
        began = time.monotonic()
        if self.image is None:
            import labimage
            self.image = labimage.image()
        collect_garbage()
        if os.path.exists(os.path.join(self.dir, "state.json")):
            other = Lab.attach(self.instance, check=False)
            if other.alive() and (other.state["keep"] or _start_time(other.state["owner"]) == other.state["owner_start"]):
                raise LabError(f"lab '{self.instance}' is up already: 'lab down' it, or take another instance name")
        self.down()
        os.makedirs(self.dir, mode=0o700)
        self._save(keep=self.keep, owner=os.getpid(), owner_start=_start_time(os.getpid()), image=self.image, pids=[])
        try:
            fds = self._network()
            _run("qemu-img", "create", "-q", "-f", "qcow2", "-b", os.path.join(self.image, "dom0.img"), "-F", "raw",
                 os.path.join(self.dir, "disk.qcow2"))
            self._qemu(fds, os.path.join(self.dir, "disk.qcow2"), "qcow2", load=os.path.join(self.image, "state"))
            self._say(f"memory and devices loaded after {time.monotonic() - began:.1f} s")
            self._ssh_up()
            self._say(f"dom0's ssh answers after {time.monotonic() - began:.1f} s")
            self.set_clock()
            if not self.keep:
                self._watch = fgwatch.Watch(self)
                self._watch.start()
        except BaseException:
            self._faults = self.emulator_faults()       # down() takes the console's log away
            self.down()
            raise
        self._say(f"up in {time.monotonic() - began:.1f} s")
        return self

    @classmethod
    def attach(cls, instance="lab", check=True):
        """The object for a lab that `lab up` has started."""
        lab = cls(instance, keep=True)
        try:
            with open(os.path.join(lab.dir, "state.json"), encoding="utf-8") as f:
                lab.state = json.load(f)
        except OSError as error:
            raise LabError(f"lab '{instance}' is not up") from error
        lab.image = lab.state["image"]
        if check and not lab.alive():
            raise LabError(f"lab '{instance}': QEMU has ended (see {lab.dir}/qemu.log and console.log)")
        return lab

    def alive(self):
        return bool(self.state and "qemu" in self.state and
                    _start_time(self.state["qemu"][0]) == self.state["qemu"][1])

    def down(self):
        """End everything of this instance; harmless if there is nothing. Also cleans up after a crashed run."""
        if self._watch:
            self._watch.stop()
        with contextlib.suppress(OSError, ValueError):
            with open(os.path.join(self.dir, "state.json"), encoding="utf-8") as f:
                state = json.load(f)
            for pid, start in reversed(state["pids"]):
                _kill(pid, start)
        for proc in self.procs:
            if proc.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    proc.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                proc.wait(5)
        self.procs.clear()
        self.captures.clear()
        self._forbidden = None
        for which in NAMESPACES:
            if not os.path.exists(f"/var/run/netns/{self.ns(which)}"):
                continue
            for pid in _run("ip", "netns", "pids", self.ns(which), check=False).stdout.split():
                _kill(int(pid), _start_time(int(pid)))
            _run("ip", "netns", "del", self.ns(which), check=False)
        shutil.rmtree(self.dir, ignore_errors=True)
        self.state = None

    def _save(self, **changes):
        with self._lock:
            self.state = {**(self.state or {}), **changes}
            path = os.path.join(self.dir, "state.json")
            with open(path + ".new", "w", encoding="utf-8") as f:
                json.dump(self.state, f)
            os.rename(path + ".new", path)

    def _own(self, proc):
        """Remember a process, so that down() ends it, whoever calls down()."""
        self.procs.append(proc)
        if self.state:
            self._save(pids=self.state["pids"] + [[proc.pid, _start_time(proc.pid)]])
        return proc

    def _child(self):
        return None if self.keep else _die_with_parent

    # --- network ----------------------------------------------------------------------------------------------

    def _network(self):
        if not os.path.exists("/dev/net/tun"):
            raise LabError("/dev/net/tun is missing: load the module tun")
        sw = self.ns("sw")
        for which in NAMESPACES:
            _run("ip", "netns", "add", self.ns(which))
        quiet = ("net.ipv6.conf.all.accept_ra=0\nnet.ipv6.conf.default.accept_ra=0\n"
                 "net.ipv6.conf.default.router_solicitations=0\nnet.ipv6.conf.default.dad_transmits=0\n")
        for which in NAMESPACES:
            text = quiet + ("net.ipv6.conf.all.disable_ipv6=1\nnet.ipv6.conf.default.disable_ipv6=1\n"
                            if which == "sw" else "")
            _run("ip", "netns", "exec", self.ns(which), "sysctl", "-q", "-p", "-", input=text)
        tap = _in_netns(f"/var/run/netns/{sw}", lambda: _tap("tap0"))
        batch = ["link set lo up",
                 "link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0 ageing_time 8640000",
                 "link set br0 up",
                 f"link add server type veth peer name eth0 address {SERVER_MAC} netns {self.ns('server')}",
                 f"link add forbidden type veth peer name eth0 address {FORBIDDEN_MAC} netns {self.ns('forbidden')}",
                 f"link add test type veth peer name eth0 address {TEST_MAC} netns {self.ns('test')}"]
        for port in ("tap0", "server", "forbidden", "test"):
            batch += [f"link set {port} master br0", f"link set {port} up"]
        _run("ip", "-n", sw, "-batch", "-", input="\n".join(batch))
        # The switch knows from the start who is where: no frame is flooded to a port that it is not meant for.
        for mac, port in ((SERVER_MAC, "server"), (FORBIDDEN_MAC, "forbidden"), (TEST_MAC, "test"), (DOM0_MAC, "tap0")):
            _run("bridge", "-n", sw, "fdb", "add", mac, "dev", port, "master", "static")
        for guest in GUESTS.values():
            _run("bridge", "-n", sw, "fdb", "add", guest.mac, "dev", "tap0", "master", "static")
        for which, ip4, ip6 in (("server", SERVER4, SERVER6), ("forbidden", FORBIDDEN4, FORBIDDEN6), ("test", TEST4, TEST6)):
            _run("ip", "-n", self.ns(which), "-batch", "-", input="\n".join(
                ["link set lo up", "link set eth0 up", f"addr add {ip4}/24 dev eth0",
                 f"addr add {ip6}/64 dev eth0 nodad"]))
        return [tap]

    # --- QEMU -------------------------------------------------------------------------------------------------

    def _qemu(self, fds, disk, disk_format, load=None, memory=None, append=""):
        """Start QEMU: from a snapshot (load), or cold. memory: file that becomes the snapshot's memory."""
        image = self.image
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        if load:
            backend = f"memory-backend-file,id=ram,size={MEMORY_MIB}M,mem-path={image}/memory,share=off"
        elif memory:
            backend = f"memory-backend-file,id=ram,size={MEMORY_MIB}M,mem-path={memory},share=on"
        else:
            backend = f"memory-backend-ram,id=ram,size={MEMORY_MIB}M"
        # One CPU: dom0 and a guest wait for each other most of the time, and two emulated CPUs do so at the cost of a thread each that
        # does not bear company. spec-ctrl, mitigations, init_on_alloc: nothing to protect.
        xen = f"console=com1 com1=115200,8n1 dom0_mem={DOM0_MIB}M,max:{DOM0_MIB}M noreboot bootscrub=0 spec-ctrl=no"
        # norandmaps: QEMU translates code once for each address that it runs at. With addresses that change at each exec, a
        # program's start costs twice as much (measured: /bin/true 72 ms, 34 ms without), and a scenario starts thousands.
        dom0 = "root=/dev/vda rw console=hvc0 net.ifnames=0 norandmaps mitigations=off init_on_alloc=0 quiet systemd.show_status=0 audit=0 " + \
            append
        argv = ["qemu-system-x86_64", "-name", f"fixgate-lab-{self.instance}", "-nodefaults", "-no-user-config",
                "-machine", "q35,memory-backend=ram", "-object", backend, "-m", str(MEMORY_MIB),
                "-accel", "tcg", "-cpu", "qemu64,+svm,+npt", "-smp", "1", "-display", "none",
                "-no-reboot", "-kernel", f"{image}/xen", "-append", xen,
                "-initrd", f"{image}/vmlinux {dom0},{image}/dom0-initrd.img",
                "-drive", f"file={disk},format={disk_format},if=none,id=disk,cache=unsafe,discard=unmap",
                "-device", "virtio-blk-pci,drive=disk",
                "-netdev", f"tap,id=wire,fd={fds[0]}",
                "-device", "virtio-net-pci,netdev=wire,mac=02:f1:9a:00:00:e0,romfile=",
                "-netdev", f"user,id=mgmt,restrict=on,ipv6=off,hostfwd=tcp:127.0.0.1:{port}-10.0.2.15:22",
                "-device", "virtio-net-pci,netdev=mgmt,mac=02:f1:9a:00:00:e1,romfile=",
                "-device", "virtio-rng-pci",
                "-chardev", f"socket,id=con,path={self.dir}/console.sock,server=on,wait=off,logfile={self.dir}/console.log",
                "-serial", "chardev:con",
                "-qmp", f"unix:{self.dir}/qmp.sock,server=on,wait=off"]
        if load:
            argv += ["-incoming", "defer"]
        with open(os.path.join(self.dir, "qemu.log"), "ab") as log:
            proc = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=fds,
                                    start_new_session=self.keep, preexec_fn=self._child())
        for fd in fds:
            os.close(fd)
        self._own(proc)
        self._save(qemu=[proc.pid, _start_time(proc.pid)], port=port)
        try:
            qmp = Qmp(os.path.join(self.dir, "qmp.sock"))
            if load:
                qmp("migrate-set-capabilities", capabilities=[{"capability": "x-ignore-shared", "state": True}])
                qmp("migrate-incoming", uri=f"exec:cat {shlex.quote(load)}")
                qmp.migrated(60)
                qmp("cont")
            qmp.close()
        except (LabError, OSError) as error:
            with open(os.path.join(self.dir, "qemu.log"), encoding="utf-8", errors="replace") as log:
                raise LabError(f"QEMU did not start: {error}: {log.read()[-2000:]}") from error

    def qmp(self):
        """QEMU's monitor; the caller closes it."""
        return Qmp(os.path.join(self.dir, "qmp.sock"))

    def give_up(self):
        """End QEMU: every command that waits for dom0 ends with it."""
        _kill(*self.state["qemu"])

    def power_cycle(self, deadline=180):
        """Pull dom0's plug and boot it again from what is on its disk; no guest is started. Returns when ssh answers."""
        self._drop_ssh()
        _kill(*self.state["qemu"])
        # A process whose first thread has ended keeps its files until its last one, which frees the memory, has.
        tap = wait_for(lambda: _in_netns(f"/var/run/netns/{self.ns('sw')}", lambda: _tap("tap0")), 60, "QEMU to let go of tap0")
        _run("ip", "-n", self.ns("sw"), "link", "set", "tap0", "master", "br0", "up")
        for mac in [DOM0_MAC] + [g.mac for g in GUESTS.values()]:
            _run("bridge", "-n", self.ns("sw"), "fdb", "replace", mac, "dev", "tap0", "master", "static")
        os.rename(os.path.join(self.dir, "console.log"), os.path.join(self.dir, "console.old.log"))
        for name in ("qmp.sock", "console.sock"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(self.dir, name))
        self._qemu([tap], os.path.join(self.dir, "disk.qcow2"), "qcow2")
        self._ssh_up(deadline)
        self.set_clock()

    # --- dom0 -------------------------------------------------------------------------------------------------

    def ssh_argv(self, *more):
        return ["ssh", "-F", "none", "-i", os.path.join(self.image, "ssh-key"),
                "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
                "-o", "IdentitiesOnly=yes", "-o", "PreferredAuthentications=publickey", "-o", "ConnectTimeout=20",
                "-o", "KexAlgorithms=curve25519-sha256", "-o", "Ciphers=chacha20-poly1305@openssh.com",
                "-o", f"ControlPath={self.dir}/ssh.sock", "-p", str(self.state["port"]), *more, "root@127.0.0.1"]

    def _ssh_up(self, deadline=120):
        end = time.monotonic() + deadline
        control = os.path.join(self.dir, "ssh.sock")
        while True:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(control)
            master = subprocess.Popen(self.ssh_argv("-M", "-N"), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                      stderr=subprocess.PIPE, start_new_session=self.keep, preexec_fn=self._child())
            while master.poll() is None and not os.path.exists(control) and time.monotonic() < end:
                time.sleep(0.02)
            if os.path.exists(control):
                self._own(master)
                self._save(ssh=[master.pid, _start_time(master.pid)])
                return
            if not self.alive():
                raise LabError(f"QEMU has ended; the end of dom0's console: {self.console()[-1500:]}")
            if time.monotonic() >= end:
                master.kill()
                raise LabError(f"dom0's ssh did not answer within {deadline} s; the end of its console: "
                               f"{self.console()[-1500:]}")
            time.sleep(0.2)

    def _drop_ssh(self):
        if "ssh" in self.state:
            _kill(*self.state["ssh"])

    def console(self):
        """What dom0 and Xen have written on the serial line so far."""
        try:
            with open(os.path.join(self.dir, "console.log"), encoding="utf-8", errors="replace") as f:
                return f.read()
        except OSError:
            return ""

    def emulator_faults(self):
        """What the emulator, not the product, did wrong so far: lines for a person."""
        known = (fgwatch.TRIPLE, "soft lockup", "rcu_preempt detected stalls", "rcu_preempt self-detected stall")
        return self._faults + (self._watch.found if self._watch else []) + [
            line.strip() for line in self.console().splitlines() if any(k in line for k in known)]

    def dom0(self, command, check=True, timeout=120, input=None, text=True):
        """Run a shell command in dom0 as root; a CompletedProcess. Raises CommandFailed, or LabError after timeout."""
        try:
            result = subprocess.run(self.ssh_argv() + [command], capture_output=True, text=text, input=input,
                                    stdin=subprocess.DEVNULL if input is None else None, timeout=timeout)
        except subprocess.TimeoutExpired as error:
            raise LabError(f"dom0: '{command}' took longer than {timeout} s") from error
        if result.returncode == 255 and not self.alive():
            check_emulator()
            raise LabError(f"dom0: '{command}': QEMU has ended")
        if check and result.returncode:
            raise CommandFailed("dom0", command, result)
        return result

    def dom0_popen(self, command, **kw):
        """A running command in dom0; killing the Popen ends it in dom0 too if tty=True."""
        tty = kw.pop("tty", False)
        argv = self.ssh_argv("-tt") if tty else self.ssh_argv()
        kw.setdefault("stdin", subprocess.DEVNULL)
        return self._own(subprocess.Popen(argv + [command], preexec_fn=self._child(), **kw))

    def put(self, local, remote, mode=None):
        """Copy a file or directory into dom0, as path `remote` (parents are made)."""
        remote = remote.rstrip("/")
        parent, name = os.path.split(remote)
        packed = io.BytesIO()

        def owner(info):
            info.uid = info.gid = 0
            info.uname = info.gname = "root"
            if mode is not None and info.isfile():
                info.mode = mode
            return info
        with tarfile.open(fileobj=packed, mode="w") as tar:
            tar.add(os.path.realpath(local), arcname=name, filter=owner)
        self.dom0(f"mkdir -p {shlex.quote(parent or '/')} && tar -xf - -C {shlex.quote(parent or '/')}",
                  input=packed.getvalue(), text=False, timeout=300)

    def put_text(self, text, remote, mode=0o644):
        self.dom0(f"mkdir -p $(dirname {shlex.quote(remote)}) && cat >{shlex.quote(remote)} && "
                  f"chmod {mode:o} {shlex.quote(remote)}", input=text)

    def get(self, remote, local):
        """Copy a file out of dom0 (sparse files stay sparse in transit)."""
        data = self.dom0(f"tar -cSf - -C {shlex.quote(os.path.dirname(remote) or '/')} "
                         f"{shlex.quote(os.path.basename(remote))}", text=False, timeout=300).stdout
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            member = tar.next()
            with tar.extractfile(member) as source, open(local, "wb") as target:
                shutil.copyfileobj(source, target)

    def set_clock(self):
        """Give dom0, and with it Xen's wall clock (new domains read it), the time of this machine."""
        self.dom0(f"date -u -s @{time.time() + 0.05:.3f} >/dev/null", timeout=60)

    # --- guests -----------------------------------------------------------------------------------------------

    def domains(self):
        """{name: {"domid", "memory", "vcpus", "state"}} of all running domains, as xl sees them."""
        found = {}
        for line in self.dom0("xl list").stdout.splitlines()[1:]:
            name, domid, memory, vcpus, state, _ = line.split()
            found[name] = {"domid": int(domid), "memory": int(memory), "vcpus": int(vcpus), "state": state}
        return found

    def guest_state(self, name):
        """The guest's entry in domains(), or None if it does not run."""
        return self.domains().get(name)

    def domid(self, name):
        result = self.dom0(f"xl domid {shlex.quote(name)}", check=False)
        return int(result.stdout) if result.returncode == 0 else None

    def vif(self, name, devid=0):
        """The guest's netdev in dom0, e.g. "vif3.0"; None if it does not run."""
        domid = self.domid(name)
        return None if domid is None else f"vif{domid}.{devid}"

    def guest(self, name, command, check=True, timeout=60):
        """Run a shell command in a guest as root, over the network from dom0 (not seen outside); a CompletedProcess."""
        return self._guest_result(name, command, check, self.dom0(
            f"printf '%s\\n' {shlex.quote(command)} | nc -w {int(timeout)} {GUESTS[name].ip4} 7799",
            check=False, timeout=timeout + 20))

    def _guest_result(self, name, command, check, raw):
        match = re.search(r"=rc (\d+)\r?\n?\Z", raw.stdout)
        if not match:
            raise LabError(f"{name}: '{command}': no answer ({(raw.stdout + raw.stderr).strip()[-500:]!r})")
        result = subprocess.CompletedProcess(command, int(match[1]), raw.stdout[:match.start()], "")
        if check and result.returncode:
            raise CommandFailed(name, command, result)
        return result

    def guest_console(self, name, command, check=True, timeout=60):
        """Like guest(), but typed at the root shell on the guest's console: works while the guest is cut off."""
        typist = (
            "import os,sys,select,time,tty\n"
            "fd=os.open(sys.argv[1],os.O_RDWR|os.O_NOCTTY); tty.setraw(fd)\n"
            "while select.select([fd],[],[],0.2)[0]: os.read(fd,65536)\n"
            "os.write(fd,('stty -echo; PS2=; echo =be''gin; { '+sys.argv[2]+'\\n} 2>&1; echo =rc $?; stty echo\\n').encode())\n"
            "seen=b''; end=time.monotonic()+float(sys.argv[3])\n"
            "import re\n"
            "while time.monotonic()<end and not re.search(rb'\\n=rc \\d+\\r?\\n',seen):\n"
            "  if select.select([fd],[],[],1)[0]: seen+=os.read(fd,65536)\n"
            "text=seen.decode(errors='replace').replace('\\r','')\n"
            "text=text.rpartition('=begin\\n')[2]\n"
            "m=re.search(r'(?s)^(.*?=rc \\d+\\n)',text)\n"
            "sys.stdout.write(m[1] if m else text)\n")
        return self._guest_result(name, command, check, self.dom0(
            f"python3 -c {shlex.quote(typist)} $(xenstore-read /local/domain/$(xl domid {shlex.quote(name)})/console/tty) "
            f"{shlex.quote(command)} {int(timeout)}", check=False, timeout=timeout + 30))

    def talker_stat(self, name):
        """The talker's own counts in a guest: what it sent, what came from which neighbour."""
        return json.loads(self.guest(name, "stat", timeout=10).stdout)

    def banner(self, name):
        """What the guest's fgdemo answers ("vulnerable 1.0"), "" if nothing."""
        answer = b""
        with self.ns_socket("test") as sock, contextlib.suppress(OSError):
            sock.settimeout(5)
            sock.connect((GUESTS[name].ip4, 7777))
            while more := sock.recv(256):
                answer += more
        return answer.decode(errors="replace").strip()

    # --- peers outside ----------------------------------------------------------------------------------------

    def ns_popen(self, which, argv, **kw):
        """Start a command in a namespace ("server", "forbidden", "sw"); ended by down()."""
        if isinstance(argv, str):
            argv = ["sh", "-c", argv]
        kw.setdefault("stdin", subprocess.DEVNULL)
        return self._own(subprocess.Popen(["ip", "netns", "exec", self.ns(which)] + list(argv),
                                          preexec_fn=self._child(), start_new_session=self.keep, **kw))

    def ns_run(self, which, argv, check=True, timeout=60, **kw):
        if isinstance(argv, str):
            argv = ["sh", "-c", argv]
        result = subprocess.run(["ip", "netns", "exec", self.ns(which)] + list(argv), capture_output=True, text=True,
                                timeout=timeout, **kw)
        if check and result.returncode:
            raise CommandFailed(which, shlex.join(argv), result)
        return result

    def server_ns(self, argv, **kw):
        return self.ns_popen("server", argv, **kw)

    def forbidden_ns(self, argv, **kw):
        return self.ns_popen("forbidden", argv, **kw)

    def ns_socket(self, which, family=socket.AF_INET, kind=socket.SOCK_STREAM):
        """A socket of this process that lives in a namespace."""
        return _in_netns(f"/var/run/netns/{self.ns(which)}", lambda: socket.socket(family, kind))

    def capture_start(self, which, path=None):
        """tcpdump (classic pcap, whole frames) in "server" or "forbidden" (eth0) or "sw" (tap0). Returns the path."""
        path = path or os.path.join(self.dir, f"{which}.pcap")
        device = "tap0" if which == "sw" else "eth0"
        proc = self.ns_popen(which, ["tcpdump", "-i", device, "-U", "-s", "0", "-n", "-Z", "root", "-w", path],
                             stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        line = b""
        while b"listening on" not in line:
            line = proc.stderr.readline()
            if not line:
                raise LabError(f"tcpdump in {which} ended at once")
        drain = threading.Thread(target=proc.stderr.read, daemon=True)
        drain.start()
        self.captures[which] = (proc, path)
        return path

    def capture_stop(self, which):
        """End a capture; everything that was seen is in the file when this returns."""
        proc, path = self.captures.pop(which)
        time.sleep(0.2)     # tcpdump takes frames from the kernel in batches
        proc.send_signal(signal.SIGINT)
        try:
            proc.wait(10)
        except subprocess.TimeoutExpired:
            proc.kill()
        return path

    def forbidden_start(self, directory=None):
        """Let the forbidden host answer: every talker begins. Writes forbidden.jsonl in `directory`."""
        directory = directory or self.dir
        ready = subprocess.PIPE
        proc = self.forbidden_ns([sys.executable, os.path.join(HERE, "talker", "forbiddend.py"),
                                  "--records", os.path.join(directory, "forbidden.jsonl"),
                                  "--summary", os.path.join(directory, "forbidden-summary.json"),
                                  "--control", os.path.join(self.dir, "forbiddend.sock")], stdout=ready)
        if proc.stdout.readline().strip() != b"ready":
            raise LabError("forbiddend did not start")
        self._forbidden = (proc, directory)
        return proc

    def forbidden_summary(self):
        """What the forbidden host has received up to now: see talker/forbiddend.py."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(20)
            sock.connect(os.path.join(self.dir, "forbiddend.sock"))
            with sock.makefile("rb") as f:
                return json.loads(f.read())

    def forbidden_stop(self):
        """End the forbidden host; returns its summary."""
        proc, directory = self._forbidden
        self._forbidden = None
        proc.terminate()
        proc.wait(20)
        with open(os.path.join(directory, "forbidden-summary.json"), encoding="utf-8") as f:
            return json.load(f)

    wait_for = staticmethod(wait_for)


def instances():
    """Names of all instances that have left something."""
    with contextlib.suppress(OSError):
        return sorted(n for n in os.listdir(RUN) if os.path.exists(os.path.join(RUN, n, "state.json")))
    return []


def collect_garbage():
    """Take down labs whose owner has died without doing it."""
    for name in instances():
        with contextlib.suppress(LabError, KeyError, ValueError):
            lab = Lab.attach(name, check=False)
            if not lab.state["keep"] and _start_time(lab.state["owner"]) != lab.state["owner_start"]:
                lab.down()


__all__ = ["Lab", "LabError", "EmulatorFault", "check_emulator", "CommandFailed", "Guest", "GUESTS", "BANNERS", "wait_for", "instances", "collect_garbage",
           "CACHE", "RUN", "SERVER4", "SERVER6", "SERVER_MAC", "FORBIDDEN4", "FORBIDDEN6", "FORBIDDEN_MAC", "DOM0_4",
           "DOM0_6", "DOM0_MAC"]
