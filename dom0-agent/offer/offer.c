/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Offers come with a cursor; both are durable before anything else happens.  Then each is asked about: does this host
 * know it already, is it older than what was verified here, is its head what a publisher signed?
 *
 * In this order: fg_offers_take -> consider -> ask_head -> on_head -> a job.
 */
#include "offer.h"
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
};

static void consider(struct fg_offer *offer);
static void ask_head(void *arg);
static void on_head(void *arg, int rc, const json_t *reply, const struct fg_error *err);

int fg_fix_id_check(const char *id, struct fg_error *err)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyz0123456789.+-";
	size_t len = strlen(id);

	if (len == 0 || len > FG_FIX_ID_MAX || strspn(id, allowed) != len || strchr(".+-", id[0]))
		return fg_error_set(err, FG_EFORMAT, "'%.140s' is no fix id", id);
	return 0;
}

int fg_offer_parse(const json_t *offer, struct fg_offer_terms *out, struct fg_error *err)
{
	struct fg_offer_terms t = { 0 };
	const char *guest = NULL, *fix = NULL, *digest = NULL;
	int64_t version = 0, bytes = 0;
	uint8_t raw[32];
	int rc = fg_json_int(offer, "seq", 1, INT64_MAX, &t.seq, err);

	if (rc == 0)
		rc = fg_json_string(offer, "guest", &guest, err);
	if (rc == 0)
		rc = fg_uuid_parse(guest, t.guest, err);
	if (rc == 0)
		rc = fg_json_string(offer, "fix", &fix, err);
	if (rc == 0)
		rc = fg_fix_id_check(fix, err);
	if (rc == 0)
		rc = fg_json_int(offer, "version", 1, INT64_MAX, &version, err);
	if (rc == 0)
		rc = fg_json_int(offer, "bytes", 1, INT64_MAX, &bytes, err);
	if (rc == 0)
		rc = fg_json_string(offer, "digest", &digest, err);
	if (rc == 0)
		rc = fg_hex_decode(digest, raw, sizeof(raw), err);
	if (rc < 0)
		return rc;
	snprintf(t.fix, sizeof(t.fix), "%s", fix);
	fg_hex_encode(raw, sizeof(raw), t.digest);
	t.version = (uint64_t)version;
	t.bytes = (uint64_t)bytes;
	*out = t;
	return 0;
}

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
		if (o != offer && strcmp(o->terms.guest, t->guest) == 0 && strcmp(o->terms.fix, t->fix) == 0 &&
		    o->terms.version >= t->version)
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

/* The reply must speak of what was offered; fixgate-net is not trusted with more than reading. */
static int check_reply(const struct fg_offer *offer, const json_t *reply, const char **path, const char **digest,
		       struct fg_error *err)
{
	json_t *m = NULL;
	const char *id = NULL, *title = NULL;
	int64_t version = 0, timeout = 0;
	int rc = fg_json_object(reply, "manifest", &m, err);

	if (rc == 0)
		rc = fg_json_string(m, "id", &id, err);
	if (rc == 0)
		rc = fg_json_int(m, "version", 1, INT64_MAX, &version, err);
	if (rc == 0)
		rc = fg_json_int(m, "timeout_s", 1, 86400, &timeout, err);
	if (rc == 0)
		rc = fg_json_string_opt(m, "title", &title, err);
	if (rc == 0)
		rc = fg_json_string(reply, "path", path, err);
	if (rc == 0)
		rc = fg_json_string(reply, "head_digest", digest, err);
	if (rc < 0)
		return rc;
	if (strcmp(id, offer->terms.fix) != 0 || (uint64_t)version != offer->terms.version)
		return fg_error_set(err, FG_EUNTRUSTED,
				    "offered is %s version %llu, the manifest is of %.128s version %lld",
				    offer->terms.fix, (unsigned long long)offer->terms.version, id, (long long)version);
	return 0;
}

static int take_head(struct fg_job *job, const json_t *reply, const char *path, const char *digest,
		     struct fg_error *err)
{
	/* The network process's own folder, whatever path it names. */
	fg_autofree char *net_dir = fg_asprintf("%s/net/", job->agent->config->state_dir);
	fg_autofree char *to = fg_job_path(job, "bundle.head");
	fg_autofree char *dir = fg_asprintf("%s/jobs/%s", job->agent->config->state_dir, job->r.id);
	const json_t *m = json_object_get(reply, "manifest");
	int rc;

	if (strncmp(path, net_dir, strlen(net_dir)) != 0)
		return fg_error_set(err, FG_EFORMAT, "the head is said to be at %.200s, outside of %s", path, net_dir);
	rc = fg_mkdir_p(dir, 0700, err);
	if (rc == 0)
		rc = job->agent->take_head(net_dir, path + strlen(net_dir), to, digest, err);
	if (rc < 0)
		return rc;
	job->r.head_digest = fg_strdup(digest);
	job->r.title = fg_strdup(json_string_value(json_object_get(m, "title")));
	job->r.timeout_s = (uint32_t)json_integer_value(json_object_get(m, "timeout_s"));
	return 0;
}

static bool is_refusal(int rc)
{
	return rc == -FG_EUNTRUSTED || rc == -FG_EFORMAT || rc == -FG_ELIMIT;
}

static void on_head(void *arg, int rc, const json_t *reply, const struct fg_error *cause)
{
	struct fg_offer *offer = arg;
	struct fg_error err = cause ? *cause : (struct fg_error)FG_ERROR_INIT;
	const char *path = NULL, *digest = NULL;
	struct fg_job *job = NULL;

	if (rc == 0)
		rc = check_reply(offer, reply, &path, &digest, &err);
	if (rc == 0) {
		job = make_job(offer);
		rc = take_head(job, reply, path, digest, &err);
		if (rc < 0)
			fg_job_free(job);
	}
	if (rc == 0) {
		forget(offer);
		fg_job_enter(job, FG_STATE_OFFERED);
	} else if (is_refusal(rc)) {
		answer(offer, FG_STATE_REJECTED, err.text);
	} else {
		again_later(offer, &err);
	}
}
