/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "bus.h"

#include <errno.h>
#include <lib/util.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define BOXES (FG_BUS_WORKERS_MAX + 1)

struct shared {
	atomic_bool read[BOXES]; /* somebody does */
	atomic_bool missed[BOXES];
};

struct fg_bus {
	struct shared *shared;
	unsigned self;
	int in[BOXES], out[BOXES];
};

struct header {
	uint8_t kind;
	uint8_t from;
};

int fg_bus_new(struct fg_bus **out, struct fg_error *err)
{
	struct fg_bus *bus = fg_calloc(1, sizeof(*bus));

	for (unsigned i = 0; i < BOXES; i++)
		bus->in[i] = bus->out[i] = -1;
	bus->shared = mmap(NULL, sizeof(*bus->shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (bus->shared == MAP_FAILED)
		abort();
	for (unsigned i = 0; i < BOXES; i++) {
		int pair[2];
		if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0) {
			int saved = errno;
			fg_bus_free(bus);
			return fg_error_errno(err, FG_EFAILED, saved, "socketpair");
		}
		bus->in[i] = pair[0];
		bus->out[i] = pair[1];
	}
	*out = bus;
	return 0;
}

void fg_bus_join(struct fg_bus *bus, unsigned box)
{
	struct fg_bus_message *m = fg_calloc(1, sizeof(*m));
	bool missed;

	bus->self = box;
	for (unsigned i = 0; i < BOXES; i++)
		if (i != box)
			fg_closep(&bus->in[i]);
	while (fg_bus_receive(bus, m, &missed))
		;
	free(m);
	atomic_store(&bus->shared->read[box], true);
}

void fg_bus_leave(struct fg_bus *bus, unsigned box)
{
	atomic_store(&bus->shared->read[box], false);
}

int fg_bus_fd(const struct fg_bus *bus)
{
	return bus->in[bus->self];
}

bool fg_bus_send(struct fg_bus *bus, unsigned box, enum fg_bus_kind kind, const void *data, size_t len)
{
	struct header header = { (uint8_t)kind, (uint8_t)bus->self };
	struct iovec iov[] = { { &header, sizeof(header) }, { (void *)(uintptr_t)data, len } };
	const struct msghdr message = { .msg_iov = iov, .msg_iovlen = FG_COUNT(iov) };

	if (box >= BOXES || len > FG_BUS_BYTES_MAX || !atomic_load(&bus->shared->read[box]))
		return false;
	return sendmsg(bus->out[box], &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
}

void fg_bus_broadcast(struct fg_bus *bus, enum fg_bus_kind kind, const void *data, size_t len)
{
	for (unsigned i = FG_BUS_SIGNER + 1; i < BOXES; i++) {
		if (i == bus->self || !atomic_load(&bus->shared->read[i]))
			continue;
		/* The box is full, so its owner will read, and looks at the mark after that. */
		if (!fg_bus_send(bus, i, kind, data, len)) {
			atomic_store(&bus->shared->missed[i], true);
			/* It may have emptied the box in between: one more, that it wakes up for. */
			fg_bus_send(bus, i, kind, data, len);
		}
	}
}

bool fg_bus_receive(struct fg_bus *bus, struct fg_bus_message *m, bool *missed)
{
	struct header header = { 0, 0 };
	struct iovec iov[] = { { &header, sizeof(header) }, { m->data, FG_BUS_BYTES_MAX } };
	struct msghdr message = { .msg_iov = iov, .msg_iovlen = FG_COUNT(iov) };
	ssize_t n = recvmsg(fg_bus_fd(bus), &message, MSG_DONTWAIT);

	*missed = false;
	if (n < (ssize_t)sizeof(header)) {
		*missed = atomic_exchange(&bus->shared->missed[bus->self], false);
		return false;
	}
	m->kind = (enum fg_bus_kind)header.kind;
	m->from = header.from;
	m->len = (size_t)n - sizeof(header);
	m->data[m->len] = '\0';
	return true;
}

void fg_bus_free(struct fg_bus *bus)
{
	if (!bus)
		return;
	for (unsigned i = 0; i < BOXES; i++) {
		fg_closep(&bus->in[i]);
		fg_closep(&bus->out[i]);
	}
	munmap(bus->shared, sizeof(*bus->shared));
	free(bus);
}
