# SPDX-License-Identifier: GPL-3.0-or-later
"""Isolating one guest with two NICs, by everything that can do it.

A case is a set of steps, each a function that returns what it cost: isolate (nothing is there before), replace (the guest
is isolated already), release.  The cases take turns, each round beginning with another one, so that drift of the
machine hits all alike."""

import os

import nwfilter
from benchlib import DEVS, FILTER, IP, MAC, PORT, SERVER, UUID, Cost, Samples, Timer, goal, isolate_args, sh, table


EMPTY, HOOKS = "floor: empty transaction", "floor: the hooks of both devices and a drop in each (`--closed`), ready-made messages"
INSIDE, KERNEL = "netback-filter, in-process", "— of which the kernel, with the same messages ready-made"
COMMAND, NFT, BESIDE = "netback-filter, command", "nft -f, command", "; the host has another hook"


class Case:
    def __init__(self, name, isolate, release, replace=None):
        self.name, self.isolate, self.replace, self.release = name, isolate, replace, release


def floors(timer):
    def twice():
        timer("smallest")
        return timer("smallest")
    return [Case(EMPTY, lambda: timer("empty"), None),
            Case("floor: smallest transaction with an effect (a table)", twice, None),
            Case("floor: a process that does nothing", lambda: timer.run("true"), None),
            Case(HOOKS, lambda: timer("hooks"), lambda: timer("release"), lambda: timer("hooks"))]


# A hook of another's on another device: the kernel's code for hooks is switched on already.
OTHER = """table netdev fixgate-bench-other {
  chain i { type filter hook ingress device lo priority 0; }
  chain o { type filter hook egress device lo priority 0; }
}
"""


def beside_another(case, timer):
    def isolate():
        sh("nft", "-f", "-", stdin=OTHER)
        timer("settle")
        return case.isolate()

    def release():
        cost = case.release()
        sh("nft", "delete table netdev fixgate-bench-other")
        return cost
    return Case(case.name + BESIDE, isolate, release, case.replace)


def ours(timer):
    command = [FILTER] + isolate_args(UUID, DEVS)
    release = [FILTER, "release", "--guest", UUID]

    def prepared():
        return timer("kernel")
    return [Case(INSIDE, lambda: timer("isolate"), lambda: timer("release"),
                 lambda: timer("isolate")),
            Case(KERNEL, prepared, lambda: timer("release"), prepared),
            Case(COMMAND, lambda: timer.run(*command), lambda: timer.run(*release),
                 lambda: timer.run(*command))]


def nft(timer, work):
    """The same rules, as `nft list` prints them."""
    sh(FILTER, *isolate_args(UUID, DEVS))
    rules = sh("nft", "-s", "list", "table", "netdev", "fixgate")
    sh(FILTER, "release", "--guest", UUID)
    paths = {}
    for name, text in (("rules", rules), ("again", "table netdev fixgate\ndelete table netdev fixgate\n" + rules),
                       ("gone", "delete table netdev fixgate\n")):
        paths[name] = os.path.join(work, name + ".nft")
        with open(paths[name], "w", encoding="utf-8") as f:
            f.write(text)
    return [Case(NFT, lambda: timer.run("nft", "-f", paths["rules"]),
                 lambda: timer.run("nft", "-f", paths["gone"]), lambda: timer.run("nft", "-f", paths["again"]))]


def xapi_commands(dev):
    """What XAPI's setup-vif-rules runs for a vif in locked mode on a bridge, one ebtables a rule, with rules that allow
    no more than the server: (clear, set)."""
    chain = "FORWARD_" + dev
    clear = [["ebtables", "-L", chain], ["ebtables", "-D", "FORWARD", "-i", dev, "-j", chain],
             ["ebtables", "-D", "FORWARD", "-o", dev, "-j", chain], ["ebtables", "-F", chain], ["ebtables", "-X", chain]]
    ip = ["-p", "IPv4", "--ip-protocol", "TCP"]
    put = ["ebtables", "-A", chain]
    return clear, [
        ["ebtables", "-N", chain],
        ["ebtables", "-A", "FORWARD", "-i", dev, "-j", chain],
        ["ebtables", "-A", "FORWARD", "-o", dev, "-j", chain],
        ["ebtables", "-P", chain, "DROP"],
        put + ["!", "-s", MAC, "-i", dev, "-j", "DROP"],
        put + ["-p", "ARP", "-i", dev, "--arp-opcode", "Request", "--arp-ip-src", IP, "--arp-ip-dst", SERVER, "-j",
               "ACCEPT"],
        put + ["-p", "ARP", "-i", dev, "--arp-opcode", "Reply", "--arp-ip-src", IP, "--arp-mac-src", MAC, "-j", "ACCEPT"],
        put + ["-p", "ARP", "-o", dev, "--arp-ip-src", SERVER, "-j", "ACCEPT"],
        put + ip + ["-i", dev, "--ip-src", IP, "--ip-dst", SERVER, "--ip-dport", str(PORT), "-j", "ACCEPT"],
        put + ip + ["-o", dev, "--ip-src", SERVER, "--ip-dst", IP, "--ip-sport", str(PORT), "-j", "ACCEPT"],
    ]


