/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What fixgate-net gives up.  Calling sequence, each step one way:
 *	fg_sandbox_enter_folder (root) -> fg_sandbox_drop_user (root) -> … open what is left … -> fg_sandbox_limit
 *	-> fg_sandbox_close
 */
#ifndef FG_NET_SANDBOX_H
#define FG_NET_SANDBOX_H

#include <fixgate/error.h>

#include <stdbool.h>
#include <sys/types.h>

#define FG_SANDBOX_MEMORY_MAX (768ull << 20) /* address space, bytes */
#define FG_SANDBOX_FILES_MAX 64 /* descriptors */

struct fg_sandbox_user {
	uid_t uid;
	gid_t gid;
};
/* By name; USAGE if there is no such user or it is root.  Before the drop: it reads the system's databases. */
int fg_sandbox_user_find(const char *name, struct fg_sandbox_user *out, struct fg_error *err) FG_MUST_CHECK;

/* Makes <state_dir>/net, mode 0700 and the user's (when we are root), and stands in it: from then on paths are relative. */
int fg_sandbox_enter_folder(const char *state_dir, const struct fg_sandbox_user *user,
			    struct fg_error *err) FG_MUST_CHECK;

/* Groups, gid, uid, capabilities, no_new_privs.  Without root there is nothing to drop; being root afterwards is an error. */
int fg_sandbox_drop_user(const struct fg_sandbox_user *user, struct fg_error *err) FG_MUST_CHECK;

/* Resource limits: memory, descriptors, file size, no new process, no core file. */
int fg_sandbox_limit(struct fg_error *err) FG_MUST_CHECK;

/*
 * Landlock, where the kernel has it: files only below the folder we stand in; and the seccomp filter: a list of what is
 * allowed, EPERM for the rest, death of the process for what only an attacker would try (exec, ptrace, mount …).
 */
int fg_sandbox_close(bool *landlock, struct fg_error *err) FG_MUST_CHECK;

#endif
