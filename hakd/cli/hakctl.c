/* hakctl - change: asks hakd to take memory back, and sets its policy. What a trim did is read from
 * the program's own numbers, so "released" is what went back to the system, not what was asked
 * for. */
#include "cli/answer.h"
#include "cli/arguments.h"
#include "cli/budget.h"
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
	"       hakctl budget set [OPTION...] GROUP|PID\n"
	"       hakctl budget get [OPTION...] [GROUP|PID]\n"
	"       hakctl budget clear [OPTION...] GROUP|PID\n"
	"       hakctl why [OPTION...] PID\n"
	"       hakctl reload [OPTION...]\n"
	"       hakctl policy [OPTION...] pause|resume\n"
	"\n"
	"trim asks a program on libhak to give back the memory that it does not use, and says what "
	"came\n"
	"of it. What it has marked as free hakd can take itself, whether the program runs or not.\n"
	"For the rest a program answers when it next needs memory: one that is idle leaves the\n"
	"request pending, and carries it out when it wakes up. budget sets what a group or a\n"
	"process is to stay below, until it is cleared or the machine starts anew. why tells\n"
	"which section of hakd.conf(5) holds for a process. reload makes hakd read its\n"
	"configuration anew. policy pause makes hakd take no memory back by itself, until policy\n"
	"resume.\n"
	"\n"
	"  --soft SIZE|none   above it a program's free memory goes back and its caches stay "
	"small\n"
	"  --hard SIZE|none   above it --on-limit says what comes\n"
	"  --on-limit report|fail\n"
	"                     only count that, or let allocations fail with ENOMEM\n"
	"  --ttl TIME         the budget, or the pause, holds for so long: 90s, 30min, 1h, 7d\n"
	"  --persist          keep a group's budget in hakd.conf.d, or with clear no more\n"
	"  --target SIZE      give back so much at most, such as 200M; everything by default\n"
	"  --method METHOD    remote: only what hakd can take; mailbox: only what the program "
	"gives;\n"
	"                     auto, the default: both\n"
	"  --timeout SEC      how long to wait for the program, 5 by default\n"
	"  --no-wait          only leave the request\n"
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
	const char *method;    /* NULL: what hakd does by itself */
	bool is_json, is_exact, waits;
	struct budget_wish wish;
};

/* The `trim` of a client, and what hakd took itself; by older daemons than that, nothing. */
struct trim {
	int64_t request, ack, before_bytes, after_bytes, released_bytes;
	int64_t remote_ack, remote_released_bytes;
	bool remote_failed;
};

/* The numbers that are waited for; 0: there is no such part. */
struct requests {
	int64_t mailbox, remote;
};

enum option_letter {
	OPTION_BYTES = 'b',
	OPTION_DIR = 'd',
	OPTION_HELP = 'h',
	OPTION_JSON = 'j',
	OPTION_LIMIT = 'l',
	OPTION_SOFT = 'S',
	OPTION_HARD = 'H',
	OPTION_PERSIST = 'p',
	OPTION_TTL = 'T',
	OPTION_METHOD = 'm',
	OPTION_NO_WAIT = 'n',
	OPTION_TARGET = 's',
	OPTION_TIMEOUT = 't',
	OPTION_VERSION = 'v',
};

static const struct option long_options[] = {
	{"bytes", no_argument, NULL, OPTION_BYTES},
	{"hard", required_argument, NULL, OPTION_HARD},
	{"help", no_argument, NULL, OPTION_HELP},
	{"json", no_argument, NULL, OPTION_JSON},
	{"method", required_argument, NULL, OPTION_METHOD},
	{"no-wait", no_argument, NULL, OPTION_NO_WAIT},
	{"on-limit", required_argument, NULL, OPTION_LIMIT},
	{"persist", no_argument, NULL, OPTION_PERSIST},
	{"runtime-dir", required_argument, NULL, OPTION_DIR},
	{"soft", required_argument, NULL, OPTION_SOFT},
	{"target", required_argument, NULL, OPTION_TARGET},
	{"timeout", required_argument, NULL, OPTION_TIMEOUT},
	{"ttl", required_argument, NULL, OPTION_TTL},
	{"version", no_argument, NULL, OPTION_VERSION},
	{0},
};

