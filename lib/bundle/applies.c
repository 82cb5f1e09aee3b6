/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Does a fix apply to the guest's root?  In this order, the first that decides:
 *	receipt of this fix, same version or newer	already
 *	receipt of a not_fix				not applicable
 *	os, arch					not applicable if none matches
 *	packages					none there: not applicable; none older: already
 *	files						not applicable if none matches
 *	else						needed
 */
#include "guest.h"
#include "rpmdb.h"

#include <fixgate/bundle.h>
#include <lib/util.h>

#include <inttypes.h>
#include <string.h>

struct verdict {
	bool decided;
	enum fg_applies applies;
	char *reason;
};

static int decide(struct verdict *v, enum fg_applies applies, char *reason)
{
	free(v->reason);
	*v = (struct verdict){ true, applies, reason };
	return 0;
}

static int check_receipts(const struct fg_manifest *m, int root_fd, struct verdict *v, struct fg_error *err)
{
	uint64_t version = 0;
	bool found = false;
	int rc = fg_guest_receipt(root_fd, m->id, &found, &version, err);

	if (rc < 0)
		return rc;
	if (found && version >= m->version)
		return decide(v, FG_APPLIES_ALREADY,
			      fg_asprintf("the guest has a receipt of %s version %" PRIu64, m->id, version));
	for (size_t i = 0; i < m->n_not_fix; i++) {
		rc = fg_guest_receipt(root_fd, m->not_fix[i], &found, &version, err);
		if (rc < 0)
			return rc;
		if (found)
			return decide(v, FG_APPLIES_NOT_APPLICABLE,
				      fg_asprintf("the guest has had %s, which rules %s out", m->not_fix[i], m->id));
	}
	return 0;
}

/* "9" in a rule matches "9" and "9.3", not "90". */
static bool version_matches(const char *rule, const char *has)
{
	size_t n = rule ? strlen(rule) : 0;

	if (!rule)
		return true;
	return has && strncmp(rule, has, n) == 0 && (has[n] == '\0' || has[n] == '.');
}

static int check_os(const struct fg_manifest *m, int root_fd, struct verdict *v, struct fg_error *err)
{
	fg_autofree char *id = NULL, *version = NULL;

	if (!m->n_os)
		return 0;
	int rc = fg_guest_os(root_fd, &id, &version, err);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < m->n_os; i++)
		if (id && strcmp(id, m->os[i].id) == 0 && version_matches(m->os[i].version, version))
			return 0;
	return decide(v, FG_APPLIES_NOT_APPLICABLE,
		      fg_asprintf("the fix is not for the guest's system (%.64s %.64s)", id ? id : "unknown",
				  version ? version : "without version"));
}

static int check_arch(const struct fg_manifest *m, int root_fd, struct verdict *v, struct fg_error *err)
{
	fg_autofree char *arch = NULL;

	if (!m->n_arch)
		return 0;
	int rc = fg_guest_arch(root_fd, &arch, err);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < m->n_arch; i++)
		if (strcmp(arch, m->arch[i]) == 0)
			return 0;
	return decide(v, FG_APPLIES_NOT_APPLICABLE,
		      fg_asprintf("the fix is not for the guest's architecture (%.64s)", arch));
}

struct package_tally {
	size_t installed;
	const struct fg_rule_package *older; /* a rule that an installed package falls under */
	char *version; /* of that package */
};

static void count(struct package_tally *t, const struct fg_rule_package *rule, const char *version, bool older)
{
	t->installed++;
	if (!older || t->older)
		return;
	t->older = rule;
	t->version = fg_strdup(version);
}

static int check_dpkg(const struct fg_manifest *m, int root_fd, struct package_tally *t, struct fg_error *err)
{
	struct fg_dpkg_db *db = NULL;
	int rc = 0;

	for (size_t i = 0; rc == 0 && !t->older && i < m->n_packages; i++) {
		const struct fg_rule_package *rule = &m->packages[i];
		struct fg_guest_packages found = { NULL, 0 };
		if (strcmp(rule->type, "dpkg") != 0)
			continue;
		if (!db)
			rc = fg_dpkg_db_open(root_fd, &db, err);
		if (rc == 0)
			rc = fg_dpkg_db_find(db, rule->name, &found, err);
		for (size_t k = 0; rc == 0 && k < found.n; k++)
			if (found.list[k].installed)
				count(t, rule, found.list[k].version,
				      fg_version_cmp_dpkg(found.list[k].version, rule->less_than) < 0);
		fg_guest_packages_release(&found);
	}
	fg_dpkg_db_close(db);
	return rc;
}

