/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <check.h>
#include <dom0-agent/isolate/plan.h>
#include <dom0-agent/job/job.h>
#include <dom0-agent/job/snapshot.h>
#include <lib/util.h>

#include <string.h>

START_TEST(the_way_is_open)
{
	static const enum fg_state way[] = { FG_STATE_NONE,	 FG_STATE_OFFERED, FG_STATE_QUEUED, FG_STATE_ISOLATED,
					     FG_STATE_STOPPED,	 FG_STATE_FIXING,  FG_STATE_FIXED,  FG_STATE_RELEASED,
					     FG_STATE_REBOOTING, FG_STATE_DONE };

	for (size_t i = 0; i + 1 < FG_COUNT(way); i++)
		ck_assert(fg_job_may(way[i], way[i + 1]));
}
END_TEST

START_TEST(ends_are_ends)
{
	for (int from = 0; from < FG_STATE_COUNT; from++)
		for (int to = 0; to < FG_STATE_COUNT; to++)
			if (fg_state_is_end((enum fg_state)from) && from != FG_STATE_HELD)
				ck_assert(!fg_job_may((enum fg_state)from, (enum fg_state)to));
}
END_TEST

START_TEST(no_short_cuts)
{
	ck_assert(!fg_job_may(FG_STATE_OFFERED, FG_STATE_STOPPED));
	ck_assert(!fg_job_may(FG_STATE_OFFERED, FG_STATE_HELD)); /* nothing was touched: nothing to hold */
	ck_assert(!fg_job_may(FG_STATE_QUEUED, FG_STATE_STOPPED)); /* not before it is isolated */
	ck_assert(!fg_job_may(FG_STATE_ISOLATED, FG_STATE_FIXING)); /* not before it is gone */
	ck_assert(!fg_job_may(FG_STATE_STOPPED, FG_STATE_FIXED));
	ck_assert(!fg_job_may(FG_STATE_FIXING, FG_STATE_RELEASED));
	ck_assert(!fg_job_may(FG_STATE_FIXING, FG_STATE_DONE));
	ck_assert(!fg_job_may(FG_STATE_RELEASED, FG_STATE_ROLLED_BACK)); /* it is merged */
	ck_assert(!fg_job_may(FG_STATE_REBOOTING, FG_STATE_ROLLED_BACK));
	ck_assert(!fg_job_may(FG_STATE_NONE, FG_STATE_DONE));
	ck_assert(!fg_job_may(FG_STATE_NONE, FG_STATE_NONE));
	ck_assert(!fg_job_may(FG_STATE_OFFERED, FG_STATE_NONE));
}
END_TEST

START_TEST(every_state_can_be_reached_and_left)
{
	for (int s = 0; s < FG_STATE_COUNT; s++) {
		bool in = false, out = fg_state_is_end((enum fg_state)s);
		for (int other = 0; other <= FG_STATE_COUNT; other++) {
			in |= fg_job_may((enum fg_state)other, (enum fg_state)s);
			out |= other < FG_STATE_COUNT && fg_job_may((enum fg_state)s, (enum fg_state)other);
		}
		ck_assert_msg(in && out, "%s", fg_state_name((enum fg_state)s));
	}
}
END_TEST

static void make_guest(struct fg_guest *g, struct fg_nic *nics, struct fg_disk *disks)
{
	memset(g, 0, sizeof(*g));
	snprintf(g->uuid, sizeof(g->uuid), "f19a0000-0000-4000-8000-000000000011");
	g->name = (char *)"web1";
	g->state = FG_GUEST_PAUSED;
	g->domid = 7;
	g->memory_mb = 192;
	memset(nics, 0, 2 * sizeof(*nics));
	for (unsigned i = 0; i < 2; i++) {
		nics[i].devid = i;
		nics[i].mac[5] = (uint8_t)(i + 1);
		snprintf(nics[i].bridge, IFNAMSIZ, "xenbr%u", i);
		nics[i].n_netdevs = 2;
		snprintf(nics[i].netdevs[0], IFNAMSIZ, "vif7.%u", i);
		snprintf(nics[i].netdevs[1], IFNAMSIZ, "vif7.%u-emu", i);
	}
	nics[0].addresses[0] = (struct fg_ip){ .family = AF_INET, .v4 = { 0x0b00630a } };
	nics[0].n_addresses = 1;
	g->nics = nics;
	g->n_nics = 2;
	memset(disks, 0, sizeof(*disks));
	snprintf(disks->vdev, sizeof(disks->vdev), "xvda");
	disks->target = (char *)"/dev/vg/web1";
	disks->block = true;
	g->disks = disks;
	g->n_disks = 1;
}

