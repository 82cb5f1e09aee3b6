# SPDX-License-Identifier: GPL-3.0-or-later
"""Many guests, one NIC each, in one transaction: time and memory.  Each sample is a process of its own, for its peak."""

from benchlib import BENCH, Samples, goal, links, sh, table

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
    fields = ("isolate", "replace", "release", "peak", "bytes", "messages")
    for n in range(rounds):
        for size in sizes[n % len(sizes):] + sizes[:n % len(sizes)]:
            for name, text in zip(fields, sh(BENCH, "--many", PREFIX, str(size)).split()):
                samples.add((size, name), float(text))
    remove_devices(devices)
    rows = []
    for size in sizes:
        ms = {f: samples.median((size, f)) / 1000 for f in fields[:3]}
        least = samples.least((size, "isolate")) / 1000
        rows.append(["{:,}".format(size), ms["isolate"], least, ms["isolate"] / size, ms["replace"], ms["release"],
                     ms["release"] / size, samples.median((size, "peak")) / 1024,
                     samples.median((size, "bytes")) / (1 << 20)])
    head = ["guests", "isolate ms", "least", "a guest", "again ms", "release ms", "a guest", "peak MiB", "transaction MiB"]
    return "%d rounds, one NIC a guest.\n\n" % rounds + table(head, rows) + "\n\n" + "\n".join(goals(sizes, samples))


def goals(sizes, samples):
    """Against ten guests: one guest alone pays for the process's and the table's beginnings."""
    small, large = sizes[1], sizes[-1]
    out = []
    for name in ("isolate", "release", "peak"):
        growth = samples.least((large, name)) / samples.least((small, name)) / (large / small)
        out.append(goal("%s grows no faster than the guests (from %d to %d, by the least)" % (name, small, large),
                        growth <= 1.0, "%.2f× of linear" % growth))
    return out