/* Of a package that is there several times (kernels, architectures) one older is enough, as with dpkg. */
static int check_rpm(const struct fg_manifest *m, int root_fd, struct package_tally *t, struct fg_error *err)
{
	struct fg_rpm_packages have = { NULL, 0 };
	bool asked = false;
	int rc = 0;

	for (size_t i = 0; rc == 0 && !t->older && i < m->n_packages; i++) {
		const struct fg_rule_package *rule = &m->packages[i];
		if (strcmp(rule->type, "rpm") != 0)
			continue;
		if (!asked)
			rc = fg_rpmdb_read(root_fd, &have, err);
		asked = true;
		for (size_t k = 0; rc == 0 && k < have.n; k++)
			if (strcmp(have.list[k].name, rule->name) == 0)
				count(t, rule, have.list[k].evr,
				      fg_version_cmp_rpm(have.list[k].evr, rule->less_than) < 0);
	}
	fg_rpm_packages_release(&have);
	return rc;
}

static int check_packages(const struct fg_manifest *m, int root_fd, struct verdict *v, struct fg_error *err)
{
	struct package_tally t = { 0, NULL, NULL };
	int rc;

	if (!m->n_packages)
		return 0;
	rc = check_dpkg(m, root_fd, &t, err);
	if (rc == 0 && !t.older)
		rc = check_rpm(m, root_fd, &t, err);
	if (rc < 0)
		return rc;
	fg_autofree char *version = t.version;
	if (t.older) { /* not decided: files may still rule it out */
		v->reason = fg_asprintf("%s %.128s is older than %s", t.older->name, version, t.older->less_than);
		return 0;
	}
	if (!t.installed)
		return decide(v, FG_APPLIES_NOT_APPLICABLE, fg_strdup("none of the fix's packages is installed"));
	return decide(v, FG_APPLIES_ALREADY, fg_strdup("no installed package of the fix is older than it asks"));
}

static int check_files(const struct fg_manifest *m, int root_fd, struct verdict *v, struct fg_error *err)
{
	char digest[FG_DIGEST_HEX];

	for (size_t i = 0; i < m->n_files; i++) {
		int rc = fg_guest_file_sha256(root_fd, m->files[i].path, digest, err);
		if (rc < 0)
			return rc;
		if (strcmp(digest, m->files[i].sha256) == 0) {
			if (!v->reason)
				v->reason = fg_asprintf("%s has the digest that the fix names", m->files[i].path);
			return 0;
		}
	}
	if (!m->n_files)
		return 0;
	return decide(v, FG_APPLIES_NOT_APPLICABLE, fg_strdup("none of the fix's files has the digest it names"));
}

/* The guest's own words are in it: plain ASCII, so that it fits into JSON and on a terminal. */
static char *plain(char *text)
{
	for (char *p = text; *p; p++)
		if (*p < 0x20 || *p >= 0x7f)
			*p = '?';
	return text;
}

typedef int (*check_fn)(const struct fg_manifest *m, int root_fd, struct verdict *v, struct fg_error *err);

int fg_applies_evaluate(const struct fg_manifest *m, int root_fd, enum fg_applies *out, char **reason,
			struct fg_error *err)
{
	static const check_fn checks[] = { check_receipts, check_os, check_arch, check_packages, check_files };
	struct verdict v = { false, FG_APPLIES_NEEDED, NULL };

	for (size_t i = 0; i < FG_COUNT(checks) && !v.decided; i++) {
		int rc = checks[i](m, root_fd, &v, err);
		if (rc < 0) {
			free(v.reason);
			return rc;
		}
	}
	*out = v.applies;
	*reason = plain(v.reason ? v.reason : fg_strdup("the fix is for every such guest"));
	return 0;
}
