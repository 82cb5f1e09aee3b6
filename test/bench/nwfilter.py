# SPDX-License-Identifier: GPL-3.0-or-later
"""libvirt's nwfilter: a libvirtd of the bench's own, a running guest of QEMU's software emulation with two NICs on a
bridge, and `virsh update-device` that puts a filter of the same effect on both."""

import os
import select
import shutil
import signal
import subprocess

from benchlib import IP, MAC, PORT, SERVER, UUID, sh

NAME = "libvirt nwfilter, virsh update-device"
BRIDGE = "fgbr0"
DEVS = ("fgtap0", "fgtap1")
MACS = (MAC, "00:16:3e:00:01:00")
FOLDERS = ("/etc/libvirt", "/run/libvirt", "/var/lib/libvirt", "/var/log/libvirt", "/var/cache/libvirt")
URI = "qemu:///system"

FILTER_XML = """<filter name='fixgate-bench' chain='root'>
  <rule action='drop' direction='out' priority='10'><mac match='no' srcmacaddr='$MAC'/></rule>
  <rule action='accept' direction='out' priority='20'><arp opcode='Request' arpsrcipaddr='$IP' arpdstipaddr='$SERVER'/></rule>
  <rule action='accept' direction='out' priority='21'><arp opcode='Reply' arpsrcipaddr='$IP' arpsrcmacaddr='$MAC'/></rule>
  <rule action='accept' direction='in' priority='22'><arp arpsrcipaddr='$SERVER'/></rule>
  <rule action='accept' direction='out' priority='30'>
    <ip srcipaddr='$IP' dstipaddr='$SERVER' protocol='tcp' dstportstart='$PORT'/></rule>
  <rule action='accept' direction='in' priority='31'>
    <ip srcipaddr='$SERVER' dstipaddr='$IP' protocol='tcp' srcportstart='$PORT'/></rule>
  <rule action='drop' direction='inout' priority='900'><all/></rule>
  <rule action='drop' direction='inout' priority='1000'><mac/></rule>
</filter>"""


def nic(i, port=None):
    ref = "" if port is None else (
        "<filterref filter='fixgate-bench'><parameter name='IP' value='%s'/><parameter name='SERVER' value='%s'/>"
        "<parameter name='PORT' value='%d'/></filterref>" % (IP, SERVER, port))
    return ("<interface type='bridge'><mac address='%s'/><source bridge='%s'/><target dev='%s'/>"
            "<model type='virtio'/>%s</interface>" % (MACS[i], BRIDGE, DEVS[i], ref))


def domain():
    return ("<domain type='qemu'><name>fgbench</name><uuid>%s</uuid><memory unit='MiB'>32</memory><vcpu>1</vcpu>"
            "<os><type arch='x86_64' machine='pc'>hvm</type></os><devices><emulator>/usr/bin/qemu-system-x86_64</emulator>"
            "%s<memballoon model='none'/></devices></domain>" % (UUID, "".join(nic(i) for i in range(2))))


class Daemon:
    def __init__(self, work):
        self.work, self.process = work, None  # a pidfd
        for program in ("libvirtd", "virsh", "qemu-system-x86_64", "ebtables"):
            if not shutil.which(program):
                raise RuntimeError(program + " is not installed")
        for folder in FOLDERS:  # in the bench's own mount namespace: the host's libvirt is not touched
            os.makedirs(folder, exist_ok=True)
            sh("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", folder)
        self.write("/etc/libvirt/qemu.conf", 'user = "root"\ngroup = "root"\nsecurity_driver = "none"\n'
                   'stdio_handler = "file"\nnamespaces = []\ncgroup_controllers = []\nremember_owner = 0\n')
        conf = self.write("/etc/libvirt/libvirtd.conf", 'auth_unix_rw = "none"\nauth_unix_ro = "none"\n'
                          'log_outputs = "3:file:%s"\n' % os.path.join(work, "libvirtd.log"))
        pid_file = os.path.join(work, "libvirtd.pid")
        sh("libvirtd", "-d", "-f", conf, "-p", pid_file)  # returns when its sockets are there
        with open(pid_file, encoding="utf-8") as f:
            self.process = os.pidfd_open(int(f.read()))
        try:
            self.start()
        except RuntimeError:
            self.close()
            raise

    @staticmethod
    def write(path, text):
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        return path

    def virsh(self, *argv):
        return sh("virsh", "-q", "-c", URI, *argv)

    def start(self):
        sh("ip", "link", "add", BRIDGE, "type", "bridge")
        sh("ip", "link", "set", BRIDGE, "up")
        self.virsh("nwfilter-define", self.write(os.path.join(self.work, "filter.xml"), FILTER_XML))
        self.virsh("create", self.write(os.path.join(self.work, "domain.xml"), domain()))

    def steps(self, timer):
        """isolate, release, replace: one virsh for both NICs."""
        def update(name, port):
            files = [self.write(os.path.join(self.work, "%s%d.xml" % (name, i)), nic(i, port)) for i in range(2)]
            text = "; ".join("update-device fgbench %s --live" % f for f in files)
            return lambda: timer.run("virsh", "-q", "-c", URI, text)
        isolate, replace, release = update("on", PORT), update("again", PORT + 1), update("off", None)
        isolate()
        rules = sh("ebtables", "-t", "nat", "-L")
        if DEVS[0] not in rules or DEVS[1] not in rules or SERVER not in rules:
            raise RuntimeError("nwfilter's rules are not in ebtables:\n" + rules)
        release()
        return isolate, release, replace

    def close(self):
        if self.process is None:
            return
        subprocess.run(["virsh", "-q", "-c", URI, "destroy", "fgbench"], stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, check=False, timeout=60)
        signal.pidfd_send_signal(self.process, signal.SIGTERM)
        select.select([self.process], [], [], 60)
        os.close(self.process)
        self.process = None
        subprocess.run(["ip", "link", "del", BRIDGE], stderr=subprocess.DEVNULL, check=False)
