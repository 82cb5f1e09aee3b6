/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Offers come with a cursor; both are durable before anything else happens.  Then each is asked about: does this host
 * know it already, is it older than what was verified here, is its head what a publisher signed?
 *
 * In this order: fg_offers_take -> consider -> ask_head -> on_head -> a job.
 */
#include "offer.h"
#include "dom0-agent/job/cancel.h"
#include "dom0-agent/job/job.h"

#include <lib/log.h>
#include <lib/util.h>
#include <string.h>

#define OFFERS_MAX 4096 /* of one message */
#define BACKOFF_MAX_MS 60000

struct fg_offer {
	LIST_ENTRY(fg_offer) link;
	struct fg_agent *agent;
	struct fg_offer_terms terms;
	struct fg_timer *timer;
	unsigned tries;
	bool asking; /* for its head */
	bool cancelled; /* answered; the reply of the head is awaited */
};

static void consider(struct fg_offer *offer);
static void cancel(struct fg_offer *offer);
static void ask_head(void *arg);
static void on_head(void *arg, int rc, const json_t *reply, const struct fg_error *err);

static void forget(struct fg_offer *offer)
{
	if (offer->timer)
		offer->agent->clock->cancel(offer->agent->clock, offer->timer);
	LIST_REMOVE(offer, link);
	free(offer);
}

void fg_offers_free(struct fg_agent *agent)
{
	while (!LIST_EMPTY(&agent->offers))
		forget(LIST_FIRST(&agent->offers));
}

static void consider_json(struct fg_agent *agent, const json_t *json)
{
	struct fg_error err = FG_ERROR_INIT;
	struct fg_offer *offer = fg_calloc(1, sizeof(*offer));

	if (fg_offer_parse(json, &offer->terms, &err) < 0) {
		fg_log_warn("offer: %s, ignoring", err.text);
		free(offer);
		return;
	}
	offer->agent = agent;
	LIST_INSERT_HEAD(&agent->offers, offer, link);
	consider(offer);
}

/* Those that have no job yet: of the inbox, where nothing was considered so far. */
static void cancel_inbox(struct fg_agent *agent, const struct fg_offer_cancelled *c)
{
	struct fg_error err = FG_ERROR_INIT;
	fg_autojson json_t *inbox = NULL;
	json_t *json;
	size_t i;

	if (fg_journal_inbox(agent->journal, &inbox, &err) < 0) {
		fg_agent_die(agent, &err);
		return;
	}
	json_array_foreach (inbox, i, json) {
		struct fg_offer_terms t;
		if (agent->dead || fg_offer_parse(json, &t, NULL) < 0 || !fg_offer_is_cancelled(&t, c))
			continue;
		struct fg_offer *offer = fg_calloc(1, sizeof(*offer));
		offer->agent = agent;
		offer->terms = t;
		LIST_INSERT_HEAD(&agent->offers, offer, link);
		cancel(offer);
	}
}

/*
 * Before the cursor is durable: who dies in between gets them again.  What is offered in the same message is newer, and is
 * not meant.
 */
static void take_cancelled(struct fg_agent *agent, const json_t *list)
{
	const json_t *json;
	size_t i;

	if (!list || json_array_size(list) > OFFERS_MAX)
		return;
	json_array_foreach ((json_t *)(uintptr_t)list, i, json) {
		struct fg_offer_cancelled c;
		struct fg_error err = FG_ERROR_INIT;
		if (fg_offer_cancelled_parse(json, &c, &err) < 0) {
			fg_log_warn("cancelled offer %zu of the message: %s, ignoring", i, err.text);
			continue;
		}
		for (struct fg_offer *o = LIST_FIRST(&agent->offers), *next; o && !agent->dead; o = next) {
			next = LIST_NEXT(o, link);
			if (!o->cancelled && fg_offer_is_cancelled(&o->terms, &c))
				cancel(o);
		}
		if (!agent->recovered && !agent->dead)
			cancel_inbox(agent, &c);
		if (!agent->dead)
			fg_jobs_cancel(agent, c.guest, c.fix, c.seq);
	}
}

void fg_offers_take(struct fg_agent *agent, const json_t *message)
{
	struct fg_error err = FG_ERROR_INIT;
	fg_autojson json_t *good = json_array();
	json_t *offers = NULL, *offer;
	int64_t cursor = 0;
	size_t i;

	if (fg_json_array(message, "offers", OFFERS_MAX, &offers, &err) < 0 ||
	    fg_json_int(message, "cursor", 0, INT64_MAX, &cursor, &err) < 0) {
		fg_log_warn("fixgate-net: offers: %s, ignoring", err.text);
		return;
	}
	json_array_foreach (offers, i, offer) {
		struct fg_offer_terms terms;
		fg_error_clear(&err);
		if (fg_offer_parse(offer, &terms, &err) < 0)
			fg_log_warn("offer %zu of the message: %s, ignoring", i, err.text);
		else
			json_array_append(good, offer);
	}
	take_cancelled(agent, json_object_get(message, "cancelled"));
	if (agent->dead)
		return;
	const struct fg_journal_entry entry = { .inbox = good, .cursor = cursor };
	if (fg_agent_write(agent, &entry) < 0)
		return;
	if (!agent->recovered)
		return; /* fg_offers_resume will find them */
	json_array_foreach (good, i, offer) {
		consider_json(agent, offer);
	}
}

