#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""GET /metrics: is it OpenMetrics, and does it count what happened?  /healthz; the log: TAP."""
import re
import sys
import time

import fgserver
from fgserver import ADMIN, AGENT, NOBODY, VIEWER, WEB1, guest, ok, same

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
SAMPLE = re.compile(r"(%s)(?:\{(.*)\})? (-?[0-9.eE+]+|\+Inf|NaN)( [0-9.]+)?$" % NAME)
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)')
SUFFIXES = {"counter": {"_total", "_created"}, "gauge": {""}, "info": {"_info"},
            "histogram": {"_bucket", "_sum", "_count", "_created"}, "unknown": {""}}


def parse(text):
    """[(family, name, labels, value)]; ValueError says what is wrong (OpenMetrics 1.0, text format)."""
    lines = text.split("\n")
    if lines[-2:] != ["# EOF", ""]:
        raise ValueError("it does not end with # EOF")
    families, current, samples, seen = {}, None, [], set()
    for line in lines[:-2]:
        if line.startswith("# "):
            _, kind, name, value = line.split(" ", 3)
            if kind not in ("TYPE", "HELP", "UNIT"):
                raise ValueError("odd line: " + line)
            if name != current:
                if name in families:
                    raise ValueError(f"{name} comes in two places")
                families[name], current = {}, name
            if kind in families[name]:
                raise ValueError(f"{name}: two {kind}")
            families[name][kind] = value
            continue
        match = SAMPLE.match(line)
        if not match or current is None:
            raise ValueError("no sample: " + line)
        name, inner = match.group(1), match.group(2) or ""
        labels = dict(LABEL.findall(inner))
        if inner and "".join(m.group(0) for m in LABEL.finditer(inner)) != inner:
            raise ValueError("odd labels: " + line)
        kind = families[current].get("TYPE", "unknown")
        if not name.startswith(current) or name[len(current):] not in SUFFIXES[kind]:
            raise ValueError(f"{name} is no sample of the {kind} {current}")
        key = (name, tuple(sorted(labels.items())))
        if key in seen:
            raise ValueError(f"{key} twice")
        seen.add(key)
        value = float(match.group(3))
        if kind in ("counter", "histogram") and value < 0:
            raise ValueError("a negative count: " + line)
        samples.append((current, name, labels, value))
    for name, about in families.items():
        if "TYPE" not in about or "HELP" not in about:
            raise ValueError(f"{name} has no TYPE or HELP")
    histograms(families, samples)
    return samples


def histograms(families, samples):
    for name, about in families.items():
        if about["TYPE"] != "histogram":
            continue
        rows = {}
        for _, sample, labels, value in (x for x in samples if x[0] == name):
            key = tuple(sorted((k, v) for k, v in labels.items() if k != "le"))
            rows.setdefault(key, {}).setdefault(sample[len(name):], []).append((labels.get("le"), value))
        for key, row in rows.items():
            ends = [float(le) for le, _ in row["_bucket"]]
            counts = [n for _, n in row["_bucket"]]
            if ends != sorted(ends) or ends[-1] != float("inf") or counts != sorted(counts):
                raise ValueError(f"{name} {key}: buckets")
            if counts[-1] != row["_count"][0][1] or len(row["_sum"]) != 1:
                raise ValueError(f"{name} {key}: count")


def read(s, who=VIEWER):
    answer = s.call(who, "GET", "/metrics")
    return answer, parse(answer.body.decode())


def value(samples, name, **labels):
    return sum(v for _, n, l, v in samples if n == name and all(l.get(k) == x for k, x in labels.items()))


def test_syntax(s):
    try:
        answer, samples = read(s)
        ok(len(samples) > 10, "it is OpenMetrics", samples)
    except ValueError as e:
        ok(False, "it is OpenMetrics", e)
        raise
    same(answer.headers["Content-Type"], "application/openmetrics-text; version=1.0.0; charset=utf-8", "and says so")
    for what, bad in (("without end", "a 1\n"), ("without type", "# HELP a b\na 1\n# EOF\n"),
                      ("a counter without _total", "# TYPE a counter\n# HELP a b\na 1\n# EOF\n"),
                      ("a sample twice", "# TYPE a gauge\n# HELP a b\na 1\na 1\n# EOF\n"),
                      ("an open label", '# TYPE a gauge\n# HELP a b\na{b="c} 1\n# EOF\n')):
        try:
            parse(bad)
            ok(False, f"the check finds: {what}")
        except ValueError:
            ok(True, f"the check finds: {what}")


def test_counts(s):
    _, before = read(s)
    for _ in range(5):
        s.call(AGENT, "PUT", "/v1/guests", {"guests": [guest(WEB1, "web1")]})
    s.call(AGENT, "PUT", "/v1/guests", b"{")
    s.call(ADMIN, "GET", "/v1/nothing")
    _, after = read(s)

    def more(name, **labels):
        return value(after, name, **labels) - value(before, name, **labels)
    same(more("fixgate_http_requests_total", path="/v1/guests", status="2xx"), 5, "requests are counted by route and status")
    same(more("fixgate_http_requests_total", path="/v1/guests", status="4xx"), 1, "refused ones too")
    same(more("fixgate_http_requests_total", path="", status="4xx"), 1, "and those that lead nowhere, without their path")
    same(more("fixgate_http_request_duration_seconds_count", path="/v1/guests"), 6, "with their duration")
    ok(more("fixgate_connections_accepted_total") >= 7, "connections are counted, over all workers")
    h = [s.connect(AGENT) for _ in range(10)]
    for c in h:
        s.call(AGENT, "GET", "/healthz", connection=c)
    ok(value(read(s)[1], "fixgate_connections") >= 10, "open connections are shown")
    for c in h:
        c.close()
    same(value(read(s)[1], "fixgate_workers"), 2, "and workers")
    text = read(s)[0].body.decode()
    ok("aaaaaaaa" not in text and "web1" not in text and "agent" not in text, "no guest or host is named")


def logged(s, wanted, seconds=10):
    """The log's lines, once one is as wanted (it may be written after the answer has arrived), or what there is by then."""
    end = time.monotonic() + seconds
    while True:
        lines = s.log_text().splitlines()
        found = any(re.search(wanted, line) for line in lines)
        if found or time.monotonic() > end:
            return found, lines
        time.sleep(0.02)


def test_log(s):
    found, lines = logged(s, r"peer=agent role=agent method=PUT path=/v1/guests status=200 ms=\d+ bytes=\d+$")
    ok(found, "requests are logged as key=value", lines[-3:])
    ok(all(re.match(r"fixgate-server\[\d+\]: ", line) for line in lines), "each line of the log names its process", lines)
    s.call(AGENT, "GET", "/v1/x%0aforged=1?y=%0a")
    s.call(NOBODY, "GET", "/v1/offers")
    found, lines = logged(s, "peer=- role=- method=GET path=/v1/offers status=401")
    ok(found, "a refusal is logged", lines[-3:])
    ok(all(re.match(r"fixgate-server\[\d+\]: ", line) for line in lines), "a peer cannot forge a line")


def tests(s):
    same(s.call(NOBODY, "GET", "/healthz").json, {"ok": True}, "healthz")
    test_syntax(s)
    test_counts(s)
    s.stop()
    s.start(args=["--verbose"])
    s.call(AGENT, "PUT", "/v1/guests", {"guests": [guest(WEB1, "web1")]})
    test_log(s)


sys.exit(fgserver.main(tests, people=(VIEWER,)))
