/* hakctl - change: asks hakd to take memory back. What it did is read from the program's own
 * numbers, so "released" is what went back to the system, not what was asked for. */
#include "cli/answer.h"
#include "cli/arguments.h"
#include "cli/pause.h"
#include "cli/query.h"
#include "cli/render.h"

#include <errno.h>
#include <getopt.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
	"usage: hakctl trim [OPTION...] PID\n"
	"       hakctl policy [OPTION...] pause|resume\n"
	"\n"
	"trim asks a program on libhak to give back the memory that it does not use, and says what "
	"came\n"
	"of it. A program answers when it next needs memory: one that is idle leaves the request\n"
	"pending, and carries it out when it wakes up. policy pause makes hakd take no memory "
	"back\n"
	"by itself, until policy resume.\n"
	"\n"
	"  --target SIZE      give back so much at most, such as 200M; everything by default\n"
	"  --timeout SEC      how long to wait for the program, 5 by default\n"
	"  --no-wait          only leave the request\n"
	"  --ttl TIME         resume by itself after so long: 90, 10m, 2h, 1d\n"
	"  --bytes            sizes as plain numbers of bytes\n"
	"  --json             the outcome as JSON\n"
	"  --runtime-dir DIR  where hakd has its sockets: $HAK_RUNTIME_DIR, or else /run/hak\n"
	"  --help, --version\n"
	"\n"
	"status: 0 done, 1 failed, 2 wrong arguments, 3 hakd is not running, 4 no such process,\n"
	"        5 no permission, 6 hakd or the program did not answer in time\n";

/* Between two looks: soon at first, for a busy program answers within milliseconds. */
#define NAP_MS_MIN 20
#define NAP_MS_MAX 200

/* What a single question to hakd may take at the end of the time to wait for the program: without
 * it, a healthy daemon would be blamed for the last look. */
#define QUESTION_MS 1000

struct options {
	const char *runtime_dir;
	int64_t timeout_ms;
	pid_t pid;
	uint64_t target_bytes; /* 0: all */
	bool is_json, is_exact, waits;
	bool is_policy; /* else it is a trim */
	struct pause_options pause;
};

/* The `trim` of a client. */
struct trim {
	int64_t request, ack, before_bytes, after_bytes, released_bytes;
};

enum option_letter {
	OPTION_BYTES = 'b',
	OPTION_DIR = 'd',
	OPTION_HELP = 'h',
	OPTION_JSON = 'j',
	OPTION_NO_WAIT = 'n',
	OPTION_TARGET = 's',
	OPTION_TIMEOUT = 't',
	OPTION_TTL = 'l',
	OPTION_VERSION = 'v',
};

static const struct option long_options[] = {
	{"bytes", no_argument, NULL, OPTION_BYTES},
	{"help", no_argument, NULL, OPTION_HELP},
	{"json", no_argument, NULL, OPTION_JSON},
	{"no-wait", no_argument, NULL, OPTION_NO_WAIT},
	{"runtime-dir", required_argument, NULL, OPTION_DIR},
	{"target", required_argument, NULL, OPTION_TARGET},
	{"timeout", required_argument, NULL, OPTION_TIMEOUT},
	{"ttl", required_argument, NULL, OPTION_TTL},
	{"version", no_argument, NULL, OPTION_VERSION},
	{0},
};

/* False: said what is wrong. */
static bool take_option(int letter, struct options *options)
{
	switch (letter) {
	case OPTION_BYTES:
		options->is_exact = true;
		return true;
	case OPTION_JSON:
		options->is_json = true;
		return true;
	case OPTION_NO_WAIT:
		options->waits = false;
		return true;
	case OPTION_DIR:
		options->runtime_dir = optarg;
		return true;
	case OPTION_TARGET:
		return arguments_size(optarg, &options->target_bytes);
	case OPTION_TIMEOUT:
		return arguments_timeout(optarg, &options->timeout_ms);
	case OPTION_TTL:
		return arguments_duration(optarg, &options->pause.ttl_ms);
	default: /* getopt has complained */
		return false;
	}
}

