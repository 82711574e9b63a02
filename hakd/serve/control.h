/* control.h - the control socket's paths, as proto/README.md lists them, and the JSON they answer.
 *
 * Numbers are refreshed when they are asked for (table_refresh), never otherwise.
 */
#ifndef HAKD_SERVE_CONTROL_H
#define HAKD_SERVE_CONTROL_H

#include "fleet/reload.h"
#include "govern/advisor.h"
#include "govern/effects.h"
#include "serve/http.h"

struct control {
	struct table *table;
	struct reload *reload;
	struct effects *effects;
	struct advisor *advisor;
	const char *version;
	time_t started;
};

/* Everything; to be passed to http_init with a struct control as context. */
extern const struct http_route control_routes[];
extern const size_t control_route_count;

/* What may be seen by everybody: /metrics and /-/healthy. */
extern const struct http_route control_metrics_routes[];
extern const size_t control_metrics_route_count;

#endif
