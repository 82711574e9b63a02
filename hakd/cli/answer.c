#include "cli/answer.h"

#include <stdio.h>

static void note(struct answer *answer, const char *kind, const char *key)
{
	if (answer_is_good(answer))
		snprintf(answer->why, sizeof answer->why, "hakd's answer lacks the %s '%s'", kind,
			 key);
}

const json_t *answer_object(struct answer *answer, const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	if (!json_is_object(value)) {
		note(answer, "object", key);
		return NULL;
	}
	return value;
}

const json_t *answer_array(struct answer *answer, const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	if (!json_is_array(value)) {
		note(answer, "list", key);
		return NULL;
	}
	return value;
}

const char *answer_text(struct answer *answer, const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	if (!json_is_string(value)) {
		note(answer, "text", key);
		return "";
	}
	return json_string_value(value);
}

bool answer_truth(struct answer *answer, const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	if (!json_is_boolean(value))
		note(answer, "truth value", key);
	return json_is_true(value);
}

int64_t answer_integer(struct answer *answer, const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	if (!json_is_integer(value))
		note(answer, "whole number", key);
	return json_integer_value(value);
}

double answer_real(struct answer *answer, const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	if (!json_is_number(value))
		note(answer, "number", key);
	return json_number_value(value);
}
