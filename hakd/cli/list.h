/* list.h - hak-status without a PID: the daemon in a line, and a line for each process. */
#ifndef HAK_CLI_LIST_H
#define HAK_CLI_LIST_H

#include "cli/answer.h"
#include "cli/render.h"

#include <jansson.h>
#include <stdbool.h>

enum list_column {
	LIST_PID,
	LIST_USER,
	LIST_COMMAND,
	LIST_LIVE,
	LIST_CACHED,
	LIST_FREE,
	LIST_RESIDENT,
	LIST_SUPERSLABS,
	LIST_BUDGET,
	LIST_AGE,
	LIST_COLUMN_COUNT,
};

/* The column of a name such as "live", by whatever case; LIST_COLUMN_COUNT where there is none. */
enum list_column list_column_of(const char *name);

/* `status` and `clients` are the answers to GET /v1/status and GET /v1/clients. Amounts are sorted
 * with the largest first, the rest upwards. Prints nothing where `answer` is not good after it. */
void list_print(struct answer *answer, const json_t *status, const json_t *clients,
		enum list_column sorted_by, enum render_size how, bool has_legend);

#endif
