/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "dom0-agent/toolstack/worker.h"

#include "lib/util.h"

#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct queue {
	struct fg_worker_job *head, **tail;
};

struct fg_worker {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct queue todo, done;
	bool quit;
	int fd; /* eventfd: done is not empty */
	struct event *ev;
};

static void queue_init(struct queue *q)
{
	q->head = NULL;
	q->tail = &q->head;
}

static void queue_push(struct queue *q, struct fg_worker_job *job)
{
	job->next = NULL;
	*q->tail = job;
	q->tail = &job->next;
}

static struct fg_worker_job *queue_pop(struct queue *q)
{
	struct fg_worker_job *job = q->head;
	if (job && !(q->head = job->next))
		q->tail = &q->head;
	return job;
}

static void tell(struct fg_worker *worker, struct fg_worker_job *job)
{
	const uint64_t one = 1;

	queue_push(&worker->done, job);
	while (write(worker->fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

static void *thread_main(void *arg)
{
	struct fg_worker *worker = arg;
	struct fg_worker_job *job;

	pthread_mutex_lock(&worker->lock);
	while (!worker->quit) {
		job = queue_pop(&worker->todo);
		if (!job) {
			pthread_cond_wait(&worker->work, &worker->lock);
			continue;
		}
		pthread_mutex_unlock(&worker->lock);
		job->run(job);
		pthread_mutex_lock(&worker->lock);
		tell(worker, job);
	}
	pthread_mutex_unlock(&worker->lock);
	return NULL;
}

static void done_ready(evutil_socket_t fd, short what, void *arg)
{
	struct fg_worker *worker = arg;
	uint64_t n;

	(void)what;
	/* One a turn: done may free the worker. */
	pthread_mutex_lock(&worker->lock);
	struct fg_worker_job *job = queue_pop(&worker->done);
	if (!worker->done.head)
		while (read(fd, &n, sizeof(n)) < 0 && errno == EINTR)
			;
	pthread_mutex_unlock(&worker->lock);
	if (job)
		job->done(job);
}

int fg_worker_new(struct event_base *base, struct fg_worker **out, struct fg_error *err)
{
	struct fg_worker *worker = fg_calloc(1, sizeof(*worker));
	sigset_t all, before;

	queue_init(&worker->todo);
	queue_init(&worker->done);
	pthread_mutex_init(&worker->lock, NULL);
	pthread_cond_init(&worker->work, NULL);
	worker->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (worker->fd < 0) {
		int sys = errno;
		free(worker);
		return fg_error_errno(err, FG_EFAILED, sys, "worker: eventfd");
	}
	worker->ev = event_new(base, worker->fd, EV_READ | EV_PERSIST, done_ready, worker);
	event_add(worker->ev, NULL);
	/* Signals belong to the loop's thread. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int sys = pthread_create(&worker->thread, NULL, thread_main, worker);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (sys) {
		event_free(worker->ev);
		close(worker->fd);
		free(worker);
		return fg_error_errno(err, FG_EFAILED, sys, "worker: thread");
	}
	*out = worker;
	return 0;
}

void fg_worker_post(struct fg_worker *worker, struct fg_worker_job *job)
{
	pthread_mutex_lock(&worker->lock);
	queue_push(&worker->todo, job);
	pthread_cond_signal(&worker->work);
	pthread_mutex_unlock(&worker->lock);
}

void fg_worker_post_done(struct fg_worker *worker, struct fg_worker_job *job)
{
	pthread_mutex_lock(&worker->lock);
	tell(worker, job);
	pthread_mutex_unlock(&worker->lock);
}

void fg_worker_free(struct fg_worker *worker)
{
	struct fg_worker_job *job;

	if (!worker)
		return;
	pthread_mutex_lock(&worker->lock);
	worker->quit = true;
	pthread_cond_signal(&worker->work);
	pthread_mutex_unlock(&worker->lock);
	pthread_join(worker->thread, NULL);
	while ((job = queue_pop(&worker->todo)))
		job->discard(job);
	while ((job = queue_pop(&worker->done)))
		job->discard(job);
	event_free(worker->ev);
	close(worker->fd);
	pthread_cond_destroy(&worker->work);
	pthread_mutex_destroy(&worker->lock);
	free(worker);
}
