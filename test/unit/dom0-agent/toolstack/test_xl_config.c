/* SPDX-License-Identifier: GPL-3.0-or-later */
/* libxl's JSON as Xen 4.17 writes it: to a guest, and compared with a config file's dry run. */
#include "dom0-agent/toolstack/guest.h"
#include "dom0-agent/toolstack/xl_config.h"
#include "lib/util.h"

#include <check.h>
#include <string.h>

/* libxl_domain_config_to_json of a running PV guest. */
static const char live_text[] =
	"{\"c_info\":{\"type\":\"pv\",\"name\":\"web1\",\"domid\":4294967295,"
	"\"uuid\":\"f19a0000-0000-4000-8000-000000000011\",\"run_hotplug_scripts\":\"True\"},"
	"\"b_info\":{\"max_vcpus\":1,\"avail_vcpus\":[0],\"max_memkb\":196608,\"target_memkb\":196608,\"video_memkb\":"
	"0,"
	"\"sched_params\":{\"sched\":\"credit2\",\"weight\":256,\"cap\":0},\"claim_mode\":\"True\","
	"\"kernel\":\"/var/lib/xen/kernels/vmlinux\",\"cmdline\":\"root=/dev/xvda1 rw\",\"type.pv\":{},\"arch_arm\":{},"
	"\"arch_x86\":{\"msr_relaxed\":\"False\"}},"
	"\"disks\":[{\"pdev_path\":\"/nowhere/web1.img\",\"vdev\":\"xvda\",\"format\":\"raw\",\"readwrite\":1,"
	"\"colo_restore_enable\":\"False\"}],"
	"\"nics\":[{\"devid\":0,\"mac\":\"00:16:3e:99:00:11\",\"ip\":\"10.99.0.11\",\"bridge\":\"xenbr0\","
	"\"nictype\":\"vif\"}],\"on_reboot\":\"restart\",\"on_soft_reset\":\"soft_reset\"}";

/* xl create -n of its file. */
static const char file_text[] =
	"{\"c_info\":{\"type\":\"pv\",\"name\":\"web1\",\"uuid\":\"f19a0000-0000-4000-8000-000000000011\","
	"\"run_hotplug_scripts\":\"True\"},\"b_info\":{\"max_vcpus\":1,\"avail_vcpus\":[0],\"max_memkb\":196608,"
	"\"target_memkb\":196608,\"sched_params\":{},\"claim_mode\":\"True\",\"kernel\":\"/var/lib/xen/kernels/"
	"vmlinux\","
	"\"cmdline\":\"root=/dev/xvda1 rw\",\"type.pv\":{},\"arch_arm\":{},\"arch_x86\":{}},"
	"\"disks\":[{\"pdev_path\":\"/nowhere/web1.img\",\"vdev\":\"xvda\",\"format\":\"raw\",\"readwrite\":1}],"
	"\"nics\":[{\"devid\":0,\"mac\":\"00:16:3e:99:00:11\",\"ip\":\"10.99.0.11\",\"bridge\":\"xenbr0\"}],"
	"\"on_reboot\":\"restart\",\"on_soft_reset\":\"soft_reset\"}";

static json_t *parse(const char *text)
{
	json_t *json = NULL;
	ck_assert_int_eq(fg_json_parse(text, strlen(text), &json, NULL), 0);
	return json;
}

