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
	"  --runtime-dir DIR           where the sockets client, control and pressure are, and "
	"the\n"
	"                              state; default /run/hak\n"
	"  --metrics-socket PATH       /metrics alone, for everybody, on a unix socket of its own\n"
	"  --soft-budget SIZE|N%       above it a process's heap turns frugal: 64M, 1.5G, a part "
	"of\n"
	"                              the machine's memory, or 0 for none; default 50%,\n"
	"                              or what hakd.conf says\n"
	"  --slack SIZE|N%             what all heaps together may keep free, each the same part;\n"
	"                              default 0: what hakd.conf says\n"
	"  --dry-run                   tell which memory would be taken back, and take none\n"
	"  --config FILE               read this in place of hakd.conf(5), and no drop-ins\n"
	"  --config-dir DIR            look for hakd.conf and hakd.conf.d here and not in "
	"/usr/lib/hak,\n"
	"                              /usr/local/lib/hak, /run/hak and /etc/hak; may be given "
	"several\n"
	"                              times, the directory that goes before the others last\n"
	"  --check-config              only say what is wrong with the configuration: status 0 or "
	"1\n"
	"  --print-config              only print the configuration that comes of all files\n"
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
	OPTION_CONFIG,
	OPTION_CONFIG_DIR,
	OPTION_CHECK,
	OPTION_PRINT,
	OPTION_RECLAIM,
	OPTION_LOG,
	OPTION_DRY_RUN,
	OPTION_SLACK,
	OPTION_VERSION
};

/* What to do with the configuration. */
enum deed { DEED_SERVE, DEED_CHECK, DEED_PRINT };

static const struct option long_options[] = {
	{"runtime-dir", required_argument, NULL, OPTION_RUNTIME_DIR},
	{"metrics-socket", required_argument, NULL, OPTION_METRICS},
	{"soft-budget", required_argument, NULL, OPTION_BUDGET},
	{"slack", required_argument, NULL, OPTION_SLACK},
	{"dry-run", no_argument, NULL, OPTION_DRY_RUN},
	{"config", required_argument, NULL, OPTION_CONFIG},
	{"config-dir", required_argument, NULL, OPTION_CONFIG_DIR},
	{"check-config", no_argument, NULL, OPTION_CHECK},
	{"print-config", no_argument, NULL, OPTION_PRINT},
	{"remote-reclaim", required_argument, NULL, OPTION_RECLAIM},
	{"log-level", required_argument, NULL, OPTION_LOG},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, OPTION_VERSION},
	{NULL, 0, NULL, 0},
};

/* The same: -1 or a status. */
static int take_config(int option, struct conf_sources *sources, enum deed *deed)
{
	switch (option) {
	case OPTION_CONFIG:
		sources->main_file = optarg;
		return -1;
	case OPTION_CHECK:
		*deed = DEED_CHECK;
		return -1;
	case OPTION_PRINT:
		*deed = DEED_PRINT;
		return -1;
	default:
		if (sources->dir_count == CONF_DIRS_MAX)
			return refuse("--config-dir", optarg, "one of the first eight");
		sources->dirs[sources->dir_count++] = optarg;
		return -1;
	}
}

/* Of the lowest rank first. */
static void set_usual_places(struct conf_sources *sources)
{
	static const char *const usual[] = {"/usr/lib/hak", "/usr/local/lib/hak", "/run/hak",
					    "/etc/hak"};

	if (sources->main_file != NULL || sources->dir_count != 0)
		return;
	memcpy(sources->dirs, usual, sizeof usual);
	sources->dir_count = sizeof usual / sizeof usual[0];
}

/* -1: go on; else the status to end with. */
static int parse(int count, char **words, struct daemon_options *options, int *log_level,
		 enum deed *deed)
{
	int option, status = -1;

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
			if (!text_parse_bytes(optarg, options->memory_bytes,
					      &options->soft_budget_bytes))
				return refuse("--soft-budget", optarg, "a size or a percentage");
			break;
		case OPTION_CONFIG:
		case OPTION_CONFIG_DIR:
		case OPTION_CHECK:
		case OPTION_PRINT:
			status = take_config(option, &options->config, deed);
			if (status >= 0)
				return status;
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
		case OPTION_SLACK:
			if (!text_parse_bytes(optarg, options->memory_bytes, &options->slack_bytes))
				return refuse("--slack", optarg, "a size or a percentage");
			break;
		case OPTION_DRY_RUN:
			options->is_dry_run = true;
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
	set_usual_places(&options->config);
	return -1;
}

/* Without a daemon: problems go to stderr, so that what is printed can be kept. */
static int look_at_config(const struct daemon_options *options, enum deed deed)
{
	struct conf_report report = {.error_count = 0};
	struct text text = {.bytes = NULL};
	struct conf config;
	struct policy *policy;

	conf_read(&config, &options->config, &report);
	policy = policy_new(&config, options->memory_bytes, &report);
	if (policy != NULL && deed == DEED_PRINT)
		policy_print(policy, &text);
	if (report.text.bytes != NULL)
		fputs(report.text.bytes, stderr);
	if (text.bytes != NULL)
		fputs(text.bytes, stdout);
	text_deinit(&text);
	conf_report_deinit(&report);
	policy_free(policy);
	return policy != NULL && fflush(stdout) == 0 ? 0 : 1;
}

int main(int count, char **words)
{
	struct daemon_options options = {
		.runtime_dir = "/run/hak",
		.remote_reclaim = true,
		.soft_budget_bytes = ALLOT_NO_DEFAULT,
		.memory_bytes = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE),
	};
	enum deed deed = DEED_SERVE;
	int log_level = LOG_INFO;
	int status = parse(count, words, &options, &log_level, &deed);
	struct daemon daemon;

	if (status >= 0)
		return status;
	if (deed != DEED_SERVE)
		return look_at_config(&options, deed);
	log_init(log_level);
	if (daemon_init(&daemon, &options) != 0)
		return 1;
	status = daemon_run(&daemon) == 0 ? 0 : 1;
	daemon_deinit(&daemon);
	return status;
}
