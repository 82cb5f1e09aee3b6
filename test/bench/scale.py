# SPDX-License-Identifier: GPL-3.0-or-later
"""Many guests, one NIC each, in one transaction: time and memory.  Each sample is a process of its own, for its peak.
And one guest with two NICs while others are isolated already."""

from benchlib import BENCH, DEVS, Samples, Timer, goal, links, sh, table

SIZES = (1, 10, 100, 1000, 4000)
PREFIX = "m"


def make_devices(n):
    """Both ends of a veth pair serve as a guest's device."""
    links(["link add %s%d type veth peer name %s%d" % (PREFIX, i, PREFIX, i + 1) for i in range(0, n, 2)])


def remove_devices(n):
    links(["link del %s%d" % (PREFIX, i) for i in range(0, n, 2)])


def run(rounds, sizes=SIZES):
    devices = max(2, sizes[-1])
    make_devices(devices)
    samples = Samples()
    fields = ("isolate", "isolate cpu", "replace", "replace cpu", "release", "release cpu", "peak", "bytes", "messages")
    for n in range(rounds):
        for size in sizes[n % len(sizes):] + sizes[:n % len(sizes)]:
            for name, text in zip(fields, sh(BENCH, "--many", PREFIX, str(size)).split()):
                samples.add((size, name), float(text))
    among = one_among(rounds, sizes)
    remove_devices(devices)
    rows = []
    for size in sizes:
        ms = {f: samples.median((size, f)) / 1000 for f in fields[:6]}
        rows.append(["{:,}".format(size), ms["isolate"], samples.least((size, "isolate")) / 1000, ms["isolate cpu"],
                     ms["isolate cpu"] / size, ms["replace"], ms["replace cpu"], ms["release"], ms["release cpu"],
                     ms["release cpu"] / size, samples.median((size, "peak")) / 1024,
                     samples.median((size, "bytes")) / (1 << 20)])
    head = ["guests", "isolate ms", "least", "CPU", "CPU a guest", "again ms", "CPU", "release ms", "CPU", "CPU a guest",
            "peak MiB", "transaction MiB"]
    return "%d rounds, one NIC a guest; medians.\n\n" % rounds + table(head, rows) + "\n\n" + "\n".join(
        goals(sizes, samples)) + "\n\n" + among


def one_among(rounds, sizes):
    """The same process isolates and releases one guest, again and again."""
    for i, dev in enumerate(DEVS):
        sh("ip", "link", "add", dev, "type", "veth", "peer", "name", "guest%d" % i)
    rows = []
    for others in (0, *sizes[1:]):
        if others:
            sh(BENCH, "--keep", PREFIX, str(others))
        timer, samples = Timer(DEVS), Samples()
        for _ in range(3 * rounds):
            for step in ("isolate", "verify", "release"):
                cost = timer(step)
                samples.add(step, cost.wall)
                samples.add(step + " cpu", cost.cpu)
        timer.close()
        rows.append(["{:,}".format(others)] + [
            samples.median(step + kind) / 1000 for step in ("isolate", "verify", "release") for kind in ("", " cpu")])
        if others:
            sh("nft", "delete", "table", "netdev", "fixgate")
    for dev in DEVS:
        sh("ip", "link", "del", dev)
    return "One guest with two NICs, in-process, while others are isolated; medians in milliseconds.\n\n" + table(
        ["others", "isolate", "CPU", "verify", "CPU", "release", "CPU"], rows)


def goals(sizes, samples):
    """Against ten guests (one alone pays for the beginnings of the process and the table) and, where the caches no longer
    hold it all, against the size before the last."""
    out = []
    for name, what in (("isolate cpu", "CPU time to isolate"), ("release cpu", "CPU time to release"), ("peak", "peak memory")):
        for small in sorted({sizes[1], sizes[-2]}):
            growth = samples.median((sizes[-1], name)) / samples.median((small, name)) / (sizes[-1] / small)
            out.append(goal("%s from %s to %s guests grows no faster than they" % (
                what, "{:,}".format(small), "{:,}".format(sizes[-1])), growth <= 1.05, "%.2f× of linear" % growth))
    return out
