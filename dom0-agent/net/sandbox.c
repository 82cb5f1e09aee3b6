/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "sandbox.h"

#include <fixgate/bundle.h>
#include <lib/util.h>

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

int fg_sandbox_user_find(const char *name, struct fg_sandbox_user *out, struct fg_error *err)
{
	struct passwd *pw;

	errno = 0;
	pw = getpwnam(name);
	if (!pw && errno)
		return fg_error_errno(err, FG_EFAILED, errno, "user %s", name);
	if (!pw)
		return fg_error_set(err, FG_EUSAGE, "user %s does not exist", name);
	if (pw->pw_uid == 0 || pw->pw_gid == 0)
		return fg_error_set(err, FG_EUSAGE, "user %s is root, or of its group", name);
	out->uid = pw->pw_uid;
	out->gid = pw->pw_gid;
	return 0;
}

int fg_sandbox_enter_folder(const char *state_dir, const struct fg_sandbox_user *user, struct fg_error *err)
{
	fg_autofree char *path = fg_asprintf("%s/net", state_dir);
	int rc = fg_mkdir_p(state_dir, 0755, err);

	if (rc < 0)
		return rc;
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return fg_error_errno(err, FG_EIO, errno, "folder %s", path);
	/* state_dir is root's, so nobody else can have put a link there; O_NOFOLLOW all the same. */
	fg_autoclose int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return fg_error_errno(err, FG_EIO, errno, "folder %s", path);
	if (geteuid() == 0 && (fchown(fd, user->uid, user->gid) < 0 || fchmod(fd, 0700) < 0))
		return fg_error_errno(err, FG_EIO, errno, "folder %s: owner and mode", path);
	if (fchdir(fd) < 0)
		return fg_error_errno(err, FG_EIO, errno, "folder %s", path);
	return 0;
}

int fg_sandbox_drop_user(const struct fg_sandbox_user *user, struct fg_error *err)
{
	if (geteuid() == 0) {
		if (setgroups(0, NULL) < 0)
			return fg_error_errno(err, FG_EFAILED, errno, "setgroups");
		if (setresgid(user->gid, user->gid, user->gid) < 0)
			return fg_error_errno(err, FG_EFAILED, errno, "setresgid");
		if (setresuid(user->uid, user->uid, user->uid) < 0)
			return fg_error_errno(err, FG_EFAILED, errno, "setresuid");
	}
	/* Leaving uid 0 took all capabilities away (capabilities(7)); that it worked is looked at, not believed. */
	if (getuid() == 0 || geteuid() == 0 || getgid() == 0 || getegid() == 0 || setuid(0) == 0)
		return fg_error_set(err, FG_EFAILED, "still root after giving it up");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return fg_error_errno(err, FG_EFAILED, errno, "no_new_privs");
	/* fixgated set it, setresuid took it away (prctl(2)). The socket's end says the same, but to us, not to the kernel. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
		return fg_error_errno(err, FG_EFAILED, errno, "signal at the parent's death");
	/* Same user, other process: no ptrace, no core file, no /proc/<pid>/mem. */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return fg_error_errno(err, FG_EFAILED, errno, "not dumpable");
	return 0;
}

int fg_sandbox_limit(struct fg_error *err)
{
	static const struct {
		int what;
		rlim_t limit;
		const char *name;
	} limits[] = {
		{ RLIMIT_AS, FG_SANDBOX_MEMORY_MAX, "memory" },
		{ RLIMIT_NOFILE, FG_SANDBOX_FILES_MAX, "descriptors" },
		{ RLIMIT_FSIZE, FG_BUNDLE_HEAD_MAX, "file size" },
		{ RLIMIT_NPROC, 0, "processes" },
		{ RLIMIT_CORE, 0, "core file" },
	};

	signal(SIGXFSZ, SIG_IGN); /* EFBIG instead */
	for (size_t i = 0; i < FG_COUNT(limits); i++) {
		struct rlimit l = { limits[i].limit, limits[i].limit };
		if (setrlimit((__rlimit_resource_t)limits[i].what, &l) < 0)
			return fg_error_errno(err, FG_EFAILED, errno, "limit of %s", limits[i].name);
	}
	return 0;
}
