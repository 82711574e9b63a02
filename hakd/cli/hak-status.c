/* hak-status - look: what the heaps of this machine's programs are doing. Changes nothing. */
#include "cli/answer.h"
#include "cli/arguments.h"
#include "cli/list.h"
#include "cli/query.h"
#include "cli/recent.h"
#include "cli/render.h"
#include "cli/show.h"

#include <errno.h>
#include <getopt.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
	"usage: hak-status [OPTION...] [PID]\n"
	"\n"
	"Shows the heaps of all programs that run on libhak, or all about one of them, as hakd\n"
	"knows them.\n"
	"\n"
	"  --actions          what hakd has done about memory lately, instead\n"
	"  --sort KEY         pid, user, command, live (default), cached, free, resident,\n"
	"                     superslabs, budget or age\n"
	"  --bytes            sizes as plain numbers of bytes\n"
	"  --no-legend        no line about hakd, no column names, no hints\n"
	"  --json             what hakd says, as JSON\n"
	"  --runtime-dir DIR  where hakd has its sockets: $HAK_RUNTIME_DIR, or else /run/hak\n"
	"  --timeout SEC      how long to wait for hakd, 5 by default\n"
	"  --help, --version\n"
	"\n"
	"LIVE is in the program's hands, CACHED and FREE are what libhak keeps for it, RESIDENT "
	"is\n"
	"all memory of the process; AGE is how old these numbers are.\n"
	"\n"
	"status: 0 done, 1 failed, 2 wrong arguments, 3 hakd is not running, 4 no such process,\n"
	"        5 no permission, 6 hakd did not answer in time\n";

struct options {
	const char *runtime_dir;
	int64_t timeout_ms;
	pid_t pid; /* 0: all */
	enum list_column sorted_by;
	enum render_size how;
	bool is_json, has_legend, shows_actions;
};

enum option_letter {
	OPTION_ACTIONS = 'a',
	OPTION_BYTES = 'b',
	OPTION_DIR = 'd',
	OPTION_HELP = 'h',
	OPTION_JSON = 'j',
	OPTION_NO_LEGEND = 'n',
	OPTION_SORT = 's',
	OPTION_TIMEOUT = 't',
	OPTION_VERSION = 'v',
};

static const struct option long_options[] = {
	{"actions", no_argument, NULL, OPTION_ACTIONS},
	{"bytes", no_argument, NULL, OPTION_BYTES},
	{"help", no_argument, NULL, OPTION_HELP},
	{"json", no_argument, NULL, OPTION_JSON},
	{"no-legend", no_argument, NULL, OPTION_NO_LEGEND},
	{"runtime-dir", required_argument, NULL, OPTION_DIR},
	{"sort", required_argument, NULL, OPTION_SORT},
	{"timeout", required_argument, NULL, OPTION_TIMEOUT},
	{"version", no_argument, NULL, OPTION_VERSION},
	{0},
};

static bool take_sort(const char *key, struct options *options)
{
	options->sorted_by = list_column_of(key);
	if (options->sorted_by == LIST_COLUMN_COUNT)
		arguments_complain("there is no column '%s' to sort by", key);
	return options->sorted_by != LIST_COLUMN_COUNT;
}

/* False: said what is wrong. */
static bool take_option(int letter, struct options *options)
{
	switch (letter) {
	case OPTION_ACTIONS:
		options->shows_actions = true;
		return true;
	case OPTION_BYTES:
		options->how = RENDER_SIZE_EXACT;
		return true;
	case OPTION_JSON:
		options->is_json = true;
		return true;
	case OPTION_NO_LEGEND:
		options->has_legend = false;
		return true;
	case OPTION_DIR:
		options->runtime_dir = optarg;
		return true;
	case OPTION_SORT:
		return take_sort(optarg, options);
	case OPTION_TIMEOUT:
		return arguments_timeout(optarg, &options->timeout_ms);
	default: /* getopt has complained */
		return false;
	}
}

static enum exit_code print(const struct options *options, json_t *first, const json_t *clients)
{
	struct answer answer = {{0}};

	/* One document for all: the status, and what it has no key for. */
	if (clients != NULL && options->is_json)
		json_object_set(first, "clients", json_object_get(clients, "clients"));
	if (options->is_json)
		render_json(first);
	else if (options->shows_actions)
		recent_print(&answer, first, options->how, options->has_legend);
	else if (clients != NULL)
		list_print(&answer, first, clients, options->sorted_by, options->how,
			   options->has_legend);
	else
		show_print(&answer, first, options->how, options->has_legend);
	if (answer_is_good(&answer))
		return EXIT_CODE_OK;
	arguments_complain("%s", answer.why);
	return EXIT_CODE_FAILED;
}

static enum exit_code look(const struct options *options, struct query *query)
{
	json_t *first = NULL, *clients = NULL;
	enum exit_code code;
	char path[64] = "/v1/status";

	if (options->shows_actions)
		strcpy(path, "/v1/actions");
	else if (options->pid != 0)
		snprintf(path, sizeof path, "/v1/clients/%d", (int)options->pid);
	code = query_ask(query, path, NULL, &first);
	if (code == EXIT_CODE_OK && options->pid == 0 && !options->shows_actions)
		code = query_ask(query, "/v1/clients", NULL, &clients);
	if (code == EXIT_CODE_OK)
		code = print(options, first, clients);
	else
		query_complain(query, code, options->pid);
	json_decref(first);
	json_decref(clients);
	return code;
}

int main(int count, char **arguments)
{
	struct options options = {
		.runtime_dir = arguments_runtime_dir(),
		.timeout_ms = ARGUMENTS_TIMEOUT_MS,
		.sorted_by = LIST_LIVE,
		.has_legend = true,
	};
	struct query query;
	enum exit_code code;
	int letter;

	/* Letters of the user's language, but points in numbers: programs read them, too. */
	setlocale(LC_CTYPE, "");
	arguments[0] = program_invocation_short_name; /* which getopt(3) complains under */
	while ((letter = getopt_long(count, arguments, "h", long_options, NULL)) != -1) {
		if (letter == OPTION_HELP || letter == OPTION_VERSION) {
			fputs(letter == OPTION_HELP ? usage : "hak-status " ARGUMENTS_VERSION "\n",
			      stdout);
			return arguments_finish(EXIT_CODE_OK);
		}
		if (!take_option(letter, &options))
			return arguments_refuse();
	}
	if (count - optind > 1) {
		arguments_complain("one PID at most");
		return arguments_refuse();
	}
	if (optind < count && !arguments_pid(arguments[optind], &options.pid))
		return arguments_refuse();
	code = query_init(&query, options.runtime_dir, options.timeout_ms);
	if (code == EXIT_CODE_OK)
		code = look(&options, &query);
	else
		query_complain(&query, code, 0);
	query_deinit(&query);
	return arguments_finish(code);
}
