#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/openapi.json against the live server: every route of the server is in it, every operation in it answers as it says: TAP.

Who adds a route adds it there, and an example of its use here.
"""
import json
import os
import re
import subprocess
import sys
import urllib.parse

import jsonschema

import fgserver
from fgserver import ADMIN, AGENT, NOBODY, OPERATOR, PART, ROOT, VIEWER, WEB1, bundle, guest, ok, report, run, same

WHO = {"nobody": NOBODY, "agent": AGENT, "viewer": VIEWER, "operator": OPERATOR, "admin": ADMIN}
with open(os.path.join(ROOT, "docs", "openapi.json"), encoding="utf-8") as _f:
    SPEC = json.load(_f)


# --- the validator ------------------------------------------------------------------------------------------------------

def closed(node):
    """The schemas, and what an object does not describe is not there."""
    if isinstance(node, list):
        return [closed(n) for n in node]
    if not isinstance(node, dict):
        return node
    node = {key: closed(value) for key, value in node.items()}
    if isinstance(node.get("properties"), dict) and "additionalProperties" not in node:
        node["additionalProperties"] = False
    return node


CLOSED = closed(SPEC)


def errors(value, schema):
    """What is wrong with a value, by a schema of the document (JSON Schema 2020-12, as OpenAPI 3.1 has it)."""
    validator = jsonschema.Draft202012Validator(closed(schema), resolver=jsonschema.RefResolver("", CLOSED))
    return [f"{e.json_path}: {e.message:.200}" for e in validator.iter_errors(value)]


def resolve(node):
    while "$ref" in node:
        target = SPEC
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        node = target
    return node


# --- operations ---------------------------------------------------------------------------------------------------------

seen = {}       # (method, path): statuses that were answered
sent = {}       # (method, path): names of parameters, in the query and in headers, that were sent
bodies = {}     # (method, path): (who, params, body) of a request that was taken
# What needs another server to be seen: faults of it, limits (limits.py), a revoked host (roles.py), no CA key (enrol.py), no online key.
ELSEWHERE = {429, 500, 503}
ELSEWHERE_OF = {("get", "/v1/offers"): {403}, ("get", "/v1/catalogue"): {403, 404}, ("post", "/v1/enrol"): {409}, ("post", "/v1/renew"): {409}}


def call(s, who, method, path, wanted, params=None, body=None, headers=None, query=""):
    """One request; the answer must be one that the operation describes, and have the wanted status."""
    operation = SPEC["paths"][path][method.lower()]
    url = path.format(**(params or {})) + query
    if wanted < 300 and isinstance(body, (dict, list)):
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        same(errors(body, schema), [], f"{method} {path}: the example is as described")
    answer = s.call(who, method, url, body, headers)
    seen.setdefault((method, path), set()).add(answer.status)
    sent.setdefault((method, path), set()).update(re.findall(r"[?&](\w+)=", query), headers or {})
    if answer.status < 300 and isinstance(body, dict):
        bodies[(method, path)] = (who, params, body)
    told = operation["responses"].get(str(answer.status))
    problems = [] if answer.status == wanted else [f"status {answer.status} instead of {wanted}: {answer.body[:200]}"]
    if told is None:
        problems.append(f"status {answer.status} is not described")
    else:
        content = resolve(told).get("content")
        for name, header in resolve(told).get("headers", {}).items():
            value = answer.headers.get(name)
            if value is None and header.get("required"):
                problems.append(f"header {name} is missing")
            elif value is not None:
                typed = int(value) if header["schema"].get("type") == "integer" else value
                problems += [f"header {name}: {e}" for e in errors(typed, header["schema"])]
        kind = (answer.headers.get("Content-Type") or "").split(";")[0]
        if method == "HEAD" or not content:
            problems += [f"a body of {len(answer.body)} bytes"] if answer.body else []
        elif kind not in content:
            problems.append(f"content type {kind!r} is not described")
        elif kind == "application/json":
            problems += errors(answer.json, content[kind]["schema"])
    same(problems, [], f"{method} {path} as {who}: {wanted}")
    return answer


def test_routes():
    lines = [line.split() for line in run("fixgate-server", "routes").stdout.splitlines()]
    served = {(m, re.sub(r"\*$", "*", p)): set(roles) for m, p, *roles in lines}
    described = {(m.upper(), re.sub(r"\{\w+\}", "*", p)): set(o["x-roles"])
                 for p, ops in SPEC["paths"].items() for m, o in ops.items()}
    same(set(served) - set(described), set(), "every route of the server is in docs/openapi.json")
    same(set(described) - set(served), set(), "every operation there is served")
    same({r: v for r, v in described.items() if r in served and served[r] != v}, {}, "for the roles that it says")


def test_document():
    refs = set(re.findall(r'"\$ref": "#/components/(\w+)/(\w+)"', json.dumps(SPEC)))
    same({r for r in refs if r[1] not in SPEC["components"][r[0]]}, set(), "every reference leads somewhere")
    used = {name for kind, name in refs if kind == "schemas"}
    same(set(SPEC["components"]["schemas"]) - used, set(), "every schema is used")
    for path, operations in SPEC["paths"].items():
        names = set(re.findall(r"\{(\w+)\}", path))
        for method, o in operations.items():
            told = {p["name"] for p in o.get("parameters", []) if p["in"] == "path"}
            if told != names or not o.get("summary") or not o["responses"]:
                ok(False, f"{method} {path} is complete", (told, names))
    same(SPEC["openapi"], "3.1.0", "it is OpenAPI 3.1")


def test_refusals(s):
    """Each operation refuses those it is not for as described."""
    for path, operations in SPEC["paths"].items():
        filled = {"digest": "0" * 64, "id": "1", "guest": WEB1}
        for method, o in operations.items():
            for role in WHO:
                if role in o["x-roles"]:
                    continue
                call(s, WHO[role], method.upper(), path, 401 if role == "nobody" else 403, filled,
                     b"{}" if method in ("put", "post") else None)
            if "requestBody" in o and "application/json" in o["requestBody"]["content"]:
                who = WHO[o["x-roles"][-1]]
                call(s, who, method.upper(), path, 400, filled, b"{")


def test_bodies(s):
    """Bodies that were taken, spoilt: well-formed JSON that is not as described is refused, and so is one that is too large."""
    for (method, path), (who, params, body) in sorted(bodies.items()):
        if 413 in seen[(method, path)]:
            continue
        schema = resolve(SPEC["paths"][path][method.lower()]["requestBody"]["content"]["application/json"]["schema"])
        spoilt = [{k: v for k, v in body.items() if k != key} for key in schema.get("required", [])]
        spoilt += [{**body, key: 1.5} for key in body] + [[], "text", None]
        for wrong in spoilt:
            ok(errors(wrong, schema) != [], f"{method} {path}: {json.dumps(wrong):.100} is not as described")
            call(s, who, method, path, 400, params, wrong)
        call(s, who, method, path, 413, params, b"{}", {"Content-Length": str(1 << 30)})     # refused when its head has come


def csr(s):
    return subprocess.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                           "-keyout", os.path.join(s.work, "key"), "-subj", "/CN=x"], capture_output=True, text=True,
                          check=True).stdout


def test_publish(s):
    _, data, digest = bundle(s.work, "fix-1", size=1500000)
    part = {"Content-Range": f"bytes 0-{PART - 1}/{len(data)}"}
    rest = {"Content-Range": f"bytes {PART}-{len(data) - 1}/{len(data)}"}
    where = {"digest": digest}
    call(s, ADMIN, "PUT", "/v1/fixes/{digest}", 202, where, data[:PART], part)
    call(s, ADMIN, "PUT", "/v1/fixes/{digest}", 201, where, data[PART:], rest)
    call(s, ADMIN, "PUT", "/v1/fixes/{digest}", 202, where, data[:PART], part)
    call(s, ADMIN, "PUT", "/v1/fixes/{digest}", 200, where, data[PART:], rest)
    call(s, ADMIN, "PUT", "/v1/fixes/{digest}", 400, where, b"x", {"Content-Range": "bytes 9-1/5"})
    call(s, ADMIN, "PUT", "/v1/fixes/{digest}", 413, where, b"x", {"Content-Range": f"bytes 0-0/{1 << 50}"})
    call(s, ADMIN, "PUT", "/v1/fixes/{digest}", 422, {"digest": "0" * 64}, b"x")
    _, other, second = bundle(s.work, "fix-1", size=999)
    call(s, ADMIN, "PUT", "/v1/fixes/{digest}", 409, {"digest": second}, other)
    _, more, third = bundle(s.work, "fix-2", size=999)
    call(s, ADMIN, "PUT", "/v1/fixes/{digest}", 201, {"digest": third}, more)
    call(s, VIEWER, "GET", "/v1/fixes", 200)
    for who in (AGENT, VIEWER):
        call(s, who, "GET", "/v1/catalogue", 200)
    return digest


def test_agent(s, digest):
    call(s, AGENT, "PUT", "/v1/guests", 200, body={"guests": [guest(WEB1, "web1")]})
    call(s, OPERATOR, "POST", "/v1/offers", 200, body={"fix": "fix-1", "guests": ["web1", "nobody"]})
    call(s, OPERATOR, "POST", "/v1/offers", 404, body={"fix": "none", "all": True})
    call(s, AGENT, "GET", "/v1/offers", 200, query="?cursor=0&wait_s=1")
    call(s, AGENT, "GET", "/v1/offers", 400, query="?cursor=x")
    call(s, VIEWER, "GET", "/v1/offers", 200, query="?after=0")
    call(s, AGENT, "POST", "/v1/requests", 200, body={"guest": WEB1, "fix": "fix-1"})
    call(s, AGENT, "POST", "/v1/requests", 404, body={"guest": WEB1, "fix": "none"})
    token = call(s, AGENT, "POST", "/v1/tokens", 200, body={"job": "j", "guest": WEB1, "digest": digest}).json["token"]
    call(s, AGENT, "POST", "/v1/tokens", 404, body={"job": "j", "guest": WEB1, "digest": "0" * 64})
    blob, bearer = {"digest": digest}, {"Authorization": "Bearer " + token}
    call(s, NOBODY, "GET", "/v1/blobs/{digest}", 200, blob, headers=bearer)
    call(s, NOBODY, "HEAD", "/v1/blobs/{digest}", 200, blob, headers=bearer)
    call(s, AGENT, "GET", "/v1/blobs/{digest}", 206, blob, headers={"Range": "bytes=0-9"})
    call(s, AGENT, "GET", "/v1/blobs/{digest}", 304, blob, headers={"If-None-Match": f'"{digest}"'})
    call(s, AGENT, "HEAD", "/v1/blobs/{digest}", 304, blob, headers={"If-None-Match": f'"{digest}"'})
    call(s, AGENT, "GET", "/v1/blobs/{digest}", 416, blob, headers={"Range": "bytes=99999999-"})
    for method in ("GET", "HEAD"):
        call(s, AGENT, method, "/v1/blobs/{digest}", 404, {"digest": "0" * 64})
        call(s, AGENT, method, "/v1/blobs/{digest}", 400, {"digest": "x"})
        call(s, NOBODY, method, "/v1/blobs/{digest}", 401, blob, headers={"Authorization": "Bearer x"})
    call(s, AGENT, "POST", "/v1/reports", 200, body={"reports": [report(1, "queued", evidence={"a": 1}), report(2, "done"),
                                                                 report(3, "dancing")]})
    call(s, AGENT, "POST", "/v1/reports", 409, body={"reports": [report(2, "failed")]})
    call(s, AGENT, "POST", "/v1/reports", 413, body={"reports": [report(i, "done") for i in range(4, 261)]})


def test_admin(s):
    call(s, VIEWER, "GET", "/v1/clients", 200, query="?limit=1")
    call(s, VIEWER, "GET", "/v1/clients", 200, query="?status=fixed&fix=fix-1&host=agent&present=1")
    call(s, VIEWER, "GET", "/v1/clients", 200, query="?name=web1&os=debian:12&after=x")
    call(s, VIEWER, "GET", "/v1/clients", 400, query="?limit=0")
    call(s, VIEWER, "GET", "/v1/audit", 200, query="?after=0")
    call(s, VIEWER, "GET", "/v1/audit", 400, query="?after=x")
    page = call(s, VIEWER, "GET", "/v1/history/{guest}", 200, {"guest": WEB1}, query="?limit=1").json
    call(s, VIEWER, "GET", "/v1/history/{guest}", 200, {"guest": WEB1}, query="?after=" + urllib.parse.quote(str(page["next"])))
    call(s, VIEWER, "GET", "/v1/history/{guest}", 400, {"guest": WEB1}, query="?limit=0")
    call(s, VIEWER, "GET", "/v1/history/{guest}", 404, {"guest": "nobody"})
    call(s, OPERATOR, "POST", "/v1/labels", 200, body={"guests": ["web1"], "labels": {"env": "prod", "x": None}})
    call(s, OPERATOR, "POST", "/v1/labels", 404, body={"guests": ["nobody"], "labels": {"env": "prod"}})
    call(s, VIEWER, "GET", "/v1/clients", 200, query="?label=env=prod")
    call(s, OPERATOR, "POST", "/v1/offers", 200, body={"fix": "fix-2", "guests": ["web1"]})
    call(s, OPERATOR, "POST", "/v1/cancellations", 200, body={"guest": "web1", "fix": "fix-2"})
    call(s, OPERATOR, "POST", "/v1/cancellations", 404, body={"guest": "web1", "fix": "fix-2"})
    plan = {"fix": "fix-2", "select": "host=agent", "waves": ["1", "100%"], "success_pct": 90, "max_failures": 1, "wait_s": 60,
            "timeout_s": 3600, "windows": ["Mon-Fri 22:00-04:00"], "approval": True}
    rollout = {"id": call(s, OPERATOR, "POST", "/v1/rollouts", 201, body=plan).json["id"]}
    call(s, OPERATOR, "POST", "/v1/rollouts", 404, body={"fix": "none", "select": "all"})
    call(s, VIEWER, "GET", "/v1/rollouts", 200)
    call(s, VIEWER, "GET", "/v1/rollouts/{id}", 200, rollout, query="?targets=1")
    call(s, VIEWER, "GET", "/v1/rollouts/{id}", 404, {"id": 999})
    call(s, OPERATOR, "POST", "/v1/rollouts/{id}", 403, rollout, {"action": "approve"})
    call(s, ADMIN, "POST", "/v1/rollouts/{id}", 200, rollout, {"action": "approve"})
    call(s, OPERATOR, "POST", "/v1/rollouts/{id}", 200, rollout, {"action": "pause"})
    call(s, OPERATOR, "POST", "/v1/rollouts/{id}", 200, rollout, {"action": "cancel"})
    call(s, OPERATOR, "POST", "/v1/rollouts/{id}", 409, rollout, {"action": "pause"})
    call(s, OPERATOR, "POST", "/v1/rollouts/{id}", 404, {"id": 999}, {"action": "pause"})
    call(s, VIEWER, "GET", "/v1/rollouts", 200, query="?after=0")
    call(s, VIEWER, "GET", "/v1/rollouts", 400, query="?after=x")
    call(s, VIEWER, "GET", "/v1/rollouts/{id}", 200, rollout, query="?targets=1&state=waiting&after=x")
    call(s, VIEWER, "GET", "/v1/rollouts/{id}", 400, rollout, query="?targets=1&state=x")
    call(s, OPERATOR, "POST", "/v1/rollouts", 409, body={"fix": "fix-2", "select": "name=nobody"})
    test_bodies(s)      # while fix-2 can be offered
    call(s, ADMIN, "POST", "/v1/withdrawals", 200, body={"fix": "fix-2", "reason": "it breaks"})
    call(s, ADMIN, "POST", "/v1/withdrawals", 404, body={"fix": "none"})
    call(s, ADMIN, "POST", "/v1/signers/revoked", 201, body={"key": "a" * 64, "name": "mallory"})
    call(s, ADMIN, "POST", "/v1/signers/revoked", 409, body={"key": "a" * 64, "name": "mallory"})
    call(s, VIEWER, "GET", "/v1/catalogue", 200)
    call(s, VIEWER, "GET", "/v1/fixes", 200)
    call(s, VIEWER, "GET", "/metrics", 200)


def test_certificates(s):
    for who in WHO.values():
        call(s, who, "GET", "/v1/ca", 200)
        call(s, who, "GET", "/healthz", 200)
        call(s, who, "HEAD", "/healthz", 200)
    code = call(s, ADMIN, "POST", "/v1/codes", 201, body={"host": "xen1", "minutes": 5}).json["code"]
    call(s, NOBODY, "POST", "/v1/enrol", 200, body={"code": code, "csr": csr(s)})
    call(s, NOBODY, "POST", "/v1/enrol", 401, body={"code": code, "csr": csr(s)})
    call(s, AGENT, "POST", "/v1/renew", 200, body={"csr": csr(s)})
    call(s, VIEWER, "GET", "/v1/certificates", 200)
    call(s, ADMIN, "POST", "/v1/revocations", 200, body={"name": "xen1", "role": "agent"})
    call(s, VIEWER, "GET", "/v1/certificates", 200)


def tests(s):
    test_document()
    test_routes()
    test_refusals(s)
    digest = test_publish(s)
    test_agent(s, digest)
    test_admin(s)
    test_certificates(s)
    test_bodies(s)
    missing, unsent = [], []
    for path, operations in SPEC["paths"].items():
        for method, o in operations.items():
            told = {int(x) for x in o["responses"]}
            left = told - ELSEWHERE - ELSEWHERE_OF.get((method, path), set()) - seen.get((method.upper(), path), set())
            missing += [f"{method} {path} {status}" for status in left]
            names = {p["name"] for p in o.get("parameters", []) if p["in"] != "path"}
            unsent += [f"{method} {path} {name}" for name in names - sent.get((method.upper(), path), set())]
    same(missing, [], "every status that is described was seen")
    same(unsent, [], "every parameter that is described was sent")


sys.exit(fgserver.main(tests, people=(VIEWER, OPERATOR), workers=1))
