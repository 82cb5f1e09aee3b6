# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's image: built once per recipe, kept outside the checkout, never changed after.

$FIXGATE_LAB_IMAGE names another directory that is used as it is, whatever the recipe.

$FIXGATE_CACHE/lab-<hash>/ holds:
    dom0.img        dom0's disk (raw, sparse), as it was at the moment of the snapshot; labs put an overlay on it
    memory, state   the snapshot: the machine's memory (mapped copy-on-write by each lab) and its devices
    xen vmlinux dom0-initrd.img guest-initrd.img    what is booted
    ssh-key         of dom0's root
    fgdemo_1.0_amd64.deb fgdemo_1.1_amd64.deb       the demo package, vulnerable and fixed
"""

import fcntl
import gzip
import hashlib
import json
import lzma
import os
import shutil
import subprocess
import sys
import time

import fglab

HERE = fglab.HERE
# Everything that the content of the image depends on.
RECIPE = ("image", "talker/talker.c", "fgdemo", "labimage.py", "fglab.py")
TOOLS = {"qemu-system-x86_64": "qemu-system-x86", "qemu-img": "qemu-utils", "mmdebstrap": "mmdebstrap",
         "mke2fs": "e2fsprogs", "sgdisk": "gdisk", "ssh": "openssh-client", "ssh-keygen": "openssh-client",
         "tcpdump": "tcpdump", "ip": "iproute2", "bridge": "iproute2", "sysctl": "procps", "cc": "gcc",
         "dpkg-deb": "dpkg", "fallocate": "util-linux"}
GUEST_MODULES = ("xen-blkfront", "xen-netfront", "crc32c_generic", "ext4")
DOM0_MODULES = ("virtio_pci", "virtio_blk", "virtio_net", "virtio-rng", "crc32c_generic", "ext4")


def recipe_hash():
    digest = hashlib.sha256()
    files = []
    for entry in RECIPE:
        path = os.path.join(HERE, entry)
        if os.path.isfile(path):
            files.append(entry)
        for top, _, names in os.walk(path):
            files += [os.path.relpath(os.path.join(top, n), HERE) for n in names]
    for name in sorted(files):
        if name == "fglab.py":      # only how QEMU is started matters
            data = json.dumps(qemu_recipe()).encode()
        else:
            with open(os.path.join(HERE, name), "rb") as f:
                data = f.read()
        digest.update(f"{name}\0{len(data)}\0".encode() + data)
    return digest.hexdigest()[:16]


def qemu_recipe():
    """The source of what decides the machine that a snapshot fits to."""
    import inspect
    return [inspect.getsource(fglab.Lab._qemu), fglab.MEMORY_MIB, fglab.DOM0_MIB]


def path():
    return os.path.join(fglab.CACHE, f"lab-{recipe_hash()}")


def check_tools():
    missing = {package for tool, package in TOOLS.items() if not shutil.which(tool)}
    if missing:
        raise fglab.LabError("the lab needs packages that are not installed: apt-get install " + " ".join(sorted(missing)))


def image(verbose=True):
    """The image's directory; built first if it is not there. Two callers do not build it twice."""
    check_tools()
    if os.environ.get("FIXGATE_LAB_IMAGE"):
        return os.environ["FIXGATE_LAB_IMAGE"]
    target = path()
    if os.path.exists(os.path.join(target, "state")):
        return target
    os.makedirs(fglab.CACHE, exist_ok=True)
    with open(target + ".lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.exists(os.path.join(target, "state")):
            return target
        work = target + ".new"
        shutil.rmtree(work, ignore_errors=True)
        try:
            Build(work, verbose).run()
            os.rename(work, target)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return target


class Build:
    def __init__(self, work, verbose):
        self.work, self.verbose, self.began = work, verbose, time.monotonic()
        self.tmp = os.path.join(work, "tmp")

    def say(self, text):
        if self.verbose:
            print(f"# lab image: {time.monotonic() - self.began:5.1f} s  {text}", file=sys.stderr, flush=True)

    def call(self, *argv, **kw):
        result = subprocess.run([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, **kw)
        if result.returncode:
            raise fglab.LabError(f"building the image: {argv[0]} failed: {result.stdout[-3000:]}")

    def tool(self, name):
        return os.path.join(HERE, name)

    def run(self):
        os.makedirs(self.tmp)
        self.say("installing Debian into two directories (dom0, guest)")
        self.roots()
        self.programs()
        self.kernels()
        self.say("making the guests' disks")
        self.guests()
        self.say("making dom0's disk")
        self.dom0()
        self.boot()
        shutil.rmtree(self.tmp)
        self.say("done")

    def roots(self):
        debs = os.path.join(fglab.CACHE, "debs")
        procs = []
        for kind in ("dom0", "guest"):
            log = open(os.path.join(self.tmp, f"{kind}.log"), "w+", encoding="utf-8")
            # In namespaces of its own: what it mounts (the machine's /proc, /sys and devices) is seen by nobody else, so that
            # what a build leaves that was killed can be removed, and it ends with us.
            procs.append((kind, log, subprocess.Popen(
                ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
                 self.tool("image/mkroot"), kind, f"{self.tmp}/{kind}", debs],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=fglab._die_with_parent)))
        for kind, log, proc in procs:
            code = proc.wait()
            log.seek(0)
            text = log.read()
            log.close()
            if code:
                raise fglab.LabError(f"building the image: installing Debian for {kind} failed: {text[-3000:]}")

    def programs(self):
        flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-D_GNU_SOURCE", "-static", "-s"]
        self.call("cc", *flags, "-o", f"{self.tmp}/talker", self.tool("talker/talker.c"))
        self.call("cc", *flags, "-o", f"{self.tmp}/miniinit", self.tool("image/miniinit.c"))
        self.call(self.tool("fgdemo/mkdeb"), "1.0", "vulnerable 1.0", self.work)
        self.call(self.tool("fgdemo/mkdeb"), "1.1", "fixed 1.1", self.work)
        self.call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "fixgate-lab", "-f", f"{self.work}/ssh-key")

    def kernels(self):
        boot = f"{self.tmp}/dom0/boot"
        names = os.listdir(boot)
        xen = next(n for n in names if n.startswith("xen-") and n.endswith(".gz"))
        with gzip.open(f"{boot}/{xen}") as source, open(f"{self.work}/xen", "wb") as target:
            shutil.copyfileobj(source, target)
        kernel = next(n for n in names if n.startswith("vmlinuz-"))
        with open(f"{boot}/{kernel}", "rb") as f:
            packed = f.read()
        # The uncompressed ELF inside: Xen and QEMU need seconds less for it than for the compressed one.
        start = packed.index(b"\xfd7zXZ\0")
        with open(f"{self.work}/vmlinux", "wb") as f:
            f.write(lzma.LZMADecompressor().decompress(packed[start:]))
        modules = f"{self.tmp}/dom0/lib/modules/{kernel[len('vmlinuz-'):]}"
        self.initrd(modules, GUEST_MODULES, f"{self.work}/guest-initrd.img")
        self.initrd(modules, DOM0_MODULES, f"{self.work}/dom0-initrd.img")

    def initrd(self, modules, wanted, target):
        """miniinit and modules as an uncompressed cpio archive."""
        depends, by_name = {}, {}
        with open(f"{modules}/modules.dep", encoding="ascii") as f:
            for line in f:
                name, needs = line.split(":")
                depends[name] = needs.split()
                by_name[os.path.basename(name)[:-3].replace("-", "_")] = name
        order = []
        for name in wanted:
            entry = by_name[name.replace("-", "_")]
            for module in list(reversed(depends[entry])) + [entry]:
                if module not in order:
                    order.append(module)
        files = [("init", 0o100755, open(f"{self.tmp}/miniinit", "rb").read()),
                 ("modules", 0o100644, "".join(f"/{os.path.basename(m)}\n" for m in order).encode())]
        files += [(os.path.basename(m), 0o100644, open(f"{modules}/{m}", "rb").read()) for m in order]
        with open(target, "wb") as out:
            # /dev/console makes the messages of init visible before devtmpfs is there
            for i, (name, mode, data, rdev) in enumerate([("dev", 0o040755, b"", (0, 0)), ("dev/console", 0o020600, b"", (5, 1))] +
                                                         [(n, m, d, (0, 0)) for n, m, d in files] +
                                                         [("TRAILER!!!", 0, b"", (0, 0))]):
                head = "070701" + "".join(f"{v:08x}" for v in (i + 1, mode, 0, 0, 1, 0, len(data), 0, 0, *rdev,
                                                                 len(name) + 1, 0))
                out.write(head.encode() + name.encode() + b"\0")
                out.write(b"\0" * (-out.tell() % 4))
                out.write(data + b"\0" * (-len(data) % 4))

    def guests(self):
        deb = {"vulnerable 1.0": f"{self.work}/fgdemo_1.0_amd64.deb", "fixed 1.1": f"{self.work}/fgdemo_1.1_amd64.deb"}
        finish = self.tool("image/finish-guest")
        os.makedirs(f"{self.tmp}/images")
        self.call(finish, "common", f"{self.tmp}/guest", f"{self.tmp}/talker", deb["vulnerable 1.0"])
        # the one with 1.1 last: the root directory is used for all
        for guest in sorted(fglab.GUESTS.values(), key=lambda g: g.banner, reverse=True):
            self.call(finish, "disk", f"{self.tmp}/guest", f"{self.tmp}/images/{guest.name}.img", guest.name,
                      deb[guest.banner])

    def dom0(self):
        root = f"{self.tmp}/dom0"
        self.call(self.tool("image/finish-dom0"), root, f"{self.work}/ssh-key.pub", self.tool("image/dom0"))
        for name in os.listdir(f"{self.tmp}/images"):
            os.rename(f"{self.tmp}/images/{name}", f"{root}/var/lib/xen/images/{name}")
        for name in ("vmlinux", "guest-initrd.img"):
            shutil.copy(f"{self.work}/{name}", f"{root}/var/lib/xen/kernels/{name}")
        self.call("truncate", "-s", "8G", f"{self.work}/dom0.img")
        self.call("mke2fs", "-q", "-t", "ext4", "-L", "dom0", "-d", root, "-E",
                  "nodiscard,lazy_itable_init=1,lazy_journal_init=1", "-J", "size=16", f"{self.work}/dom0.img")

    def boot(self):
        lab = fglab.Lab(f"build-{os.getpid()}", image=self.work)
        lab.down()
        os.makedirs(lab.dir, mode=0o700)
        lab._save(keep=False, owner=os.getpid(), owner_start=fglab._start_time(os.getpid()), image=self.work, pids=[])
        try:
            self.say("booting Xen and dom0")
            lab._qemu(lab._network(), f"{self.work}/dom0.img", "raw", memory=f"{self.work}/memory")
            lab._ssh_up(400)
            lab.set_clock()
            lab.dom0("systemctl is-system-running --wait", check=False, timeout=400)
            self.say("dom0 is up; starting the guests")
            lab.wait_for(lambda: lab.dom0("xl info >/dev/null && virsh -c xen:///system version").stdout, 120,
                         "the toolstacks in dom0")
            # libxl gives a hot-plug script 40 s, whatever the guests beside it do on the only CPU.
            lab.dom0("xl sched-credit2 -d Domain-0 -w 1024")
            for guest in fglab.GUESTS.values():
                self.start(lab, guest)
                self.say(f"{guest.name} started")
            for guest in fglab.GUESTS.values():
                self.answers(lab, guest)
                self.say(f"{guest.name} answers")
            lab.dom0("sync; echo 3 >/proc/sys/vm/drop_caches; fstrim / || true")
            self.say("taking the snapshot")
            self.snapshot(lab)
        except BaseException:
            log = f"{self.work}.console.log"
            with open(log, "w", encoding="utf-8") as f:
                f.write(lab.console())
                if lab.state and "ssh" in lab.state and lab.alive():
                    f.write(lab.dom0("xl list; virsh -c xen:///system list --all; xl dmesg | tail -50; "
                                     "tail -n 30 /var/log/xen/*; for d in $(xl list | awk 'NR>2{print $2}'); do "
                                     "timeout 1 xl console $d; done; journalctl -b --no-pager | tail -n 300",
                                     check=False).stdout)
            print(f"# lab image: failed; dom0's console and journal are in {log}", file=sys.stderr)
            raise
        finally:
            lab.down()
        # Pages of zeros need no disk space; a lab reads a hole as quickly.
        self.call("fallocate", "--dig-holes", f"{self.work}/memory")

    @staticmethod
    def start(lab, guest):
        """Start a guest. QEMU's emulation of nested paging sometimes makes a PVH guest triple fault: then once more."""
        # Three attempts: libxl gives a hot-plug script 40 s, which a crowded machine may exceed. The loop device that it made then stays.
        again = f"losetup -n -O NAME -j {guest.disk} | xargs -rn 1 losetup -d; done; exit 1"
        if guest.owner == "xl":
            lab.dom0(f"for i in 1 2 3; do xl domid {guest.name} 2>/dev/null || xl create /etc/xen/{guest.name}.cfg && exit; {again}", timeout=400)
        else:
            lab.dom0(f"virsh -c xen:///system define /etc/xen/{guest.name}.xml && for i in 1 2 3; do "
                     f"virsh -c xen:///system start {guest.name} && exit; {again}", timeout=400)
        loops = lab.dom0(f"losetup -n -O NAME -j {guest.disk}").stdout.split()
        if len(loops) != 1:
            raise fglab.LabError(f"{guest.name}'s disk is behind {loops}, which should be one loop device")

    def answers(self, lab, guest):
        def answer():
            if lab.banner(guest.name) == guest.banner and lab.talker_stat(guest.name):
                return True
            if lab.domid(guest.name) is None:
                self.say(f"{guest.name} is gone, starting it again")
                self.start(lab, guest)
            return False
        lab.wait_for(answer, 400, f"{guest.name} to answer", every=1)

    def snapshot(self, lab):
        lab._drop_ssh()
        time.sleep(0.5)
        qmp = lab.qmp()
        qmp("stop")
        qmp("migrate-set-capabilities", capabilities=[{"capability": "x-ignore-shared", "state": True}])
        qmp("migrate-set-parameters", **{"max-bandwidth": 10 ** 10})
        qmp("migrate", uri=f"exec:cat >{self.work}/state")
        qmp.migrated(120)
        qmp("quit")
        qmp.close()
        fglab.wait_for(lambda: not lab.alive(), 60, "QEMU to end")
