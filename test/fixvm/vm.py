# SPDX-License-Identifier: GPL-3.0-or-later
"""What the fix VM's tests share: keys, a fix server, guest disks, jobs, and QEMU (emulated, no KVM) that boots the image."""
import hashlib
import http.server
import json
import os
import re
import selectors
import shutil
import socket
import ssl
import struct
import subprocess
import threading
import time
import uuid

SERVER, SERVER6 = '10.0.2.2', 'fec0::2'  # QEMU's user network: the loopback of this machine
MAC = '00:16:3e:00:00:01'
SECTOR = 512
START = 2048  # first sector of the partition
TOKEN = 'f' * 64
PREFIX = '@fixgate1 '


def run(*argv, **kw):
    return subprocess.run([str(a) for a in argv], check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **kw).stdout


class Server:
    """GET /v1/blobs/<digest> with a bearer token and one range. cut: digest -> bytes after which to hang up, once."""

    def __init__(self, folder, address=SERVER, listener=None):
        self.blobs, self.requests, self.cut = {}, [], {}
        cert, key, ca = (f'{folder}/{n}' for n in ('server.pem', 'server.key', 'ca.pem'))
        run('openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2',
            '-subj', '/CN=test CA', '-keyout', f'{folder}/ca.key', '-out', ca)
        run('openssl', 'req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', '/CN=server',
            '-keyout', key, '-out', f'{folder}/server.csr')
        with open(f'{folder}/san', 'w') as f:
            f.write(f'subjectAltName=IP:{address},IP:{SERVER6}\nextendedKeyUsage=serverAuth\n')
        run('openssl', 'x509', '-req', '-in', f'{folder}/server.csr', '-CA', ca, '-CAkey', f'{folder}/ca.key', '-days', '2',
            '-extfile', f'{folder}/san', '-out', cert)
        self.ca = open(ca, 'rb').read()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(cert, key)
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'

            def log_message(self, *args):
                pass

            def do_GET(self):
                outer.answer(self)

        class Http6(http.server.ThreadingHTTPServer):
            address_family = socket.AF_INET6

        self.https = []
        for kind, where in [(http.server.ThreadingHTTPServer, '127.0.0.1'), (Http6, '::1')][:1 if listener else 2]:
            port = self.https[0].server_address[1] if self.https else 0
            server = kind((where, port), Handler, bind_and_activate=listener is None)
            if listener:
                server.socket.close()
                server.socket, server.server_address = listener, listener.getsockname()
            server.daemon_threads = True
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
            self.https.append(server)
            threading.Thread(target=server.serve_forever, daemon=True).start()
        self.port = self.https[0].server_address[1]

    def answer(self, h):
        self.requests.append((h.path, h.headers.get('Range')))
        blob = self.blobs.get(h.path.rpartition('/')[2])
        match = re.fullmatch(r'bytes=(\d+)-(\d+)', h.headers.get('Range') or '')
        if h.headers.get('Authorization') != f'Bearer {TOKEN}':
            h.send_error(403)
            return
        if blob is None or not match:
            h.send_error(404)
            return
        first, last = int(match[1]), min(int(match[2]), len(blob) - 1)
        body = blob[first:last + 1]
        h.send_response(206)
        h.send_header('Content-Range', f'bytes {first}-{last}/{len(blob)}')
        h.send_header('Content-Length', str(len(body)))
        h.end_headers()
        cut = self.cut.pop(h.path.rpartition('/')[2], None)
        if cut is not None:
            h.wfile.write(body[:cut])
            h.close_connection = True
            return
        h.wfile.write(body)

    def close(self):
        for server in self.https:
            server.shutdown()
            server.server_close()


def guest_files(folder, **files):
    """A root just large enough: busybox, os-release, dpkg's database."""
    for d in 'bin dev etc proc run sys tmp usr/sbin usr/bin var/lib/dpkg var/tmp'.split():
        os.makedirs(f'{folder}/{d}')
    shutil.copy('/bin/busybox', f'{folder}/bin/busybox')
    for name in 'sh cat echo ls id mount mknod dd sleep ip touch sed grep ps kill hostname wc head true date unshare reboot'.split():
        os.symlink('busybox', f'{folder}/bin/{name}')
    content = {
        'etc/os-release': 'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Test"\n',
        'etc/fstab': 'LABEL=root / ext4 defaults 0 1\n# a comment\nproc /proc proc defaults 0 0\n/dev/sr0 /media/cdrom udf noauto 0 0\n',
        'var/lib/dpkg/status': 'Package: demo\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.0\n\n',
        'var/lib/dpkg/arch': 'amd64\n',
    }
    content.update(files)
    for name, text in content.items():
        os.makedirs(os.path.dirname(f'{folder}/{name}'), exist_ok=True)
        with open(f'{folder}/{name}', 'w') as f:
            f.write(text)


