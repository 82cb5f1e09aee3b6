#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may do what: every route of the server with every role, and rights of one role in another's place: TAP."""
import os
import subprocess
import sys

import fgserver
from fgserver import (ADMIN, AGENT, ELSE1, FOREIGN, NOBODY, OPERATOR, OTHER, VIEWER, WEB1, bundle, guest, ok, report, run,
                      same)

ROLES = {"nobody": NOBODY, "agent": AGENT, "viewer": VIEWER, "operator": OPERATOR, "admin": ADMIN}
# What each may do, written down once more: the server's own table is not asked here, except for its paths.
ALLOWED = {
    "PUT /v1/guests": {"agent"},
    "GET /v1/offers": {"agent", "viewer", "operator", "admin"},
    "POST /v1/offers": {"operator", "admin"},
    "POST /v1/reports": {"agent"},
    "POST /v1/tokens": {"agent"},
    "POST /v1/requests": {"agent"},
    "POST /v1/enrol": {"nobody"},
    "POST /v1/renew": {"agent"},
    "GET /v1/ca": set(ROLES),
    "GET /healthz": set(ROLES),
    "HEAD /healthz": set(ROLES),
    "PUT /v1/fixes/*": {"admin"},
    "POST /v1/codes": {"admin"},
    "POST /v1/revocations": {"admin"},
    "POST /v1/withdrawals": {"admin"},
    "POST /v1/signers/revoked": {"admin"},
    "GET /v1/catalogue": {"agent", "viewer", "operator", "admin"},
    "GET /v1/fixes": {"viewer", "operator", "admin"},
    "GET /v1/clients": {"viewer", "operator", "admin"},
    "GET /v1/audit": {"viewer", "operator", "admin"},
    "GET /v1/certificates": {"viewer", "operator", "admin"},
    "GET /metrics": {"viewer", "operator", "admin"},
    "GET /v1/history/*": {"viewer", "operator", "admin"},
    "POST /v1/labels": {"operator", "admin"},
    "POST /v1/cancellations": {"operator", "admin"},
    "GET /v1/rollouts": {"viewer", "operator", "admin"},
    "POST /v1/rollouts": {"operator", "admin"},
    "GET /v1/rollouts/*": {"viewer", "operator", "admin"},
    "POST /v1/rollouts/*": {"operator", "admin"},
}
TOKEN = {"GET /v1/blobs/*", "HEAD /v1/blobs/*"}    # agents, and nobody with a token


def refusal(role):
    return 401 if role == "nobody" else 403


def test_matrix(s):
    routes = [line.split() for line in run("fixgate-server", "routes").stdout.splitlines()]
    seen = {f"{method} {path}" for method, path, *_ in routes}
    same(seen, set(ALLOWED) | TOKEN, "the server's routes are those of the table")
    open_ones = {who: s.connect(who) for who in ROLES.values()}
    for method, path, *roles in routes:
        route = f"{method} {path}"
        if route in ALLOWED:
            same(set(roles), ALLOWED[route], f"{route}: the server's table is the one written down here")
        for role, who in ROLES.items():
            answer = s.call(who, method, path.replace("*", "0" * 64), b"{}" if method in ("PUT", "POST", "PATCH") else None,
                            connection=open_ones[who])
            refused = answer.status == refusal(role)
            if route in TOKEN:
                good = refused == (role != "agent")
            elif route == "POST /v1/enrol" and role == "nobody":
                good = answer.status == 400    # no code in it
            else:
                good = refused == (role not in ALLOWED.get(route, ())) and answer.status != 500
            ok(good, f"{route} as {role}: {'yes' if role in roles else 'no'}", answer.status)
    for role, who in ROLES.items():
        for method in ("DELETE", "PATCH", "OPTIONS"):
            same(s.call(who, method, "/v1/guests", connection=open_ones[who]).status, 405, f"{method} as {role} is no way in")


