/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What dom0 and the fix VM say to each other.
 *
 * 1. The job: an uncompressed "newc" cpio appended to the fix VM's initramfs (4-byte aligned):
 *	/fixgate/job.json          the keys below
 *	/fixgate/bundle.head       head of the bundle (see bundle.h), already verified in dom0, verified again
 *	/fixgate/server-ca.pem     CA of the fix server's TLS certificate
 *	/fixgate/trust/…           the trust folder of bundle.h
 *
 * job.json:
 *	{"format":1,
 *	 "mode":"fix" | "inspect",      inspect: no NIC, disks read-only, nothing is written or run; only the
 *	                                applies-to and already-applied checks are made
 *	 "job":"<uuid>", "nonce":"<32 hex>", "now_s":<epoch of dom0>,
 *	 "guest":"<uuid>", "name":"web1",
 *	 "server":{"host":"10.99.0.2","port":8443,"token":"<hex>"},       absent in mode inspect; host is an address
 *	 "net":{"mac":"00:16:3e:…","mode":"static"|"dhcp",
 *	        "address":"10.99.0.11/24","gateway":"10.99.0.1",          static only; gateway may be absent
 *	        "neighbours":[{"address":"10.99.0.2","mac":"…"}]},        permanent ARP/ND entries: no broadcast then
 *	 "bundle":{"digest":"<sha256 of the whole file>","head_digest":"<hex>"},
 *	 "disks":[{"vdev":"xvda","mode":"w"|"r"}],
 *	 "closed_wait_s":N}                                               optional, default 60: how long to wait for "closed"
 * Unknown keys are refused.
 *
 * 2. The console: lines "@fixgate1 <nonce> <type> <json object>\n", at most FG_FIXVM_LINE_MAX bytes with the
 * newline.  Everything else on the console is noise for the log.  dom0 treats each byte as hostile: a line with
 * another nonce, a type out of order or malformed JSON is noise and is counted.
 *
 *	fix VM -> dom0, in this order
 *	hello     {"mode":…,"version":…}
 *	net-up    {"address":…}                                     mode fix
 *	progress  {"done_bytes":N,"total_bytes":N}                  any number, at most 4 a second
 *	verified  {"payload_bytes":N}                               download complete, all digests right; waits for "closed"
 *	mounted   {"root":"/dev/xvda1","os":"debian 12"}
 *	applies   {"result":"needed"|"not-applicable"|"already","reason":…}
 *	running   {"entry":…}
 *	output    {"text":…}                                        tail of what entry / post-check print, escaped
 *	result    {"outcome":"verified"|"not-needed"|"needed"|"failed","step":…,"reason":…,"exit_status":N}
 *	                                                            last line; "needed" only in mode inspect; then power off
 *	dom0 -> fix VM
 *	closed    {}                                                the NIC is drop-all now; only then guest bytes are run
 *
 * 3. The receipt on the guest's root: FG_RECEIPT_DIR/<fix id>.json, written (temp, fsync, rename, fsync) after the
 * post-check: {"format":1,"fix":…,"version":N,"job":…,"guest":…,"applied":"RFC 3339","payload_sha256":…,"signers":[…]}.
 * "already" = a receipt of this fix with at least this version, or no package of the rules older than asked.
 */
#ifndef FIXGATE_FIXVM_H
#define FIXGATE_FIXVM_H

#define FG_FIXVM_PREFIX "@fixgate1 "
#define FG_FIXVM_NONCE_HEX 32
#define FG_FIXVM_LINE_MAX 4096
#define FG_RECEIPT_DIR "/var/lib/fixgate/receipts"
#define FG_FIXVM_JOB_PATH "/fixgate/job.json"
#define FG_FIXVM_HEAD_PATH "/fixgate/bundle.head"
#define FG_FIXVM_CA_PATH "/fixgate/server-ca.pem"
#define FG_FIXVM_TRUST_PATH "/fixgate/trust"

/* X(NAME, "name") in the order they may come; OUTPUT and PROGRESS repeat. */
/* clang-format off */
#define FG_FIXVM_MESSAGE_LIST(X) \
	X(HELLO, "hello") \
	X(NET_UP, "net-up") \
	X(PROGRESS, "progress") \
	X(VERIFIED, "verified") \
	X(CLOSED, "closed") \
	X(MOUNTED, "mounted") \
	X(APPLIES, "applies") \
	X(RUNNING, "running") \
	X(OUTPUT, "output") \
	X(RESULT, "result")
/* clang-format on */

enum fg_fixvm_message {
#define FG_FIXVM_ENUM(name, str) FG_FIXVM_##name,
	FG_FIXVM_MESSAGE_LIST(FG_FIXVM_ENUM)
#undef FG_FIXVM_ENUM
		FG_FIXVM_MESSAGE_COUNT
};

#endif
