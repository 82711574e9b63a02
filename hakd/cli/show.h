/* show.h - hak-status PID: all that is known of one process. */
#ifndef HAK_CLI_SHOW_H
#define HAK_CLI_SHOW_H

#include "cli/answer.h"
#include "cli/render.h"

#include <jansson.h>
#include <stdbool.h>

/* `client` is the answer to GET /v1/clients/PID. Nothing useful was printed where `answer` is not
 * good after it. */
void show_print(struct answer *answer, const json_t *client, enum render_size how, bool has_legend);

#endif
