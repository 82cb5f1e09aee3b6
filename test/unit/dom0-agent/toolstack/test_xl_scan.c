/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Which guests are there: through the end of one of them, and when somebody cannot be asked. */
#include "lib/util.h"
#include "test/fakes/xl.h"

#include <check.h>
#include <string.h>

#define WEB1 FAKE_XL_WEB1
#define CONFIG                                                                                                         \
	"{\"c_info\":{\"name\":\"web1\",\"uuid\":\"" WEB1 "\"},\"b_info\":{\"max_memkb\":196608},"                     \
	"\"disks\":[{\"pdev_path\":\"/nowhere/web1.img\",\"vdev\":\"xvda\",\"format\":\"raw\",\"readwrite\":1}],"      \
	"\"nics\":[{\"devid\":0,\"mac\":\"00:16:3e:99:00:11\",\"bridge\":\"xenbr0\"}]}"

static struct {
	int rc;
	size_t n;
	enum fg_guest_state state;
	uint32_t domid;
	char name[32], refusal[256];
	bool config;
} got;

static void scanned(void *arg, int rc, struct xl_found *found, size_t n, const struct fg_error *err)
{
	(void)arg;
	(void)err;
	memset(&got, 0, sizeof(got));
	got.rc = rc;
	got.n = n;
	if (!n)
		return;
	got.state = found[0].guest.state;
	got.domid = found[0].guest.domid;
	got.config = found[0].config != NULL;
	snprintf(got.name, sizeof(got.name), "%s", found[0].guest.name);
	snprintf(got.refusal, sizeof(got.refusal), "%s", found[0].guest.refusal ? found[0].guest.refusal : "");
}

static void scan(const char *uuid)
{
	got.rc = 1;
	xl_scan(&fake_xl.ts, uuid, scanned, NULL);
	fake_xl_loop();
	ck_assert_int_le(got.rc, 0);
}

static void web1_is(bool known)
{
	fake_xl.domains[1] = (struct fake_xl_domain){ .domid = 4, .uuid = WEB1, .name = "web1", .json = CONFIG };
	fake_xl.dryrun_json = CONFIG;
	if (known)
		fake_xl_file("/etc/xen/web1.cfg", WEB1, "web1");
}

/* `xl shutdown -w`: each moment of it. */
static const struct {
	const char *name, *json;
	bool listed_only, shutdown, dying;
	enum fg_guest_state state;
} moments[] = {
	{ "web1", CONFIG, false, false, false, FG_GUEST_RUNNING },
	{ "web1", CONFIG, false, true, false, FG_GUEST_DYING },
	{ NULL, NULL, false, false, false, FG_GUEST_DYING }, /* libxl has forgotten it, Xen has not */
	{ NULL, NULL, false, true, false, FG_GUEST_DYING },
	{ NULL, NULL, false, false, true, FG_GUEST_DYING },
	{ NULL, NULL, true, false, false, FG_GUEST_OFF }, /* ends while the list is made */
	{ NULL, NULL, true, false, true, FG_GUEST_OFF },
};

START_TEST(guest_is_listed_through_its_shutdown)
{
	struct fake_xl_domain *d = &fake_xl.domains[1];

	web1_is(true);
	d->name = moments[_i].name;
	d->json = moments[_i].json;
	d->listed_only = moments[_i].listed_only;
	d->shutdown = moments[_i].shutdown;
	d->dying = moments[_i].dying;
	for (int one = 0; one < 2; one++) {
		scan(one ? WEB1 : NULL);
		ck_assert_int_eq(got.rc, 0);
		ck_assert_uint_eq(got.n, 1);
		ck_assert_int_eq(got.state, moments[_i].state);
		ck_assert_str_eq(got.name, "web1");
		ck_assert_int_eq(got.config, d->json != NULL || d->listed_only);
	}
	memset(d, 0, sizeof(*d));
	scan(NULL);
	ck_assert_uint_eq(got.n, 1);
	ck_assert_int_eq(got.state, FG_GUEST_OFF);
}
END_TEST

