# SPDX-License-Identifier: GPL-3.0-or-later
"""Network namespaces, raw sockets and TAP for the tests of netback-filter.  Standard library only; root."""

import atexit
import ctypes
import errno
import fcntl
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
import traceback

ETH_P_ALL = 3
PACKET_AUXDATA = 8
PACKET_IGNORE_OUTGOING = 23
SOL_PACKET = 263
TP_STATUS_VLAN_VALID = 1 << 4
CLONE_NEWNET = 0x40000000

libc = ctypes.CDLL(None, use_errno=True)
BIN = os.environ.get("FG_BIN") or os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "..", "..", os.environ.get("O", "build"), "bin")
FILTER = os.path.join(BIN, "netback-filter")
UUID = "11111111-1111-4111-8111-111111111111"
UUID2 = "22222222-2222-4222-8222-222222222222"


def sh(*argv, check=True, stdin=None):
    p = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, input=stdin)
    if check and p.returncode != 0:
        raise RuntimeError("%s: %s" % (" ".join(argv), p.stdout.strip()))
    return p.stdout if check else (p.returncode, p.stdout)


def without_nft_part(program, path):
    """A copy for which the kernel lacks a part of nf_tables: it asks for chains of a type that no module has.  ENOENT."""
    with open(program, "rb") as f:
        data = f.read()
    with open(path, "wb") as f:
        f.write(data.replace(b"filter\0", b"filteX\0"))
    os.chmod(path, 0o755)


class Ns:
    """A namespace of this process; gone with it."""
    count = 0

    def __init__(self, label):
        Ns.count += 1
        self.homes = []
        self.name = "fgt%d-%d-%s" % (os.getpid(), Ns.count, label)
        sh("ip", "netns", "add", self.name)
        atexit.register(self.remove)
        for key in ("all", "default"):  # silence: only frames of the test are on the wire
            self.sysctl("net/ipv6/conf/%s/accept_ra" % key, "0")
            self.sysctl("net/ipv6/conf/%s/router_solicitations" % key, "0")
            self.sysctl("net/ipv6/conf/%s/addr_gen_mode" % key, "1", check=False)
        self.run("ip", "link", "set", "lo", "up")

    def remove(self):
        sh("ip", "netns", "del", self.name, check=False)

    def run(self, *argv, check=True, stdin=None):
        with self:  # as "ip netns exec", but one process less and without a /sys of its own
            return sh(*argv, check=check, stdin=stdin)

    def ip(self, *argv, check=True):
        return sh("ip", "-n", self.name, *argv, check=check)

    def sysctl(self, key, value, check=True):
        try:
            with self, open("/proc/sys/" + key, "w") as f:
                f.write(value)
        except OSError:
            if check:
                raise

    def __enter__(self):
        self.homes.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY))
        fd = os.open("/run/netns/" + self.name, os.O_RDONLY)
        if libc.setns(fd, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
        os.close(fd)
        return self

    def __exit__(self, *exc):
        home = self.homes.pop()
        if libc.setns(home, CLONE_NEWNET) != 0:
            os._exit(1)  # never go on in the wrong one
        os.close(home)

    def ifindex(self, dev):
        with self:
            return socket.if_nametoindex(dev)


class Raw:
    """Frames on a device of a namespace, as they are on the wire (a tag held beside the frame is put back)."""

    def __init__(self, ns, dev, protocol=ETH_P_ALL):
        """A protocol of its own stands behind the ingress hook, ETH_P_ALL before it."""
        with ns:
            self.s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(protocol))
            self.s.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
            self.s.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
            self.s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
            self.s.bind((dev, protocol))
        self.s.settimeout(5)
        self.dev = dev

    def send(self, frame):
        try:
            return self.s.send(frame)
        except OSError as e:
            if e.errno not in (errno.ENOBUFS, errno.EINVAL):  # dropped by the egress hook; shorter than a header
                raise
            return 0

    def receive(self, timeout=5.0):
        """A frame, None if there is none"""
        self.s.settimeout(timeout)
        try:
            data, aux, _, _ = self.s.recvmsg(70000, 256)
        except (TimeoutError, BlockingIOError):
            return None
        for level, kind, value in aux:
            if level == SOL_PACKET and kind == PACKET_AUXDATA and len(value) >= 20:
                status, _, _, _, _, tci, tpid = struct.unpack("=IIIHHHH", value[:20])
                if status & TP_STATUS_VLAN_VALID:
                    data = data[:12] + struct.pack("!HH", tpid, tci) + data[12:]
        return data

    def pending(self):
        out = []
        while True:
            frame = self.receive(0.0)
            if frame is None:
                return out
            out.append(frame)

    def until(self, sentinel, what=""):
        """All frames before the sentinel.  The path keeps order, so what was sent before it has come or never will."""
        out = []
        while True:
            frame = self.receive()
            if frame is None:
                raise RuntimeError("sentinel did not arrive on %s %s; seen: %s" % (self.dev, what, [f.hex() for f in out]))
            if frame == sentinel:
                return out
            out.append(frame)

    def close(self):
        self.s.close()