void fg_offers_resume(struct fg_agent *agent)
{
	struct fg_error err = FG_ERROR_INIT;
	fg_autojson json_t *inbox = NULL;
	json_t *offer;
	size_t i;

	if (fg_journal_inbox(agent->journal, &inbox, &err) < 0) {
		fg_agent_die(agent, &err);
		return;
	}
	json_array_foreach (inbox, i, offer) {
		consider_json(agent, offer);
	}
}

static struct fg_job *make_job(struct fg_offer *offer)
{
	const struct fg_offer_terms *t = &offer->terms;
	struct fg_job_record r = { .state = FG_STATE_NONE, .outcome = FG_STATE_NONE, .held_from = FG_STATE_NONE };
	uint8_t nonce[FG_FIXVM_NONCE_HEX / 2];

	fg_uuid_new(r.id);
	fg_random_bytes(nonce, sizeof(nonce));
	fg_hex_encode(nonce, sizeof(nonce), r.nonce);
	memcpy(r.guest, t->guest, sizeof(r.guest));
	r.name = fg_agent_guest_name(offer->agent, t->guest);
	r.fix = fg_strdup(t->fix);
	r.version = t->version;
	r.bytes = t->bytes;
	r.digest = fg_strdup(t->digest);
	r.offer_seq = t->seq;
	return fg_job_new(offer->agent, &r);
}

/* A job that is born with its outcome: the guest is not touched. */
static void answer(struct fg_offer *offer, enum fg_state outcome, const char *reason)
{
	struct fg_job *job = make_job(offer);

	fg_job_reason(job, "%s", reason);
	forget(offer);
	fg_job_enter(job, outcome);
}

/* The offer itself stays while the reply of its head is awaited. */
static void cancel(struct fg_offer *offer)
{
	struct fg_job *job = make_job(offer);

	fg_job_reason(job, FG_CANCEL_REASON);
	if (offer->asking)
		offer->cancelled = true;
	else
		forget(offer);
	fg_job_enter(job, FG_STATE_REJECTED);
}

static bool is_double(const struct fg_offer *offer)
{
	const struct fg_offer_terms *t = &offer->terms;
	const struct fg_job *job = NULL;
	const struct fg_offer *o = NULL;

	TAILQ_FOREACH (job, &offer->agent->jobs, link) {
		if (strcmp(job->r.guest, t->guest) == 0 && strcmp(job->r.fix, t->fix) == 0 &&
		    job->r.version >= t->version)
			return true;
	}
	LIST_FOREACH (o, &offer->agent->offers, link) {
		if (o != offer && !o->cancelled && strcmp(o->terms.guest, t->guest) == 0 &&
		    strcmp(o->terms.fix, t->fix) == 0 && o->terms.version >= t->version)
			return true;
	}
	return false;
}

static void consider(struct fg_offer *offer)
{
	struct fg_agent *agent = offer->agent;
	const struct fg_offer_terms *t = &offer->terms;
	struct fg_error err = FG_ERROR_INIT;
	uint64_t given = 0, verified = 0;

	if (is_double(offer)) {
		const struct fg_journal_entry entry = { .inbox_done = t->seq };
		fg_log_info("guest=%s fix=%s version %llu is offered again while it is worked on, ignoring", t->guest,
			    t->fix, (unsigned long long)t->version);
		forget(offer);
		if (fg_agent_write(agent, &entry) < 0)
			return;
		return;
	}
	if (fg_journal_given(agent->journal, t->guest, t->fix, &given, &err) < 0 ||
	    fg_journal_counter(agent->journal, t->fix, &verified, &err) < 0) {
		fg_agent_die(agent, &err);
		return;
	}
	if (given >= t->version) {
		fg_autofree char *why =
			fg_asprintf("this host gave it to the guest: version %llu", (unsigned long long)given);
		answer(offer, FG_STATE_NOT_NEEDED, why);
	} else if (verified > t->version) {
		fg_autofree char *why = fg_asprintf("version %llu is older than %llu, which was verified on this host",
						    (unsigned long long)t->version, (unsigned long long)verified);
		answer(offer, FG_STATE_REJECTED, why);
	} else {
		ask_head(offer);
	}
}