static bool take_method(const char *text, const char **method)
{
	static const char *const methods[] = {"auto", "mailbox", "remote"};

	for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
		if (strcmp(text, methods[i]) == 0) {
			*method = methods[i];
			return true;
		}
	}
	arguments_complain("'%s' is no method; there are auto, mailbox and remote", text);
	return false;
}

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
	case OPTION_METHOD:
		return take_method(optarg, &options->method);
	case OPTION_DIR:
		options->runtime_dir = optarg;
		return true;
	case OPTION_TARGET:
		return arguments_size(optarg, &options->target_bytes);
	case OPTION_TIMEOUT:
		return arguments_timeout(optarg, &options->timeout_ms);
	case OPTION_SOFT:
		return budget_read_size(optarg, &options->wish.has_soft, &options->wish.soft_bytes);
	case OPTION_HARD:
		return budget_read_size(optarg, &options->wish.has_hard, &options->wish.hard_bytes);
	case OPTION_LIMIT:
		return budget_read_limit(optarg, &options->wish.limit);
	case OPTION_TTL:
		return arguments_duration(optarg, &options->wish.ttl_ms);
	case OPTION_PERSIST:
		options->wish.persists = true;
		return true;
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

/* Nothing where there is nothing to say. */
static void write_body(const struct options *options, char *body, size_t size)
{
	const char *comma = options->target_bytes != 0 && options->method != NULL ? ", " : "";
	char target[64] = "", method[64] = "";

	if (options->target_bytes != 0)
		snprintf(target, sizeof target, "\"target_bytes\": %llu",
			 (unsigned long long)options->target_bytes);
	if (options->method != NULL)
		snprintf(method, sizeof method, "\"method\": \"%s\"", options->method);
	body[0] = '\0';
	if (target[0] != '\0' || method[0] != '\0')
		snprintf(body, size, "{%s%s%s}", target, comma, method);
}

static enum exit_code post_trim(const struct options *options, struct query *query,
				struct requests *requests)
{
	struct answer answer = {{0}};
	enum exit_code code;
	json_t *accepted;
	char path[64], body[160];

	snprintf(path, sizeof path, "/v1/clients/%d/trim", (int)options->pid);
	write_body(options, body, sizeof body);
	code = query_ask(query, path, body, &accepted);
	if (code != EXIT_CODE_OK) {
		query_complain(query, code, options->pid);
		return code;
	}
	requests->mailbox = answer_integer(&answer, accepted, "trim_request");
	requests->remote = json_integer_value(json_object_get(accepted, "remote_request"));
	json_decref(accepted);
	return judge(&answer);
}

static enum exit_code get_trim(const struct options *options, struct query *query,
			       struct trim *trim)
{
	struct answer answer = {{0}};
	enum exit_code code;
	const json_t *object, *remote;
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
	remote = json_object_get(client, "remote");
	trim->remote_ack = json_integer_value(json_object_get(remote, "ack"));
	trim->remote_released_bytes = json_integer_value(json_object_get(remote, "released_bytes"));
	trim->remote_failed = json_is_false(json_object_get(remote, "done"));
	json_decref(client);
	return judge(&answer);
}

/* `is_late` is set where hakd did answer in time and the program did not; every other failure has
 * been complained about. */
