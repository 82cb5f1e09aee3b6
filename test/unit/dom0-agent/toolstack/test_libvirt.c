/* SPDX-License-Identifier: GPL-3.0-or-later */
/* libvirt's XML, and the whole life of a guest on libvirt's own test driver. */
#include "dom0-agent/toolstack/libvirt_xml.h"
#include "lib/util.h"

#include <check.h>
#include <event2/event.h>
#include <string.h>

#define TEST_UUID "6695eb01-f6a4-8304-79aa-97f2502e193f" /* domain "test" of test:///default */

#define XML(devices)                                                                                                   \
	"<domain type='xen' id='3'><name>db1</name><uuid>f19a0000-0000-4000-8000-000000000013</uuid>"                  \
	"<memory unit='KiB'>196608</memory><devices>" devices "</devices></domain>"
#define DISK                                                                                                           \
	"<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='/nowhere/db1.img'/>"            \
	"<target dev='xvda' bus='xen'/></disk>"
#define NIC(more)                                                                                                      \
	"<interface type='bridge'><mac address='00:16:3e:99:00:13'/><source bridge='xenbr0'/>" more "</interface>"

START_TEST(guest_from_xml)
{
	struct fg_guest g;
	struct fg_error err = FG_ERROR_INIT;
	int rc = fg_libvirt_guest_from_xml(XML(DISK "<disk type='file' device='cdrom'><target dev='hdc'/></disk>" NIC(
						   "<ip address='10.99.0.13' family='ipv4'/><target dev='vif3.2'/>")),
					   true, &g, &err);

	ck_assert_msg(rc == 0, "%s", err.text);
	ck_assert_str_eq(g.name, "db1");
	ck_assert_uint_eq(g.domid, 3);
	ck_assert_uint_eq(g.memory_mb, 192);
	ck_assert_uint_eq(g.n_disks, 1);
	ck_assert_str_eq(g.disks[0].target, "/nowhere/db1.img");
	ck_assert_uint_eq(g.n_nics, 1);
	ck_assert_uint_eq(g.nics[0].devid, 2);
	ck_assert_str_eq(g.nics[0].bridge, "xenbr0");
	ck_assert_uint_eq(g.nics[0].n_addresses, 1);
	ck_assert_ptr_null(g.refusal);
	fg_guest_release(&g);
}
END_TEST

static const struct {
	const char *xml, *refusal;
} refused[] = {
	{ XML(NIC("")), "no disk" },
	{ XML(DISK NIC("<backenddomain name='net'/>")), "driver domain" },
	{ XML(DISK "<interface type='hostdev'><mac address='00:16:3e:99:00:13'/></interface>"), "passed through" },
	{ XML(DISK "<interface type='direct'><mac address='00:16:3e:99:00:13'/></interface>"), "macvtap" },
	{ XML(DISK "<interface type='vhostuser'><mac address='00:16:3e:99:00:13'/></interface>"), "vhostuser" },
	{ XML(DISK "<interface type='user'><mac address='00:16:3e:99:00:13'/></interface>"), "type user" },
	{ XML(DISK "<interface type='vdpa'><mac address='00:16:3e:99:00:13'/></interface>"), "type vdpa" },
	{ XML(DISK "<emulator>/usr/lib/xen/bin/stubdom-dm</emulator>"), "stub domain" },
	{ XML(DISK "<emulator type='stubdom'>/x</emulator>"), "stub domain" },
	{ XML(DISK "<redirdev bus='usb' type='spicevmc'/>"), "redirected USB" },
	{ XML(DISK NIC("") "</devices><qemu:commandline xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>"
			   "<qemu:arg value='-netdev'/><qemu:arg value='user,id=n'/></qemu:commandline><devices>"),
	  "'-netdev'" },
	{ XML(DISK "<hostdev mode='subsystem' type='pci'><source><address domain='9' bus='200' slot='1' function='0'/>"
		   "</source></hostdev>"),
	  "host device" },
	{ XML("<disk type='file' device='disk'><driver type='qcow2'/><source file='/x'/><target dev='xvda'/></disk>"),
	  "qcow2" },
	{ XML("<disk type='network' device='disk'><source protocol='rbd'/><target dev='xvda'/></disk>"), "network" },
};

