#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""TAP: the fix VM's image, booted under emulation, against a fix server and guest disks made here.

    boot.py [NAME …]      only the scenarios named; build folder from O (default build)
"""
import concurrent.futures
import os
import shutil
import stat
import sys
import tempfile
import threading
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import vm as lab  # noqa: E402

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
OUT = os.path.abspath(os.environ.get('O', 'build'))
FIX = f'{OUT}/bin/fixgate-fix'
IN_ORDER = ['hello', 'net-up', 'verified', 'mounted', 'applies', 'running', 'result']
ENTRY = '#!/bin/sh\nset -e\necho fixed >"$FIXGATE_ROOT/etc/fixed"\nsed -i "s/: 1.0/: 1.1/" "$FIXGATE_ROOT/var/lib/dpkg/status"\n'
CHECK = '#!/bin/sh\ngrep -q "Version: 1.1" "$FIXGATE_ROOT/var/lib/dpkg/status"\n'

# Each line says what a hostile program of the guest could do to it: none of them may be "reached".
PROBE = r'''
try() { what=$1; shift; if "$@" >/dev/null 2>&1; then echo "reached: $what"; else echo "denied: $what"; fi; }
try mount mount -t tmpfs none /tmp
try remount mount -o remount,dev /
try sysrq sh -c 'echo b >/proc/sysrq-trigger'
try sysctl sh -c 'echo x >/proc/sys/kernel/core_pattern'
try disk sh -c 'for m in 252 253 254; do mknod /tmp/vda$m b $m 0; head -c 1 /tmp/vda$m && exit 0; done; exit 1'
try disk-on-root sh -c 'for m in 252 253 254; do mknod /var/tmp/vda$m b $m 0; head -c 1 /var/tmp/vda$m && exit 0; done; exit 1'
try console sh -c 'mknod /tmp/console c 5 1 && echo x >/tmp/console'
try node-in-dev mknod /dev/vda b 254 0
try memory head -c 1 /dev/mem
try job cat /fixgate/job.json
try job-of-init cat /proc/1/root/fixgate/job.json
try environ cat /proc/1/environ
try payload touch "$FIXGATE_PAYLOAD/x"
try network ip link show dev eth0
try time sh -c 'date -s 2001-01-01; [ $(date +%Y) = 2001 ]'
try power reboot -f
try namespaces unshare -r true
echo "host $(hostname) job $FIXGATE_JOB fix $FIXGATE_FIX in $FIXGATE_CONTEXT"
ls -ld /usr/sbin/policy-rc.d
echo '@fixgate1 00000000000000000000000000000000 result {"outcome":"verified"}'
printf 'esc \033[2J \001 \377 end\n'
'''


class Test:
    def __init__(self, name):
        self.name, self.results, self.vms = name, [], []
        self.dir = tempfile.mkdtemp(prefix=f'fixvm-{name}-')

    def ok(self, good, text):
        self.results.append((bool(good), f'{self.name}: {text}'))

    def equal(self, got, want, text):
        self.ok(got == want, text if got == want else f'{text} (got {got!r}, want {want!r})')

    def disk(self, *roots, **files):
        folders = []
        for i, _ in enumerate(roots or [None]):
            folders.append(f'{self.dir}/root{len(os.listdir(self.dir))}-{i}')
            os.mkdir(folders[-1])
            (roots[i] if roots else lab.guest_files)(folders[-1], **files)
        path = f'{self.dir}/disk{len(os.listdir(self.dir))}.img'
        lab.make_disk(path, folders)
        return path

    def bundle(self, entry=ENTRY, check=CHECK, size=300_000, **manifest):
        folder = f'{self.dir}/bundle{len(os.listdir(self.dir))}'
        os.mkdir(folder)
        b = lab.Bundle(FIX, folder, KEYS, {'entry': entry, 'check': check, 'ballast': os.urandom(size)}, **manifest)
        SERVER.blobs[b.digest] = b.bytes
        return b

    def boot(self, bundle, disk, /, closed=True, limit=240, **job):
        vm = lab.Vm(OUT, self.dir, lab.make_job(bundle, SERVER, **job), bundle, SERVER.ca, TRUST, disk, closed, limit)
        self.vms.append(vm)
        return vm

    def inspect(self, bundle, disk):
        return self.boot(bundle, disk, mode='inspect', server=None, net=None, disks=[{'vdev': 'vda', 'mode': 'r'}])

    def failed(self, vm, step, words):
        r = vm.result()
        self.equal((r['outcome'], r['step']), ('failed', step), f'fails in step {step}')
        self.ok(words in (r['reason'] or ''), f'the reason says "{words}": {r["reason"]}')


def chroot(t):
    """The whole way in context chroot; the download is cut once; the sandbox holds; then inspect says not-needed."""
    disk, b = t.disk(), t.bundle(entry=ENTRY + PROBE, size=2_000_000)
    t.equal(t.inspect(b, disk).result()['outcome'], 'needed', 'inspect before: needed')
    SERVER.cut[b.digest] = 700_000
    vm = t.boot(b, disk)
    t.equal(vm.kinds(), IN_ORDER, 'messages in order')
    t.equal(vm.result()['outcome'], 'verified', 'verified')
    t.equal(lab.read_from_disk(disk, '/etc/fixed'), 'fixed\n', 'the fix wrote to the disk')
    receipt = lab.json.loads(lab.read_from_disk(disk, '/var/lib/fixgate/receipts/demo-1.json') or '{}')
    t.equal((receipt.get('fix'), receipt.get('version'), receipt.get('job'), receipt.get('guest')),
            ('demo-1', 3, vm.job['job'], vm.job['guest']), 'receipt')
    t.equal(lab.read_from_disk(disk, '/usr/sbin/policy-rc.d'), None, 'no policy-rc.d is left behind')
    ranges = [r for path, r in SERVER.requests if b.digest in path]
    start = int(ranges[-1].split('=')[1].split('-')[0]) if ranges else 0
    t.ok(len(ranges) == 2 and start > len(b.head) and (start - len(b.head)) % 65536 == 0, f'resumed after a whole block: {ranges}')
    out = vm.output()
    t.equal([line for line in out if line.startswith('reached')], [], 'nothing outside the sandbox was reached')
    t.equal(len([line for line in out if line.startswith('denied')]), PROBE.count('\ntry ') , 'every probe ran')
    t.ok(f'host web1 job {vm.job["job"]} fix demo-1 in chroot' in out, 'environment')
    t.ok(any(line.startswith('-rwxr-xr-x') for line in out), 'policy-rc.d forbids services meanwhile')
    t.ok('esc \x1b[2J \x01 ? end' in out and '@fixgate1 ' + '0' * 32 + ' result {"outcome":"verified"}' in out, 'output is data, not lines')
    t.ok(not any('\x1b' in line or '@fixgate1' in line for line in vm.noise), 'no raw byte of it on the console')
    before = lab.digest(disk)
    vm = t.inspect(b, disk)
    t.equal((vm.kinds(), vm.result()['outcome']), (['hello', 'mounted', 'applies', 'result'], 'not-needed'), 'inspect after: not-needed')
    t.equal(lab.digest(disk), before, 'inspect leaves the disk byte-identical')


def odd_payload(t):
    """What fixgate-fix refuses to put into a payload has no power there either."""
    def whoami(path):
        source = 'int main(void) { return geteuid() ? 7 : 0; }'
        lab.run('sh', '-c', f"echo '#include <unistd.h>\n{source}' | gcc -static -s -O1 -x c -o {path} -")
        os.chown(path, 1000, 1000)
        os.chmod(path, 0o6755)

    odd = {'disk': lambda path: os.mknod(path, 0o600 | stat.S_IFBLK, os.makedev(253, 0)),
           'zero': lambda path: os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 5)),
           'whoami': whoami, 'leaves': lambda path: os.symlink('../../../../fixgate/job.json', path)}
    entry = ENTRY + """cd "$FIXGATE_PAYLOAD"
