/* hakd-advisor - the one process of hak that holds capabilities: advises the kernel on pages of
 * clients, as hakd asks, and nothing else (target.h).
 *
 * Under systemd it listens on a socket that hakd's user alone may open. Started by a hakd that was
 * started by root it has a connection from birth; a second process then looks after it, since hakd
 * has given up what it would take to start another.
 */
#include "advisor/service.h"
#include "base/log.h"
#include "base/privilege.h"
#include "base/text.h"

#include <hak/hak.h>

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pwd.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#define BYTES_PER_SECOND ((uint64_t)2 << 30)

static const char usage[] = "usage: hakd-advisor [OPTION]...\n"
			    "\n"
			    "Lets the kernel take what programs on libhak have marked as free, as "
			    "hakd asks. Started by\n"
			    "systemd or by hakd.\n"
			    "\n"
			    "  --peer-user USER         who may connect to systemd's socket, "
			    "beside root; default hakd\n"
			    "  --connection FD          serve this connection alone\n"
			    "  --bytes-per-second SIZE  the most that is advised, default 2G\n"
			    "  --help, --version\n";

struct options {
	const char *peer_user;
	int connection; /* -1: none */
	uint64_t bytes_per_second;
};

enum { OPTION_USER = 256, OPTION_CONNECTION, OPTION_BYTES, OPTION_VERSION };

static const struct option long_options[] = {
	{"peer-user", required_argument, NULL, OPTION_USER},
	{"connection", required_argument, NULL, OPTION_CONNECTION},
	{"bytes-per-second", required_argument, NULL, OPTION_BYTES},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, OPTION_VERSION},
	{NULL, 0, NULL, 0},
};

static int refuse(const char *option, const char *value, const char *wanted)
{
	fprintf(stderr, "hakd-advisor: %s '%s' is not %s; see hakd-advisor --help.\n", option,
		value, wanted);
	return 2;
}

static bool parse_connection(const char *text, int *fd)
{
	char *end;
	long number = strtol(text, &end, 10);

	*fd = (int)number;
	return end != text && *end == '\0' && number >= 0 && number <= 1 << 20 &&
	       sd_is_socket((int)number, AF_UNIX, SOCK_SEQPACKET, 0) > 0;
}

/* -1: go on; else the status to end with. */
static int parse(int count, char **words, struct options *options)
{
	int option;

	words[0] = program_invocation_short_name; /* which getopt(3) complains under */
	while ((option = getopt_long(count, words, "h", long_options, NULL)) != -1) {
		switch (option) {
		case OPTION_USER:
			options->peer_user = optarg;
			break;
		case OPTION_CONNECTION:
			if (!parse_connection(optarg, &options->connection))
				return refuse("--connection", optarg, "a connected unix socket");
			break;
		case OPTION_BYTES:
			if (!text_parse_bytes(optarg, 0, &options->bytes_per_second) ||
			    options->bytes_per_second == 0)
				return refuse("--bytes-per-second", optarg, "a size above 0");
			break;
		case OPTION_VERSION:
			printf("hakd-advisor %d.%d.%d\n", HAK_VERSION_MAJOR, HAK_VERSION_MINOR,
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

/* Ends, as the last of the two, when the one that serves has ended by itself. One that was killed
 * is followed by another on the same connection, a second apart; hakd is told by its greeting. */
static void look_after(void)
{
	for (;;) {
		pid_t child = fork();
		int status;

		if (child == 0) {
			/* There is nobody to follow it when its keeper has gone; it goes on. */
			return;
		}
		if (child < 0 || waitpid(child, &status, 0) != child || WIFEXITED(status))
			_exit(child < 0 ? 1 : WEXITSTATUS(status));
		log_say(LOG_WARNING, "The advisor was ended by signal %d: there is another now.",
			WTERMSIG(status));
		sleep(1);
	}
}

static int serve_connection(const struct options *options)
{
	struct service service;

	look_after();
	service_init(&service, geteuid(), options->bytes_per_second);
	if (service_add(&service, options->connection) != 0)
		return 1;
	return service_run(&service) == 0 ? 0 : 1;
}

static int serve_systemd(const struct options *options)
{
	const struct passwd *user = getpwnam(options->peer_user);
	struct service service;

	if (sd_listen_fds(1) != 1 ||
	    sd_is_socket(SD_LISTEN_FDS_START, AF_UNIX, SOCK_SEQPACKET, 1) <= 0) {
		log_say(LOG_ERR, "There is no listening socket from systemd, nor --connection.");
		return 1;
	}
	if (user == NULL) {
		log_say(LOG_ERR, "There is no user '%s' who might ask.", options->peer_user);
		return 1;
	}
	fcntl(SD_LISTEN_FDS_START, F_SETFL, O_NONBLOCK);
	service_init(&service, user->pw_uid, options->bytes_per_second);
	service.listening = SD_LISTEN_FDS_START;
	sd_notify(0, "READY=1");
	return service_run(&service) == 0 ? 0 : 1;
}

int main(int count, char **words)
{
	struct options options = {
		.peer_user = "hakd", .connection = -1, .bytes_per_second = BYTES_PER_SECOND};
	int status = parse(count, words, &options), error;

	if (status >= 0)
		return status;
	log_init(LOG_INFO);
	signal(SIGPIPE, SIG_IGN);
	error = privilege_keep(privilege_has(PRIVILEGE_ADVICE) ? PRIVILEGE_ADVICE : 0);
	if (error != 0) {
		log_say(LOG_ERR, "Cannot give up capabilities: %s.", strerror(-error));
		return 1;
	}
	return options.connection >= 0 ? serve_connection(&options) : serve_systemd(&options);
}
