/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fixvm/steps/root.h"

#include "lib/util.h"

#include <string.h>
#include <strings.h>

/* A fix changes the system, not its data: /home and the like stay closed. */
static bool is_system_folder(const char *path)
{
	static const char *const folders[] = { "/usr", "/var", "/boot", "/opt", "/srv", "/etc", "/efi", "/root" };

	for (size_t i = 0; i < FG_COUNT(folders); i++) {
		size_t n = strlen(folders[i]);

		if (!strncmp(path, folders[i], n) && (path[n] == 0 || path[n] == '/'))
			return true;
	}
	return false;
}

/* fstab(5): \040 and the like stand for blanks in a field. */
static void unescape(char *s)
{
	char *out = s;

	while (*s) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' && s[3] >= '0' &&
		    s[3] <= '7') {
			*out++ = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0'));
			s += 4;
		} else {
			*out++ = *s++;
		}
	}
	*out = 0;
}

/* Value of "name=" or of the bare "name" (then ""), NULL if it is not among the options; malloc'd. */
static char *option(const char *options, const char *name)
{
	size_t n = strlen(name);

	for (const char *p = options; *p;) {
		size_t len = strcspn(p, ",");

		if (len >= n && !strncmp(p, name, n) && (p[n] == '=' || len == n)) {
			char *value = fg_calloc(1, len - n + 1);

			if (len > n)
				memcpy(value, p + n + 1, len - n - 1);
			return value;
		}
		p += len;
		p += *p == ',';
	}
	return NULL;
}

static void free_entry(struct fg_fstab_entry *e)
{
	free(e->spec);
	free(e->path);
	free(e->type);
	free(e->subvol);
}

void fg_fstab_release(struct fg_fstab *f)
{
	for (size_t i = 0; i < f->n; i++)
		free_entry(&f->entries[i]);
	free(f->entries);
	*f = (struct fg_fstab){ .n = 0 };
}

static bool wanted(const char *spec, const char *path, const char *options)
{
	fg_autofree char *noauto = option(options, "noauto"), *bind = option(options, "bind"),
			 *rbind = option(options, "rbind");

	if (noauto || bind || rbind || !is_system_folder(path) || strstr(path, ".."))
		return false;
	return strchr(spec, '=') || !strncmp(spec, "/dev/", 5);
}

static int take_line(struct fg_fstab *f, char *line, struct fg_error *err)
{
	char *field[4] = { NULL }, *save = NULL;
	size_t n = 0;

	line[strcspn(line, "\r")] = 0;
	for (char *p = strtok_r(line, " \t", &save); p && n < 4; p = strtok_r(NULL, " \t", &save))
		field[n++] = p;
	if (n < 3 || field[0][0] == '#')
		return 0;
	const char *options = n > 3 ? field[3] : "defaults";
	unescape(field[0]);
	unescape(field[1]);
	size_t len = strlen(field[1]);
	while (len > 1 && field[1][len - 1] == '/')
		field[1][--len] = 0;
	if (!wanted(field[0], field[1], options))
		return 0;
	if (f->n == FG_ROOT_MOUNTS_MAX)
		return fg_error_set(err, FG_ELIMIT, "etc/fstab: more than %d mounts", FG_ROOT_MOUNTS_MAX);
	fg_autofree char *nofail = option(options, "nofail");
	f->entries[f->n++] = (struct fg_fstab_entry){ .spec = fg_strdup(field[0]),
						      .path = fg_strdup(field[1]),
						      .type = fg_strdup(field[2]),
						      .subvol = option(options, "subvol"),
						      .nofail = nofail != NULL };
	return 0;
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct fg_fstab_entry *)a)->path, ((const struct fg_fstab_entry *)b)->path);
}

int fg_fstab_parse(const char *text, size_t len, struct fg_fstab *out, struct fg_error *err)
{
	struct fg_fstab f = { .entries = fg_calloc(FG_ROOT_MOUNTS_MAX, sizeof(*f.entries)) };
	fg_autofree char *copy = fg_calloc(1, len + 1);
	char *save = NULL;
	int rc = 0;

	for (size_t i = 0; i < len; i++)
		copy[i] = text[i] ? text[i] : ' ';
	for (char *line = strtok_r(copy, "\n", &save); line && !rc; line = strtok_r(NULL, "\n", &save))
		rc = take_line(&f, line, err);
	if (rc) {
		fg_fstab_release(&f);
		return rc;
	}
	qsort(f.entries, f.n, sizeof(*f.entries), by_path);
	*out = f;
	return 0;
}

/*
 * Linux names: a disk is known by its letter and partition number, whatever its driver calls it in the guest (sda, vda,
 * hda, xvda) and here.
 */
static const char *unit_of(const char *name)
{
	static const char *const prefixes[] = { "xvd", "sd", "vd", "hd" };

	for (size_t i = 0; i < FG_COUNT(prefixes); i++) {
		size_t n = strlen(prefixes[i]);

		if (!strncmp(name, prefixes[i], n) && name[n])
			return name + n;
	}
	return NULL;
}

static bool same(const char *a, const char *b)
{
	return a && b && !strcmp(a, b);
}

static bool names_device(const char *spec, const struct fg_block *b)
{
	const char *name = spec + 5;
	const char *unit = unit_of(name), *ours = unit_of(b->name);

	return !strcmp(name, b->name) || (unit && same(unit, ours));
}

static bool matches(const char *spec, const struct fg_block *b)
{
	static const struct {
		const char *tag, *folder;
	} forms[] = { { "UUID=", "/dev/disk/by-uuid/" },
		      { "LABEL=", "/dev/disk/by-label/" },
		      { "PARTUUID=", "/dev/disk/by-partuuid/" },
		      { "PARTLABEL=", "/dev/disk/by-partlabel/" } };
	const char *const have[] = { b->uuid, b->label, b->part_uuid, b->part_label };

	for (size_t i = 0; i < FG_COUNT(forms); i++) {
		const char *value = NULL;

		if (!strncasecmp(spec, forms[i].tag, strlen(forms[i].tag)))
			value = spec + strlen(forms[i].tag);
		else if (!strncmp(spec, forms[i].folder, strlen(forms[i].folder)))
			value = spec + strlen(forms[i].folder);
		if (!value)
			continue;
		char text[256];
		size_t len = strlen(value);
		/* "UUID=\"…\"" is allowed */
		if (len > 1 && value[0] == '"' && value[len - 1] == '"') {
			snprintf(text, sizeof(text), "%.*s", (int)len - 2, value + 1);
			value = text;
		}
		return have[i] && (i % 2 ? !strcmp(value, have[i]) : !strcasecmp(value, have[i]));
	}
	return !strncmp(spec, "/dev/", 5) && names_device(spec, b);
}

int fg_fstab_resolve(const char *spec, const struct fg_block *blocks, size_t n, size_t *out, struct fg_error *err)
{
	size_t found = n;

	for (size_t i = 0; i < n; i++) {
		if (!matches(spec, &blocks[i]))
			continue;
		if (found < n)
			return fg_error_set(err, FG_EREFUSED, "%s is both %s and %s", spec, blocks[found].name,
					    blocks[i].name);
		found = i;
	}
	if (found == n)
		return fg_error_set(err, FG_ENOTFOUND, "no disk or partition is %s", spec);
	*out = found;
	return 0;
}
