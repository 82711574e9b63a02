/* budget.h - hakctl's verbs about policy: budget, why and reload.
 *
 * Each asks hakd, prints what came of it and gives what the program is to end with; what failed has
 * been complained about. One thread.
 */
#ifndef HAK_CLI_BUDGET_H
#define HAK_CLI_BUDGET_H

#include "cli/persist.h"
#include "cli/query.h"
#include "cli/render.h"

/* How it is printed. */
struct budget_look {
	bool is_json, is_exact;
};

/* Each takes all of `text` and says what is wrong where it gives false. */
bool budget_read_size(const char *text, bool *has, uint64_t *size_bytes);
bool budget_read_limit(const char *text, enum budget_limit *limit);
bool budget_read_whose(const char *text);

/* False: said what is wrong with the wish. */
bool budget_may_set(const struct budget_wish *wish);

enum exit_code budget_set(struct query *query, const struct budget_wish *wish,
			  const struct budget_look *look);
enum exit_code budget_clear(struct query *query, const struct budget_wish *wish,
			    const struct budget_look *look);
enum exit_code budget_get(struct query *query, const struct budget_wish *wish,
			  const struct budget_look *look);
enum exit_code budget_why(struct query *query, pid_t pid, const struct budget_look *look);
enum exit_code budget_reload(struct query *query, const struct budget_look *look);

#endif
