/* budgets.h - what the control socket has of policy: budgets as they are and as they are set, which
 * rule holds for a process, and reading the configuration anew. proto/README.md has the JSON.
 */
#ifndef HAKD_SERVE_BUDGETS_H
#define HAKD_SERVE_BUDGETS_H

#include "fleet/reload.h"
#include "serve/http.h"

/* Answers for good: GET /v1/budgets, POST /v1/budgets, POST /v1/reload. */
void budgets_list(struct evhttp_request *request, struct table *table);
void budgets_set(struct evhttp_request *request, struct table *table);
void budgets_reload(struct evhttp_request *request, struct reload *reload);

/* Of a client: {"name": "web", "file": "/etc/hak/hakd.conf", "line": 3, ...}. */
json_t *budgets_policy_json(const struct table *table, const struct client *client);

/* Of the daemon: where its configuration is, and what came of the last reading. */
json_t *budgets_config_json(const struct reload *reload);

#endif
