/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Which guests a rollout is for. */
#include "window.h"

#include <fnmatch.h>
#include <lib/util.h>
#include <string.h>

static int term_parse(char *text, struct fg_plan *plan, struct fg_error *err)
{
	static const struct {
		const char *word;
		enum fg_term_kind kind;
		bool name_only;
	} kinds[] = { { "host", FG_TERM_HOST, false },
		      { "os", FG_TERM_OS, false },
		      { "name", FG_TERM_GUEST, true },
		      { "guest", FG_TERM_GUEST, false } };
	char *equals = strchr(text, '=');
	struct fg_term *t = &plan->terms[plan->n_terms];

	if (equals)
		*equals++ = '\0';
	if (!strncmp(text, "label:", 6) && text[6] && (!equals || *equals)) {
		*t = (struct fg_term){ FG_TERM_LABEL, false, fg_strdup(text + 6), fg_strdup(equals) };
		plan->n_terms++;
		return 0;
	}
	for (size_t i = 0; equals && *equals && i < FG_COUNT(kinds); i++) {
		if (strcmp(text, kinds[i].word) != 0)
			continue;
		*t = (struct fg_term){ kinds[i].kind, kinds[i].name_only, NULL, fg_strdup(equals) };
		plan->n_terms++;
		return 0;
	}
	return fg_error_set(err, FG_EFORMAT,
			    "'%.60s' selects nothing: all, host=, os=, name=, guest= or label:NAME[=VALUE]", text);
}

int fg_select_parse(const char *text, struct fg_plan *plan, struct fg_error *err)
{
	fg_autofree char *copy = fg_strdup(text);
	int rc = 0;

	if (strlen(text) > FG_PLAN_SELECT_MAX)
		return fg_error_set(err, FG_ELIMIT, "a selector has at most %d bytes", FG_PLAN_SELECT_MAX);
	if (!strcmp(text, "all"))
		return 0;
	for (char *p = copy; p && rc == 0;) {
		char *term = strsep(&p, ",");
		if (plan->n_terms == FG_PLAN_TERMS_MAX)
			return fg_error_set(err, FG_ELIMIT, "a selector has at most %d terms", FG_PLAN_TERMS_MAX);
		rc = term_parse(term, plan, err);
	}
	return rc;
}

static bool matches(const char *pattern, const char *text)
{
	return !pattern || fnmatch(pattern, text, 0) == 0;
}

/* "debian" is any version of it. */
static bool os_matches(const char *pattern, const char *os)
{
	fg_autofree char *id = strndup(os, strcspn(os, ":"));

	return os[0] && (matches(pattern, os) || matches(pattern, id));
}

static bool term_holds(const struct fg_term *t, const struct fg_plan_guest *g)
{
	const char *value;

	switch (t->kind) {
	case FG_TERM_HOST:
		return matches(t->pattern, g->host);
	case FG_TERM_OS:
		return os_matches(t->pattern, g->os);
	case FG_TERM_GUEST:
		return matches(t->pattern, g->name) || (!t->name_only && !strcasecmp(t->pattern, g->uuid));
	case FG_TERM_LABEL:
		value = json_string_value(json_object_get(g->labels, t->label));
		return value && matches(t->pattern, value);
	}
	return false;
}

/* Alternatives: of the same kind, for labels of the same name too. */
static bool same_kind(const struct fg_term *a, const struct fg_term *b)
{
	return a->kind == b->kind && (a->kind != FG_TERM_LABEL || !strcmp(a->label, b->label));
}

bool fg_plan_selects(const struct fg_plan *plan, const struct fg_plan_guest *g)
{
	for (size_t i = 0; i < plan->n_terms; i++) {
		bool holds = false;
		for (size_t k = 0; k < plan->n_terms && !holds; k++)
			holds = same_kind(&plan->terms[i], &plan->terms[k]) && term_holds(&plan->terms[k], g);
		if (!holds)
			return false;
	}
	return true;
}

bool fg_plan_needs_labels(const struct fg_plan *plan)
{
	for (size_t i = 0; i < plan->n_terms; i++)
		if (plan->terms[i].kind == FG_TERM_LABEL)
			return true;
	return false;
}
