/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "initrd.h"

#include <fixgate/bundle.h>
#include <fixgate/fixvm.h>
#include <fixvm/jobcpio.h>
#include <lib/util.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES_MAX 32
#define PEM_MAX (4u << 20)

struct files {
	struct fg_jobcpio_file list[FILES_MAX];
	char *names[FILES_MAX], *data[FILES_MAX];
	size_t n;
};

static void files_release(struct files *f)
{
	for (size_t i = 0; i < f->n; i++) {
		free(f->names[i]);
		free(f->data[i]);
	}
}

/* Takes data. */
static int add(struct files *f, const char *name, char *data, size_t len, struct fg_error *err)
{
	if (f->n == FILES_MAX) {
		free(data);
		return fg_error_set(err, FG_ELIMIT, "more than %d files for a fix VM", FILES_MAX);
	}
	f->names[f->n] = fg_strdup(name[0] == '/' ? name + 1 : name);
	f->data[f->n] = data;
	f->list[f->n] = (struct fg_jobcpio_file){ .name = f->names[f->n], .mode = 0600, .data = data, .len = len };
	f->n++;
	return 0;
}

static int add_file(struct files *f, const char *name, const char *path, size_t max, struct fg_error *err)
{
	char *data = NULL;
	size_t len = 0;
	int rc = fg_file_read(path, max, &data, &len, err);

	return rc < 0 ? rc : add(f, name, data, len, err);
}

/* The trust folder is flat. */
static int add_trust(struct files *f, const char *dir, struct fg_error *err)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	struct stat st;
	int rc = 0;

	if (!d)
		return fg_error_errno(err, FG_EIO, errno, "%s", dir);
	while (rc == 0 && (e = readdir(d)) != NULL) {
		if (e->d_name[0] == '.' || fstatat(dirfd(d), e->d_name, &st, 0) < 0 || !S_ISREG(st.st_mode))
			continue;
		fg_autofree char *path = fg_asprintf("%s/%s", dir, e->d_name);
		fg_autofree char *name = fg_asprintf("%s/%s", FG_FIXVM_TRUST_PATH, e->d_name);
		rc = add_file(f, name, path, PEM_MAX, err);
	}
	closedir(d);
	return rc;
}

int fg_initrd_make(const struct fg_initrd_request *req, const char *path, struct fg_error *err)
{
	struct files f = { .n = 0 };
	char *text = fg_json_dump(req->job);
	int rc = add(&f, FG_FIXVM_JOB_PATH, text, strlen(text), err);

	if (rc == 0)
		rc = add_file(&f, FG_FIXVM_HEAD_PATH, req->head, FG_BUNDLE_HEAD_MAX, err);
	if (rc == 0)
		rc = add_file(&f, FG_FIXVM_CA_PATH, req->server_ca, PEM_MAX, err);
	if (rc == 0)
		rc = add_trust(&f, req->trust_dir, err);
	if (rc == 0) {
		fg_autoclose int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
		if (fd < 0)
			rc = fg_error_errno(err, FG_EIO, errno, "%s", path);
		else
			rc = fg_jobcpio_write(fd, req->image, f.list, f.n, err);
	}
	files_release(&f);
	return rc;
}
