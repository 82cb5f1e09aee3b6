/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "held.h"

#include "index.h"
#include "rule_nft.h"

#include <lib/util.h>

#include <arpa/inet.h>
#include <errno.h>
#include <libnftnl/chain.h>
#include <libnftnl/table.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>

#define READ_TRIES 1000 /* each is lost only to a change by another program in the same millisecond */

void fg_held_comment(char out[FG_CHAIN_COMMENT_MAX], const char *uuid, const uint8_t mac[6], const char *label,
		     uint32_t ifindex)
{
	char mac_text[18];

	fg_mac_format(mac, mac_text);
	snprintf(out, FG_CHAIN_COMMENT_MAX, "guest %s mac %s ifindex %u dev %s", uuid, mac_text, ifindex, label);
}

static bool parse_comment(const char *text, struct fg_held_chain *c)
{
	char uuid[37], mac[18], index[11], label[IFNAMSIZ], again[FG_CHAIN_COMMENT_MAX];

	if (sscanf(text, "guest %36s mac %17s ifindex %10s dev %15s", uuid, mac, index, label) != 4 ||
	    fg_uuid_parse(uuid, c->uuid, NULL) < 0 || fg_mac_parse(mac, c->mac, NULL) < 0)
		return false;
	c->ifindex = (uint32_t)strtoul(index, NULL, 10);
	memcpy(c->label, label, sizeof(label));
	/* the same text again, or it is not ours */
	fg_held_comment(again, c->uuid, c->mac, c->label, c->ifindex);
	return strcmp(again, text) == 0;
}

/* Direction and part follow from the name. */
static bool parse_name(struct fg_held_chain *c)
{
	char expected[FG_CHAIN_NAME_MAX];

	for (int dir = 0; dir < FG_DIR_COUNT; dir++)
		for (int id = 0; id < FG_CHAIN_COUNT; id++) {
			fg_chain_name(expected, (enum fg_dir)dir, c->label, c->ifindex, (enum fg_chain_id)id);
			if (strcmp(expected, c->name) == 0) {
				c->dir = (enum fg_dir)dir;
				c->id = (enum fg_chain_id)id;
				return true;
			}
		}
	return false;
}

static void read_hook(const struct nftnl_chain *chain, struct fg_held_chain *c)
{
	const char *dev = nftnl_chain_get_str(chain, NFTNL_CHAIN_DEV);
	const char *const *devs = NULL;

	if (nftnl_chain_is_set(chain, NFTNL_CHAIN_DEVICES))
		devs = nftnl_chain_get_array(chain, NFTNL_CHAIN_DEVICES);
	if (devs)
		for (int i = 0; i < 2 && devs[i]; i++)
			snprintf(c->dev[i], IFNAMSIZ, "%s", devs[i]);
	else if (dev)
		snprintf(c->dev[0], IFNAMSIZ, "%s", dev);
}

static void add_entry(struct fg_held *held, const struct fg_index_entry *e)
{
	if (strcmp(e->name, FG_INDEX_COUNT) == 0) {
		held->counted = true;
		held->count = e->chains;
		return;
	}
	if (held->n_entries == held->cap_entries) {
		held->cap_entries = held->cap_entries ? 2 * held->cap_entries : 16;
		held->entries = reallocarray(held->entries, held->cap_entries, sizeof(*e));
		if (!held->entries)
			abort();
	}
	held->entries[held->n_entries++] = *e;
}

static void add_chain(struct fg_held *held, const struct fg_held_chain *c)
{
	if (held->n == held->cap) {
		held->cap = held->cap ? 2 * held->cap : 64;
		held->chains = reallocarray(held->chains, held->cap, sizeof(*c));
		if (!held->chains)
			abort();
	}
	held->chains[held->n++] = *c;
}

static bool read_chain(const struct nftnl_chain *chain, struct fg_held *held)
{
	char comment[FG_CHAIN_COMMENT_MAX];
	struct fg_held_chain c = { 0 };
	struct fg_index_entry e;
	uint32_t len = 0;
	const void *userdata = nftnl_chain_get_data(chain, NFTNL_CHAIN_USERDATA, &len);
	const char *name = nftnl_chain_get_str(chain, NFTNL_CHAIN_NAME);
	bool hook = nftnl_chain_is_set(chain, NFTNL_CHAIN_HOOKNUM);

	if (!name || strlen(name) >= sizeof(c.name))
		return false;
	if (!fg_nft_comment(userdata, len, comment))
		comment[0] = '\0';
	if (!hook && fg_index_parse(name, comment, &e)) {
		add_entry(held, &e);
		return true;
	}
	memcpy(c.name, name, strlen(name) + 1);
	read_hook(chain, &c);
	if (!parse_comment(comment, &c) || !parse_name(&c) || (c.id == FG_CHAIN_BASE) != hook)
		return false;
	c.hook_ok = !hook || fg_chain_hook_equal(chain, c.dir);
	add_chain(held, &c);
	return true;
}

