#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real flows through the kernel's own stacks: what must go on goes on, what was open is cut in the same instant."""
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from nslib import UUID, Filter, Ns, Raw, Tap, need_root, until_carrying  # noqa: E402

GM, SM, OM = "02:00:00:00:00:01", "02:00:00:00:00:09", "02:00:00:00:00:03"
HOSTS = {"guest": ("10.0.0.2", "2001:db8::2", GM), "server": ("10.0.0.1", "2001:db8::1", SM),
         "other": ("10.0.0.3", "2001:db8::3", OM)}
PORT = 443
GUEST = ["--guest", UUID, "--dev", "vif1.0", "--mac", GM, "--ip", "10.0.0.2", "--ip", "2001:db8::2",
         "--server", "10.0.0.1:443", "--server", "[2001:db8::1]:443"]
KNOWN = ["--server-mac", SM]
SECONDS = float(os.environ.get("FG_FLOW_SECONDS", "2"))  # of the transfers at full speed; 60 in test/run --full
BUSYBOX = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "build/fixvm/busybox/bin/busybox")
STALL = 10  # seconds without a byte that are too long


class Net:
    def __init__(self):
        self.d, self.ns = Ns("dom0"), {}
        self.d.ip("link", "add", "br0", "type", "bridge", "stp_state", "0", "mcast_snooping", "0")
        self.d.ip("link", "set", "br0", "up")
        for host, dev in (("guest", "vif1.0"), ("server", "srv0"), ("other", "oth0")):
            v4, v6, mac = HOSTS[host]
            n = self.ns[host] = Ns(host)
            self.d.ip("link", "add", dev, "type", "veth", "peer", "name", "eth0", "netns", n.name)
            self.d.ip("link", "set", dev, "master", "br0", "up")
            n.ip("link", "set", "eth0", "address", mac, "addrgenmode", "eui64")
            n.ip("link", "set", "eth0", "up")
            n.ip("addr", "add", v4 + "/24", "dev", "eth0")
            n.ip("addr", "add", v6 + "/64", "dev", "eth0", "nodad")
        until_carrying(self.d, "vif1.0", "srv0", "oth0")
        for n in self.ns.values():
            until_carrying(n, "eth0")
        self.filter = Filter(self.d)

    def forget_neighbours(self):
        for n in self.ns.values():
            n.ip("neigh", "flush", "dev", "eth0")


def listen(net, host, v, port=PORT):
    """A server that sends to who says 'get' until he hangs up, reads from who says 'put', else echoes."""
    with net.ns[host]:
        s = socket.socket(socket.AF_INET6 if v else socket.AF_INET)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind((HOSTS[host][v], port))
        s.listen(16)

    def talk(c):
        try:
            while True:
                data = c.recv(65536)
                if not data:
                    return
                if data == b"get":
                    while True:
                        c.sendall(b"x" * (1 << 18))
                elif data == b"put":
                    c.sendall(b"!")
                    while c.recv(1 << 18):
                        pass
                else:
                    c.sendall(data)
        except OSError:
            pass

    def serve():
        while True:
            c, _ = s.accept()
            threading.Thread(target=talk, args=(c,), daemon=True).start()
    threading.Thread(target=serve, daemon=True).start()
    return s


def connect(net, frm, to, v, port=PORT, timeout=5):
    with net.ns[frm]:
        c = socket.socket(socket.AF_INET6 if v else socket.AF_INET)
    c.settimeout(timeout)
    c.connect((HOSTS[to][v], port))
    return c


def refused(net, frm, to, v, port=PORT):
    """No answer at all within a moment."""
    try:
        connect(net, frm, to, v, port, 0.3).close()
        return False
    except TimeoutError:
        return True
    except OSError as e:
        return "unreachable" in str(e).lower() or "no route" in str(e).lower()


def echo(c, text, timeout=5):
    c.settimeout(timeout)
    c.sendall(text)
    got = b""
    while len(got) < len(text):
        part = c.recv(65536)
        if not part:
            return False
        got += part
    return got == text


class Transfer(threading.Thread):
    """As much as gets through, in one direction, until the moment `until`; then how much, and the longest pause."""

    def __init__(self, c, word, until):
        super().__init__(daemon=True)
        self.c, self.word, self.until = c, word, until
        self.done, self.pause, self.error = 0, 0.0, None
        self.start()

    def run(self):
        block, last = b"y" * (1 << 18), time.monotonic()
        try:
            self.c.settimeout(STALL)
            self.c.sendall(self.word)
            if self.word == b"put":
                self.c.recv(1)
            while last < self.until:
                n = self.c.send(block) if self.word == b"put" else len(self.c.recv(1 << 18))
                if n == 0:
                    raise ConnectionError("closed by the server")
                now = time.monotonic()
                self.done, self.pause, last = self.done + n, max(self.pause, now - last), now
        except OSError as e:
            self.error = e
        self.c.close()


