/* report.h - what the governor sees and does, as JSON and as metrics, and the switch to pause it.
 *
 * Handlers for http.h, whose context is a struct control; and the governor's parts of answers that
 * others begin. Nothing here decides anything.
 */
#ifndef HAKD_SERVE_REPORT_H
#define HAKD_SERVE_REPORT_H

#include "base/text.h"
#include "govern/effects.h"
#include "serve/http.h"

#define REPORT_PAUSE_SECONDS_MAX 604800 /* a week */

/* "pressure": what presses, and how that is known. */
json_t *report_pressure_json(const struct effects *effects);

/* "governor": whether it acts, and what it has done so far. */
json_t *report_governor_json(const struct effects *effects, uint64_t now_ns);

/* The last actions, the newest first. */
void report_reply_actions(struct evhttp_request *request, const struct effects *effects);

/* The body is nothing, until resumed, or {"ttl_seconds": number}; 400 where it is neither. */
void report_reply_pause(struct evhttp_request *request, struct effects *effects);
void report_reply_resume(struct evhttp_request *request, struct effects *effects);

/* Adds hak_pressure_..., hak_release..., hak_policy_... to Prometheus' text. */
void report_write_metrics(struct text *text, const struct effects *effects);

#endif
