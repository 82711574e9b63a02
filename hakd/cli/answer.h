/* answer.h - fields out of the daemon's JSON, with an error that sticks.
 *
 * A program takes all fields that it shows and asks once, at the end, whether all were there and of
 * their type: the first that was not is named in `why`. What is missing reads as 0, "" or NULL
 * meanwhile. Texts and objects belong to the JSON. One thread.
 */
#ifndef HAK_CLI_ANSWER_H
#define HAK_CLI_ANSWER_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct answer {
	char why[128]; /* "" while nothing was wrong */
};

static inline bool answer_is_good(const struct answer *answer)
{
	return answer->why[0] == '\0';
}

const json_t *answer_object(struct answer *answer, const json_t *object, const char *key);
const json_t *answer_array(struct answer *answer, const json_t *object, const char *key);
const char *answer_text(struct answer *answer, const json_t *object, const char *key);
bool answer_truth(struct answer *answer, const json_t *object, const char *key);

/* Whole numbers stay below 2^63, as jansson's do. */
int64_t answer_integer(struct answer *answer, const json_t *object, const char *key);

/* A number with or without a fraction. */
double answer_real(struct answer *answer, const json_t *object, const char *key);

#endif