def open_connections(tap, net):
    for v, name in ((0, "IPv4"), (1, "IPv6")):
        to_other, to_server = connect(net, "guest", "other", v), connect(net, "guest", "server", v)
        from_other = connect(net, "other", "guest", v, 22)
        tap.ok(echo(to_other, b"before") and echo(to_server, b"before") and echo(from_other, b"before"),
               "%s: connections to server and other host, and from it, before isolation" % name)
        net.filter.ok("isolate", *GUEST, *KNOWN)
        to_other.sendall(b"after")
        from_other.sendall(b"after")
        tap.ok(echo(to_server, b"after"), "%s: the connection to the server goes on" % name)
        dead = select.select([to_other, from_other], [], [], 0.8)[0]
        tap.ok(not dead, "%s: the others are dead at once, retransmissions too" % name)
        tap.ok(refused(net, "guest", "other", v), "%s: no new connection to the other host" % name)
        tap.ok(refused(net, "guest", "server", v, 8443), "%s: nor to another port of the server" % name)
        tap.ok(refused(net, "other", "guest", v, 22), "%s: nor from the other host" % name)
        tap.ok(refused(net, "server", "guest", v, 22), "%s: nor from the server" % name)
        net.filter.ok("isolate", "--guest", UUID, "--dev", "vif1.0", "--mac", GM, "--closed")
        to_server.sendall(b"closed")
        tap.ok(not select.select([to_server], [], [], 0.5)[0], "%s: closed: the server's is dead as well" % name)
        net.filter.ok("release", "--guest", UUID)
        tap.ok(echo(connect(net, "guest", "other", v), b"released"),
               "%s: all is back after release" % name)
        for c in (to_other, to_server, from_other):
            c.close()


def neighbours(tap, net):
    """Resolution from nothing, by the guest and by the server.  Where the server's MAC is not known: that, and no more."""
    net.filter.ok("isolate", *GUEST)
    for v, name in ((0, "ARP"), (1, "neighbour discovery")):
        net.forget_neighbours()
        cut = refused(net, "guest", "server", v)
        known = net.ns["guest"].ip("neigh", "show", HOSTS["server"][v], "dev", "eth0")
        tap.ok(cut and SM in known, "server's MAC unknown: %s by the guest, no connection" % name, known)
    net.filter.ok("isolate", *GUEST, *KNOWN)
    for v, name in ((0, "ARP"), (1, "neighbour discovery")):
        for who in ("guest", "server"):
            net.forget_neighbours()
            if who == "server":  # makes the server resolve the guest before the guest says anything
                refused(net, "server", "guest", v, 22)
            try:
                ok = echo(connect(net, "guest", "server", v), b"x")
            except OSError as e:
                ok = e
            tap.ok(ok is True, "%s begun by the %s" % (name, who), ok)
    c = connect(net, "guest", "server", 0)
    for n in net.ns.values():  # renewals: stale entries are probed
        for line in n.ip("neigh", "show", "dev", "eth0").splitlines():
            addr = line.split()[0]
            n.ip("neigh", "change", addr, "dev", "eth0", "nud", "probe", check=False)
    tap.ok(echo(c, b"renewed"), "renewal of neighbours")
    c.close()
    counted = net.filter.counters()
    tap.ok(not any(n for (way, why), n in counted.items() if why.startswith("spoofed")), "none of it is taken for spoofing", counted)
    net.filter.ok("release", "--guest", UUID)


WAYS = [(v, name, word, way) for v, name in ((0, "IPv4"), (1, "IPv6")) for word, way in ((b"get", "from the server"), (b"put", "to the server"))]


def all_ways(net, seconds):
    """Both families, both ways at once; meanwhile both ends have to find each other's link address anew."""
    until = time.monotonic() + seconds
    running = [Transfer(connect(net, "guest", "server", v), word, until) for v, _, word, _ in WAYS]
    while running[0].is_alive():
        for v in (0, 1):
            for host, peer in (("guest", "server"), ("server", "guest")):
                net.ns[host].ip("neigh", "change", HOSTS[peer][v], "dev", "eth0", "nud", "probe", check=False)
        running[0].join(0.5)
    for t in running:
        t.join()
    return running


SHARE = 0.2         # of the unfiltered speed, at the least, on a machine that does other work too


