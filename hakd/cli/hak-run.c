/* hak-run - runs a command on libhak, or says why it cannot. */
#include "cli/arguments.h"
#include "cli/preload.h"
#include "cli/program.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
	"usage: hak-run [OPTION...] [--] COMMAND [ARG...]\n"
	"\n"
	"Runs COMMAND, and what it starts, with libhak in place of malloc.\n"
	"\n"
	"  --budget SIZE  above so much in use and cached, what is free goes back at once\n"
	"  --limit SIZE   above so much, allocation fails\n"
	"  --agent        a thread gives memory back while a program stands still\n"
	"  --secure       libhak-secure.so, with more checks\n"
	"  --stats        a summary of the heap at the command's end, on its standard error\n"
	"  --lib PATH     this libhak rather than the one beside hak-run\n"
	"  --help, --version\n"
	"\n"
	"SIZE is a number of bytes, or one with K, M, G or T, such as 512M.\n"
	"\n"
	"status: that of COMMAND; 2 wrong arguments, 125 libhak cannot be loaded into it, 126 it\n"
	"        cannot be run, 127 there is no such command\n";

struct options {
	const char *library;		    /* NULL: the one that is found */
	uint64_t budget_bytes, limit_bytes; /* 0: not given */
	bool is_secure, has_agent, has_stats;
};

enum option_letter {
	OPTION_AGENT = 'a',
	OPTION_BUDGET = 'b',
	OPTION_HELP = 'h',
	OPTION_LIB = 'L',
	OPTION_LIMIT = 'l',
	OPTION_SECURE = 's',
	OPTION_STATS = 't',
	OPTION_VERSION = 'v',
};

static const struct option long_options[] = {
	{"agent", no_argument, NULL, OPTION_AGENT},
	{"budget", required_argument, NULL, OPTION_BUDGET},
	{"help", no_argument, NULL, OPTION_HELP},
	{"lib", required_argument, NULL, OPTION_LIB},
	{"limit", required_argument, NULL, OPTION_LIMIT},
	{"secure", no_argument, NULL, OPTION_SECURE},
	{"stats", no_argument, NULL, OPTION_STATS},
	{"version", no_argument, NULL, OPTION_VERSION},
	{0},
};

/* False: said what is wrong. */
static bool take_option(int letter, struct options *options)
{
	switch (letter) {
	case OPTION_AGENT:
		options->has_agent = true;
		return true;
	case OPTION_BUDGET:
		return arguments_size(optarg, &options->budget_bytes);
	case OPTION_LIMIT:
		return arguments_size(optarg, &options->limit_bytes);
	case OPTION_LIB:
		options->library = optarg;
		return true;
	case OPTION_SECURE:
		options->is_secure = true;
		return true;
	case OPTION_STATS:
		options->has_stats = true;
		return true;
	default: /* getopt has complained */
		return false;
	}
}

static bool is_consistent(const struct options *options)
{
	if (options->library != NULL && options->is_secure) {
		arguments_complain("--secure and --lib both say which library");
		return false;
	}
	if (options->limit_bytes != 0 && options->budget_bytes > options->limit_bytes) {
		arguments_complain("the limit is below the budget");
		return false;
	}
	return true;
}

static void set_text(const char *name, const char *text)
{
	if (setenv(name, text, 1) != 0)
		(void)arguments_must(NULL);
}

/* What is not given stays as the environment has it. */
static void set_bytes(const char *name, uint64_t bytes)
{
	char text[24];

	snprintf(text, sizeof text, "%" PRIu64, bytes);
	if (bytes != 0)
		set_text(name, text);
}

static void set_environment(const struct options *options, const char *library)
{
	set_bytes("HAK_BUDGET_SOFT", options->budget_bytes);
	set_bytes("HAK_BUDGET_HARD", options->limit_bytes);
	if (options->has_agent)
		set_text("HAK_AGENT", "1");
	if (options->has_stats)
		set_text("HAK_STATS", "1");
	preload_set(library);
}

static enum exit_code run(const struct options *options, char **command)
{
	struct program program;
	char library[PATH_MAX];
	enum exit_code code = preload_find(options->library, options->is_secure, library);

	if (code == EXIT_CODE_OK)
		code = program_find(&program, command[0]);
	if (code != EXIT_CODE_OK)
		return code;
	set_environment(options, library);
	code = preload_check(&program, library);
	if (code != EXIT_CODE_OK)
		return code;
	/* With a slash in it the path is taken as it is, and a text without #! is the shell's. */
	execvp(program.path, command);
	arguments_complain("cannot run '%s': %s", program.path, strerror(errno));
	return errno == ENOENT ? EXIT_CODE_NOT_FOUND : EXIT_CODE_CANNOT_RUN;
}

int main(int count, char **arguments)
{
	struct options options = {0};
	int letter;

	arguments[0] = program_invocation_short_name; /* which getopt(3) complains under */
	while ((letter = getopt_long(count, arguments, "+h", long_options, NULL)) != -1) {
		if (letter == OPTION_HELP || letter == OPTION_VERSION) {
			fputs(letter == OPTION_HELP ? usage : "hak-run " ARGUMENTS_VERSION "\n",
			      stdout);
			return arguments_finish(EXIT_CODE_OK);
		}
		if (!take_option(letter, &options))
			return arguments_refuse();
	}
	if (optind == count) {
		arguments_complain("what is to be run?");
		return arguments_refuse();
	}
	if (!is_consistent(&options))
		return arguments_refuse();
	return run(&options, arguments + optind);
}
