/* pause.h - hakctl policy: makes hakd's governor rest, and work again. Each asks hakd, and says
 * what came of it. */
#ifndef HAK_CLI_PAUSE_H
#define HAK_CLI_PAUSE_H

#include "cli/query.h"

#include <stdbool.h>

/* ttl_ms: for how long, a week at most; 0: until it is resumed. */
enum exit_code pause_begin(struct query *query, int64_t ttl_ms, bool is_json);
enum exit_code pause_end(struct query *query, bool is_json);

#endif