def test_tokens(s):
    path, data, digest = bundle(s.work, "fix-1")
    s.admin("publish", path)
    _, _, second = bundle(s.work, "fix-2")
    s.admin("publish", os.path.join(s.work, "fix-2-1-100000.fix"))
    s.call(AGENT, "PUT", "/v1/guests", {"guests": [guest(WEB1, "web1")]})
    s.call(OTHER, "PUT", "/v1/guests", {"guests": [guest(ELSE1, "else1")]})
    same(s.call(AGENT, "POST", "/v1/tokens", {"job": "j", "guest": WEB1, "digest": digest}).status, 403,
         "no token for what was not offered")
    s.call(OPERATOR, "POST", "/v1/offers", {"fix": "fix-1", "guests": ["web1"]})
    token = s.call(AGENT, "POST", "/v1/tokens", {"job": "j", "guest": WEB1, "digest": digest}).json["token"]
    bearer = {"Authorization": "Bearer " + token}
    ok(s.call(NOBODY, "GET", "/v1/blobs/" + digest, headers=bearer).body == data, "a token fetches its blob")
    same(s.call(NOBODY, "GET", "/v1/blobs/" + second, headers=bearer).status, 401, "no other")
    for method, route in (r.split() for r in ALLOWED if "nobody" not in ALLOWED[r]):
        answer = s.call(NOBODY, method, route.replace("*", "0" * 64), b"{}" if method != "GET" else None, headers=bearer)
        same(answer.status, 401, f"a token is nothing for {method} {route}")
    for who in (VIEWER, OPERATOR, ADMIN):
        same(s.call(who, "GET", "/v1/blobs/" + digest, headers={"Authorization": "Bearer x"}).status, 403,
             f"{who} fetches no blob with a wrong token")
        same(s.call(who, "GET", "/v1/blobs/" + digest, headers=bearer).status, 403, "nor with the right one: it is a fix VM's")
    same(s.call(OTHER, "POST", "/v1/tokens", {"job": "j", "guest": WEB1, "digest": digest}).status, 403,
         "an agent gets no token for another's guest")
    answer = s.call(OTHER, "POST", "/v1/reports", {"reports": [report(1, "done")]}).json
    same([r["seq"] for r in answer.get("refused", [])], [1], "nor reports on it")
    same(s.call(OTHER, "PUT", "/v1/guests", {"guests": [guest(ELSE1, "else1"), guest(WEB1, "web1")]}).json, {"guests": 1},
         "nor gets it by saying that it runs there")
    same(s.call(OTHER, "POST", "/v1/tokens", {"job": "j", "guest": WEB1, "digest": digest}).status, 403, "nor a token then")
    ok(any(e["what"] == "guest-claimed" and e["who"] == OTHER for e in s.call(VIEWER, "GET", "/v1/audit").json["entries"]),
       "and the audit log says that it tried")
    same(s.call(OTHER, "POST", "/v1/requests", {"guest": WEB1, "fix": "fix-1"}).status, 404, "nor asks for it")
    same(s.call(OTHER, "GET", "/v1/offers").json["offers"], [], "nor sees its offers")
    same(len(s.call(AGENT, "GET", "/v1/offers").json["offers"]), 1, "an operator's offer reaches its host")
    audit = s.call(VIEWER, "GET", "/v1/audit").json["entries"]
    ok(any(e["what"] == "offer" and e["who"] == "operator" for e in audit), "under the operator's name")


def test_tokens_end(s):
    """A fix VM's token ends with what it was given for."""
    fetches = {}
    for host, uuid, fix in ((AGENT, WEB1, "fix-3"), (OTHER, ELSE1, "fix-4"), (AGENT, WEB1, "fix-5")):
        path, _, digest = bundle(s.work, fix, size=1000)
        s.admin("publish", path)
        s.call(OPERATOR, "POST", "/v1/offers", {"fix": fix, "guests": [uuid], "force": True})
        token = s.call(host, "POST", "/v1/tokens", {"job": "job-" + fix, "guest": uuid, "digest": digest}).json["token"]
        fetches[fix] = ("/v1/blobs/" + digest, {"Authorization": "Bearer " + token})

    def statuses():
        return [s.call(NOBODY, "GET", path, headers=headers).status for path, headers in fetches.values()]
    same(statuses(), [200, 200, 200], "three tokens")
    answer = s.call(AGENT, "POST", "/v1/reports", {"reports": [report(1, "failed", job="job-fix-5", fix="fix-5")]})
    same((answer.status, "refused" in answer.json), (200, False), "the end of a job is reported")
    same(statuses()[-1], 401, "that is the end of its token")
    del fetches["fix-5"]
    s.admin("withdraw", "fix-3", "--reason", "bad")
    same(statuses(), [401, 200], "one ends when its fix is withdrawn")
    digest = fetches["fix-3"][0].rsplit("/", 1)[1]
    answer = s.call(AGENT, "POST", "/v1/tokens", {"job": "j", "guest": WEB1, "digest": digest})
    if answer.status == 200:
        fetches["new"] = (fetches["fix-3"][0], {"Authorization": "Bearer " + answer.json["token"]})
        same(statuses()[-1], 401, "a new one for it is worth nothing")
    s.admin("revoke", OTHER)
    same(statuses()[1], 401, "the other ends when its host is revoked")


def test_revoked(s):
    """After test_tokens_end; new connections and one that was there."""
    for method, route in (r.split() for r in [*ALLOWED, *TOKEN]):
        answer = s.call(OTHER, method, route.replace("*", "0" * 64), b"{}" if method in ("PUT", "POST") else None)
        same(answer.status, 403, f"a revoked agent's {method} {route} is refused")


