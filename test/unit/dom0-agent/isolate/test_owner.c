/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Whose is a device: by xenstore, by MAC, or nobody's. */
#include <check.h>
#include <dom0-agent/isolate/owner.h>
#include <lib/util.h>

#include <linux/if_arp.h>
#include <string.h>

#define WEB1 "f19a0000-0000-4000-8000-000000000011"
#define WEB2 "f19a0000-0000-4000-8000-000000000012"

static bool broken;
static struct fg_filter_dev dev1 = { .mac = { 0x52, 0x54, 0, 1, 2, 3 } },
			    dev2 = { .mac = { 0x00, 0x16, 0x3e, 4, 5, 6 } };
static struct fg_filter_guest marks[2];
static size_t n_marks;

static void setup(void)
{
	broken = false;
	marks[0] = (struct fg_filter_guest){ .uuid = WEB1, .devs = &dev1, .n_devs = 1 };
	marks[1] = (struct fg_filter_guest){ .uuid = WEB2, .devs = &dev2, .n_devs = 1 };
	n_marks = 2;
}

static int xenstore(void *arg, const char *path, char **out, struct fg_error *err)
{
	static const char *const nodes[][2] = {
		{ "/local/domain/0/backend/vif/7/1/frontend-id", "7" },
		{ "/local/domain/0/backend/vif/7/1/mac", "00:16:3E:00:00:01" },
		{ "/local/domain/7/vm", "/vm/" WEB1 "-1" },
		{ "/vm/" WEB1 "-1/uuid", WEB1 },
		{ "/local/domain/0/backend/vif/8/0/frontend-id", "9" },
		{ "/local/domain/0/backend/vif/10/0/frontend-id", "10" },
		{ "/local/domain/0/backend/vif/10/0/mac", "nonsense" },
		{ "/local/domain/10/vm", "/vm/" WEB2 },
	};

	(void)arg;
	if (broken)
		return fg_error_set(err, FG_EUNREACHABLE, "xenstore does not answer");
	for (size_t i = 0; i < FG_COUNT(nodes); i++) {
		if (strcmp(nodes[i][0], path) == 0) {
			*out = fg_strdup(nodes[i][1]);
			return 0;
		}
	}
	return fg_error_set(err, FG_ENOTFOUND, "%s", path);
}

static const struct fg_filter_guest *marked(void *arg, size_t at)
{
	(void)arg;
	return at < n_marks ? &marks[at] : NULL;
}

static const struct fg_owner_source source = { .xenstore = xenstore, .marked = marked };

static struct fg_link_event device(const char *name, const char *kind)
{
	struct fg_link_event e = { .ifindex = 9, .type = ARPHRD_ETHER };

	snprintf(e.name, sizeof(e.name), "%s", name);
	snprintf(e.kind, sizeof(e.kind), "%s", kind);
	memset(e.mac, 0xff, sizeof(e.mac));
	e.mac[0] = 0xfe;
	return e;
}

static int find(const char *name, const char *kind, struct fg_owner *out)
{
	struct fg_link_event e = device(name, kind);

	return fg_owner_find(&source, &e, out, NULL);
}

START_TEST(by_the_domain_in_its_name)
{
	static const char *const names[] = { "vif7.1", "vif7.1-emu" };
	const uint8_t mac[6] = { 0, 0x16, 0x3e, 0, 0, 1 };
	struct fg_owner o;

	for (size_t i = 0; i < FG_COUNT(names); i++) {
		ck_assert_int_eq(find(names[i], "", &o), 0);
		ck_assert_str_eq(o.uuid, WEB1);
		ck_assert_mem_eq(o.mac, mac, 6);
	}
}
END_TEST

START_TEST(what_xenstore_does_not_say_is_not_guessed)
{
	struct fg_owner o = { .uuid = "untouched" };

	ck_assert_int_eq(find("vif8.0", "", &o), -FG_EDIFFERS); /* of another domain */
	ck_assert_int_eq(find("vif11.0", "", &o), -FG_ENOTFOUND);
	ck_assert_int_eq(find("vif10.0", "", &o), -FG_EFORMAT); /* no MAC */
	broken = true;
	ck_assert_int_eq(find("vif7.1", "", &o), -FG_EUNREACHABLE);
	ck_assert_str_eq(o.uuid, "untouched");
}
END_TEST

START_TEST(a_tap_by_its_mac)
{
	struct fg_link_event e = device("vnet3", "tun");
	struct fg_owner o;

	memcpy(e.mac + 1, dev1.mac + 1, 5);
	ck_assert_int_eq(fg_owner_find(&source, &e, &o, NULL), 0);
	ck_assert_str_eq(o.uuid, WEB1);
	ck_assert_mem_eq(o.mac, dev1.mac, 6);
	/* two guests with such a MAC: the toolstack has to say */
	marks[1].devs = &dev1;
	ck_assert_int_eq(fg_owner_find(&source, &e, &o, NULL), -FG_ENOTFOUND);
	n_marks = 0;
	ck_assert_int_eq(fg_owner_find(&source, &e, &o, NULL), -FG_ENOTFOUND);
}
END_TEST

/* Names that only look like a vif, and devices of the host. */
START_TEST(nobodys)
{
	static const char *const kinds[] = { "bridge", "vlan", "bond", "dummy", "vxlan", "macvlan", "openvswitch" };
	static const char *const names[] = { "vif",	  "vif7",   "vif7.",	  "vif7.x",
					     "vif7.1-em", "vif0.0", "vif99999.0", "vifx.1" };
	struct fg_link_event lo = device("lo", "");
	struct fg_owner o;

	lo.type = ARPHRD_LOOPBACK;
	ck_assert_int_eq(fg_owner_find(&source, &lo, &o, NULL), -FG_EREFUSED);
	for (size_t i = 0; i < FG_COUNT(kinds); i++)
		ck_assert_int_eq(find("vif7.1", kinds[i], &o), -FG_EREFUSED);
	for (size_t i = 0; i < FG_COUNT(names); i++)
		ck_assert_int_eq(find(names[i], "veth", &o), -FG_ENOTFOUND);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("owner");
	TCase *t = tcase_create("owner");

	tcase_add_checked_fixture(t, setup, NULL);
	tcase_add_test(t, by_the_domain_in_its_name);
	tcase_add_test(t, what_xenstore_does_not_say_is_not_guessed);
	tcase_add_test(t, a_tap_by_its_mac);
	tcase_add_test(t, nobodys);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