PACKET_VNET_HDR = 15
NEEDS_CSUM, GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4 = 1, 0, 1, 4, 5  # linux/virtio_net.h


class Offload(Raw):
    """Sends frames as a guest's driver hands them over: checksum and segmentation left to others."""

    def __init__(self, ns, dev):
        super().__init__(ns, dev)
        self.s.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)

    def send_offload(self, frame, gso, start, offset, size=1448):
        """start, offset: where the checksum is to be put.  Raises if the kernel does not take the frame."""
        kind = gso if gso else GSO_NONE
        return self.s.send(struct.pack("=BBHHHH", NEEDS_CSUM, kind, start + 20, size if gso else 0, start, offset) + frame)


class Filter:
    def __init__(self, ns):
        self.ns = ns

    def __call__(self, *argv, stdin=None):
        """(exit status, output)"""
        return self.ns.run(FILTER, *argv, check=False, stdin=stdin)

    def ok(self, *argv, stdin=None):
        rc, out = self(*argv, stdin=stdin)
        if rc != 0:
            raise RuntimeError("netback-filter %s: %d %s" % (" ".join(argv), rc, out))
        return out

    def counters(self, uuid=UUID, dev=None):
        """{("from"|"to", reason): frames} of a guest"""
        out = {}
        for guest in json.loads(self.ok("list", "--json"))["guests"]:
            if guest["uuid"] != uuid:
                continue
            for d in guest["devs"]:
                if dev in (None, d["dev"]):
                    for key in ("from_guest", "to_guest"):
                        for reason, c in d[key].items():
                            k = (key[:-6], reason)
                            out[k] = out.get(k, 0) + c["frames"]
        return out


def veth(ns, dev, peer_ns, peer="eth0"):
    ns.ip("link", "add", dev, "type", "veth", "peer", "name", peer, "netns", peer_ns.name)
    ns.ip("link", "set", dev, "up")
    peer_ns.ip("link", "set", peer, "up")


def until_carrying(ns, *devs, limit=10.0):
    """
    Until frames pass: the kernel learns of a carrier from a work item of its own, up to a second later (net/core/link_watch.c).
    Before it a device has no queue, and a bridge drops what comes from its port.
    """
    end = time.monotonic() + limit
    while True:
        state = {}
        for dev in devs:
            link = json.loads(ns.run("ip", "-d", "-j", "link", "show", dev))[0]
            port = link.get("linkinfo", {})
            forwards = port.get("info_slave_kind") != "bridge" or port["info_slave_data"]["state"] == "forwarding"
            state[dev] = (link["operstate"], "forwards" if forwards else "does not forward")
        if all(s == ("UP", "forwards") for s in state.values()):
            return
        if time.monotonic() > end:
            raise RuntimeError("no frame passes after %d s: %s" % (limit, state))
        time.sleep(0.01)


def ruleset(ns):
    """Without counts; chains sorted by name."""
    text = re.sub(r"packets \d+ bytes \d+", "", ns.run("nft", "list", "ruleset"))
    return "chain".join(sorted(c.strip(" \n\t}") for c in text.split("chain ")))


class Tap:
    def __init__(self, script):
        self.n = self.failed = 0
        self.script = script

    def ok(self, good, text, detail=None):
        self.n += 1
        if not good:
            self.failed += 1
        print("%sok %d - %s" % ("" if good else "not ", self.n, text), flush=True)
        if not good and detail is not None:
            for line in str(detail).splitlines():
                print("# " + line, flush=True)
        return good

    def section(self, fn, *args):
        """An exception fails one line and the next section still runs.  FG_SECTIONS names those that are to run."""
        only = os.environ.get("FG_SECTIONS")
        if only and fn.__name__ not in only.split(","):
            return
        try:
            fn(self, *args)
        except Exception:  # noqa: BLE001
            self.ok(False, "%s ran to its end" % fn.__name__, traceback.format_exc())

    def done(self):
        print("1..%d" % self.n, flush=True)
        sys.exit(1 if self.failed else 0)


def pin():
    """One CPU: frames sent one after the other are handled one after the other."""
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[0]})


def need_root():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the namespaces go, also at a time limit
    if os.geteuid() != 0 or not os.path.exists(FILTER):
        print("1..0 # SKIP needs root and %s" % FILTER)
        sys.exit(0)
