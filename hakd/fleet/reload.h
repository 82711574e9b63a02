/* reload.h - the policy that is in force, and how another one takes its place.
 *
 * A configuration with an error changes nothing: the policy before it stays. One thread.
 */
#ifndef HAKD_FLEET_RELOAD_H
#define HAKD_FLEET_RELOAD_H

#include "fleet/table.h"

struct reload {
	struct table *table;
	struct conf_sources sources; /* texts are the caller's */
	struct policy *policy;	     /* in force; NULL before the first */
	bool is_good;		     /* the last time */
	time_t succeeded;	     /* 0: never */
	char why[512];		     /* the first error of the last time, or "" */
};

/* Nothing is read yet. */
void reload_init(struct reload *reload, struct table *table, const struct conf_sources *sources);
void reload_deinit(struct reload *reload);

/* Reads everything anew. True: it is in force. Warnings and errors are in the report, which the
 * caller deinits. */
bool reload_now(struct reload *reload, struct conf_report *report);

/* A report's lines, one by one, to the log. */
void reload_log(const struct conf_report *report);

#endif