static enum exit_code wait_for_ack(const struct options *options, struct query *query,
				   const struct requests *requests, struct trim *trim,
				   bool *is_late)
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
		if (trim->ack >= requests->mailbox && trim->remote_ack >= requests->remote)
			return EXIT_CODE_OK;
		/* Numbers of requests only rise, as long as it is the same client. */
		if (trim->request < requests->mailbox) {
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

/* What of it is known to be done. */
struct outcome {
	const struct trim *trim;
	bool has_mailbox, has_remote;
};

static void print_json(const struct options *options, const struct requests *requests,
		       const struct outcome *outcome)
{
	const struct trim *trim = outcome->trim;
	json_t *object = json_pack("{s:i, s:i, s:I, s:b}", "schema", 1, "pid", (int)options->pid,
				   "trim_request", (json_int_t)requests->mailbox, "done",
				   outcome->has_mailbox ||
					   (requests->mailbox == 0 && outcome->has_remote &&
					    !trim->remote_failed));

	if (outcome->has_mailbox) {
		json_object_set_new(object, "before_bytes", json_integer(trim->before_bytes));
		json_object_set_new(object, "after_bytes", json_integer(trim->after_bytes));
		json_object_set_new(object, "released_bytes", json_integer(trim->released_bytes));
	}
	if (outcome->has_remote)
		json_object_set_new(object, "remote_released_bytes",
				    json_integer(trim->remote_released_bytes));
	render_json(object);
	json_decref(object);
}

static void print_words(const struct options *options, const struct requests *requests,
			const struct outcome *outcome)
{
	enum render_size how = options->is_exact ? RENDER_SIZE_EXACT : RENDER_SIZE_WORDS;
	const struct trim *trim = outcome->trim;
	char before[RENDER_NUMBER_BYTES], after[RENDER_NUMBER_BYTES];
	char released[RENDER_NUMBER_BYTES];

	if (outcome->has_remote && (trim->remote_released_bytes > 0 || requests->mailbox == 0))
		printf("%d: %s taken from outside\n", (int)options->pid,
		       render_size(trim->remote_released_bytes, how, released));
	if (outcome->has_mailbox)
		printf("%d: cached and free %s before, %s after; %s released\n", (int)options->pid,
		       render_size(trim->before_bytes, how, before),
		       render_size(trim->after_bytes, how, after),
		       render_size(trim->released_bytes, how, released));
	else if (options->waits && requests->mailbox != 0)
		printf("%d: pending: program is idle; it carries the trim out when it next needs "
		       "memory\n",
		       (int)options->pid);
	else if (!options->waits)
		printf("%d: asked for\n", (int)options->pid);
}

/* A program that is idle has done what can be asked of it, where something was taken from it. */
static bool is_enough(const struct outcome *outcome)
{
	return outcome->has_remote && outcome->trim->remote_released_bytes > 0;
}

static enum exit_code trim_process(const struct options *options, struct query *query)
{
	struct trim trim = {.request = 0};
	struct requests requests = {.mailbox = 0};
	enum exit_code code = post_trim(options, query, &requests);
	struct outcome outcome = {.trim = &trim};
	bool is_late = false;

	if (code == EXIT_CODE_OK && options->waits)
		code = wait_for_ack(options, query, &requests, &trim, &is_late);
	if (code != EXIT_CODE_OK && !is_late)
		return code;
	if (options->waits) {
		outcome.has_mailbox = requests.mailbox != 0 && trim.ack >= requests.mailbox;
		outcome.has_remote = requests.remote != 0 && trim.remote_ack >= requests.remote;
	}
	if (options->is_json)
		print_json(options, &requests, &outcome);
	else
		print_words(options, &requests, &outcome);
	if (outcome.has_remote && trim.remote_failed && requests.mailbox == 0) {
		arguments_complain("hakd's advisor could not do it, or not all of it: hakd's log "
				   "says why");
		return EXIT_CODE_FAILED;
	}
	return is_late && is_enough(&outcome) ? EXIT_CODE_OK : code;
}

static struct budget_look look_of(const struct options *options)
{
	return (struct budget_look){.is_json = options->is_json, .is_exact = options->is_exact};
}

static enum exit_code do_budget_set(const struct options *options, struct query *query)
{
	struct budget_look look = look_of(options);

	return budget_set(query, &options->wish, &look);
}

static enum exit_code do_budget_get(const struct options *options, struct query *query)
{
	struct budget_look look = look_of(options);

	return budget_get(query, &options->wish, &look);
}

static enum exit_code do_budget_clear(const struct options *options, struct query *query)
{
	struct budget_look look = look_of(options);

	return budget_clear(query, &options->wish, &look);
}

static enum exit_code do_why(const struct options *options, struct query *query)
{
	struct budget_look look = look_of(options);

	return budget_why(query, options->pid, &look);
}

static enum exit_code do_reload(const struct options *options, struct query *query)
{
	struct budget_look look = look_of(options);

	return budget_reload(query, &look);
}

static enum exit_code do_pause(const struct options *options, struct query *query)
{
	return pause_begin(query, options->wish.ttl_ms, options->is_json);
}

static enum exit_code do_resume(const struct options *options, struct query *query)
{
	return pause_end(query, options->is_json);
}

/* Each verb: how many words it has behind it, and what it does. */
static const struct verb {
	const char *words[2];
	int least, most; /* of the words behind it */
	bool needs_pid;
	const char *needs; /* what is said where there are too few */
	enum exit_code (*act)(const struct options *options, struct query *query);
} verbs[] = {
	{{"trim"}, 1, 1, true, "trim needs a PID", trim_process},
	{{"budget", "set"}, 1, 1, false, "budget set needs a GROUP or a PID", do_budget_set},
	{{"budget", "get"}, 0, 1, false, "", do_budget_get},
	{{"budget", "clear"}, 1, 1, false, "budget clear needs a GROUP or a PID", do_budget_clear},
	{{"why"}, 1, 1, true, "why needs a PID", do_why},
	{{"reload"}, 0, 0, false, "", do_reload},
	{{"policy", "pause"}, 0, 0, false, "", do_pause},
	{{"policy", "resume"}, 0, 0, false, "", do_resume},
};

#define VERBS "trim, budget, why, reload and policy"

/* The verb whose words these begin with; NULL: said what is wrong. */
static const struct verb *find_verb(int count, char **words)
{
	for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
		const struct verb *verb = &verbs[i];

		if (count > 0 && strcmp(words[0], verb->words[0]) == 0 &&
		    (verb->words[1] == NULL ||
		     (count > 1 && strcmp(words[1], verb->words[1]) == 0)))
			return verb;
	}
	if (count == 0)
		arguments_complain("what is to be done? The verbs are " VERBS);
	else if (strcmp(words[0], "budget") == 0)
		arguments_complain("budget set, budget get or budget clear?");
	else if (strcmp(words[0], "policy") == 0)
		arguments_complain("policy pause or policy resume?");
	else
		arguments_complain("there is no verb '%s', only " VERBS, words[0]);
	return NULL;
}

