#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The store's SQL keeps to what PostgreSQL also understands (docs/store.md has the exceptions): TAP."""
import glob
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
STRING = re.compile(r'"((?:[^"\\\n]|\\.)*)"')
BEGINS = re.compile(r"^\s*(SELECT|INSERT|UPDATE|DELETE|WITH|CREATE|ALTER|DROP|REPLACE|PRAGMA|BEGIN|EXPLAIN)\b", re.I)
# What SQLite takes and PostgreSQL does not, or takes for something else.
FOREIGN = {
    "INSERT OR, REPLACE": r"\bINSERT\s+OR\b|\bREPLACE\s+INTO\b|\bUPDATE\s+OR\b",
    "functions of SQLite": r"\b(IFNULL|IIF|STRFTIME|DATETIME|JULIANDAY|GROUP_CONCAT|JSON_\w+|RANDOMBLOB|HEX|INSTR|PRINTF|"
                           r"TOTAL|CHANGES|LAST_INSERT_ROWID|TYPEOF|UNICODE|CHAR|UNIXEPOCH)\s*\(",
    "GLOB, REGEXP, MATCH": r"\b(GLOB|REGEXP|MATCH)\b",
    "rowid": r"\b(ROWID|OID|_ROWID_)\b",
    "==": r"==",
    "LIMIT a, b": r"\bLIMIT\s+\S+\s*,",
    "double or back quotes for names": r"`|\\\"",
    "INDEXED BY, NOT INDEXED": r"\bINDEXED\b",
    "COLLATE NOCASE": r"\bCOLLATE\b",
    "two arguments of MIN, MAX": r"\b(MIN|MAX)\s*\([^()]*,",
    "a sub-query in FROM without a name": r"FROM\s*\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)\s*(WHERE|GROUP|ORDER|LIMIT|$)",
    "PRAGMA": r"\bPRAGMA\b",
    "sqlite_ tables": r"\bSQLITE_\w+",
    "WITHOUT ROWID, AUTOINCREMENT": r"\bWITHOUT\s+ROWID\b|\bAUTOINCREMENT\b",
    "BEGIN IMMEDIATE": r"\bBEGIN\s+(IMMEDIATE|EXCLUSIVE|DEFERRED)\b",
    "EXPLAIN QUERY PLAN": r"\bEXPLAIN\s+QUERY\b",
    "a truth value for a number": r"\b(THEN|ELSE)\s+(NOT\s+)?EXISTS\b",
    "a word that PostgreSQL keeps, as a name": r"\bAS\s+(SOME|ANY|USER|ORDER|GROUP|LIMIT|OFFSET|END|TABLE|COLUMN|CHECK|DO|BOTH)\b",
}
# What a file may have of it.
ALLOWED = {
    "schema.c": {"PRAGMA", "WITHOUT ROWID, AUTOINCREMENT", "rowid"},
    "db.c": {"PRAGMA", "BEGIN IMMEDIATE"},
    "sqlite.c": {"PRAGMA", "sqlite_ tables"},
    "backup.c": {"PRAGMA", "sqlite_ tables"},
    "sqlite_list.c": {"EXPLAIN QUERY PLAN"},
}


def strings(path):
    """Literals with what follows them put together, as the compiler does."""
    with open(path, encoding="utf-8") as f:
        text = re.sub(r"/\*.*?\*/", " ", f.read().replace("\\\n", " "), flags=re.S)
    text = re.sub(r'"\s*(?:PRI\w+|RECOUNT)\s*"', "0", text)
    text = re.sub(r'"\s*\n?\s*"', "", text)
    return [m.group(1) for m in STRING.finditer(text)]


def main():
    count = bad = 0
    statements = 0
    for path in sorted(glob.glob(os.path.join(ROOT, "server/store/*.c"))):
        name = os.path.basename(path)
        found = []
        for sql in strings(path):
            if not BEGINS.match(sql):
                continue
            statements += 1
            for what, pattern in FOREIGN.items():
                if what not in ALLOWED.get(name, ()) and re.search(pattern, sql, re.I):
                    found.append(f"{what}: {sql[:120]}")
        count += 1
        bad += bool(found)
        print(f"{'not ok' if found else 'ok'} {count} - {name} has no SQL of SQLite's own")
        for line in found:
            print("# " + line)
    count += 1
    good = statements > 60
    bad += not good
    print(f"{'ok' if good else 'not ok'} {count} - the statements were found: {statements}")
    # The test can fail: each pattern finds its own.
    samples = ["INSERT OR IGNORE INTO a", "SELECT IFNULL(a, 1)", "SELECT a WHERE b GLOB 'c'", "SELECT rowid FROM a",
               "SELECT 1 WHERE a == 1", "SELECT a LIMIT 1, 2", "SELECT `a`", "SELECT a FROM b INDEXED BY c",
               "SELECT a COLLATE NOCASE", "SELECT MAX(a, b)", "SELECT a FROM (SELECT 1) WHERE a", "PRAGMA x",
               "SELECT 1 FROM sqlite_master", "CREATE TABLE a (b) WITHOUT ROWID", "BEGIN IMMEDIATE",
               "EXPLAIN QUERY PLAN SELECT 1", "SELECT CASE WHEN a = 1 THEN 1 ELSE EXISTS (SELECT 1) END",
               "SELECT 1 FROM (SELECT 2) AS some"]
    missed = [s for s, p in zip(samples, FOREIGN.values()) if not re.search(p, s, re.I)]
    count += 1
    bad += bool(missed)
    print(f"{'not ok' if missed else 'ok'} {count} - every pattern finds what it is for")
    for line in missed:
        print("# " + line)
    print(f"1..{count}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