def make_disk(path, roots, size_mb=24):
    """A GPT disk with one ext4 partition per folder."""
    sectors = size_mb * 2048
    table = 'label: gpt\n'
    for i, _ in enumerate(roots):
        table += f'start={START + i * sectors}, size={sectors}, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4\n'
    with open(path, 'wb') as f:
        f.truncate((START * 2 + sectors * len(roots)) * SECTOR)
    run('sfdisk', '-q', path, input=table.encode())
    for i, root in enumerate(roots):
        run('mke2fs', '-q', '-t', 'ext4', '-L', 'root' if i == 0 else f'root{i}', '-d', root, '-E', f'offset={(START + i * sectors) * SECTOR}',
            path, f'{size_mb}M')


def digest(path):
    h = hashlib.sha256()
    with open(path, 'rb') as f:
        while chunk := f.read(1 << 20):
            h.update(chunk)
    return h.hexdigest()


def read_from_disk(disk, name):
    """A file of the first partition, or None."""
    out = subprocess.run(['debugfs', '-R', f'cat {name}', f'{disk}?offset={START * SECTOR}'], stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, check=True)
    return None if b'File not found' in out.stderr else out.stdout.decode()


def newc(files):
    """An uncompressed cpio, as the agent appends it."""
    out, ino = b'', 0

    def put(name, mode, data=b''):
        nonlocal out, ino
        ino += 1
        head = '070701' + ''.join('%08X' % v for v in (ino, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0))
        out += head.encode() + name.encode() + b'\0'
        out += b'\0' * (-len(out) % 4) + data
        out += b'\0' * (-len(out) % 4)

    folders = set()
    for name in sorted(files):
        parts = name.split('/')
        for i in range(1, len(parts)):
            folder = '/'.join(parts[:i])
            if folder not in folders:
                folders.add(folder)
                put(folder, 0o040700)
        put(name, 0o100600, files[name])
    put('TRAILER!!!', 0)
    return out


class Bundle:
    """A signed bundle made by fixgate-fix.

    odd: {name: a function that makes it at the path it gets}, for a payload that fixgate-fix refuses; signed by hand then.
    """

    def __init__(self, tool, folder, keys, files, odd=None, **manifest):
        tree = f'{folder}/tree'
        os.makedirs(tree)
        for name, text in files.items():
            with open(f'{tree}/{name}', 'wb') as f:
                f.write(text.encode() if isinstance(text, str) else text)
            os.chmod(f'{tree}/{name}', 0o755)
        m = {'id': 'demo-1', 'version': 3, 'title': 'Test', 'entry': 'entry', 'post_check': 'check', 'timeout_s': 60}
        m['applies_to'] = {'packages': [{'type': 'dpkg', 'name': 'demo', 'less_than': '1.1'}]}
        m.update(manifest)
        with open(f'{folder}/manifest.json', 'w') as f:
            json.dump({k: v for k, v in m.items() if v is not None}, f)
        run(tool, 'build', '--manifest', f'{folder}/manifest.json', '--key', keys['key'], '--cert', keys['cert'], '-o',
            f'{folder}/demo.fix', tree)
        self.bytes = open(f'{folder}/demo.fix', 'rb').read()
        if odd:
            for name, make in odd.items():
                make(f'{tree}/{name}')
            self.bytes = self._by_hand(folder, keys)
        cms, hashes, payload = struct.unpack('>QQQ', self.bytes[16:40])
        self.head = self.bytes[:80 + cms + hashes]
        self.head_digest = self.bytes[48:80].hex()
        self.digest = hashlib.sha256(self.bytes).hexdigest()


    def _by_hand(self, folder, keys):
        """The same manifest for a payload that is what the folder has become (docs/bundle.md)."""
        cms, = struct.unpack('>Q', self.bytes[16:24])
        with open(f'{folder}/old.cms', 'wb') as f:
            f.write(self.bytes[80:80 + cms])
        m = json.loads(run('sh', '-c', f'openssl cms -verify -noverify -binary -inform DER -in {folder}/old.cms 2>/dev/null'))
        run('mksquashfs', f'{folder}/tree', f'{folder}/sqsh', '-quiet', '-no-progress', '-noappend', '-comp', 'zstd')
        image = open(f'{folder}/sqsh', 'rb').read()
        hashes = b''.join(hashlib.sha256(image[i:i + 65536]).digest() for i in range(0, len(image), 65536))
        m['payload'].update(bytes=len(image), sha256=hashlib.sha256(image).hexdigest(), hashes_sha256=hashlib.sha256(hashes).hexdigest())
        with open(f'{folder}/hand.json', 'w') as f:
            json.dump(m, f)
        run('openssl', 'cms', '-sign', '-in', f'{folder}/hand.json', '-binary', '-nodetach', '-outform', 'DER', '-md', 'sha256',
            '-signer', keys['cert'], '-inkey', keys['key'], '-out', f'{folder}/hand.cms')
        cms = open(f'{folder}/hand.cms', 'rb').read()
        header = self.bytes[:16] + struct.pack('>QQQQ', len(cms), len(hashes), len(image), 0)
        return header + hashlib.sha256(header + cms + hashes).digest() + cms + hashes + image