/* text with the first `from` replaced: each case says what is different about it. */
static json_t *with(const char *text, const char *from, const char *to)
{
	const char *at = strstr(text, from);
	ck_assert_ptr_nonnull(at);
	fg_autofree char *changed = fg_asprintf("%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
	return parse(changed);
}

START_TEST(guest_from_json)
{
	fg_autojson json_t *json = parse(live_text);
	struct fg_error err = FG_ERROR_INIT;
	struct fg_guest g, copy;
	char mac[18];

	ck_assert_int_eq(fg_xl_guest_from_json(json, &g, &err), 0);
	ck_assert_str_eq(g.uuid, "f19a0000-0000-4000-8000-000000000011");
	ck_assert_str_eq(g.name, "web1");
	ck_assert_uint_eq(g.memory_mb, 192);
	ck_assert_uint_eq(g.n_nics, 1);
	fg_mac_format(g.nics[0].mac, mac);
	ck_assert_str_eq(mac, "00:16:3e:99:00:11");
	ck_assert_str_eq(g.nics[0].bridge, "xenbr0");
	ck_assert_uint_eq(g.nics[0].n_addresses, 1);
	ck_assert_uint_eq(g.n_disks, 1);
	ck_assert_str_eq(g.disks[0].vdev, "xvda");
	ck_assert(!g.disks[0].readonly && !g.disks[0].cdrom && !g.disks[0].block);
	ck_assert_ptr_null(g.refusal);
	fg_guest_copy(&g, &copy);
	fg_guest_release(&g);
	ck_assert_str_eq(copy.disks[0].target, "/nowhere/web1.img");
	fg_guest_release(&copy);
}
END_TEST

static const struct {
	const char *from, *to, *refusal;
} refusals[] = {
	{ "\"format\":\"raw\"", "\"format\":\"qcow2\"", "qcow2" },
	{ "\"format\":\"raw\"", "\"format\":\"raw\",\"backend_domid\":3", "driver domain" },
	{ "\"format\":\"raw\"", "\"format\":\"raw\",\"script\":\"block-iscsi\"", "block-iscsi" },
	{ "\"nictype\":\"vif\"", "\"backend_domname\":\"net\"", "driver domain" },
	{ "\"disks\":[{", "\"pcidevs\":[{\"domain\":9,\"bus\":200,\"dev\":1,\"func\":1}],\"disks\":[{",
	  "passed through" },
	{ "\"disks\":[{", "\"pcidevs\":[{\"name\":\"x\"}],\"disks\":[{", "passed through" },
	{ "\"max_vcpus\":1", "\"device_model_stubdomain\":\"True\"", "stub domain" },
	{ "\"max_vcpus\":1", "\"device_model_stubdomain\":true", "stub domain" },
	{ "\"max_vcpus\":1", "\"device_model_stubdomain\":1", "stub domain" },
	{ "\"disks\":[{", "\"pvcallsifs\":[{\"devid\":0}],\"disks\":[{", "PV calls" },
	{ "\"nictype\":\"vif\"", "\"backend_domid\":3", "driver domain" },
	{ "\"disks\":[{", "\"usbdevs\":[{\"ctrl\":0}],\"disks\":[{", "USB devices" },
	{ "\"type.pv\":{}", "\"type.hvm\":{\"usbdevice\":\"host:1.2\"}", "USB devices" },
	{ "\"type.pv\":{}", "\"type.hvm\":{\"usbdevice_list\":[\"tablet\",\"host:*\"]}", "USB devices" },
	{ "\"max_vcpus\":1", "\"extra\":[\"-netdev\",\"user,id=n\"]", "'-netdev'" },
	{ "\"max_vcpus\":1", "\"extra_hvm\":[\"-m\",\"1\",\"--nic\"]", "'-nic'" },
	{ "\"max_vcpus\":1", "\"extra_pv\":[\"-device\",\"vfio-pci,host=01:00.0\"]", "vfio-pci" },
	{ "\"mac\":\"00:16:3e:99:00:11\",", "", "no fixed MAC" },
	{ "\"readwrite\":1", "\"is_cdrom\":1", "no disk" },
};

START_TEST(what_cannot_be_worked_on_is_refused)
{
	fg_autojson json_t *json = with(live_text, refusals[_i].from, refusals[_i].to);
	struct fg_guest g;

	ck_assert_int_eq(fg_xl_guest_from_json(json, &g, NULL), 0);
	ck_assert_ptr_nonnull(g.refusal);
	ck_assert_msg(strstr(g.refusal, refusals[_i].refusal) != NULL, "%s", g.refusal);
	fg_guest_release(&g);
}
END_TEST

START_TEST(pci_classes)
{
	static const char *const ways[] = { "0x020000", "0x028000", "0x0c0330", "0x0c0340", "0x0c0600", "0x0d1100",
					    "0x060400", "0x118000", "0x120000", "0xff0000", "0x0",	"0x03",
					    "",		"01",	    "garbage",	"0x03000",  "020000" };
	static const char *const harmless[] = { "0x010802\n", "0x030000\n", "0x040300", "0x108000" };

	for (size_t i = 0; i < FG_COUNT(ways); i++)
		ck_assert_msg(!fg_pci_class_harmless(ways[i]), "%s", ways[i]);
	for (size_t i = 0; i < FG_COUNT(harmless); i++)
		ck_assert_msg(fg_pci_class_harmless(harmless[i]), "%s", harmless[i]);
	ck_assert(!fg_pci_harmless(9, 200, 1, 1)); /* no such device */
}
END_TEST

START_TEST(harmless_arguments_are_no_refusal)
{
	fg_autojson json_t *json = with(live_text, "\"max_vcpus\":1",
					"\"device_model_stubdomain\":\"False\",\"extra\":[\"-device\",\"virtio-rng-"
					"pci\",\"-name\",\"internet\",\"n-nic\"]");
	struct fg_guest g;

	ck_assert_int_eq(fg_xl_guest_from_json(json, &g, NULL), 0);
	ck_assert_ptr_null(g.refusal);
	fg_guest_release(&g);
}
END_TEST

START_TEST(broken_json_is_an_error)
{
	static const char *const texts[] = { "{}", "{\"c_info\":{\"name\":\"a\"}}",
					     "{\"c_info\":{\"name\":\"a\",\"uuid\":\"b\"}}",
					     "{\"c_info\":{\"name\":1,\"uuid\":2},\"nics\":3,\"disks\":\"x\"}" };
	for (size_t i = 0; i < FG_COUNT(texts); i++) {
		fg_autojson json_t *json = parse(texts[i]);
		struct fg_error err = FG_ERROR_INIT;
		struct fg_guest g;
		ck_assert_int_lt(fg_xl_guest_from_json(json, &g, &err), 0);
		ck_assert_int_eq(err.code, FG_EFORMAT);
	}
}
END_TEST

START_TEST(file_that_yields_the_guest)
{
	fg_autojson json_t *live = parse(live_text), *file = parse(file_text);
	struct fg_error err = FG_ERROR_INIT;

	ck_assert_msg(fg_xl_config_same(live, file, &err) == 0, "%s", err.text);
}
END_TEST

static const struct {
	const char *from, *to, *difference;
} differences[] = {
	{ "\"name\":\"web1\"", "\"name\":\"web9\"", "name" },
	{ "\"type\":\"pv\"", "\"type\":\"pvh\"", "type" },
	{ "\"max_memkb\":196608", "\"max_memkb\":262144", "max_memkb" },
	{ "\"max_vcpus\":1", "\"max_vcpus\":2", "max_vcpus" },
	{ "kernels/vmlinux", "kernels/other", "kernel" },
	{ "root=/dev/xvda1", "root=/dev/xvda2", "cmdline" },
	{ "\"kernel\":", "\"ramdisk\":\"/initrd\",\"kernel\":", "ramdisk" },
	{ "\"sched_params\":{}", "\"sched_params\":{\"weight\":512}", "sched_params" },
	{ "/nowhere/web1.img", "/nowhere/web2.img", "pdev_path" },
	{ "\"vdev\":\"xvda\"", "\"vdev\":\"xvdb\"", "only in the file" },
	{ "\"readwrite\":1", "\"readwrite\":0", "mode" },
	{ "\"disks\":[", "\"disks\":[{\"vdev\":\"xvdc\",\"pdev_path\":\"/x\",\"format\":\"raw\"},", "number of disks" },
	{ "\"mac\":\"00:16:3e:99:00:11\",", "", "pins no MAC" },
	{ "00:16:3e:99:00:11", "00:16:3e:99:00:12", "MAC" },
	{ "\"bridge\":\"xenbr0\"", "\"bridge\":\"xenbr1\"", "bridge" },
	{ "\"nics\":[{", "\"nics\":[{\"mac\":\"00:16:3e:00:00:01\"},{", "number of NICs" },
	{ "\"on_reboot\":\"restart\"", "\"on_reboot\":\"destroy\"", "on_reboot" },
	{ "\"disks\":[", "\"pcidevs\":[{\"bus\":1}],\"disks\":[", "pcidevs" },
};

START_TEST(file_that_does_not)
{
	fg_autojson json_t *live = parse(live_text);
	fg_autojson json_t *file = with(file_text, differences[_i].from, differences[_i].to);
	struct fg_error err = FG_ERROR_INIT;

	ck_assert_int_eq(fg_xl_config_same(live, file, &err), -FG_EDIFFERS);
	ck_assert_msg(strstr(err.text, differences[_i].difference) != NULL, "%s", err.text);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("xl_config");
	TCase *t = tcase_create("xl_config");

	tcase_add_test(t, guest_from_json);
	tcase_add_loop_test(t, what_cannot_be_worked_on_is_refused, 0, (int)FG_COUNT(refusals));
	tcase_add_test(t, pci_classes);
	tcase_add_test(t, harmless_arguments_are_no_refusal);
	tcase_add_test(t, broken_json_is_an_error);
	tcase_add_test(t, file_that_yields_the_guest);
	tcase_add_loop_test(t, file_that_does_not, 0, (int)FG_COUNT(differences));
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