/* EXIT_CODE_OK, or complained. */
static enum exit_code judge(const struct answer *answer)
{
	if (answer_is_good(answer))
		return EXIT_CODE_OK;
	arguments_complain("%s", answer->why);
	return EXIT_CODE_FAILED;
}

static enum exit_code post_trim(const struct options *options, struct query *query,
				int64_t *request)
{
	struct answer answer = {{0}};
	enum exit_code code;
	json_t *accepted;
	char path[64], body[64] = "";

	snprintf(path, sizeof path, "/v1/clients/%d/trim", (int)options->pid);
	if (options->target_bytes != 0)
		snprintf(body, sizeof body, "{\"target_bytes\": %llu}",
			 (unsigned long long)options->target_bytes);
	code = query_ask(query, path, body, &accepted);
	if (code != EXIT_CODE_OK) {
		query_complain(query, code, options->pid);
		return code;
	}
	*request = answer_integer(&answer, accepted, "trim_request");
	json_decref(accepted);
	return judge(&answer);
}

static enum exit_code get_trim(const struct options *options, struct query *query,
			       struct trim *trim)
{
	struct answer answer = {{0}};
	enum exit_code code;
	const json_t *object;
	json_t *client;
	char path[64];

	snprintf(path, sizeof path, "/v1/clients/%d", (int)options->pid);
	code = query_ask(query, path, NULL, &client);
	if (code == EXIT_CODE_NO_PROCESS) {
		arguments_complain("process %d ended before it answered", (int)options->pid);
		return code;
	}
	if (code != EXIT_CODE_OK) {
		query_complain(query, code, options->pid);
		return code;
	}
	object = answer_object(&answer, client, "trim");
	*trim = (struct trim){
		.request = answer_integer(&answer, object, "request"),
		.ack = answer_integer(&answer, object, "ack"),
		.before_bytes = answer_integer(&answer, object, "before_bytes"),
		.after_bytes = answer_integer(&answer, object, "after_bytes"),
		.released_bytes = answer_integer(&answer, object, "released_bytes"),
	};
	json_decref(client);
	return judge(&answer);
}

/* `is_late` is set where hakd did answer in time and the program did not; every other failure has
 * been complained about. */
static enum exit_code wait_for_ack(const struct options *options, struct query *query,
				   int64_t request, struct trim *trim, bool *is_late)
{
	int64_t deadline_ms = query->deadline_ms;
	int64_t nap_ms = NAP_MS_MIN;

	for (;;) {
		int64_t now_ms = query_now_ms();
		enum exit_code code;

		query->deadline_ms = now_ms + QUESTION_MS > deadline_ms ? now_ms + QUESTION_MS
									: deadline_ms;
		code = get_trim(options, query, trim);
		if (code != EXIT_CODE_OK)
			return code;
		if (trim->ack >= request)
			return EXIT_CODE_OK;
		/* Numbers of requests only rise, as long as it is the same client. */
		if (trim->request < request) {
			arguments_complain("process %d has registered anew: it does not know of "
					   "this trim",
					   (int)options->pid);
			return EXIT_CODE_NO_PROCESS;
		}
		now_ms = query_now_ms();
		*is_late = now_ms >= deadline_ms;
		if (*is_late)
			return EXIT_CODE_TIMED_OUT;
		query_nap_ms(nap_ms < deadline_ms - now_ms ? nap_ms : deadline_ms - now_ms);
		nap_ms = nap_ms * 3 / 2 < NAP_MS_MAX ? nap_ms * 3 / 2 : NAP_MS_MAX;
	}
}

