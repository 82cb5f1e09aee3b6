#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Manual pages against the programs: each option and command of --help is in the page, and the other way round; each option is
taken by the program, and each that it takes is told; each key of server.conf is in its page: TAP."""
import os
import re
import subprocess
import sys

from fgserver import BIN, ROOT, ok, same
import fgserver

PAGES = {"fixgate-server": "fixgate-server.8", "fixgate-admin": "fixgate-admin.1", "fixgate-fix": "fixgate-fix.1"}
SOURCES = {"fixgate-server": ["server/main.c"], "fixgate-admin": ["server/admin/options.c"],
           "fixgate-fix": ["server/bundle/options.c"]}
FIX_VERBS = ("keygen", "build", "sign", "verify", "show", "extract")
SILENT = {"help"}   # every program has it; pages need not say so


def text_of(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return f.read()


def out(*argv):
    done = subprocess.run([os.path.join(BIN, argv[0]), *argv[1:]], capture_output=True, text=True, timeout=60, check=False,
                          stdin=subprocess.DEVNULL)
    return done.stdout + done.stderr


def helps(program):
    text = out(program, "--help")
    if program == "fixgate-fix":
        text += "".join(out(program, verb, "--help") for verb in FIX_VERBS)
    return text


def options_of_help(text):
    return set(re.findall(r"(?<![\w-])--([a-z][a-z-]*)", text)) - SILENT


def page(program):
    """Its lines of macros; what is said of other programs (after .Xr, up to the next sentence) may name their options."""
    return text_of("docs/man/" + PAGES[program])


def options_of_page(text):
    return set(re.findall(r"\bFl (?:Fl |-)([a-z][a-z-]*)", text)) - SILENT


def options_of_source(program):
    text = "".join(text_of(p) for p in SOURCES[program])
    return set(re.findall(r'\{ "([a-z][a-z-]*)", (?:required_argument|no_argument)', text)) - SILENT


def words_of_page(text):
    found = set()
    for line in text.splitlines():
        for part in re.findall(r"\bCm ((?:[a-z-]+[ ,|]*)+)", line):
            found |= set(re.findall(r"[a-z][a-z-]+", part))
    return found


def commands_of_help(program, text):
    found = set()
    for line in text.splitlines():
        if program == "fixgate-fix":
            m = re.match(r"  ([a-z]+)  ", line)
            found |= {m.group(1)} if m else set()
            continue
        m = re.match(r"(?:usage:|      )\s*%s (?:WHERE |--dir DIR )?(.*)" % program, line)
        for part in m.group(1).split(" | ") if m else []:
            while m := re.match(r"\[?([a-z][a-z-]+)(?: |$)", part):
                found.add(m.group(1))
                part = part[len(m.group(0)):].lstrip("[")
    return found


def test_program(program):
    text, man = helps(program), page(program)
    told, written = options_of_help(text), options_of_page(man)
    ok(len(told) >= 9, f"{program}: --help tells its options", told)
    same(told - written, set(), f"{program}: every option of --help is in its manual page")
    same(written - told, set(), f"{program}: every option of its manual page is in --help")
    commands = commands_of_help(program, text)
    ok(len(commands) >= 6, f"{program}: --help tells its commands", commands)
    same(commands - words_of_page(man), set(), f"{program}: every command of --help is in its manual page")
    taken = options_of_source(program)
    if taken:
        same((taken - told, told - taken), (set(), set()), f"{program}: it takes what --help tells, and no more")
    unknown = [o for o in sorted(told) if re.search("unrecognized option|unknown option", out(program, "--" + o, "--help"))]
    same(unknown, [], f"{program}: none of them is unknown to it")
    same(subprocess.run(["mandoc", "-Tlint", "-Wwarning", os.path.join(ROOT, "docs/man", PAGES[program])], check=False,
                        capture_output=True, text=True).stdout, "", f"{program}: mandoc has nothing against the page")


def test_conf():
    keys = set(re.findall(r'strcmp\(name, "([a-z_]+)"\)', text_of("server/config.c")))
    man = page("fixgate-server")
    example = set(re.findall(r"^([a-z_]+) = ", man, re.M))
    ok(len(keys) >= 10, "keys of server.conf", keys)
    same(keys ^ example, set(), "server.conf: the keys of the manual page's example are those that are read")
    header = text_of("server/config.h")
    same({k for k in keys if not re.search(rf"^ \*\t{k} = ", header, re.M)}, set(), "and those of the header's comment")


def test_exit_statuses():
    """They are the codes of fixgate/error.h."""
    codes = {int(n) for n in re.findall(r"X\([A-Z]+, (\d+), ", text_of("include/fixgate/error.h"))} | {0}
    ok(len(codes) > 10, "codes of errors", codes)
    for program in PAGES:
        section = page(program).split(".Sh EXIT STATUS", 1)[1].split(".Sh", 1)[0]
        statuses = {int(n) for n in re.findall(r"^\.It (\d+)", section, re.M)}
        ok(len(statuses) > 5 and statuses <= codes, f"{program}: the exit statuses of its page exist", statuses)


for name in PAGES:
    test_program(name)
test_conf()
test_exit_statuses()
print(f"1..{fgserver.count}")
sys.exit(1 if fgserver.failures else 0)
