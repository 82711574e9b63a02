/* pause.h - hakctl policy: makes hakd's governor rest, and work again. */
#ifndef HAK_CLI_PAUSE_H
#define HAK_CLI_PAUSE_H

#include "cli/query.h"

#include <stdbool.h>

struct pause_options {
	bool is_pause;	/* else it resumes */
	int64_t ttl_ms; /* 0: until it is resumed */
	bool is_json;
};

/* The word behind "policy"; false: said what is wrong. */
bool pause_take_word(const char *word, struct pause_options *options);

/* Asks hakd, and says what came of it. */
enum exit_code pause_run(const struct pause_options *options, struct query *query);

#endif
