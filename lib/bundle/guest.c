/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "guest.h"
#include "head.h"

#include <fixgate/fixvm.h>
#include <lib/util.h>

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* -1 with errno; ENOENT stands for every way in which a name leads nowhere. */
static int open_in_root(int root_fd, const char *path, uint64_t flags)
{
	struct open_how how = {
		.flags = flags | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	int fd = (int)syscall(SYS_openat2, root_fd, path, &how, sizeof(how));

	if (fd < 0 && errno == ENOTDIR)
		errno = ENOENT;
	return fd;
}

int fg_guest_open(int root_fd, const char *path, int *fd, struct fg_error *err)
{
	/* O_NONBLOCK: a FIFO in place of a file must not stop us */
	fg_autoclose int f = open_in_root(root_fd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
	struct stat st;

	if (f < 0 && errno != ENOENT)
		return fg_error_errno(err, FG_EIO, errno, "cannot open %s of the guest", path);
	if (f >= 0) {
		if (fstat(f, &st) < 0)
			return fg_error_errno(err, FG_EIO, errno, "cannot read %s of the guest", path);
		if (!S_ISREG(st.st_mode))
			return fg_error_set(err, FG_EIO, "%s of the guest is no regular file", path);
	}
	*fd = FG_TAKE_FD(f);
	return 0;
}

int fg_guest_read(int root_fd, const char *path, size_t max, char **out, size_t *len, struct fg_error *err)
{
	fg_autoclose int fd = -1;
	int rc = fg_guest_open(root_fd, path, &fd, err);

	if (rc < 0)
		return rc;
	if (fd < 0) {
		*out = NULL;
		*len = 0;
		return 0;
	}
	rc = fg_fd_read_all(fd, max, out, len, err);
	if (rc < 0)
		fg_error_wrap(err, "%s of the guest", path);
	return rc;
}

int fg_guest_exists(int root_fd, const char *path, bool *out, struct fg_error *err)
{
	fg_autoclose int fd = open_in_root(root_fd, path, O_PATH);

	if (fd < 0 && errno != ENOENT)
		return fg_error_errno(err, FG_EIO, errno, "cannot look up %s of the guest", path);
	*out = fd >= 0;
	return 0;
}

/* KEY=value, KEY="value", KEY='value'; backslashes as in double quotes of a shell.  malloc'd. */
static char *unquote(const char *s, size_t len)
{
	char *out = fg_calloc(len + 1, 1), *o = out;
	char quote = '\0';

	for (size_t i = 0; i < len; i++) {
		if (quote && s[i] == quote)
			quote = '\0';
		else if (!quote && (s[i] == '"' || s[i] == '\''))
			quote = s[i];
		else if (s[i] == '\\' && quote != '\'' && i + 1 < len)
			*o++ = s[++i];
		else
			*o++ = s[i];
	}
	return out;
}

static void take_value(const char *line, size_t len, const char *key, char **out)
{
	size_t n = strlen(key);

	if (len <= n || strncmp(line, key, n) != 0 || line[n] != '=')
		return;
	free(*out); /* the last one holds, as in a shell */
	*out = unquote(line + n + 1, len - n - 1);
}

int fg_guest_os(int root_fd, char **id, char **version, struct fg_error *err)
{
	fg_autofree char *text = NULL, *found_id = NULL, *found_version = NULL;
	size_t len = 0;
	int rc = fg_guest_read(root_fd, "/etc/os-release", FG_GUEST_TEXT_MAX, &text, &len, err);

	if (rc == 0 && !text)
		rc = fg_guest_read(root_fd, "/usr/lib/os-release", FG_GUEST_TEXT_MAX, &text, &len, err);
	if (rc < 0)
		return rc;
	for (const char *line = text; line && *line;) {
		size_t n = strcspn(line, "\n");
		size_t used = n && line[n - 1] == '\r' ? n - 1 : n;
		while (used && (line[used - 1] == ' ' || line[used - 1] == '\t'))
			used--;
		take_value(line, used, "ID", &found_id);
		take_value(line, used, "VERSION_ID", &found_version);
		line += n + (line[n] == '\n');
	}
	*id = FG_TAKE(found_id);
	*version = FG_TAKE(found_version);
	return 0;
}

/* First line: the native architecture (dpkg --print-architecture); only on guests that have foreign ones too. */
static int arch_from_dpkg_list(int root_fd, char **out, struct fg_error *err)
{
	fg_autofree char *text = NULL;
	size_t len = 0;
	int rc = fg_guest_read(root_fd, "/var/lib/dpkg/arch", FG_GUEST_TEXT_MAX, &text, &len, err);

	if (rc == 0 && text && strcspn(text, "\n") > 0) {
		text[strcspn(text, "\n")] = '\0';
		*out = FG_TAKE(text);
	}
	return rc;
}

static int arch_from_dpkg_status(int root_fd, char **out, struct fg_error *err)
{
	struct fg_guest_packages found = { NULL, 0 };
	struct fg_dpkg_db *db = NULL;
	int rc = fg_dpkg_db_open(root_fd, &db, err);

	if (rc < 0)
		return rc;
	rc = fg_dpkg_db_find(db, "dpkg", &found, err);
	for (size_t i = 0; rc == 0 && i < found.n && !*out; i++)
		if (found.list[i].installed)
			*out = fg_strdup(found.list[i].arch);
	fg_guest_packages_release(&found);
	fg_dpkg_db_close(db);
	return rc;
}

static const char *arch_of_machine(unsigned machine, unsigned char class)
{
	static const struct {
		unsigned machine;
		unsigned char class;
		const char *name;
	} known[] = {
		{ EM_X86_64, ELFCLASS64, "amd64" },  { EM_386, ELFCLASS32, "i386" },
		{ EM_AARCH64, ELFCLASS64, "arm64" }, { EM_ARM, ELFCLASS32, "armhf" },
		{ EM_RISCV, ELFCLASS64, "riscv64" }, { EM_S390, ELFCLASS64, "s390x" },
		{ EM_PPC64, ELFCLASS64, "ppc64el" },
	};

	for (size_t i = 0; i < FG_COUNT(known); i++)
		if (known[i].machine == machine && known[i].class == class)
			return known[i].name;
	return NULL;
}

/* What machine the guest's shell is made for: the answer where there is no dpkg. */
static int arch_from_shell(int root_fd, char **out, struct fg_error *err)
{
	unsigned char ehdr[20]; /* e_ident and e_type, e_machine: elf(5) */
	fg_autoclose int fd = -1;
	int rc = fg_guest_open(root_fd, "/bin/sh", &fd, err);

	if (rc < 0 || fd < 0)
		return rc;
	ssize_t n = pread(fd, ehdr, sizeof(ehdr), 0);
	if (n < 0)
		return fg_error_errno(err, FG_EIO, errno, "cannot read /bin/sh of the guest");
	if (n < (ssize_t)sizeof(ehdr) || memcmp(ehdr, ELFMAG, SELFMAG) != 0)
		return 0;
	unsigned machine = ehdr[EI_DATA] == ELFDATA2MSB ? (unsigned)(ehdr[18] << 8 | ehdr[19])
							: (unsigned)(ehdr[19] << 8 | ehdr[18]);
	*out = fg_strdup(arch_of_machine(machine, ehdr[EI_CLASS]));
	return 0;
}

int fg_guest_arch(int root_fd, char **out, struct fg_error *err)
{
	fg_autofree char *arch = NULL;
	int rc = arch_from_dpkg_list(root_fd, &arch, err);

	if (rc == 0 && !arch)
		rc = arch_from_dpkg_status(root_fd, &arch, err);
	if (rc == 0 && !arch)
		rc = arch_from_shell(root_fd, &arch, err);
	if (rc == 0 && !arch)
		rc = fg_error_set(err, FG_EUNREACHABLE, "cannot tell the guest's architecture");
	if (rc == 0)
		*out = FG_TAKE(arch);
	return rc;
}

static int digest_fd(int fd, EVP_MD_CTX *ctx, uint8_t out[FG_DIGEST_BYTES], struct fg_error *err)
{
	fg_autofree uint8_t *buf = fg_calloc(FG_BUNDLE_BLOCK_BYTES, 1);
	uint64_t total = 0;

	if (!ctx || EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1)
		return fg_error_set(err, FG_ENOMEM, "SHA-256 is not available");
	for (;;) {
		ssize_t n = read(fd, buf, FG_BUNDLE_BLOCK_BYTES);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fg_error_errno(err, FG_EIO, errno, "cannot read");
		if (n == 0)
			break;
		total += (uint64_t)n;
		if (total > FG_GUEST_FILE_MAX)
			return fg_error_set(err, FG_ELIMIT, "too long to be digested");
		if (EVP_DigestUpdate(ctx, buf, (size_t)n) != 1)
			return fg_error_set(err, FG_ENOMEM, "SHA-256 failed");
	}
	if (EVP_DigestFinal_ex(ctx, out, NULL) != 1)
		return fg_error_set(err, FG_ENOMEM, "SHA-256 failed");
	return 0;
}

int fg_guest_file_sha256(int root_fd, const char *path, char out[FG_DIGEST_HEX], struct fg_error *err)
{
	uint8_t digest[FG_DIGEST_BYTES];
	fg_autoclose int fd = -1;
	int rc = fg_guest_open(root_fd, path, &fd, err);

	if (rc < 0)
		return rc;
	if (fd < 0) {
		out[0] = '\0';
		return 0;
	}
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	rc = digest_fd(fd, ctx, digest, err);
	EVP_MD_CTX_free(ctx);
	if (rc < 0)
		fg_error_wrap(err, "%s of the guest", path);
	else
		fg_hex_encode(digest, sizeof(digest), out);
	return rc;
}

static int read_receipt(const char *text, size_t len, const char *fix, uint64_t *version, struct fg_error *err)
{
	fg_autojson json_t *root = NULL;
	const char *named = NULL;
	int64_t number = 0;
	int rc;

	if ((rc = fg_json_parse(text, len, &root, err)) < 0 ||
	    (rc = fg_json_int(root, "format", 1, 1, &number, err)) < 0 ||
	    (rc = fg_json_string(root, "fix", &named, err)) < 0 ||
	    (rc = fg_json_int(root, "version", 1, INT64_MAX, &number, err)) < 0)
		return rc;
	if (strcmp(named, fix) != 0)
		return fg_error_set(err, FG_EFORMAT, "it is the receipt of another fix");
	*version = (uint64_t)number;
	return 0;
}

int fg_guest_receipt(int root_fd, const char *fix, bool *found, uint64_t *version, struct fg_error *err)
{
	fg_autofree char *path = fg_asprintf("%s/%s.json", FG_RECEIPT_DIR, fix);
	fg_autofree char *text = NULL;
	size_t len = 0;
	int rc = fg_guest_read(root_fd, path, FG_GUEST_TEXT_MAX, &text, &len, err);

	if (rc < 0)
		return rc;
	if (!text) {
		*found = false;
		return 0;
	}
	rc = read_receipt(text, len, fix, version, err);
	if (rc < 0)
		fg_error_wrap(err, "receipt %s of the guest", path);
	else
		*found = true;
	return rc;
}