def test_token_of_a_guest_that_moved(s):
    path, _, digest = bundle(s.work, "fix-6", size=1000)
    s.admin("publish", path)
    s.call(OTHER, "PUT", "/v1/guests", {"guests": [guest(ELSE1, "else1")]})     # takes its claim back
    s.call(AGENT, "PUT", "/v1/guests", {"guests": [guest(WEB1, "web1", "off")]})
    s.admin("offer", "--fix", "fix-6", "--guest", "web1")
    token = s.call(AGENT, "POST", "/v1/tokens", {"job": "j", "guest": WEB1, "digest": digest}).json["token"]
    bearer = {"Authorization": "Bearer " + token}
    same(s.call(NOBODY, "GET", "/v1/blobs/" + digest, headers=bearer).status, 200, "a token for a guest of this host")
    same(s.call(OTHER, "PUT", "/v1/guests", {"guests": [guest(ELSE1, "else1"), guest(WEB1, "web1")]}).json["guests"], 2,
         "the guest moves")
    same(s.call(AGENT, "POST", "/v1/tokens", {"job": "j", "guest": WEB1, "digest": digest}).status, 403, "the old host gets no other")
    same(s.call(NOBODY, "GET", "/v1/blobs/" + digest, headers=bearer).status, 200,
         "and the one it has goes on: a guest that is off may be defined on two hosts while a fix VM fetches")
    s.call(OTHER, "PUT", "/v1/guests", {"guests": [guest(ELSE1, "else1")]})
    s.call(AGENT, "PUT", "/v1/guests", {"guests": [guest(WEB1, "web1")]})


def forged(s, subj, ca=None, extensions="extendedKeyUsage=clientAuth\n", days=30):
    """A TLS context with a certificate of this subject made by that CA (folder of a server)."""
    ca = ca or s.dir
    with open(os.path.join(s.work, "ext"), "w", encoding="ascii") as f:
        f.write("basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n" + extensions)
    w = s.work
    subprocess.run(f"openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {w}/f.key -subj '{subj}' "
                   f"-multivalue-rdn | openssl x509 -req -CA {ca}/server-ca.pem -CAkey {ca}/server-ca.key -extfile {w}/ext "
                   f"-set_serial 0x{os.urandom(8).hex()} -days {days} -out {w}/f.pem", shell=True, check=True,
                   capture_output=True)
    ctx = s.context(NOBODY)
    ctx.load_cert_chain(f"{w}/f.pem", f"{w}/f.key")
    return ctx


def ask(s, ctx, path="/v1/fixes"):
    import http.client
    h = http.client.HTTPSConnection("127.0.0.1", s.port, context=ctx, timeout=30)
    try:
        h.request("GET", path)
        return h.getresponse().status
    except OSError:
        return "refused"
    finally:
        h.close()


def test_subjects(s):
    same(ask(s, forged(s, "/O=Fixgate/OU=viewer/CN=bob")), 200, "the subject makes the role")
    for what, subj in (("no OU", "/CN=bob"), ("two OUs", "/OU=viewer/OU=admin/CN=bob"), ("an unknown OU", "/OU=root/CN=bob"),
                       ("another case", "/OU=Admin/CN=bob"), ("no CN", "/OU=admin/O=x"), ("two CNs", "/OU=admin/CN=a/CN=b"),
                       ("a blank", "/OU=admin /CN=bob"), ("a CN in the OU's place", "/CN=admin/OU=bob"),
                       ("the server's name", "/O=Fixgate/CN=fixgate-server")):
        same(ask(s, forged(s, subj)), 401, f"a certificate with {what} is nobody's")
    same(ask(s, forged(s, "/OU=admin/CN=bob", ca=os.path.join(s.work, "foreign-server"))), "refused",
         "one of another CA does not get in")
    same(ask(s, forged(s, "/OU=admin/CN=bob", extensions="extendedKeyUsage=serverAuth\n")), "refused", "nor a server's")
    same(ask(s, forged(s, "/OU=admin/CN=bob", extensions="extendedKeyUsage=codeSigning\n")), "refused", "nor a signer's")
    same(ask(s, forged(s, "/OU=admin/CN=bob", days=-1)), "refused", "nor an expired one")
    same(ask(s, s.context(FOREIGN), "/v1/offers"), "refused", "nor another server's agent")


def tests(s):
    test_matrix(s)
    test_tokens(s)
    test_subjects(s)
    test_token_of_a_guest_that_moved(s)
    test_tokens_end(s)
    test_revoked(s)


sys.exit(fgserver.main(tests, foreign=True, people=(VIEWER, OPERATOR)))