def ebtables(timer):
    """As XAPI does it: the device is taken down, the rules are made one by one, it is put up again."""
    def isolate():
        total = Cost()
        for dev in DEVS:
            total += timer.run("ip", "link", "set", dev, "down")
            for argv in xapi_commands(dev)[1]:
                total += timer.run(*argv)
            total += timer.run("ip", "link", "set", dev, "up")
        return total

    def release():
        return sum((timer.run(*argv) for dev in DEVS for argv in xapi_commands(dev)[0]), Cost())

    def replace():
        return release() + isolate()
    return [Case("ebtables, a command a rule (as XAPI's setup-vif-rules)", isolate, release, replace)]


def iptables(timer):
    """What Xen's vif-common.sh runs for a vif with ip= and an address: it opens, it does not close.  Given as a measure of
    what a vif costs Xen's own scripts, without the shell."""
    def rules(action):
        out = []
        for dev in DEVS:
            out.append(["iptables", "-L", "-n"])
            for match in (["-s", IP], ["-p", "udp", "--sport", "68", "--dport", "67"]):
                out.append(["iptables", action, "FORWARD", "-m", "physdev", "--physdev-in", dev, *match, "-j", "ACCEPT"])
                out.append(["iptables", action, "FORWARD", "-m", "state", "--state", "RELATED,ESTABLISHED", "-m", "physdev",
                            "--physdev-out", dev, "-j", "ACCEPT"])
        return out
    return [Case("iptables as Xen's vif-common.sh (opens, isolates nothing)",
                 lambda: sum((timer.run(*a) for a in rules("-I")), Cost()), lambda: sum((timer.run(*a) for a in rules("-D")), Cost()))]


def measure(timer, cases, rounds):
    samples = Samples()
    for n in range(rounds):
        for case in cases[n % len(cases):] + cases[:n % len(cases)]:
            for step in ("isolate", "replace", "release"):
                action = getattr(case, step)
                if action:
                    timer("settle")
                    cost = action()
                    samples.add((case.name, step), cost.wall)
                    samples.add((case.name, step, "cpu"), cost.cpu)
    return samples


STEPS = ("isolate", "replace", "release")


def report(cases, samples, rounds):
    base = {step: samples.median((INSIDE, step)) for step in STEPS}
    rows = []
    for case in cases:
        row = [case.name]
        for step in STEPS:
            key = (case.name, step)
            if key not in samples:
                row += [None] * 4
                continue
            cpu = samples.median(key + ("cpu",)) / 1000
            row += [samples.median(key) / 1000, samples.least(key) / 1000, None if case.name == nwfilter.NAME else cpu,
                    samples.median(key) / base[step]]
        rows.append(row)
    head = [""]
    for step in ("isolate", "isolate again", "release"):
        head += ["%s: median" % step, "least", "CPU", "×"]
    text = ("One guest, two NICs, %d rounds; milliseconds. CPU: median of the CPU time (of what the command itself starts, so "
            "not of libvirtd). ×: the median as a ratio to ours in-process.")
    return text % rounds + "\n\n" + table(head, rows) + "\n\n" + "\n".join(goals(cases, samples))


def ratio(samples, a, b, step="isolate"):
    return samples.median((a, step)) / samples.median((b, step)), samples.least((a, step)) / samples.least((b, step))


def goals(cases, samples):
    out = []
    for text, a, b, limit, most, step in (
            ("in-process within 3× of the empty transaction", INSIDE, EMPTY, 3, True, "isolate"),
            ("in-process within 3× of the hooks alone", INSIDE, HOOKS, 3, True, "isolate"),
            ("in-process within 3× of the kernel's own time for these rules", INSIDE, KERNEL, 3, True, "isolate"),
            ("command at least 3× faster than `nft -f`", NFT, COMMAND, 3, False, "isolate"),
            ("the same where the host has another hook", NFT + BESIDE, COMMAND + BESIDE, 3, False, "isolate"),
            ("the same, isolating again", NFT, COMMAND, 3, False, "replace"),
            ("command at least 50× faster than nwfilter", nwfilter.NAME, COMMAND, 50, False, "isolate"),
            ("in-process at least 50× faster than nwfilter", nwfilter.NAME, INSIDE, 50, False, "isolate")):
        if (a, step) not in samples or (b, step) not in samples:
            continue
        median, least = ratio(samples, a, b, step)
        reached = median <= limit if most else median >= limit
        out.append(goal(text, reached, "%.1f× by the medians, %.1f× by the least" % (median, least)))
    return out


def run(rounds, work, libvirt=True):
    for i, dev in enumerate(DEVS):
        sh("ip", "link", "add", dev, "type", "veth", "peer", "name", "guest%d" % i)
        sh("ip", "link", "set", dev, "up")
    timer = Timer(DEVS)
    cases = floors(timer) + ours(timer) + nft(timer, work)
    cases += [beside_another(c, timer) for c in cases if c.name in (HOOKS, INSIDE, COMMAND, NFT)]
    cases += ebtables(timer) + iptables(timer)
    daemon = None
    note = ""
    try:
        if libvirt:
            try:
                daemon = nwfilter.Daemon(work)
                cases.append(Case(nwfilter.NAME, *daemon.steps(timer)))
            except (RuntimeError, OSError) as e:
                note = "\n\nlibvirt's nwfilter could not be measured here: %s" % e
        samples = measure(timer, cases, rounds)
    finally:
        if daemon:
            daemon.close()
        timer.close()
        for dev in DEVS:
            sh("ip", "link", "del", dev)
    return report(cases, samples, rounds) + note