/* The verb and what it is about; NULL: said what is wrong. */
static const struct verb *take_words(int count, char **words, struct options *options)
{
	const struct verb *verb = find_verb(count, words);
	int skipped;

	if (verb == NULL)
		return NULL;
	skipped = verb->words[1] == NULL ? 1 : 2;
	count -= skipped;
	words += skipped;
	if (count < verb->least) {
		arguments_complain("%s", verb->needs);
		return NULL;
	}
	if (count > verb->most) {
		arguments_complain(verb->most == 0   ? "there is nothing to do with '%s'"
				   : verb->needs_pid ? "one PID at a time, without '%s'"
						     : "one GROUP or PID at a time, without '%s'",
				   words[verb->most]);
		return NULL;
	}
	options->wish.whose = count > 0 ? words[0] : NULL;
	if (count > 0 && !verb->needs_pid && !budget_read_whose(words[0]))
		return NULL;
	if (verb->needs_pid && !arguments_pid(words[0], &options->pid))
		return NULL;
	return verb->act != do_budget_set || budget_may_set(&options->wish) ? verb : NULL;
}

int main(int count, char **arguments)
{
	struct options options = {
		.runtime_dir = arguments_runtime_dir(),
		.timeout_ms = ARGUMENTS_TIMEOUT_MS,
		.waits = true,
	};
	const struct verb *verb;
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
	verb = take_words(count - optind, arguments + optind, &options);
	if (verb == NULL)
		return arguments_refuse();
	code = query_init(&query, options.runtime_dir, options.timeout_ms);
	if (code == EXIT_CODE_OK)
		code = verb->act(&options, &query);
	else
		query_complain(&query, code, 0);
	query_deinit(&query);
	return arguments_finish(code);
}
