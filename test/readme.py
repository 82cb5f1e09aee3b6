#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the commands that README shows: the publisher's, the server's and the administrator's, on loopback. TAP.

Commands for dom0 are run by the scenario `service` on the emulated Xen; `make` targets must exist.
"""

import http.client
import json
import os
import re
import shlex
import socket
import ssl
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BIN = os.environ.get("FG_BIN", os.path.join(TOP, "build/bin"))
IN_DOM0 = ("fixgated", "systemctl", "fixgatectl")
ENROL = "fixgatectl enrol "     # goes without Xen
WEB1 = {"uuid": "f19a0000-0000-4000-8000-000000000011", "name": "web1", "toolstack": "xl", "state": "running",
        "identity": "config", "nics": [{"mac": "00:16:3e:99:00:11", "addresses": ["192.0.2.11"]}]}

count = 0
failed = 0


def ok(condition, text, detail=""):
    global count, failed
    count += 1
    failed += not condition
    print(f"{'ok' if condition else 'not ok'} {count} - {text}", flush=True)
    if not condition and detail:
        print("# " + detail.strip().replace("\n", "\n# "), flush=True)


def commands():
    with open(os.path.join(TOP, "README"), encoding="utf-8") as f:
        return [m.group(1) for m in re.finditer(r"^    ((?:make|fix|system)[^\n]*?)(?:\s+#.*)?$", f.read(), re.M)]


def announce(port, folder, ca):
    """What a host does when it connects: tell the server its guests."""
    context = ssl.create_default_context(cafile=ca)
    context.check_hostname = False
    context.load_cert_chain(os.path.join(folder, "agent.pem"), os.path.join(folder, "agent.key"))
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=20)
    connection.request("PUT", "/v1/guests", json.dumps({"guests": [WEB1]}), {"Content-Type": "application/json"})
    return connection.getresponse().status


def wait_listening(process, port):
    end = time.monotonic() + 30
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as s:
            s.settimeout(1)
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.05)
    return False


def main():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    targets = subprocess.run(["make", "-s", "help"], cwd=TOP, stdout=subprocess.PIPE, text=True, check=True).stdout
    server = code = None
    with tempfile.TemporaryDirectory(prefix="fixgate-readme-") as work:
        os.symlink(os.path.join(TOP, "docs"), os.path.join(work, "docs"))
        store = os.path.join(work, "server")
        try:
            for command in commands():
                argv = shlex.split(command)
                if argv[0] == "make":
                    known = [w for w in argv[1:] if re.fullmatch("[a-z-]+", w)]
                    ok(all(f"make {w} " in targets for w in known if w != "make"), command)
                    continue
                if argv[0] in IN_DOM0 and not command.startswith(ENROL):
                    continue
                argv = [a.replace("/var/lib/fixgate-server", store).replace("192.0.2.10:8443", f"127.0.0.1:{port}")
                        .replace("192.0.2.10", "127.0.0.1").replace("CODE", code or "CODE") for a in argv]
                argv[0] = os.path.join(BIN, argv[0])
                if argv[1] == "init":
                    argv += ["--port", str(port)]
                if argv[1] == "serve":
                    server = subprocess.Popen(argv + ["--listen", f"127.0.0.1:{port}"], cwd=work,
                                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                    ok(wait_listening(server, port), command)
                    continue
                host = os.path.join(work, "xen1")
                if command.startswith(ENROL):
                    argv += ["--dir", host]
                result = subprocess.run(argv, cwd=work, capture_output=True, text=True, timeout=60,
                                        stdin=subprocess.DEVNULL)
                ok(result.returncode == 0, command, result.stdout + result.stderr)
                if argv[1:3] == ["enrol", "xen1"]:
                    code = result.stdout.strip()
                if command.startswith(ENROL):
                    status = announce(port, host, os.path.join(host, "server-ca.pem"))
                    ok(status == 200, "the enrolled host can tell its guests", f"HTTP {status}")
            ok('"offered"' in result.stdout, "the list of clients shows the offer", result.stdout)
        finally:
            if server:
                server.terminate()
                ok(server.wait(20) == 0, "the server ends cleanly")
    print(f"1..{count}")
    return 1 if failed else 0


sys.exit(main())