def make_job(bundle, server, /, **changes):
    job = {
        'format': 1, 'mode': 'fix', 'job': str(uuid.uuid4()), 'nonce': os.urandom(16).hex(), 'now_s': int(time.time()),
        'guest': str(uuid.uuid4()), 'name': 'web1',
        'server': {'host': SERVER, 'port': server.port, 'token': TOKEN},
        'net': {'mac': MAC, 'mode': 'static', 'address': '10.0.2.15/24', 'gateway': '10.0.2.1'},
        'bundle': {'digest': bundle.digest, 'head_digest': bundle.head_digest},
        'disks': [{'vdev': 'vda', 'mode': 'w'}],
    }
    job.update(changes)
    return {k: v for k, v in job.items() if v is not None}


class Vm:
    """One boot, from the job to power-off. messages: [(type, data)]; noise: every other line."""

    def __init__(self, out, folder, job, bundle, ca, trust, disk, closed=True, limit=240, memory=384):
        self.messages, self.noise, self.seconds = [], [], {}
        self.job, self.started = job, time.monotonic()
        files = {'fixgate/job.json': json.dumps(job).encode(), 'fixgate/bundle.head': bundle.head, 'fixgate/server-ca.pem': ca}
        for name in os.listdir(trust):
            files[f'fixgate/trust/{name}'] = open(f'{trust}/{name}', 'rb').read()
        initrd = f'{folder}/initrd'
        with open(initrd, 'wb') as f:
            image = open(f'{out}/fixvm/initrd', 'rb').read()
            f.write(image + b'\0' * (-len(image) % 4) + newc(files))
        readonly = ',readonly=on' if job['mode'] == 'inspect' else ''
        argv = ['qemu-system-x86_64', '-machine', 'q35', '-accel', 'tcg', '-icount', 'shift=3', '-cpu', 'qemu64', '-m', str(memory), '-nodefaults',
                '-display', 'none', '-no-reboot', '-kernel', f'{out}/fixvm/vmlinux', '-initrd', initrd, '-append',
                'console=ttyS0 panic=-1 quiet no_timer_check', '-serial', 'stdio', '-drive', f'file={disk},format=raw,if=virtio{readonly}']
        if job['mode'] == 'fix':
            argv += ['-netdev', 'user,id=n', '-device', f'virtio-net-pci,netdev=n,mac={MAC},romfile=']
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.closed = closed
        try:
            self.converse(limit)
        finally:
            self.process.kill()
            self.process.wait()
        os.unlink(initrd)

    def converse(self, limit):
        fd, rest = self.process.stdout.fileno(), b''
        selector = selectors.DefaultSelector()
        selector.register(fd, selectors.EVENT_READ)
        while (left := self.started + limit - time.monotonic()) > 0:
            if not selector.select(left):
                continue
            chunk = os.read(fd, 65536)
            if not chunk:
                self.process.wait(5)
                return
            *lines, rest = (rest + chunk).split(b'\n')
            for line in lines:
                self.take(line.decode('utf-8', 'replace').rstrip('\r'))
        self.noise.append('(limit of the test passed)')

    def take(self, line):
        start = PREFIX + self.job['nonce'] + ' '
        at = line.find(start)
        if at < 0:
            self.noise.append(line)
            return
        kind, _, data = line[at + len(start):].partition(' ')
        self.messages.append((kind, json.loads(data)))
        self.seconds.setdefault(kind, round(time.monotonic() - self.started, 1))
        if kind == 'verified' and self.closed:
            nonce = self.job['nonce'] if self.closed is True else self.closed
            self.process.stdin.write(f'{PREFIX}{nonce} closed {{}}\n'.encode())
            self.process.stdin.flush()

    def get(self, kind):
        found = [d for k, d in self.messages if k == kind]
        return found[-1] if found else None

    def kinds(self):
        return [k for k, _ in self.messages if k not in ('progress', 'output')]

    def output(self):
        return [d['text'] for k, d in self.messages if k == 'output']

    def result(self):
        return self.get('result') or {'outcome': None, 'step': None, 'reason': None}