/* `trim` is NULL where it is not known to be done. */
static void print_json(const struct options *options, int64_t request, const struct trim *trim)
{
	json_t *outcome = json_pack("{s:i, s:i, s:I, s:b}", "schema", 1, "pid", (int)options->pid,
				    "trim_request", (json_int_t)request, "done", trim != NULL);

	if (trim != NULL) {
		json_object_set_new(outcome, "before_bytes", json_integer(trim->before_bytes));
		json_object_set_new(outcome, "after_bytes", json_integer(trim->after_bytes));
		json_object_set_new(outcome, "released_bytes", json_integer(trim->released_bytes));
	}
	render_json(outcome);
	json_decref(outcome);
}

static void print_words(const struct options *options, const struct trim *trim)
{
	enum render_size how = options->is_exact ? RENDER_SIZE_EXACT : RENDER_SIZE_WORDS;
	char before[RENDER_NUMBER_BYTES], after[RENDER_NUMBER_BYTES];
	char released[RENDER_NUMBER_BYTES];

	if (trim != NULL)
		printf("%d: cached and free %s before, %s after; %s released\n", (int)options->pid,
		       render_size(trim->before_bytes, how, before),
		       render_size(trim->after_bytes, how, after),
		       render_size(trim->released_bytes, how, released));
	else if (options->waits)
		printf("%d: pending: program is idle; it carries the trim out when it next needs "
		       "memory\n",
		       (int)options->pid);
	else
		printf("%d: asked for\n", (int)options->pid);
}

static enum exit_code trim_process(const struct options *options, struct query *query)
{
	struct trim trim;
	int64_t request = 0;
	enum exit_code code = post_trim(options, query, &request);
	bool is_late = false, is_done;

	if (code == EXIT_CODE_OK && options->waits)
		code = wait_for_ack(options, query, request, &trim, &is_late);
	if (code != EXIT_CODE_OK && !is_late)
		return code;
	is_done = options->waits && !is_late;
	if (options->is_json)
		print_json(options, request, is_done ? &trim : NULL);
	else
		print_words(options, is_done ? &trim : NULL);
	return code;
}

/* The verb and what it is about; false: said what is wrong. */
static bool take_words(int count, char **words, struct options *options)
{
	options->is_policy = count > 0 && strcmp(words[0], "policy") == 0;
	if (count == 0)
		arguments_complain("what is to be done? The verbs are trim and policy");
	else if (options->is_policy && count != 2)
		arguments_complain("policy needs a word, pause or resume, and no more");
	else if (options->is_policy)
		return pause_take_word(words[1], &options->pause);
	else if (strcmp(words[0], "trim") != 0)
		arguments_complain("there is no verb '%s', only trim and policy", words[0]);
	else if (count == 1)
		arguments_complain("trim needs a PID");
	else if (count > 2)
		arguments_complain("one PID at a time");
	else
		return arguments_pid(words[1], &options->pid);
	return false;
}

int main(int count, char **arguments)
{
	struct options options = {
		.runtime_dir = arguments_runtime_dir(),
		.timeout_ms = ARGUMENTS_TIMEOUT_MS,
		.waits = true,
	};
	struct query query;
	enum exit_code code;
	int letter;

	/* Letters of the user's language, but points in numbers: programs read them, too. */
	setlocale(LC_CTYPE, "");
	arguments[0] = program_invocation_short_name; /* which getopt(3) complains under */
	while ((letter = getopt_long(count, arguments, "h", long_options, NULL)) != -1) {
		if (letter == OPTION_HELP || letter == OPTION_VERSION) {
			fputs(letter == OPTION_HELP ? usage : "hakctl " ARGUMENTS_VERSION "\n",
			      stdout);
			return arguments_finish(EXIT_CODE_OK);
		}
		if (!take_option(letter, &options))
			return arguments_refuse();
	}
	if (!take_words(count - optind, arguments + optind, &options))
		return arguments_refuse();
	options.pause.is_json = options.is_json;
	code = query_init(&query, options.runtime_dir, options.timeout_ms);
	if (code != EXIT_CODE_OK)
		query_complain(&query, code, 0);
	else if (options.is_policy)
		code = pause_run(&options.pause, &query);
	else
		code = trim_process(&options, &query);
	query_deinit(&query);
	return arguments_finish(code);
}