static void ask_head(void *arg)
{
	struct fg_offer *offer = arg;
	const struct fg_offer_terms *t = &offer->terms;
	json_t *message = json_pack("{ss s{ss sI ss sI}}", "type", "head", "offer", "fix", t->fix, "version",
				    (json_int_t)t->version, "digest", t->digest, "bytes", (json_int_t)t->bytes);

	offer->timer = NULL;
	offer->asking = true;
	fg_agent_request(offer->agent, message, on_head, offer);
}

static void again_later(struct fg_offer *offer, const struct fg_error *err)
{
	int64_t ms = offer->tries < 6 ? 1000 << offer->tries : BACKOFF_MAX_MS;

	offer->tries++;
	fg_log_warn("guest=%s fix=%s head of the bundle: %s; again in %lld s", offer->terms.guest, offer->terms.fix,
		    err->text, (long long)(ms / 1000));
	offer->timer = offer->agent->clock->after(offer->agent->clock, ms, ask_head, offer);
}

/*
 * The reply must speak of what was offered, by a catalogue that is not older than what was trusted here before; fixgate-net
 * is not trusted with more than reading.
 */
static int check_reply(const struct fg_offer *offer, const json_t *reply, struct fg_head_verified *v,
		       struct fg_error *err)
{
	struct fg_catalogue_mark trusted = { 0, 0 };
	int rc = fg_head_verified_parse(reply, v, err);

	if (rc == 0)
		rc = fg_journal_catalogue(offer->agent->journal, &trusted, err);
	if (rc < 0)
		return rc;
	if (strcmp(v->fix, offer->terms.fix) != 0 || v->version != offer->terms.version)
		return fg_error_set(err, FG_EUNTRUSTED,
				    "offered is %s version %llu, the manifest is of %.128s version %llu",
				    offer->terms.fix, (unsigned long long)offer->terms.version, v->fix,
				    (unsigned long long)v->version);
	if (v->catalogue.generation == 0 || fg_catalogue_mark_cmp(&v->catalogue, &trusted) < 0)
		return fg_error_set(err, FG_EUNTRUSTED, "its catalogue is older than one that was trusted here");
	return 0;
}

static int take_head(struct fg_job *job, const struct fg_head_verified *v, struct fg_error *err)
{
	/* The network process's own folder, whatever path it names. */
	fg_autofree char *net_dir = fg_asprintf("%s/net/", job->agent->config->state_dir);
	fg_autofree char *name = fg_asprintf("heads/%s", v->file);
	fg_autofree char *to = fg_job_path(job, "bundle.head");
	fg_autofree char *dir = fg_asprintf("%s/jobs/%s", job->agent->config->state_dir, job->r.id);
	char digest[FG_DIGEST_HEX];
	int rc = fg_mkdir_p(dir, 0700, err);

	fg_hex_encode(v->head_digest, FG_DIGEST_BYTES, digest);
	if (rc == 0)
		rc = job->agent->take_head(net_dir, name, to, digest, err);
	if (rc < 0)
		return rc;
	job->r.head_digest = fg_strdup(digest);
	job->r.title = fg_strdup(v->title);
	job->r.timeout_s = v->timeout_s;
	return 0;
}

/* All of it verified: from here on nothing older is trusted. */
static int keep_mark(struct fg_agent *agent, const struct fg_catalogue_mark *mark)
{
	const struct fg_journal_entry entry = { .catalogue = mark };

	return fg_agent_write(agent, &entry);
}

static bool is_refusal(int rc)
{
	return rc == -FG_EUNTRUSTED || rc == -FG_EFORMAT || rc == -FG_ELIMIT;
}

static void on_head(void *arg, int rc, const json_t *reply, const struct fg_error *cause)
{
	struct fg_offer *offer = arg;
	struct fg_error err = cause ? *cause : (struct fg_error)FG_ERROR_INIT;
	struct fg_head_verified v;
	struct fg_job *job = NULL;

	offer->asking = false;
	if (offer->cancelled) {
		forget(offer);
		return;
	}
	if (rc == 0)
		rc = check_reply(offer, reply, &v, &err);
	if (rc == 0) {
		job = make_job(offer);
		rc = take_head(job, &v, &err);
		if (rc < 0)
			fg_job_free(job);
	}
	if (rc == 0) {
		if (keep_mark(offer->agent, &v.catalogue) < 0)
			return; /* the agent is dead */
		forget(offer);
		fg_job_enter(job, FG_STATE_OFFERED);
	} else if (is_refusal(rc)) {
		answer(offer, FG_STATE_REJECTED, err.text);
	} else {
		again_later(offer, &err);
	}
}