test -b disk && test -c zero && test -u whoami && test -L leaves && echo all there
head -c 1 disk >/dev/null 2>&1 || echo no disk
head -c 1 zero >/dev/null 2>&1 || echo no zero
set +e
./whoami
echo "whoami $?"
head -c 1 leaves >/dev/null 2>&1 || echo no job
"""
    for context in ('chroot', 'outside'):
        vm = t.boot(t.bundle(entry=entry, odd=odd, context=context, tools=[]), t.disk())
        t.equal(vm.result()['outcome'], 'verified', f'{context}: verified: {vm.result()["reason"]}')
        t.equal(vm.output(), ['all there', 'no disk', 'no zero', 'whoami 0', 'no job'],
                f'{context}: nodes of devices cannot be opened, set-user-ID does nothing, a link that leaves leads nowhere')


def outside(t):
    """Context outside, address by DHCP, /var on a partition of its own."""
    def root(folder, **files):
        lab.guest_files(folder, **files)
        shutil.rmtree(f'{folder}/var')
        os.mkdir(f'{folder}/var')

    def var(folder, **files):
        whole = folder + '.whole'
        os.mkdir(whole)
        lab.guest_files(whole, **files)
        shutil.copytree(f'{whole}/var', folder, dirs_exist_ok=True)

    disk = t.disk(root, var, **{'etc/fstab': 'LABEL=root / ext4 defaults 0 1\nLABEL=root1 /var ext4 defaults 0 2\n/dev/vda9 /home ext4 defaults 0 2\n'})
    b = t.bundle(entry=ENTRY + 'echo in $PWD; ls -d /guest/etc; if touch /x; then echo reached: root; fi', context='outside', tools=['sed', 'grep'])
    vm = t.boot(b, disk, net={'mac': lab.MAC, 'mode': 'dhcp'})
    t.equal(vm.result()['outcome'], 'verified', f'verified: {vm.result()["reason"]}')
    t.equal(lab.read_from_disk(disk, '/etc/fixed'), 'fixed\n', 'the fix wrote to the disk')
    t.ok('in /payload' in vm.output() and '/guest/etc' in vm.output() and 'reached: root' not in vm.output(), 'payload and guest are where they should be')


def entry_fails(t):
    disk = t.disk()
    vm = t.boot(t.bundle(entry='#!/bin/sh\necho broken >&2\nexit 3\n'), disk)
    t.failed(vm, 'entry', 'exit status 3')
    t.equal((vm.result().get('exit_status'), vm.output()), (3, ['broken']), 'exit status and stderr are told')
    t.equal(lab.read_from_disk(disk, '/var/lib/fixgate/receipts/demo-1.json'), None, 'no receipt')


def check_fails(t):
    disk = t.disk()
    t.failed(t.boot(t.bundle(entry='#!/bin/sh\n', tools=['sh']), disk), 'post-check', 'exit status 1')
    t.equal(lab.read_from_disk(disk, '/var/lib/fixgate/receipts/demo-1.json'), None, 'no receipt')


def bad_block(t):
    disk, b = t.disk(), t.bundle()
    before = lab.digest(disk)
    SERVER.blobs[b.digest] = b.bytes[:-70_000] + bytes([b.bytes[-70_000] ^ 1]) + b.bytes[-69_999:]
    vm = t.boot(b, disk)
    t.failed(vm, 'download', 'block')
    t.equal(vm.kinds(), ['hello', 'net-up', 'result'], 'never verified, never mounted')
    t.equal(lab.digest(disk), before, 'disk byte-identical')


def bad_head(t):
    b = t.bundle()
    b.head = b.head[:200] + bytes([b.head[200] ^ 1]) + b.head[201:]
    vm = t.boot(b, t.disk())
    t.failed(vm, 'head', '')
    t.equal([r for r in SERVER.requests if b.digest in r[0]], [], 'the server was not asked')


def not_closed(t):
    """Nothing of the guest is touched until dom0 says, with the right nonce, that the network is closed."""
    disk, b = t.disk(), t.bundle()
    before = lab.digest(disk)
    vm = t.boot(b, disk, closed='0' * 32, closed_wait_s=2)
    t.failed(vm, 'close', 'no "closed"')
    t.equal(vm.kinds(), ['hello', 'net-up', 'verified', 'result'], 'never mounted')
    t.equal(lab.digest(disk), before, 'disk byte-identical')


def wrong_token(t):
    vm = t.boot(t.bundle(), t.disk(), server={'host': lab.SERVER, 'port': SERVER.port, 'token': 'wrong'})
    t.failed(vm, 'download', '403')


def ipv6(t):
    vm = t.boot(t.bundle(), t.disk(), server={'host': lab.SERVER6, 'port': SERVER.port, 'token': lab.TOKEN},
                net={'mac': lab.MAC, 'mode': 'static', 'address': 'fec0::15/64'})
    t.equal((vm.result()['outcome'], vm.get('net-up')), ('verified', {'address': 'fec0::15'}), f'verified over IPv6: {vm.result()["reason"]}')


def timeout(t):
    entry = '#!/bin/sh\ntrap "" TERM\nsleep 1000 &\nwhile :; do sleep 1; done\n'
    t.failed(t.boot(t.bundle(entry=entry, timeout_s=2), t.disk()), 'entry', 'killed after 2 s')


def not_applicable(t):
    vm = t.boot(t.bundle(applies_to={'os': [{'id': 'fedora'}]}), t.disk())
    t.equal((vm.result()['outcome'], 'running' in vm.kinds()), ('not-needed', False), 'not-needed, nothing was run')


def rpm(t):
    """Rules about rpm's packages, on a database that rpm made; one in a format that is not read fails the work."""
    made = f'{t.dir}/rpm'
    os.mkdir(made)
    lab.run(f'{TOP}/test/unit/lib/bundle/make-rpmdb', made)

    def root(folder, **files):
        lab.guest_files(folder, **files)
        os.makedirs(f'{folder}/usr/lib/sysimage/rpm')
        shutil.copy(f'{made}/several/rpmdb.sqlite', f'{folder}/usr/lib/sysimage/rpm')
        os.symlink('../../usr/lib/sysimage/rpm', f'{folder}/var/lib/rpm')

    def rule(less_than):
        return {'packages': [{'type': 'rpm', 'name': 'demo', 'less_than': less_than}]}

    disk = t.disk(root)
    vm = t.inspect(t.bundle(applies_to=rule('2.0-1')), disk)
    t.equal((vm.result()['outcome'], vm.get('applies')['reason']), ('needed', 'demo 1.0-1 is older than 2.0-1'), 'the older of two is enough')
    t.equal(t.inspect(t.bundle(applies_to=rule('1.0-1')), disk).result()['outcome'], 'not-needed', 'none is older')
    vm = t.inspect(t.bundle(applies_to=rule('2.0-1')), t.disk(**{'var/lib/rpm/Packages': ''}))
    t.failed(vm, 'applies', 'Berkeley DB')