START_TEST(snapshot_comes_back_as_it_was)
{
	struct fg_guest g, back;
	struct fg_nic nics[2];
	struct fg_disk disk;

	make_guest(&g, nics, &disk);
	fg_autojson json_t *j = fg_snapshot_to_json(&g);
	ck_assert_int_eq(fg_snapshot_from_json(j, &back, NULL), 0);
	fg_autojson json_t *again = fg_snapshot_to_json(&back);
	ck_assert(json_equal(j, again));
	ck_assert_int_eq(back.state, FG_GUEST_PAUSED);
	fg_guest_release(&back);
	json_object_del(j, "disks");
	ck_assert_int_eq(fg_snapshot_from_json(j, &back, NULL), -FG_EFORMAT);
}
END_TEST

static int reach(const struct fg_agent_config *config, const char *bridge, struct fg_reach *out, struct fg_error *err)
{
	(void)config;
	(void)err;
	ck_assert_str_eq(bridge, "xenbr0");
	*out = (struct fg_reach){ .mac = { 2, 0, 0, 0, 0, 9 }, .prefix = 24 };
	out->gateway = (struct fg_ip){ .family = AF_INET, .v4 = { 0x0100630a } };
	return 0;
}

START_TEST(plan_names_every_netdev_and_no_address_that_is_not_known)
{
	struct fg_agent_config config = { .server_address = { .family = AF_INET, .v4 = { 0x0200000a } },
					  .server_port = 8443 };
	static struct fg_isolate_plan plan;
	struct fg_guest g;
	struct fg_nic nics[2];
	struct fg_disk disk;

	make_guest(&g, nics, &disk);
	ck_assert_int_eq(fg_isolate_plan(&config, &g, false, false, reach, &plan, NULL), 0);
	ck_assert_uint_eq(plan.guest.n_devs, 4);
	ck_assert_str_eq(plan.guest.devs[1].name, "vif7.0-emu");
	ck_assert_uint_eq(plan.guest.n_addresses, 0); /* the second NIC's is not known */
	ck_assert_uint_eq(plan.guest.n_servers, 1);
	ck_assert_uint_eq(plan.guest.n_gateways, 1);
	/* the gateway's MAC is not the server's: replies may come from another (VRRP) */
	ck_assert_uint_eq(plan.guest.servers[0].mac[5], 0);
	ck_assert_uint_eq(plan.guest.gateways[0].mac[5], 9);
	g.n_nics = 1;
	ck_assert_int_eq(fg_isolate_plan(&config, &g, true, true, reach, &plan, NULL), 0);
	ck_assert_uint_eq(plan.guest.n_devs, 1); /* a mark: one a NIC, without a name */
	ck_assert_str_eq(plan.guest.devs[0].name, "");
	ck_assert_uint_eq(plan.guest.n_addresses, 1);
	ck_assert(plan.guest.closed);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("job");
	TCase *t = tcase_create("table");

	tcase_add_test(t, the_way_is_open);
	tcase_add_test(t, ends_are_ends);
	tcase_add_test(t, no_short_cuts);
	tcase_add_test(t, every_state_can_be_reached_and_left);
	tcase_add_test(t, snapshot_comes_back_as_it_was);
	tcase_add_test(t, plan_names_every_netdev_and_no_address_that_is_not_known);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? 1 : 0;
}
