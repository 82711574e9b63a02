/* hakd, the daemon of the host: options, and nothing else. */
#include "base/log.h"
#include "base/text.h"
#include "daemon.h"

#include <hak/hak.h>

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
	"usage: hakd [OPTION]...\n"
	"\n"
	"Sees the heap of every process on this host that runs on libhak, gives each its budget,\n"
	"asks for memory back, and answers at DIR/control.\n"
	"\n"
	"  --runtime-dir DIR           where the sockets client and control are; default /run/hak\n"
	"  --metrics-socket PATH       /metrics alone, for everybody, on a unix socket of its own\n"
	"  --soft-budget SIZE|N%       above it a process's heap turns frugal: 64M, 1.5G, a part "
	"of\n"
	"                              the machine's memory, or 0 for none; default 50%\n"
	"  --remote-reclaim yes|no     take marked memory from idle and stopped programs, where\n"
	"                              that can be done; default yes\n"
	"  --log-level LEVEL           error, warning, info (default) or debug\n"
	"  --help, --version\n";

static int refuse(const char *option, const char *value, const char *wanted)
{
	fprintf(stderr, "hakd: %s '%s' is not %s; see hakd --help.\n", option, value, wanted);
	return 2;
}

enum {
	OPTION_RUNTIME_DIR = 256,
	OPTION_METRICS,
	OPTION_BUDGET,
	OPTION_RECLAIM,
	OPTION_LOG,
	OPTION_VERSION
};

static const struct option long_options[] = {
	{"runtime-dir", required_argument, NULL, OPTION_RUNTIME_DIR},
	{"metrics-socket", required_argument, NULL, OPTION_METRICS},
	{"soft-budget", required_argument, NULL, OPTION_BUDGET},
	{"remote-reclaim", required_argument, NULL, OPTION_RECLAIM},
	{"log-level", required_argument, NULL, OPTION_LOG},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, OPTION_VERSION},
	{NULL, 0, NULL, 0},
};

/* -1: go on; else the status to end with. */
static int parse(int count, char **words, struct daemon_options *options, int *log_level)
{
	uint64_t memory_bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
	int option;

	options->soft_budget_bytes = memory_bytes / 2;
	words[0] = program_invocation_short_name; /* which getopt(3) complains under */
	while ((option = getopt_long(count, words, "h", long_options, NULL)) != -1) {
		switch (option) {
		case OPTION_RUNTIME_DIR:
			options->runtime_dir = optarg;
			break;
		case OPTION_METRICS:
			options->metrics_socket = optarg;
			break;
		case OPTION_BUDGET:
			if (!text_parse_bytes(optarg, memory_bytes, &options->soft_budget_bytes))
				return refuse("--soft-budget", optarg, "a size or a percentage");
			break;
		case OPTION_RECLAIM:
			options->remote_reclaim = strcmp(optarg, "yes") == 0;
			if (!options->remote_reclaim && strcmp(optarg, "no") != 0)
				return refuse("--remote-reclaim", optarg, "yes or no");
			break;
		case OPTION_LOG:
			if (!log_parse_level(optarg, log_level))
				return refuse("--log-level", optarg,
					      "error, warning, info or debug");
			break;
		case OPTION_VERSION:
			printf("hakd %d.%d.%d\n", HAK_VERSION_MAJOR, HAK_VERSION_MINOR,
			       HAK_VERSION_PATCH);
			return 0;
		case 'h':
			fputs(usage, stdout);
			return 0;
		default: /* getopt has said what it does not know */
			return 2;
		}
	}
	if (optind < count)
		return refuse("the argument", words[optind], "an option");
	return -1;
}

int main(int count, char **words)
{
	struct daemon_options options = {.runtime_dir = "/run/hak", .remote_reclaim = true};
	int log_level = LOG_INFO;
	int status = parse(count, words, &options, &log_level);
	struct daemon daemon;

	if (status >= 0)
		return status;
	log_init(log_level);
	if (daemon_init(&daemon, &options) != 0)
		return 1;
	status = daemon_run(&daemon) == 0 ? 0 : 1;
	daemon_deinit(&daemon);
	return status;
}
