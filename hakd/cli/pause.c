#include "cli/pause.h"

#include "cli/answer.h"
#include "cli/render.h"

#include <stdio.h>
#include <string.h>

bool pause_take_word(const char *word, struct pause_options *options)
{
	options->is_pause = strcmp(word, "pause") == 0;
	if (options->is_pause || strcmp(word, "resume") == 0)
		return true;
	arguments_complain("policy can be paused or resumed, not '%s'", word);
	return false;
}

static void print_words(const struct pause_options *options)
{
	char age[RENDER_NUMBER_BYTES];

	if (!options->is_pause)
		printf("hakd takes memory back again\n");
	else if (options->ttl_ms == 0)
		printf("hakd takes no memory back until that is resumed\n");
	else
		printf("hakd takes no memory back for %s\n",
		       render_age((double)options->ttl_ms / 1000, age));
}

enum exit_code pause_run(const struct pause_options *options, struct query *query)
{
	struct answer answer = {{0}};
	char body[64] = "";
	enum exit_code code;
	json_t *reply;
	bool paused;

	if (options->is_pause && options->ttl_ms != 0)
		snprintf(body, sizeof body, "{\"ttl_seconds\": %lld.%03d}",
			 (long long)(options->ttl_ms / 1000), (int)(options->ttl_ms % 1000));
	code = query_ask(query, options->is_pause ? "/v1/policy/pause" : "/v1/policy/resume", body,
			 &reply);
	if (code != EXIT_CODE_OK) {
		query_complain(query, code, 0);
		return code;
	}
	paused = answer_truth(&answer, answer_object(&answer, reply, "governor"), "paused");
	if (answer_is_good(&answer) && paused != options->is_pause)
		snprintf(answer.why, sizeof answer.why, "hakd did not do so");
	if (!answer_is_good(&answer)) {
		arguments_complain("%s", answer.why);
		code = EXIT_CODE_FAILED;
	} else if (options->is_json) {
		render_json(reply);
	} else {
		print_words(options);
	}
	json_decref(reply);
	return code;
}