START_TEST(what_cannot_be_worked_on_is_refused)
{
	struct fg_guest g;

	ck_assert_int_eq(fg_libvirt_guest_from_xml(refused[_i].xml, true, &g, NULL), 0);
	ck_assert_ptr_nonnull(g.refusal);
	ck_assert_msg(strstr(g.refusal, refused[_i].refusal) != NULL, "%s", g.refusal);
	fg_guest_release(&g);
}
END_TEST

START_TEST(bad_xml_is_an_error)
{
	static const char *const texts[] = {
		"",
		"<domain>",
		"<network/>",
		"<domain><name>a</name></domain>",
		"<!DOCTYPE d [<!ENTITY a SYSTEM '/etc/passwd'>]><domain><name>&a;</name>"
		"<uuid>f19a0000-0000-4000-8000-000000000013</uuid></domain>",
		XML(DISK "<interface type='bridge'><mac address='xx'/></interface>"),
	};
	struct fg_guest g;

	for (size_t i = 0; i < FG_COUNT(texts); i++)
		ck_assert_int_eq(fg_libvirt_guest_from_xml(texts[i], true, &g, NULL), -FG_EFORMAT);
}
END_TEST

/*----- the test driver -----*/

static struct event_base *base;
static struct fg_toolstack *ts;
static int last_rc;
static char *last_text;
static struct fg_guest last_guest;
static bool have_guest;
static unsigned n_events, n_steps;

static void done(void *arg, int rc, const struct fg_error *err)
{
	(void)arg;
	ck_assert_int_eq(rc != 0, err != NULL && err->code != 0);
	last_rc = rc;
	event_base_loopbreak(base);
}

static void text_is(void *arg, int rc, const char *text, const struct fg_error *err)
{
	free(last_text);
	last_text = fg_strdup(text);
	done(arg, rc, err);
}

static void guest_is(void *arg, int rc, const struct fg_guest *guest, const struct fg_error *err)
{
	if (have_guest)
		fg_guest_release(&last_guest);
	have_guest = rc == 0;
	if (rc == 0)
		fg_guest_copy(guest, &last_guest);
	done(arg, rc, err);
}

static void list_is(void *arg, int rc, const struct fg_guest *guests, size_t n, const struct fg_error *err)
{
	ck_assert_uint_eq(n, 1);
	guest_is(arg, rc, guests, err);
}

static void step(void *arg, const char *what)
{
	(void)arg;
	(void)what;
	n_steps++;
}

static void changed(void *arg, struct fg_toolstack *which, const char *uuid)
{
	(void)arg;
	ck_assert_ptr_eq(which, ts);
	if (uuid)
		ck_assert_str_eq(uuid, TEST_UUID);
	n_events++;
}

static void loop(void)
{
	last_rc = 1;
	event_base_dispatch(base);
}

static void open_driver(void)
{
	base = event_base_new();
	const struct fg_toolstack_config config = { .base = base, .uri = "test:///default", .on_event = changed };
	ck_assert_int_eq(fg_toolstack_libvirt.open(&config, &ts, NULL), 0);
}

static void close_driver(void)
{
	fg_toolstack_libvirt.close(ts);
	event_base_free(base);
	free(FG_TAKE(last_text));
	if (have_guest)
		fg_guest_release(&last_guest);
	have_guest = false;
}

