/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "fixvm/steps/network.h"
#include "fixvm/steps/root.h"

#include "lib/util.h"

#include <check.h>
#include <string.h>

static const char sample[] = "# /etc/fstab\n"
			     "UUID=aaaa-1  /        ext4 errors=remount-ro 0 1\n"
			     "  LABEL=usr\t/usr  ext4 defaults,nofail 0 2\r\n"
			     "/dev/sda5 /var/log xfs defaults 0 2\n"
			     "PARTUUID=0bad /var/ ext4 defaults 0 2\n"
			     "UUID=b /boot btrfs subvol=@boot,compress=zstd 0 0\n"
			     "UUID=c /boot/efi vfat umask=0077,noauto 0 1\n"
			     "UUID=d none swap sw 0 0\n"
			     "UUID=e /home ext4 defaults 0 2\n"
			     "server:/x /srv/nfs nfs defaults 0 0\n"
			     "tmpfs /var/tmp tmpfs size=1g 0 0\n"
			     "/data/x /opt/x none bind 0 0\n"
			     "/dev/sdb1 /opt/with\\040blank ext4\n"
			     "UUID=f /usr/../etc ext4 defaults 0 0\n"
			     "UUID=g /varnish ext4 defaults 0 0\n"
			     "broken\n";

START_TEST(system_folders_are_taken_parents_first)
{
	static const char *const paths[] = { "/boot", "/opt/with blank", "/usr", "/var", "/var/log" };
	struct fg_fstab f;

	ck_assert_int_eq(fg_fstab_parse(sample, strlen(sample), &f, NULL), 0);
	ck_assert_uint_eq(f.n, FG_COUNT(paths));
	for (size_t i = 0; i < f.n; i++)
		ck_assert_str_eq(f.entries[i].path, paths[i]);
	ck_assert_str_eq(f.entries[0].subvol, "@boot");
	ck_assert_ptr_null(f.entries[1].subvol);
	ck_assert(f.entries[2].nofail && !f.entries[3].nofail);
	ck_assert_str_eq(f.entries[3].spec, "PARTUUID=0bad");
	fg_fstab_release(&f);
}
END_TEST

START_TEST(any_bytes_are_no_harm_and_too_many_lines_are_refused)
{
	static const char bytes[] = "\0\0UUID=\\777 \\ /usr\\\n\xff\xff /usr\0x ext4 ,,,=,\n\\0";
	struct fg_fstab f;
	fg_autofree char *many = fg_calloc(1, 64 * 40);
	size_t len = 0;

	ck_assert_int_eq(fg_fstab_parse(bytes, sizeof(bytes), &f, NULL), 0);
	fg_fstab_release(&f);
	ck_assert_int_eq(fg_fstab_parse("", 0, &f, NULL), 0);
	ck_assert_uint_eq(f.n, 0);
	fg_fstab_release(&f);
	for (int i = 0; i < FG_ROOT_MOUNTS_MAX + 1; i++)
		len += (size_t)snprintf(many + len, 40, "UUID=%d /srv/%d ext4 rw 0 0\n", i, i);
	ck_assert_int_eq(fg_fstab_parse(many, len, &f, NULL), -FG_ELIMIT);
}
END_TEST

START_TEST(names_of_disks_resolve)
{
	char type[] = "ext4", uuid[] = "AbCd-1", label[] = "root", part[] = "0bad-02", name[] = "esp", uuid2[] = "twin";
	struct fg_block blocks[] = {
		{ .name = "xvda" },
		{ .name = "xvda1", .type = type, .uuid = uuid, .label = label, .part_uuid = part },
		{ .name = "xvda2", .uuid = uuid2, .part_label = name },
		{ .name = "xvdb1", .uuid = uuid2 },
	};
	static const struct {
		const char *spec;
		int rc;
		size_t at;
	} cases[] = {
		{ "UUID=abcd-1", 0, 1 },
		{ "UUID=\"abcd-1\"", 0, 1 },
		{ "uuid=AbCd-1", 0, 1 },
		{ "LABEL=root", 0, 1 },
		{ "LABEL=Root", -FG_ENOTFOUND, 0 },
		{ "PARTUUID=0BAD-02", 0, 1 },
		{ "PARTLABEL=esp", 0, 2 },
		{ "/dev/disk/by-uuid/abcd-1", 0, 1 },
		{ "/dev/disk/by-partlabel/esp", 0, 2 },
		{ "/dev/xvda2", 0, 2 },
		{ "/dev/sda2", 0, 2 },
		{ "/dev/vdb1", 0, 3 },
		{ "/dev/hda", 0, 0 },
		{ "/dev/sdc1", -FG_ENOTFOUND, 0 },
		{ "/dev/mapper/vg-root", -FG_ENOTFOUND, 0 },
		{ "UUID=twin", -FG_EREFUSED, 0 },
		{ "UUID=", -FG_ENOTFOUND, 0 },
		{ "/dev/", -FG_ENOTFOUND, 0 },
		{ "", -FG_ENOTFOUND, 0 },
	};

	for (size_t i = 0; i < FG_COUNT(cases); i++) {
		size_t at = 99;
		int rc = fg_fstab_resolve(cases[i].spec, blocks, FG_COUNT(blocks), &at, NULL);

		ck_assert_msg(rc == cases[i].rc, "%s: %d", cases[i].spec, rc);
		ck_assert_msg(rc || at == cases[i].at, "%s: %zu", cases[i].spec, at);
	}
}
END_TEST

START_TEST(the_link_is_told_from_the_address)
{
	static const struct {
		const char *own, *other;
		bool on;
	} cases[] = {
		{ "10.0.0.5/24", "10.0.0.200", true },	{ "10.0.0.5/24", "10.0.1.200", false },
		{ "10.0.0.5/25", "10.0.0.200", false }, { "10.0.0.5/0", "192.0.2.1", true },
		{ "10.0.0.5/32", "10.0.0.5", true },	{ "10.0.0.5/32", "10.0.0.4", false },
		{ "fd00::5/64", "fd00::ffff", true },	{ "fd00::5/64", "fd00:0:0:1::1", false },
		{ "fd00::5/64", "10.0.0.5", false },
	};

	for (size_t i = 0; i < FG_COUNT(cases); i++) {
		struct fg_job_address own, other;

		ck_assert_int_eq(fg_job_address_parse(cases[i].own, true, &own, NULL), 0);
		ck_assert_int_eq(fg_job_address_parse(cases[i].other, false, &other, NULL), 0);
		ck_assert_msg(fg_network_on_link(&own, &other) == cases[i].on, "%s %s", cases[i].own, cases[i].other);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("fixvm");
	TCase *t = tcase_create("fstab");

	tcase_add_test(t, system_folders_are_taken_parents_first);
	tcase_add_test(t, any_bytes_are_no_harm_and_too_many_lines_are_refused);
	tcase_add_test(t, names_of_disks_resolve);
	tcase_add_test(t, the_link_is_told_from_the_address);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