static int on_chain(const struct nlmsghdr *nlh, void *data)
{
	struct fg_held *held = data;
	struct nftnl_chain *chain = nftnl_chain_alloc();

	if (!chain || nftnl_chain_nlmsg_parse(nlh, chain) < 0) {
		if (chain)
			nftnl_chain_free(chain);
		errno = EBADMSG;
		return MNL_CB_ERROR;
	}
	const char *table = nftnl_chain_get_str(chain, NFTNL_CHAIN_TABLE);
	if (table && strcmp(table, FG_FILTER_TABLE) == 0 && !read_chain(chain, held)) {
		const char *name = nftnl_chain_get_str(chain, NFTNL_CHAIN_NAME);
		snprintf(held->foreign, sizeof(held->foreign), "%s", name ? name : "?");
	}
	nftnl_chain_free(chain);
	return MNL_CB_OK;
}

/* One chain, one answer. */
static int on_one_chain(const struct nlmsghdr *nlh, void *data)
{
	int rc = on_chain(nlh, data);

	return rc == MNL_CB_OK ? MNL_CB_STOP : rc;
}

static int compare_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int on_table(const struct nlmsghdr *nlh, void *data)
{
	struct fg_held *held = data;
	const struct nlattr *a;

	held->table = true;
	mnl_attr_for_each(a, nlh, sizeof(struct nfgenmsg))
	{
		if (mnl_attr_get_type(a) == NFTA_TABLE_FLAGS && mnl_attr_get_payload_len(a) >= 4)
			held->dormant = ntohl(mnl_attr_get_u32(a)) & NFT_TABLE_F_DORMANT;
		else if (mnl_attr_get_type(a) == NFTA_TABLE_USE && mnl_attr_get_payload_len(a) >= 4)
			held->use = ntohl(mnl_attr_get_u32(a));
	}
	return MNL_CB_OK;
}

static int ask_table(struct fg_netlink *nft, struct fg_held *held)
{
	char buf[512] = { 0 };
	struct nlmsghdr *nlh = nftnl_nlmsg_build_hdr(buf, NFT_MSG_GETTABLE, NFPROTO_NETDEV, NLM_F_ACK, 0);

	mnl_attr_put_strz(nlh, NFTA_TABLE_NAME, FG_FILTER_TABLE);
	int rc = fg_netlink_ask(nft, nlh, on_table, held);
	return rc == -ENOENT ? 0 : rc;
}

/* 0 also if there is none of that name. */
static int ask_chain(struct fg_netlink *nft, const char *name, struct fg_held *held)
{
	char buf[512] = { 0 };
	struct nlmsghdr *nlh = nftnl_nlmsg_build_hdr(buf, NFT_MSG_GETCHAIN, NFPROTO_NETDEV, 0, 0);

	mnl_attr_put_strz(nlh, NFTA_CHAIN_TABLE, FG_FILTER_TABLE);
	mnl_attr_put_strz(nlh, NFTA_CHAIN_NAME, name);
	int rc = fg_netlink_ask(nft, nlh, on_one_chain, held);
	return rc == -ENOENT ? 0 : rc;
}

static int ask_all(struct fg_netlink *nft, struct fg_held *held)
{
	char buf[512] = { 0 };
	struct nlmsghdr *nlh = nftnl_nlmsg_build_hdr(buf, NFT_MSG_GETCHAIN, NFPROTO_NETDEV, NLM_F_DUMP, 0);

	return fg_netlink_ask(nft, nlh, on_chain, held);
}

/* All chains that a device's label and index give names to, and what the index says of the device. */
static int ask_device(struct fg_netlink *nft, const struct fg_index_device *d, struct fg_held *held)
{
	char name[FG_CHAIN_NAME_MAX];

	for (int dir = 0; dir < FG_DIR_COUNT; dir++)
		for (int id = 0; id < FG_CHAIN_COUNT; id++) {
			fg_chain_name(name, (enum fg_dir)dir, d->label, d->ifindex, (enum fg_chain_id)id);
			int rc = ask_chain(nft, name, held);
			if (rc < 0)
				return rc;
		}
	fg_index_dev_name(name, d->ifindex);
	for (size_t i = 0; i < held->n_entries; i++)
		if (strcmp(held->entries[i].name, name) == 0)
			return 0;
	return ask_chain(nft, name, held);
}

