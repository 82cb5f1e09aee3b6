/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Between hosts, fix VMs, administrators and the fix server: HTTPS (TLS 1.3), JSON, paths under /v1.
 *
 * Roles: a TLS client certificate issued by the server's CA with subject OU=agent | viewer | operator | admin and CN=<host or person>;
 * or, for a fix VM, no certificate and "Authorization: Bearer <token>".  Errors: 4xx/5xx with
 * {"error":{"code":"not-allowed","text":"…"}} (codes: fg_error_name).  Times are epoch milliseconds (`_ms`).
 * UUIDs lower case with dashes; digests SHA-256 in lower-case hex; MACs lower case with colons.
 *
 * agent
 *  PUT  /v1/guests     {"guests":[{"uuid","name","toolstack":"xl"|"libvirt","state":"running"|"off"|"paused",
 *                       "nics":[{"mac","addresses":[…]}],"identity":"config"|"client-id","os"?:{"id","version"?}}]} -> {"guests":N}.  The whole
 *                       inventory of this host; guests no longer named keep their history ("last seen").
 *  GET  /v1/offers?cursor=N&wait_s=S   -> {"cursor":M,"offers":[{"seq","guest","fix","version","digest","bytes"}]}
 *                       Long poll: answers at once if there is an offer after N, else when one comes or after S (max 60).
 *                       digest = of the whole bundle = name of its blob.  Cursor only grows.  With a cursor above 0 also
 *                       "cancelled":[{"seq","guest","fix","version"}]: offers that are no more (a job that has not begun to
 *                       isolate ends as rejected).
 *  POST /v1/reports    {"journal"?,"reports":[{"seq","job","guest","fix","version","state","at_ms","reason"?,"evidence"?:{},
 *                       "isolator"?:"vmm"}]} -> {"acked":<highest seq taken>,"refused"?:[{"seq","text"}]}.  seq ascends from 1
 *                       in a journal; a batch starts with the oldest report that was not acknowledged; one batch at a time.
 *                       Idempotent by (host, journal, seq): a duplicate is ignored, one that says something else is 409.
 *                       journal: a name made with the agent's journal, so that a new one may start at 1 again.  A
 *                       gap is taken and audited as lost.  A refused report (not a guest of this host, unknown state) counts as
 *                       taken.  At most 256 a batch; states are those of state.h.
 *  POST /v1/tokens     {"job","guest","digest"} -> {"token","expires_ms"}: the blob may be fetched with it for one hour.
 *  POST /v1/requests   {"guest","fix"} -> {"seq"}: the host asks for an offer to a guest of its own (a local remediation
 *                       request); the newest version of the fix is offered.  404 if there is no such fix or guest.
 *  GET  /v1/catalogue   the signed catalogue (catalogue.h), CMS in DER
 *  GET|HEAD /v1/blobs/<digest>   agent or token.  Range (one range, or open ended), strong ETag "<digest>", Accept-Ranges.
 *
 * admin
 *  PUT  /v1/fixes/<digest>   one part (at most FG_PROTOCOL_BODY_MAX) of the bundle of this digest, "Content-Range: bytes
 *                       a-b/total"; without it the body is the whole.  -> 202 {"received":N,"total":T}: go on from N.  The last
 *                       part: the bundle is verified against the server's trust folder -> 201 {"fix","version","digest",
 *                       "bytes"}; the same again -> 200; other bytes for id+version -> 409; not trusted -> 422
 *  GET  /v1/catalogue  -> {"generation":N,"key_expires":"RFC 3339","catalogue":{…}}
 *  POST /v1/withdrawals      {"fix","version"?,"reason"?} -> {"fix","version":N,"closed":N,"catalogue":{"generation","version"}}
 *  POST /v1/signers/revoked  {"key":<SHA-256 of the SubjectPublicKeyInfo>,"name","reason"?} -> 201 {"key","catalogue":{…}}
 *  GET  /v1/fixes      -> {"fixes":[{"fix","version","title","severity","digest","bytes","published","expires","offered":N,…}]}
 *  POST /v1/offers     {"fix","version"?,"guests":[uuid or name …] | "all":true} -> {"offered":N,"skipped":[{"guest","code","reason"}]}
 *                       A guest that the ledger says is fixed is skipped unless "force":true (the host then still decides).
 *  GET  /v1/offers?after=N   -> {"offers":[{"seq","guest","name","host","fix","version","digest","by","at_ms","force"}],"next"?}
 *                       All open offers.
 *  GET  /v1/clients?after=<uuid>&limit=N   -> {"clients":[{"uuid","name","mac","macs":[…],"host","toolstack","state","present",
 *                       "first_seen_ms","last_seen_ms","fixes":{"<fix id>":{"status","state","version","job","reason",
 *                       "isolator","assurance","at_ms","fixed_version"?}}}],"next"?}.  "next": there are more, ask after it.
 *                       status: not-applicable not-needed needed offered in-progress fixed failed rolled-back rejected held unknown
 *  GET  /v1/audit?after=N   -> {"entries":[{"n","at_ms","who","what","detail","hash"}],"next"?}
 *
 * certificates
 *  GET  /v1/ca         no role: the server's CA certificate, PEM
 *  POST /v1/enrol      no role: {"code","csr"} -> {"certificate"}: a one-time code for a host's first certificate
 *  POST /v1/renew      agent: {"csr"} -> {"certificate"}
 *  POST /v1/codes      admin: {"host","minutes"?} -> 201 {"host","code","expires_ms"}
 *  POST /v1/revocations  admin: {"name","role"?} -> {"revoked":N}
 *  GET  /v1/certificates  viewer: {"certificates":[{"serial","role","name","issued_ms","expires_ms","revoked_ms"?}]}
 *
 *  GET  /metrics       viewer: OpenMetrics text
 *  GET  /healthz       no role: 200 {"ok":true}
 */
#ifndef FIXGATE_PROTOCOL_H
#define FIXGATE_PROTOCOL_H

#define FG_SERVER_PORT_DEFAULT 8443
#define FG_PROTOCOL_BODY_MAX (1u << 20) /* any JSON body, either way */
#define FG_PROTOCOL_REPORTS_MAX 256 /* reports of one batch */
#define FG_PROTOCOL_WAIT_MAX_S 60
#define FG_PROTOCOL_GUESTS_MAX 4096 /* guests of one host */
#define FG_TOKEN_LIFETIME_S 3600
#define FG_ROLE_AGENT "agent"
#define FG_ROLE_ADMIN "admin" /* all that an administrator may */
#define FG_ROLE_OPERATOR "operator" /* offers fixes, does not publish or enrol */
#define FG_ROLE_VIEWER "viewer" /* reads */

#endif
