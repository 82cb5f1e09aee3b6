# SPDX-License-Identifier: GPL-3.0-or-later
"""Watch over the emulator: does dom0's CPU still get its timer, and has no guest ended with a triple fault?

QEMU's software emulation can lose a CPU's timer for good (dom0's kernel then speaks of a soft lockup, or of nothing at
all). A beat comes from dom0. Silence for KICK seconds is noted, with QEMU's view of the CPU, and QEMU is stopped and
continued, which makes it look at its timers anew; after DEAD seconds the lab is given up. It is given up at once when
Xen says on the console that a guest ended with a triple fault (see README.md).
"""

import subprocess
import threading
import time

BEAT, KICK, DEAD = 5, 40, 150
TRIPLE = "Triple fault"
_fatal = {}     # instance -> what is wrong with its emulator; no wait of this process goes on after it


def fatal():
    """What is wrong with an emulator of this process, or None."""
    return next(iter(_fatal.values()), None)


class Watch:
    """found: lines that name what the emulator did wrong."""

    def __init__(self, lab):
        self.lab = lab
        self.found = []
        self._end = threading.Event()
        self._seen = time.monotonic()
        self._threads = []
        self._read = len(lab.console())     # what was printed before is no news

    def start(self):
        proc = self.lab.dom0_popen(f"while echo beat; do sleep {BEAT}; done", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for target in (lambda: self._listen(proc), self._judge):
            thread = threading.Thread(target=target, daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self):
        self._end.set()
        _fatal.pop(self.lab.instance, None)

    def _listen(self, proc):
        for line in proc.stdout:
            if line.strip() == "beat":
                self._seen = time.monotonic()
        self._end.set()     # dom0 was powered off, or the connection is gone: nothing can be said any more

    def _judge(self):
        kicked = 0.0
        while not self._end.wait(1):
            now = time.monotonic()
            fault = next((line.strip() for line in self.lab.console()[self._read:].splitlines() if TRIPLE in line), None)
            if fault:
                self._give_up(fault)
                return
            silent = now - self._seen
            if silent > DEAD:
                self.found.append(f"dom0 gave no sign for {silent:.0f} s, and is given up")
                self._give_up(self.found[-1])
                return
            if silent > KICK and now - kicked > KICK:
                kicked = now
                self.found.append(f"dom0 gave no sign for {silent:.0f} s: {self._kick()}")

    def _give_up(self, why):
        _fatal[self.lab.instance] = why
        self.lab.give_up()

    def _kick(self):
        try:
            qmp = self.lab.qmp()
            registers = qmp("human-monitor-command", **{"command-line": "info registers -a"})
            qmp("stop")
            qmp("cont")
            qmp.close()
        except Exception as error:  # pylint: disable=broad-except
            return f"QEMU's monitor: {error}"
        where = [line.strip() for line in registers.splitlines() if line.startswith(("CPU#", "RIP="))]
        return "stopped and continued; " + "; ".join(where)