/* No domain is "off" only if nobody is known to make it anew, and everybody could be asked. */
START_TEST(guest_without_a_domain)
{
	static const int reboot_rc[] = { 0, 1, -FG_EUNREACHABLE };

	web1_is(true);
	memset(fake_xl.domains, 0, sizeof(fake_xl.domains));
	fake_xl.reboot_rc = reboot_rc[_i];
	scan(WEB1);
	ck_assert_int_eq(got.rc, 0);
	ck_assert_uint_eq(got.n, 1);
	ck_assert_int_eq(got.state, _i ? FG_GUEST_DYING : FG_GUEST_OFF);
}
END_TEST

START_TEST(going_down_is_not_gone)
{
	web1_is(false);
	fake_xl.domains[1].name = NULL;
	fake_xl.domains[1].json = NULL;
	scan(WEB1);
	ck_assert_int_eq(got.rc, -FG_EUNREACHABLE);
	scan(NULL); /* nobody knows whose it is */
	ck_assert_int_eq(got.rc, 0);
	ck_assert_uint_eq(got.n, 0);
}
END_TEST

START_TEST(former_life_is_not_the_guest)
{
	web1_is(_i);
	fake_xl.domains[0] = (struct fake_xl_domain){ .domid = 3, .uuid = WEB1, .dying = true };
	for (int one = 0; one < 2; one++) {
		scan(one ? WEB1 : NULL);
		ck_assert_uint_eq(got.n, 1);
		ck_assert_uint_eq(got.domid, 4);
		ck_assert_int_eq(got.state, FG_GUEST_RUNNING);
	}
}
END_TEST

START_TEST(file_that_xl_cannot_read_is_no_end_of_its_guest)
{
	web1_is(true);
	memset(&fake_xl.domains[1], 0, sizeof(fake_xl.domains[1]));
	fake_xl.dryrun_rc = -FG_EFAILED;
	scan(NULL);
	ck_assert_uint_eq(got.n, 1);
	ck_assert_int_eq(got.state, FG_GUEST_OFF);
	ck_assert_str_eq(got.name, "web1");
	ck_assert_ptr_nonnull(strstr(got.refusal, "dry run failed"));
	fake_xl.dryrun_rc = -FG_ETIMEOUT;
	scan(NULL);
	ck_assert_uint_eq(got.n, 1);
	scan(WEB1);
	ck_assert_int_eq(got.rc, -FG_ETIMEOUT);
	fake_xl.dryrun_rc = 0; /* and it was not remembered */
	scan(WEB1);
	ck_assert_str_eq(got.refusal, "");
}
END_TEST

START_TEST(others_are_no_guests)
{
	fake_xl.domains[0] = (struct fake_xl_domain){ .domid = 1, .uuid = WEB1, .name = "fixgate-1", .json = CONFIG };
	fake_xl.domains[1] = (struct fake_xl_domain){ 2, WEB1, "web1", CONFIG, .libvirt = true };
	scan(NULL);
	ck_assert_int_eq(got.rc, 0);
	ck_assert_uint_eq(got.n, 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("xl_scan");
	TCase *tc = tcase_create("all");

	tcase_add_checked_fixture(tc, fake_xl_begin, fake_xl_end);
	tcase_add_loop_test(tc, guest_is_listed_through_its_shutdown, 0, (int)FG_COUNT(moments));
	tcase_add_loop_test(tc, guest_without_a_domain, 0, 3);
	tcase_add_test(tc, going_down_is_not_gone);
	tcase_add_loop_test(tc, former_life_is_not_the_guest, 0, 2); /* with a config file or without */
	tcase_add_test(tc, file_that_xl_cannot_read_is_no_end_of_its_guest);
	tcase_add_test(tc, others_are_no_guests);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
