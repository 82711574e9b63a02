#include "cli/pause.h"

#include "cli/answer.h"
#include "cli/render.h"

#include <stdio.h>
#include <string.h>

#define PAUSE_MS_MAX ((int64_t)7 * 86400 * 1000)

static void print_words(bool is_pause, int64_t ttl_ms)
{
	char age[RENDER_NUMBER_BYTES];

	if (!is_pause)
		printf("hakd takes memory back again\n");
	else if (ttl_ms == 0)
		printf("hakd takes no memory back until that is resumed\n");
	else
		printf("hakd takes no memory back for %s\n",
		       render_age((double)ttl_ms / 1000, age));
}

static enum exit_code ask(struct query *query, bool is_pause, const char *body, int64_t ttl_ms,
			  bool is_json)
{
	struct answer answer = {{0}};
	enum exit_code code;
	json_t *reply;
	bool paused;

	code = query_ask(query, is_pause ? "/v1/policy/pause" : "/v1/policy/resume", body, &reply);
	if (code != EXIT_CODE_OK) {
		query_complain(query, code, 0);
		return code;
	}
	paused = answer_truth(&answer, answer_object(&answer, reply, "governor"), "paused");
	if (answer_is_good(&answer) && paused != is_pause)
		snprintf(answer.why, sizeof answer.why, "hakd did not do so");
	if (!answer_is_good(&answer)) {
		arguments_complain("%s", answer.why);
		code = EXIT_CODE_FAILED;
	} else if (is_json) {
		render_json(reply);
	} else {
		print_words(is_pause, ttl_ms);
	}
	json_decref(reply);
	return code;
}

enum exit_code pause_begin(struct query *query, int64_t ttl_ms, bool is_json)
{
	char body[64] = "";

	if (ttl_ms > PAUSE_MS_MAX) {
		arguments_complain("policy pauses for a week at most");
		return EXIT_CODE_USAGE;
	}
	if (ttl_ms != 0)
		snprintf(body, sizeof body, "{\"ttl_seconds\": %lld.%03d}",
			 (long long)(ttl_ms / 1000), (int)(ttl_ms % 1000));
	return ask(query, true, body, ttl_ms, is_json);
}

enum exit_code pause_end(struct query *query, bool is_json)
{
	return ask(query, false, "", 0, is_json);
}
