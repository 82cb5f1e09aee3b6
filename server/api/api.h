/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The /v1 API (fixgate/protocol.h): the table of routes and what its handlers share. */
#ifndef FG_SERVER_API_H
#define FG_SERVER_API_H

#include <server/config.h>
#include <server/http/http.h>
#include <server/rollout/poll.h>
#include <server/store/store.h>

struct fg_publisher;
struct fg_rollouts;
struct fg_writer;
struct fg_enroller;
struct fg_bus;
struct fg_catalogues;

struct fg_api {
	const char *dir;
	const struct fg_server_config *config;
	struct fg_store *store;
	struct fg_poll *poll;
	struct fg_publisher *publisher;
	struct fg_writer *writer; /* writer.h */
	struct fg_rollouts *rollouts; /* server/rollout/engine.h */
	struct fg_enroller *enroller;
	struct fg_bus *bus;
	struct fg_metrics *metrics;
	struct fg_metrics_slot *slot; /* this process's */
	/* One worker of the server leads: what is to be done once and by itself (not for a request) is done there. */
	bool leader;
	struct fg_catalogues *catalogues;
};

/* Ends with a route without path. ctx of the handlers is the struct fg_api. */
extern const struct fg_route fg_api_routes[];

/* agent.c */
int fg_api_guests(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err);
int fg_api_reports(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err);
int fg_api_request(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err);
int fg_api_tokens(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err);
/* blobs.c */
int fg_api_blob(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err);
/* admin.c */
int fg_api_fixes(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err);
int fg_api_offer(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err);
int fg_api_offers_all(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err);
int fg_api_audit(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err);
/* catalogue.c */
int fg_api_catalogue(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err);
int fg_api_withdraw(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err);
int fg_api_revoke_signer(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err);
/* clients.c */
int fg_api_clients(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err);
/* enrol.c */
int fg_api_ca(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err);
int fg_api_enrol(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err);
int fg_api_renew(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err);
int fg_api_code(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err);
int fg_api_revoke(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err);
int fg_api_certificates(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err);
/* metrics.c */
int fg_api_metrics(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err);
int fg_api_history(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err);
int fg_api_labels(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err);
/* rollouts.c */
int fg_api_rollouts(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err);
int fg_api_rollout_create(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err);
int fg_api_rollout(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err);
int fg_api_rollout_control(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err);
int fg_api_cancel(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err);
/* publish.c */
int fg_api_publish(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err);

/*
 * Publishing: uploads and their verification, which runs in a thread of its own (it reads the whole bundle).
 */
struct fg_publisher *fg_publisher_new(struct event_base *base, struct fg_api *api);
/* Waits for the threads, answers who waits. */
void fg_publisher_free(struct fg_publisher *publisher);

/* Enrolment and renewal: the requests that wait for the signer (server/setup/signer.h). */
struct fg_enroller *fg_enroller_new(struct event_base *base, struct fg_api *api, bool signer);
/* The signer's answer. */
void fg_enroller_signed(struct fg_enroller *enroller, const char *text, size_t len);
/* Answers who waits. */
void fg_enroller_free(struct fg_enroller *enroller);

/* The body as a JSON object. */
int fg_api_body(const struct fg_request *req, json_t **out, struct fg_error *err) FG_MUST_CHECK;

#endif
