/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The process that `xl create` leaves behind to look after a domain (it re-creates it on reboot).
 *
 * xl keeps no register of them.  A daemon is known by /proc/PID/exe being xl, its command line being a create, restore or
 * migrate-receive, and the last "Waiting for domain NAME (domid N) to die [pid PID]" in the log that is its stdout:
 * xl writes that line before it waits (xl_vmcontrol.c), with its own pid, each time it has made the domain.
 * Where there is no such line (the log was truncated, or its stdout is a terminal) the UUID that its command line or its
 * config file pins decides.
 */
#ifndef FG_XL_DAEMON_H
#define FG_XL_DAEMON_H

#include <fixgate/error.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define FG_XL_ARGS_MAX 64 /* arguments of a command line we look at */

struct fg_xl_daemon {
	pid_t pid;
	uint64_t start_ticks; /* of /proc/PID/stat: pid and start tell one process from another */
	/* Of the domain it waited for last, as its log says; while it makes that one anew it is there no more.  0: no word of it. */
	uint32_t domid;
	char *name; /* of that domain */
	char *file; /* config file as on the command line; NULL: none (restored) */
	char **args; /* "key=value" settings after the file, NULL-terminated */
};

enum fg_told { FG_TOLD_NO, FG_TOLD_YES, FG_TOLD_UNKNOWN };

/*
 * proc: "/proc" but in tests.  uuid: of the domain.  NOTFOUND: no daemon owns the domain.  UNREACHABLE: there is one that may, and
 * nothing tells whose it is.
 */
int fg_xl_daemon_find(const char *proc, uint32_t domid, const char *uuid, struct fg_xl_daemon *out,
		      struct fg_error *err) FG_MUST_CHECK;
/* The one for which `is` says so, before all one whose log says its domain.  Errors as above. */
typedef enum fg_told fg_xl_daemon_is(const struct fg_xl_daemon *daemon, void *arg);
int fg_xl_daemon_find_by(const char *proc, fg_xl_daemon_is *is, void *arg, struct fg_xl_daemon *out,
			 struct fg_error *err) FG_MUST_CHECK;
/*
 * A process that makes this guest, or looks after it, with its UUID pinned on the command line, as the agent starts it: `xl create …
 * uuid="UUID"`.  It outlives an agent that dies meanwhile.  Only pid, start_ticks and domid are set.
 */
int fg_xl_maker_find(const char *proc, const char *uuid, struct fg_xl_daemon *out, struct fg_error *err) FG_MUST_CHECK;
/* Is it still the same process?  pidfd of it or -FG_ENOTFOUND. */
int fg_xl_daemon_open(const char *proc, const struct fg_xl_daemon *daemon, struct fg_error *err) FG_MUST_CHECK;
void fg_xl_daemon_release(struct fg_xl_daemon *daemon);

/* Pure: config file and settings of an xl command line (argv of `n` words).  false: not one that makes a domain. */
bool fg_xl_command_parse(char *const *argv, size_t n, const char **file, size_t *first_setting);
/* What is known of a guest: the domid of its last life (0: none), its name, the config file that pins its UUID (or NULL). */
struct fg_xl_known {
	const char *uuid, *name, *file;
	uint32_t domid;
};
/*
 * Would this process, whose domain is there no more, make that guest anew?  A UUID pinned on its command line
 * decides; else file, name, or domid; where it says none of them, the UUID that its config file pins.
 */
enum fg_told fg_xl_daemon_serves(const struct fg_xl_daemon *daemon, const struct fg_xl_known *guest);
/* Pure: domid of the last "Waiting for domain" line with this pid; 0: none. */
uint32_t fg_xl_log_domid(const char *log, pid_t pid);
/* The same, and the domain's name: malloc'd, NULL if there is no such line. */
uint32_t fg_xl_log_domain(const char *log, pid_t pid, char **name);

#endif
