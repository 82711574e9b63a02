/* metrics.h - the fleet in Prometheus' text format 0.0.4.
 *
 * Pure: a table whose sums are fresh, and text. Label values are groups, never pids, so there are
 * at most GROUPS_MAX series of a row. The rules are those of promtool check metrics.
 */
#ifndef HAKD_SERVE_METRICS_H
#define HAKD_SERVE_METRICS_H

#include "base/text.h"
#include "fleet/table.h"
#include "govern/advisor.h"

#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

struct metrics_daemon {
	const char *version;
	time_t started;
	bool config_is_good;
	time_t config_succeeded; /* 0: never */
	struct process_self self;
	const struct advisor *advisor; /* NULL: nothing is written of it */
};

/* Writes everything; text->failed tells where that did not fit. table_sum has been called. */
void metrics_write(struct text *text, const struct table *table,
		   const struct metrics_daemon *daemon);

#endif
