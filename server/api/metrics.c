/* SPDX-License-Identifier: GPL-3.0-or-later */
/* GET /metrics: OpenMetrics text. */
#include "api.h"

#include <server/metrics.h>
#include <stdlib.h>

int fg_api_metrics(struct fg_request *req, void *ctx, json_t **answer, struct fg_error *err)
{
	struct fg_api *api = ctx;

	(void)answer, (void)err;
	api->slot->polls = fg_poll_count(api->poll);
	fg_autofree char *text = fg_metrics_text(api->metrics, fg_api_routes);
	fg_autofree char *whole = fg_asprintf("%s# EOF\n", text);
	fg_request_text(req, 200, "application/openmetrics-text; version=1.0.0; charset=utf-8", whole);
	return FG_HTTP_LATER;
}