def full_speed(tap, net):
    """Segmentation offload, long transfers, the default rate.  They never stop, and keep a good part of the speed without the filter (make bench says how much)."""
    free = all_ways(net, 1)
    net.filter.ok("isolate", *GUEST, *KNOWN)
    held = all_ways(net, SECONDS)
    counted = net.filter.counters()
    for (v, name, _, way), f, h in zip(WAYS, free, held):
        resolved = min(counted.get((side, "pass-neighbour" if v else "pass-arp"), 0) for side in ("from", "to"))
        tap.ok(h.error is None and h.done > 0 and h.pause < STALL and resolved > 0 and h.done / SECONDS > f.done * SHARE,
               "%s: TCP at full speed %s for %.0f s: %.2f Gbit/s (%.2f without), longest pause %.0f ms, link addresses renewed %d times" %
               (name, way, SECONDS, h.done * 8e-9 / SECONDS, f.done * 8e-9, h.pause * 1000, resolved), (h.error, h.done, counted))
    wrong = {k: n for k, n in counted.items() if n and k[1] in ("length", "fragment", "wrong-port", "wrong-mac", "mac-unknown", "ip-options")}
    tap.ok(not wrong, "none of it is dropped but for the rate (%d)" % counted.get(("from", "rate"), 0), wrong)
    net.filter.ok("release", "--guest", UUID)


def talk(one, other):
    for _ in range(5):
        one.sendall(b"before")
        other.recv(100)
        other.sendall(b"answer")
        one.recv(100)


def tracked(tap):
    """A routed vif: connections that the host tracks, or has handed to a flowtable, are cut like any other."""
    r, g, o = Ns("router"), Ns("guest"), Ns("other")
    for dev, ns_, net in (("vif3.0", g, "10.7.0"), ("lan0", o, "10.8.0")):
        r.ip("link", "add", dev, "type", "veth", "peer", "name", "eth0", "netns", ns_.name)
        r.ip("link", "set", dev, "up")
        r.ip("addr", "add", net + ".254/24", "dev", dev)
        ns_.ip("link", "set", "eth0", "up")
        ns_.ip("addr", "add", net + ".1/24", "dev", "eth0")
        ns_.ip("route", "add", "default", "via", net + ".254")
    gm = g.ip("-br", "link", "show", "dev", "eth0").split()[2]
    r.sysctl("net/ipv4/ip_forward", "1")
    f = Filter(r)
    isolate = ["isolate", "--guest", UUID, "--dev", "vif3.0", "--mac", gm, "--ip", "10.7.0.1", "--server", "192.0.2.1:443", "--gateway", "10.7.0.254"]
    for name, rules in (
            ("conntrack", "table ip t { chain c { type filter hook forward priority 0; ct state established counter accept; }; }"),
            ("flowtable", "table ip t { flowtable ft { hook ingress priority 0; devices = { vif3.0, lan0 }; }; "
                          "chain c { type filter hook forward priority 0; ip protocol tcp flow add @ft; ct state established counter accept; }; }")):
        rc, out = r.run("nft", "-f", "-", check=False, stdin=rules)
        if rc != 0:
            tap.ok(True, "%s # SKIP this kernel has none: %s" % (name, out.splitlines()[0]))
            continue
        ends = []
        for frm, to, addr in ((g, o, "10.8.0.1"), (o, g, "10.7.0.1")):
            with to:
                s = socket.socket()
                s.bind((addr, 443))
                s.listen(1)
            with frm:
                c = socket.create_connection((addr, 443), 5)
            p = s.accept()[0]
            s.close()
            talk(c, p)
            ends += [c, p]
        seen = r.run("nft", "list", "table", "ip", "t")
        tap.ok("packets 0 " not in seen, "%s: the host tracks the connections as established" % name, seen)
        if name == "flowtable":
            talk(*ends[:2])
            talk(*ends[2:])
            tap.ok(r.run("nft", "list", "table", "ip", "t") == seen, "flowtable: they pass it by, no chain counts them any more", seen)
        f.ok(*isolate)
        for s in ends:
            s.sendall(b"after")
        dead = select.select(ends, [], [], 0.8)[0]
        tap.ok(not dead, "%s: connections both ways are cut at once" % name, dead)
        f.ok("release", "--guest", UUID)
        for s in ends:
            s.settimeout(20)
            tap.ok(s.recv(100) == b"after", "%s: and go on after the release" % name)
            s.close()
        r.run("nft", "delete", "table", "ip", "t")


