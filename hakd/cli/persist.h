/* persist.h - a group's budget in a drop-in of hakd.conf(5), which outlives hakd.
 *
 * The file is DIR/hakd.conf.d/50-budget-NAME.conf: whole, or as it was before. Errors are told.
 */
#ifndef HAK_CLI_PERSIST_H
#define HAK_CLI_PERSIST_H

#include "cli/arguments.h"

/* A budget, as somebody wants it. */
enum budget_limit { BUDGET_LIMIT_AS_IS, BUDGET_LIMIT_REPORT, BUDGET_LIMIT_FAIL };

struct budget_wish {
	const char *whose; /* a pid where it is a number, else a group; NULL: all (get) */
	bool has_soft, has_hard;
	uint64_t soft_bytes; /* 0: none */
	uint64_t hard_bytes;
	enum budget_limit limit;
	int64_t ttl_ms; /* 0: until it is cleared */
	bool persists;
};

/* dir is hakd's last configuration directory. What was there before stays at hand until the caller
 * knows whether hakd has taken it. */
enum exit_code persist_write(const char *dir, const struct budget_wish *wish);
void persist_settle(const char *dir, const char *group, bool is_taken);

/* No such file is no error; *removed tells. */
enum exit_code persist_remove(const char *dir, const char *group, bool *removed);

#endif