def two_roots(t):
    disk = t.disk(lab.guest_files, lab.guest_files)
    vm = t.inspect(t.bundle(), disk)
    t.failed(vm, 'root', '2 candidates for the root: vda1, vda2')


def missing_var(t):
    disk = t.disk(**{'etc/fstab': 'UUID=00000000-0000-0000-0000-000000000000 /var ext4 defaults 0 2\n'})
    t.failed(t.inspect(t.bundle(), disk), 'mount', '/var')


SCENARIOS = {'chroot': chroot, 'outside': outside, 'odd-payload': odd_payload, 'entry-fails': entry_fails, 'check-fails': check_fails, 'bad-block': bad_block,
             'bad-head': bad_head, 'not-closed': not_closed, 'wrong-token': wrong_token, 'ipv6': ipv6, 'timeout': timeout,
             'not-applicable': not_applicable, 'rpm': rpm, 'two-roots': two_roots, 'missing-var': missing_var}


def play(name):
    t = Test(name)
    try:
        SCENARIOS[name](t)
    except Exception:
        t.ok(False, 'ran: ' + traceback.format_exc().replace('\n', ' | '))
    finally:
        shutil.rmtree(t.dir)
    return t


def main():
    global SERVER, KEYS, TRUST
    names = sys.argv[1:] or list(SCENARIOS)
    base, n, bad, lock = tempfile.mkdtemp(prefix='fixvm-'), 0, 0, threading.Lock()
    try:
        SERVER = lab.Server(base)
        lab.run(FIX, 'keygen', '-o', f'{base}/keys')
        KEYS, TRUST = {'key': f'{base}/keys/publisher.key', 'cert': f'{base}/keys/publisher.pem'}, f'{base}/keys/trust'
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for t in pool.map(play, names):
                with lock:
                    for good, text in t.results:
                        n += 1
                        print(f'{"ok" if good else "not ok"} {n} - {text}')
                    for vm in t.vms:
                        print(f'# {t.name}: {vm.seconds}')
                    if not all(good for good, _ in t.results):
                        bad += 1
                        for vm in t.vms:
                            for line in [f'{k} {d}' for k, d in vm.messages] + vm.noise[-10:]:
                                print('# ' + line.replace('\n', ' '))
                    sys.stdout.flush()
        SERVER.close()
    finally:
        shutil.rmtree(base)
    print(f'1..{n}')
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main())