class Dhcp:
    """busybox' client in the guest, its servers at the server and, with another address to give, at the other host."""

    def __init__(self, net, work):
        self.net, self.work, self.events, self.started = net, work, os.path.join(work, "events"), []
        self.script = os.path.join(work, "script")
        with open(self.script, "w", encoding="ascii") as f:
            f.write('#!/bin/sh\necho "$1 $ip" >>%s\n' % self.events)
        os.chmod(self.script, 0o755)
        open(self.events, "w", encoding="ascii").close()
        self.serve("other", "10.0.0.77")

    def start(self, host, *argv):
        self.started.append(subprocess.Popen(["ip", "netns", "exec", self.net.ns[host].name, BUSYBOX, *argv],
                                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        return self.started[-1]

    def serve(self, host, give):
        base = os.path.join(self.work, host)
        open(base + ".leases", "w", encoding="ascii").close()
        with open(base + ".conf", "w", encoding="ascii") as f:
            f.write("start %s\nend %s\ninterface eth0\nlease_file %s.leases\npidfile %s.pid\noption lease 3600\noption subnet "
                    "255.255.255.0\nstatic_lease %s %s\n" % (give, give, base, base, GM, give))
        self.start(host, "udhcpd", "-f", base + ".conf")

    def ask(self, *argv):
        return self.start("guest", "udhcpc", "-f", "-i", "eth0", "-s", self.script, "-T", "1", *argv)

    def wait(self, event, seconds=40):
        deadline = time.monotonic() + seconds
        while event not in self.seen() and time.monotonic() < deadline:
            time.sleep(0.05)
        return event in self.seen()

    def seen(self):
        with open(self.events, encoding="ascii") as f:
            return f.read().splitlines()

    def end(self):
        for p in self.started:
            p.kill()
            p.wait()


def dropped_to_guest(net):
    return sum(n for (side, why), n in net.filter.counters().items() if side == "to" and not why.startswith("pass-"))


def dhcp(tap, net):
    with tempfile.TemporaryDirectory(prefix="fg-dhcp-") as work:
        d = Dhcp(net, work)
        try:
            tap.ok(d.ask("-q", "-t", "20").wait(60) == 0 and "bound 10.0.0.77" in d.seen(),
                   "DHCP: before the isolation any server is heard", d.seen())
            d.serve("server", "10.0.0.2")
            open(d.events, "w", encoding="ascii").close()
            net.filter.ok("isolate", *GUEST, *KNOWN)
            tap.ok(d.ask("-n", "-q", "-t", "2").wait(60) != 0 and not [e for e in d.seen() if e.startswith("bound")],
                   "DHCP that is not asked for: no lease", d.seen())
            net.filter.ok("isolate", *GUEST, *KNOWN, "--dhcp", "10.0.0.1")
            there = Raw(net.ns["other"], "eth0")
            client = d.ask("-t", "20")
            tap.ok(d.wait("bound 10.0.0.2"), "DHCP: a client of the guest gets a lease of the named server", d.seen())
            before = net.filter.counters()
            net.forget_neighbours()
            client.send_signal(signal.SIGUSR1)
            tap.ok(d.wait("renew 10.0.0.2"), "DHCP: and renews it", d.seen())
            after = net.filter.counters()
            tap.ok(all(after.get(k, 0) > before.get(k, 0) for k in (("from", "pass-dhcp"), ("to", "pass-dhcp"))),
                   "DHCP: the renewal is counted both ways", after)
            asked = [f for f in there.pending() if f[6:12] == bytes.fromhex(GM.replace(":", "")) and f[12:14] == b"\x08\0"]
            there.close()
            tap.ok(not asked, "DHCP: where the server's MAC is known nobody else is asked", [f.hex() for f in asked])
            tap.ok(client.poll() is None, "DHCP: the client lives")
            net.filter.ok("release", "--guest", UUID)
            net.filter.ok("isolate", *GUEST, "--dhcp", "10.0.0.1")
            open(d.events, "w", encoding="ascii").close()
            tap.ok(d.ask("-q", "-t", "20").wait(60) == 0 and "bound 10.0.0.2" in d.seen(), "DHCP: where it is not all are asked", d.seen())
            deadline = time.monotonic() + 20     # its answer may come later than the other's
            while not dropped_to_guest(net) and time.monotonic() < deadline:
                time.sleep(0.1)
            tap.ok(dropped_to_guest(net) and not [e for e in d.seen() if "10.0.0.77" in e],
                   "DHCP: the other server has answered too, and is not heard", (net.filter.counters(), d.seen()))
        finally:
            d.end()
            net.filter("release", "--guest", UUID)


def main():
    need_root()
    tap = Tap(__file__)
    net = Net()
    keep = [listen(net, h, v, p) for h, p in (("server", PORT), ("server", 8443), ("other", PORT), ("guest", 22)) for v in (0, 1)]
    tap.section(open_connections, net)
    tap.section(neighbours, net)
    tap.section(full_speed, net)
    tap.section(dhcp, net)
    tap.section(tracked)
    del keep
    tap.done()


main()
