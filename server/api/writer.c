/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "writer.h"

#include <lib/util.h>
#include <sys/queue.h>

struct item {
	STAILQ_ENTRY(item) link;
	struct fg_write write;
	int rc;
	struct fg_error err;
};

struct fg_writer {
	struct fg_store *store;
	struct event *due;
	STAILQ_HEAD(items, item) items;
};

static void arm(struct fg_writer *w)
{
	struct timeval now = { 0, 0 };

	/* After what has come by now was read: that belongs to the same group. */
	if (!evtimer_pending(w->due, NULL) && evtimer_add(w->due, &now) < 0)
		abort();
}

static int write_all(struct fg_writer *w, struct items *group, struct fg_error *err)
{
	struct item *item = NULL;
	int rc = fg_store_begin(w->store, err);

	if (rc < 0)
		return rc;
	STAILQ_FOREACH (item, group, link) {
		rc = fg_store_begin(w->store, &item->err);
		if (rc == 0)
			rc = fg_store_end(w->store, item->write.write(w->store, item->write.arg, &item->err),
					  &item->err);
		item->rc = rc;
	}
	return fg_store_end(w->store, 0, err);
}

static void write_group(struct fg_writer *w)
{
	struct items group = STAILQ_HEAD_INITIALIZER(group);
	struct fg_error err = FG_ERROR_INIT;
	struct item *item = NULL;

	for (int n = 0; n < FG_WRITER_GROUP_MAX && (item = STAILQ_FIRST(&w->items)); n++) {
		STAILQ_REMOVE_HEAD(&w->items, link);
		STAILQ_INSERT_TAIL(&group, item, link);
	}
	int rc = write_all(w, &group, &err);
	while ((item = STAILQ_FIRST(&group))) {
		STAILQ_REMOVE_HEAD(&group, link);
		/* Its own failure tells more than the group's. */
		if (item->rc < 0)
			item->write.done(item->rc, &item->err, item->write.arg);
		else
			item->write.done(rc, &err, item->write.arg);
		free(item);
	}
}

static void on_due(evutil_socket_t fd, short what, void *arg)
{
	struct fg_writer *w = arg;

	(void)fd, (void)what;
	write_group(w);
	if (!STAILQ_EMPTY(&w->items))
		arm(w);
}

struct fg_writer *fg_writer_new(struct event_base *base, struct fg_store *store)
{
	struct fg_writer *w = fg_calloc(1, sizeof(*w));

	w->store = store;
	STAILQ_INIT(&w->items);
	w->due = evtimer_new(base, on_due, w);
	if (!w->due)
		abort();
	return w;
}

void fg_writer_add(struct fg_writer *w, const struct fg_write *write)
{
	struct item *item = fg_calloc(1, sizeof(*item));

	item->write = *write;
	STAILQ_INSERT_TAIL(&w->items, item, link);
	arm(w);
}

void fg_writer_free(struct fg_writer *w)
{
	if (!w)
		return;
	while (!STAILQ_EMPTY(&w->items))
		write_group(w);
	event_free(w->due);
	free(w);
}