START_TEST(stop_and_start)
{
	const struct fg_stop_policy policy = { .shutdown_ms = 5000, .acpi_ms = 5000, .destroy_ms = 5000 };
	const struct fg_toolstack_ops *ops = &fg_toolstack_libvirt;
	const struct fg_guest last = { .uuid = TEST_UUID };
	fg_autofree char *definition = NULL;

	ops->list(ts, list_is, NULL);
	loop();
	ck_assert_int_eq(last_rc, 0);
	ck_assert_str_eq(last_guest.uuid, TEST_UUID);
	ck_assert_int_eq(last_guest.state, FG_GUEST_RUNNING);

	ops->save(ts, TEST_UUID, text_is, NULL);
	loop();
	ck_assert_int_eq(last_rc, 0);
	definition = FG_TAKE(last_text);
	ck_assert_ptr_nonnull(strstr(definition, "\"persistent\":true"));

	ops->start_paused(ts, definition, guest_is, NULL); /* it is there already: as it is */
	loop();
	ck_assert_int_eq(last_guest.state, FG_GUEST_RUNNING);
	ops->unpause(ts, TEST_UUID, done, NULL);
	loop();
	ck_assert_int_eq(last_rc, 0);
	ops->wait_connected(ts, TEST_UUID, 1000, done, NULL);
	loop();
	ck_assert_int_eq(last_rc, 0);

	for (int i = 0; i < 2; i++) { /* the second time there is nothing to stop */
		ops->stop(ts, &last, &policy, step, done, NULL);
		loop();
		ck_assert_int_eq(last_rc, 0);
	}
	ck_assert_uint_ge(n_steps, 1);
	ops->find(ts, TEST_UUID, guest_is, NULL);
	loop();
	ck_assert_int_eq(last_guest.state, FG_GUEST_OFF);
	ck_assert_uint_eq(last_guest.domid, 0);

	/* This driver cannot start a guest paused: an error, and on no account a guest that runs instead. */
	ops->start_paused(ts, definition, guest_is, NULL);
	loop();
	ck_assert_int_eq(last_rc, -FG_EFAILED);
	ops->find(ts, TEST_UUID, guest_is, NULL);
	loop();
	ck_assert_int_eq(last_guest.state, FG_GUEST_OFF);
	ops->wait_connected(ts, TEST_UUID, 1000, done, NULL);
	loop();
	ck_assert_int_eq(last_rc, -FG_EFAILED);
	ck_assert_uint_ge(n_events, 1);
}
END_TEST

START_TEST(not_there_is_told_from_could_not_ask)
{
	static const char other[] = "00000000-0000-4000-8000-000000000001";

	fg_toolstack_libvirt.find(ts, other, guest_is, NULL);
	loop();
	ck_assert_int_eq(last_rc, -FG_ENOTFOUND);
	fg_toolstack_libvirt.save(ts, other, text_is, NULL);
	loop();
	ck_assert_int_eq(last_rc, -FG_ENOTFOUND);
	fg_toolstack_libvirt.close(ts);
	const struct fg_toolstack_config config = { .base = base, .uri = "test:///nowhere/there/is/no/such.xml" };
	ck_assert_int_eq(fg_toolstack_libvirt.open(&config, &ts, NULL), 0);
	fg_toolstack_libvirt.find(ts, other, guest_is, NULL);
	loop();
	ck_assert_int_eq(last_rc, -FG_EUNREACHABLE);
	fg_toolstack_libvirt.start_paused(ts, "{}", guest_is, NULL);
	loop();
	ck_assert_int_lt(last_rc, 0);
}
END_TEST

START_TEST(no_callback_after_close)
{
	fg_toolstack_libvirt.list(ts, list_is, NULL);
	fg_toolstack_libvirt.find(ts, TEST_UUID, guest_is, NULL);
	const struct fg_stop_policy policy = { .shutdown_ms = 5000, .destroy_ms = 5000 };
	const struct fg_guest last = { .uuid = TEST_UUID };
	fg_toolstack_libvirt.stop(ts, &last, &policy, step, done, NULL);
	last_rc = 77;
	fg_toolstack_libvirt.close(ts);
	event_base_loop(base, EVLOOP_NONBLOCK);
	ck_assert_int_eq(last_rc, 77);
	const struct fg_toolstack_config config = { .base = base, .uri = "test:///default" };
	ck_assert_int_eq(fg_toolstack_libvirt.open(&config, &ts, NULL), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("libvirt");
	TCase *xml = tcase_create("xml"), *driver = tcase_create("driver");

	tcase_add_test(xml, guest_from_xml);
	tcase_add_loop_test(xml, what_cannot_be_worked_on_is_refused, 0, (int)FG_COUNT(refused));
	tcase_add_test(xml, bad_xml_is_an_error);
	tcase_add_checked_fixture(driver, open_driver, close_driver);
	tcase_add_test(driver, stop_and_start);
	tcase_add_test(driver, not_there_is_told_from_could_not_ask);
	tcase_add_test(driver, no_callback_after_close);
	tcase_set_timeout(driver, 60);
	suite_add_tcase(s, xml);
	suite_add_tcase(s, driver);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
