# SPDX-License-Identifier: GPL-3.0-or-later
"""What the parts of the bench share: where the programs are, namespaces, statistics, tables."""

import os
import platform
import statistics
import subprocess
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.path.abspath(os.environ.get("FG_BIN") or os.path.join(TOP, os.environ.get("O", "build"), "bin"))
FILTER = os.path.join(BIN, "netback-filter")
BENCH = os.path.join(os.path.dirname(BIN), "bench", "filter_bench")
PACKETS = os.path.join(os.path.dirname(BIN), "bench", "packet_rate")

# the guest of the bench; filter_bench's guest number 0 is the same
UUID = "0f19a000-0000-4000-8000-000000000001"
MAC, IP = "00:16:3e:00:00:00", "10.0.0.16"
SERVER, SERVER_MAC, PORT = "10.255.0.2", "00:16:3e:ff:00:02", 8443
DEVS = ("vif1.0", "vif1.0-emu")


def sh(*argv, stdin=None, ns=None):
    if ns:
        argv = ("ip", "netns", "exec", ns, *argv)
    p = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, input=stdin)
    if p.returncode != 0:
        raise RuntimeError("%s: %s" % (" ".join(argv), p.stdout.strip()))
    return p.stdout


def links(lines, ns=None):
    """Many `ip` commands in one process."""
    where = ["-n", ns] if ns else []
    sh("ip", *where, "-batch", "-", stdin="\n".join(lines) + "\n")


def isolate_args(uuid, devs, mac=MAC, ip=IP, port=PORT, rate=None):
    out = ["isolate", "--guest", uuid, "--dev", ",".join(devs), "--mac", mac, "--ip", ip,
           "--server", "%s:%d" % (SERVER, port), "--server-mac", SERVER_MAC]
    return out + (["--rate", str(rate)] if rate else [])


class Cost:
    def __init__(self, wall=0.0, cpu=0.0):
        self.wall, self.cpu = wall, cpu

    def __add__(self, other):
        return Cost(self.wall + other.wall, self.cpu + other.cpu)


class Timer:
    """filter_bench, kept running: every figure of a comparison is taken by the same process with the same clock."""

    def __init__(self, devs):
        self.p = subprocess.Popen([BENCH, ",".join(devs)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                  bufsize=1)

    def __call__(self, line):
        """Microseconds, and those of CPU time."""
        self.p.stdin.write(line + "\n")
        self.p.stdin.flush()
        answer = self.p.stdout.readline()
        if not answer:
            raise RuntimeError("filter_bench ended at: " + line)
        return Cost(*map(float, answer.split()))

    def run(self, *argv):
        return self("\t".join(("run",) + argv))

    def close(self):
        self.p.stdin.close()
        if self.p.wait() != 0:
            raise RuntimeError("filter_bench failed")


class Samples:
    def __init__(self):
        self.by_name = {}

    def add(self, name, value):
        self.by_name.setdefault(name, []).append(value)

    def median(self, name):
        return statistics.median(self.by_name[name])

    def least(self, name):
        return min(self.by_name[name])

    def __contains__(self, name):
        return name in self.by_name


def number(x):
    if x is None:
        return "-"
    digits = 0 if abs(x) >= 1000 else 1 if abs(x) >= 100 else 2 if abs(x) >= 1 else 3
    return "{:,.{}f}".format(x, digits)


def table(head, rows):
    """A Markdown table; columns but the first are numbers."""
    out = ["| " + " | ".join(head) + " |", "|---" + "|--:" * (len(head) - 1) + "|"]
    out += ["| " + " | ".join(c if isinstance(c, str) else number(c) for c in row) + " |" for row in rows]
    return "\n".join(out)


def goal(text, reached, figure):
    """reached: True, False, or None where the noise is larger than what is asked."""
    verdict = {True: "reached", False: "missed", None: "not decided, too much noise"}[reached]
    return "- %s: %s, **%s**." % (text, figure, verdict)


def machine():
    with open("/proc/cpuinfo") as f:
        cpu = next((line.split(":", 1)[1].strip() for line in f if line.startswith("model name")), platform.machine())
    with open("/proc/meminfo") as f:
        mem = int(f.readline().split()[1]) // (1 << 20)
    kernel = "Linux " + platform.release().split("-")[0]
    load = os.getloadavg()[0]
    state = "quiet machine (load %.1f" if load < 0.5 else "busy machine: other work ran at the same time (load %.1f"
    return "%s; %d CPUs (%s), %d GiB; %s; %s at the start)." % (
        time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), os.cpu_count(), cpu, mem, kernel, state % load)
