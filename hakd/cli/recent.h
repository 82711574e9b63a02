/* recent.h - hak-status --actions: what hakd has done about memory lately; and its line about
 * pressure. */
#ifndef HAK_CLI_RECENT_H
#define HAK_CLI_RECENT_H

#include "cli/answer.h"
#include "cli/render.h"

#include <jansson.h>
#include <stdbool.h>

/* `reply` is the answer to GET /v1/actions. Prints nothing where `answer` is not good after it. */
void recent_print(struct answer *answer, const json_t *reply, enum render_size how,
		  bool has_legend);

/* "memory pressure none; 12 releases, 1.2 GiB taken back", of a status; nothing of a daemon that is
 * too old to tell. */
void recent_print_pressure(struct answer *answer, const json_t *status, enum render_size how);

#endif
