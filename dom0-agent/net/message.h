/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What fixgated (root) and fixgate-net (user fixgate, sandboxed, the only one that speaks with the server) say to each
 * other over a socketpair, in frames of lib/frame.h.  fixgated checks every field again: the other side parses what
 * comes from the network.  Objects named as in include/fixgate/protocol.h are passed on unchanged.
 *
 * fixgated -> fixgate-net
 *	{"type":"start","cursor":N,"acked":N,"journal"?:name,"catalogue"?:{"generation","version"}}   first message; polling
 *	                                                      begins.  journal goes with the reports; catalogue: take none older
 *	{"type":"guests","guests":[…]}                        inventory; sent again to the server when it changes or on reconnect
 *	{"type":"report","report":{…,"seq":N}}                 one at a time; fixgate-net batches, resends, keeps order
 *	{"type":"head","id":N,"offer":{"fix","version","digest","bytes"}}
 *	{"type":"token","id":N,"job":…,"guest":…,"digest":…}
 *	{"type":"request","id":N,"guest":…,"fix":…}             ask the server to offer a fix to a guest of this host
 * fixgate-net -> fixgated
 *	{"type":"online","online":bool,"text":…}              when it changes
 *	{"type":"offers","cursor":N,"offers":[…],"cancelled"?:[{"seq","guest","fix"}]}
 *	{"type":"acked","seq":N}                               reports up to N are durable at the server
 *	{"type":"head-verified","id":N,"head_digest":hex,"manifest":{"id","version","timeout_s","context","payload_bytes",
 *	 "title","severity","expires_s"},"catalogue":{"generation","version"},"path":…}   the head's bytes are in a file in FG_NET_DIR, which fixgated opens with
 *	 O_NOFOLLOW, copies into its own folder and checks against head_digest
 *	{"type":"token","id":N,"token":…,"expires_ms":N}
 *	{"type":"requested","id":N}
 *	{"type":"failed","id":N,"code":<name of error.h>,"text":…}   answer to head, token, request; "untrusted", "format" and
 *	                                                              "limit" reject the offer, others are retried by fixgated
 */
#ifndef FG_NET_MESSAGE_H
#define FG_NET_MESSAGE_H

#define FG_NET_DIR "/var/lib/fixgate/net" /* owned by user fixgate, mode 0700 */
#define FG_NET_FD 3 /* the socketpair's end in fixgate-net */

#endif