static int ask_guest(struct fg_netlink *nft, const char *uuid, struct fg_held *held)
{
	bool more = true;

	for (unsigned place = 0; more && place < FG_INDEX_PLACES; place++) {
		struct fg_index_device devices[FG_INDEX_ROOM];
		char name[FG_CHAIN_NAME_MAX];
		size_t n = 0, had = held->n_entries;
		fg_index_guest_name(name, uuid, place);
		int rc = ask_chain(nft, name, held);
		if (rc < 0)
			return rc;
		if (held->n_entries == had) { /* nothing is held; or less than the one before says */
			held->doubtful |= place > 0;
			return 0;
		}
		if (!fg_index_devices(held->entries[had].comment, devices, &n, &more))
			held->doubtful = true;
		for (size_t i = 0; i < n && rc == 0; i++)
			rc = ask_device(nft, &devices[i], held);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int compare(const void *a, const void *b)
{
	const struct fg_held_chain *x = a, *y = b;
	int d = strcmp(x->uuid, y->uuid);

	if (d == 0 && x->ifindex != y->ifindex)
		d = x->ifindex < y->ifindex ? -1 : 1;
	if (d == 0)
		d = strcmp(x->label, y->label);
	if (d == 0)
		d = (int)x->dir - (int)y->dir;
	return d ? d : (int)x->id - (int)y->id;
}

static int compare_index(const void *a, const void *b)
{
	const struct fg_held_chain *x = *(struct fg_held_chain *const *)a, *y = *(struct fg_held_chain *const *)b;

	return x->ifindex < y->ifindex ? -1 : x->ifindex > y->ifindex;
}

static int compare_entries(const void *a, const void *b)
{
	const struct fg_index_entry *x = a, *y = b;

	return strcmp(x->name, y->name);
}

static void sort_entries(struct fg_held *held)
{
	if (held->n_entries)
		qsort(held->entries, held->n_entries, sizeof(held->entries[0]), compare_entries);
}

/* What the index says of a device, NULL if nothing that was read. */
static const struct fg_index_entry *entry_of(const struct fg_held *held, uint32_t ifindex)
{
	struct fg_index_entry key = { 0 };

	fg_index_dev_name(key.name, ifindex);
	return held->n_entries ? bsearch(&key, held->entries, held->n_entries, sizeof(key), compare_entries) : NULL;
}

static void sort_chains(struct fg_held *held)
{
	sort_entries(held);
	if (!held->n)
		return;
	qsort(held->chains, held->n, sizeof(held->chains[0]), compare);
	held->by_index = fg_calloc(held->n, sizeof(void *));
	for (size_t i = 0; i < held->n; i++)
		if (held->chains[i].id == FG_CHAIN_BASE)
			held->by_index[held->n_base++] = &held->chains[i];
	qsort(held->by_index, held->n_base, sizeof(void *), compare_index);
}

#define CHAINS_A_GUEST 16 /* that much by name costs as much as the same in one list */

/* What was found under a guest's names is its own, and each of its hooks is its own by the device too. */
static bool fits(const struct fg_held *held, const char *const *uuids, size_t n)
{
	for (size_t i = 0; i < held->n; i++) {
		const struct fg_held_chain *c = &held->chains[i];
		const char *uuid = c->uuid;
		if (!bsearch(&uuid, uuids, n, sizeof(*uuids), compare_text))
			return false;
		if (c->id != FG_CHAIN_BASE)
			continue;
		const struct fg_index_entry *e = entry_of(held, c->ifindex);
		if (!e || strcmp(e->uuid, uuid) != 0)
			return false;
	}
	return true;
}

/* By the index, where it is right and that is less. */
static int read_guests(struct fg_netlink *nft, const char *const *uuids, size_t n, struct fg_held *held)
{
	if (held->use <= CHAINS_A_GUEST * (n + 1))
		return 0;
	int rc = ask_chain(nft, FG_INDEX_COUNT, held);
	if (rc < 0 || !held->counted || held->count != held->use)
		return rc;
	held->nft = nft;
	for (size_t i = 0; i < n && rc == 0; i++)
		rc = ask_guest(nft, uuids[i], held);
	sort_entries(held);
	held->doubtful |= !fits(held, uuids, n);
	held->doubtful |= held->foreign[0] != '\0';
	return rc;
}

static int read_once(struct fg_netlink *nft, const char *const *uuids, size_t n, struct fg_held *held)
{
	int rc = ask_table(nft, held);
	struct fg_held table = *held;

	if (rc < 0 || !held->table)
		return rc;
	if (uuids)
		rc = read_guests(nft, uuids, n, held);
	if (rc == 0 && (!held->nft || held->doubtful)) {
		fg_held_free(held);
		*held = table;
		rc = ask_all(nft, held);
	}
	return rc;
}

int fg_held_read(struct fg_netlink *nft, const char *const *uuids, size_t n, struct fg_held *out, uint32_t *generation,
		 struct fg_error *err)
{
	for (int i = 0; i < READ_TRIES; i++) {
		struct fg_held held = { 0 };
		uint32_t before, after;
		int rc = fg_netlink_generation(nft, &before, err);
		if (rc < 0)
			return rc;
		rc = read_once(nft, uuids, n, &held);
		if (rc < 0 && rc != -EINTR) {
			fg_held_free(&held);
			return fg_error_errno(err, rc == -EPERM ? FG_ENOTALLOWED : FG_EUNREACHABLE, -rc,
					      "cannot read the chains of nf_tables");
		}
		if (rc == 0) {
			rc = fg_netlink_generation(nft, &after, err);
			if (rc < 0) {
				fg_held_free(&held);
				return rc;
			}
			if (before == after) {
				sort_chains(&held);
				*out = held;
				*generation = before;
				return 0;
			}
		}
		fg_held_free(&held);
	}
	return fg_error_set(err, FG_EUNREACHABLE, "other programs keep changing nf_tables");
}

void fg_held_free(struct fg_held *held)
{
	free(held->by_index);
	free(held->entries);
	free(held->chains);
	memset(held, 0, sizeof(*held));
}

static int compare_uuid(const void *key, const void *member)
{
	return strcmp(key, ((const struct fg_held_chain *)member)->uuid);
}

const struct fg_held_chain *fg_held_guest(const struct fg_held *held, const char *uuid, size_t *n)
{
	const struct fg_held_chain *c, *end;

	*n = 0;
	if (!held->n)
		return NULL;
	c = bsearch(uuid, held->chains, held->n, sizeof(*c), compare_uuid);
	if (!c)
		return NULL;
	end = held->chains + held->n;
	while (c > held->chains && strcmp(c[-1].uuid, uuid) == 0)
		c--;
	while (c + *n < end && strcmp(c[*n].uuid, uuid) == 0)
		(*n)++;
	return c;
}

const struct fg_held_chain *fg_held_base(const struct fg_held *held, const char *uuid, uint32_t ifindex,
					 enum fg_dir dir)
{
	size_t n;
	const struct fg_held_chain *c = fg_held_guest(held, uuid, &n);

	for (size_t i = 0; i < n; i++)
		if (c[i].ifindex == ifindex && c[i].dir == dir && c[i].id == FG_CHAIN_BASE)
			return &c[i];
	return NULL;
}

/* The index says who; a guest's own devices are read already. */
static int ask_other(struct fg_held *held, const char *uuid, uint32_t ifindex, char other[37])
{
	struct fg_held found = { 0 };
	char name[FG_CHAIN_NAME_MAX];

	fg_index_dev_name(name, ifindex);
	int rc = ask_chain(held->nft, name, &found);
	if (rc == 0 && found.n_entries && strcmp(found.entries[0].uuid, uuid) != 0)
		memcpy(other, found.entries[0].uuid, 37);
	if (rc == 0 && found.n_entries && !other[0]) /* its own, and not read; or nobody's */
		held->doubtful |= !found.entries[0].uuid[0] || !entry_of(held, ifindex);
	held->doubtful |= found.foreign[0] != '\0';
	fg_held_free(&found);
	return rc;
}

int fg_held_other(struct fg_held *held, const char *uuid, uint32_t ifindex, char other[37], struct fg_error *err)
{
	size_t low = 0, high = held->n_base;

	other[0] = '\0';
	if (held->nft) {
		int rc = ask_other(held, uuid, ifindex, other);
		if (rc == 0)
			return 0;
		return fg_error_errno(err, rc == -EPERM ? FG_ENOTALLOWED : FG_EUNREACHABLE, -rc,
				      "cannot read the chains of nf_tables");
	}
	while (low < high) { /* the first one with this ifindex */
		size_t mid = low + (high - low) / 2;
		if (held->by_index[mid]->ifindex < ifindex)
			low = mid + 1;
		else
			high = mid;
	}
	for (; low < held->n_base && held->by_index[low]->ifindex == ifindex; low++)
		if (strcmp(held->by_index[low]->uuid, uuid) != 0)
			memcpy(other, held->by_index[low]->uuid, 37);
	return 0;
}

bool fg_held_hooks(const struct fg_held_chain *c, const char *name)
{
	return strcmp(c->dev[0], name) == 0 || strcmp(c->dev[1], name) == 0;
}
