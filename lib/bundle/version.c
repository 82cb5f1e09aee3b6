/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Version order of dpkg and rpm.  The fix VM has neither program.  Sources: Debian Policy 5.6.12 and dpkg's
 * lib/dpkg/version.c; rpm's rpmio/rpmvercmp.c and lib/rpmver.c.
 */
#include <fixgate/bundle.h>

#include <string.h>

/* A piece of a version string; p may be NULL: the piece is absent. */
struct piece {
	const char *p;
	size_t len;
};

/* Not <ctype.h>: the order must not follow the locale. */
static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_alpha(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static char head(struct piece s)
{
	return s.len ? *s.p : '\0';
}

static void skip(struct piece *s, size_t n)
{
	s->p += n;
	s->len -= n;
}

static size_t span(struct piece s, bool (*is)(char))
{
	size_t n = 0;

	while (n < s.len && is(s.p[n]))
		n++;
	return n;
}

/* Cuts a run of digits off both and compares them as numbers of any length. */
static int cut_numbers(struct piece *a, struct piece *b)
{
	struct piece x = { a->p, span(*a, is_digit) }, y = { b->p, span(*b, is_digit) };

	skip(a, x.len);
	skip(b, y.len);
	while (head(x) == '0')
		skip(&x, 1);
	while (head(y) == '0')
		skip(&y, 1);
	if (x.len != y.len)
		return x.len < y.len ? -1 : 1;
	return x.len ? memcmp(x.p, y.p, x.len) : 0;
}

/* Weight of the next character of a non-digit part: '~' before the end, the end before letters, those before the rest. */
static int dpkg_order(struct piece s)
{
	char c = head(s);

	if (!s.len || is_digit(c))
		return 0;
	if (is_alpha(c))
		return c;
	return c == '~' ? -1 : (unsigned char)c + 256;
}

static int dpkg_compare_part(struct piece a, struct piece b)
{
	while (a.len || b.len) {
		while ((a.len && !is_digit(head(a))) || (b.len && !is_digit(head(b)))) {
			int diff = dpkg_order(a) - dpkg_order(b);
			if (diff)
				return diff;
			/* equal and one of them no digit: both have a character here */
			skip(&a, 1);
			skip(&b, 1);
		}
		int diff = cut_numbers(&a, &b);
		if (diff)
			return diff;
	}
	return 0;
}

/* "epoch:" in front, all digits; absent = empty, which compares as 0. */
static struct piece cut_epoch(struct piece *s)
{
	struct piece epoch = { s->p, span(*s, is_digit) };

	if (epoch.len < s->len && s->p[epoch.len] == ':')
		skip(s, epoch.len + 1);
	else
		epoch.len = 0;
	return epoch;
}

static struct piece cut_after_last_dash(struct piece *s)
{
	struct piece none = { NULL, 0 };

	for (size_t i = s->len; i > 0; i--) {
		if (s->p[i - 1] != '-')
			continue;
		struct piece tail = { s->p + i, s->len - i };
		s->len = i - 1;
		return tail;
	}
	return none;
}

int fg_version_cmp_dpkg(const char *a, const char *b)
{
	struct piece x = { a, strlen(a) }, y = { b, strlen(b) };
	struct piece xe = cut_epoch(&x), ye = cut_epoch(&y);
	struct piece xr = cut_after_last_dash(&x), yr = cut_after_last_dash(&y);
	int diff = cut_numbers(&xe, &ye);

	if (!diff)
		diff = dpkg_compare_part(x, y);
	return diff ? diff : dpkg_compare_part(xr, yr);
}

static void rpm_skip_separators(struct piece *s)
{
	while (s->len && !is_digit(head(*s)) && !is_alpha(head(*s)) && head(*s) != '~' && head(*s) != '^')
		skip(s, 1);
}

/* '~' sorts before everything, also the end; '^' after the end, before everything else.  Sets *done if that decides. */
static int rpm_compare_marks(struct piece *a, struct piece *b, bool *done, bool *again)
{
	char x = head(*a), y = head(*b);

	*done = *again = true;
	if (x == '~' || y == '~') {
		if (x != y)
			return x == '~' ? -1 : 1;
	} else if (x == '^' || y == '^') {
		if (!a->len)
			return -1;
		if (!b->len)
			return 1;
		if (x != y)
			return x == '^' ? -1 : 1;
	} else {
		*done = *again = false;
		return 0;
	}
	skip(a, 1);
	skip(b, 1);
	*done = false;
	return 0;
}

static int compare_bytes(struct piece a, struct piece b)
{
	size_t n = a.len < b.len ? a.len : b.len;
	int diff = n ? memcmp(a.p, b.p, n) : 0;

	return diff ? diff : (a.len > b.len) - (a.len < b.len);
}

static int rpm_compare_part(struct piece a, struct piece b)
{
	while (a.len || b.len) {
		bool done = false, again = false;

		rpm_skip_separators(&a);
		rpm_skip_separators(&b);
		int diff = rpm_compare_marks(&a, &b, &done, &again);
		if (done)
			return diff;
		if (again)
			continue;
		if (!a.len || !b.len)
			break;
		if (is_digit(head(a)) != is_digit(head(b)))
			return is_digit(head(a)) ? 1 : -1; /* a number is newer than a word */
		if (is_digit(head(a))) {
			diff = cut_numbers(&a, &b);
		} else {
			struct piece x = { a.p, span(a, is_alpha) }, y = { b.p, span(b, is_alpha) };
			skip(&a, x.len);
			skip(&b, y.len);
			diff = compare_bytes(x, y);
		}
		if (diff)
			return diff;
	}
	return (a.len > 0) - (b.len > 0);
}

int fg_version_cmp_rpm(const char *a, const char *b)
{
	struct piece x = { a, strlen(a) }, y = { b, strlen(b) };
	struct piece xe = cut_epoch(&x), ye = cut_epoch(&y);
	struct piece xr = cut_after_last_dash(&x), yr = cut_after_last_dash(&y);
	int diff = cut_numbers(&xe, &ye);

	if (!diff)
		diff = rpm_compare_part(x, y);
	if (diff || (!xr.p && !yr.p))
		return diff;
	if (!xr.p || !yr.p) /* no release sorts before any */
		return xr.p ? 1 : -1;
	return rpm_compare_part(xr, yr);
}
