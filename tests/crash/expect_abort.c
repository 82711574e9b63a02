/* expect_abort - runs a program that must say one sentence on fd 2 and abort.
 *
 *   expect_abort [--preload LIBRARY] [--seconds N] [--signal N] SENTENCE PROGRAM [ARGUMENT...]
 *
 * Goal     a misuse is found, named in the exact words, and ends the process at once.
 * Method   the program runs without core dumps and with its fd 2 in a pipe. It passes if it died
 *          of SIGABRT, or of signal N, within N seconds (10 unless told) and the pipe held SENTENCE
 *          and a newline, nothing else, or where SENTENCE is - nothing at all. In SENTENCE %p
 *          stands for 0x and hexadecimal digits, %u for decimal ones; everything else stands for
 *          itself.
 *
 * A runner is needed because ctest takes an abort for a failure whatever the output says. It
 * prints nothing when it passes, and ends with 1 when it does not.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SAID_BYTES_MAX 4096

struct run {
	const char *library; /* NULL: nothing is preloaded */
	long seconds_max;
	int signal;
	const char *sentence;
	char **command;
};

/* What the program did. said ends with a NUL; of more than fits the rest is dropped, which leaves
 * enough to call it the wrong words. */
struct outcome {
	bool timed_out;
	int wait_status;
	char said[SAID_BYTES_MAX];
};

static _Noreturn __attribute__((format(printf, 1, 2))) void fail(const char *format, ...)
{
	va_list values;

	fputs("expect_abort: ", stderr);
	va_start(values, format);
	vfprintf(stderr, format, values);
	va_end(values);
	fputc('\n', stderr);
	exit(1);
}

static long long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* True if text is pattern, with %p and %u taken as said above. No digit can follow a number in a
 * sentence, so taking as many as there are is never too many. */
static bool matches(const char *pattern, const char *text)
{
	while (*pattern != '\0') {
		bool address = strncmp(pattern, "%p", 2) == 0;
		const char *digits = address ? "0123456789abcdef" : "0123456789";

		if (!address && strncmp(pattern, "%u", 2) != 0) {
			if (*pattern++ != *text++)
				return false;
			continue;
		}
		if (address) {
			if (strncmp(text, "0x", 2) != 0)
				return false;
			text += 2;
		}
		size_t count = strspn(text, digits);

		if (count == 0)
			return false;
		text += count;
		pattern += 2;
	}
	return *text == '\0';
}

static _Noreturn void run_child(const struct run *run, int said_fd)
{
	/* 1 and not 0: the kernel writes no file for either, but 0 would still start a core handler
	 * where core_pattern names one. */
	struct rlimit core = {.rlim_cur = 1, .rlim_max = 1};

	setrlimit(RLIMIT_CORE, &core);
	if (run->library != NULL)
		setenv("LD_PRELOAD", run->library, 1);
	dup2(said_fd, STDERR_FILENO);
	close(said_fd);
	execv(run->command[0], run->command);
	fprintf(stderr, "%s: %s\n", run->command[0], strerror(errno));
	_exit(127);
}

/* Reads fd to its end, or to the deadline. Returns false at the deadline. */
static bool read_all(int fd, struct outcome *outcome, long long deadline_ms)
{
	size_t used = 0;

	for (;;) {
		char rest[512];
		size_t room = sizeof outcome->said - 1 - used;
		struct pollfd said = {.fd = fd, .events = POLLIN};
		long long left_ms = deadline_ms - now_ms();

		if (left_ms <= 0 || poll(&said, 1, (int)left_ms) == 0)
			return false;
		ssize_t got = room > 0 ? read(fd, outcome->said + used, room)
				       : read(fd, rest, sizeof rest);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return true;
		if (room > 0)
			used += (size_t)got;
		outcome->said[used] = '\0';
	}
}

static void run_program(const struct run *run, struct outcome *outcome)
{
	int said[2];

	if (pipe(said) != 0)
		fail("pipe: %s", strerror(errno));
	pid_t pid = fork();

	if (pid < 0)
		fail("fork: %s", strerror(errno));
	if (pid == 0) {
		close(said[0]);
		run_child(run, said[1]);
	}
	close(said[1]);
	/* The end of the pipe is the end of the program: it has no children and does not close fd 2
	 * by itself. */
	outcome->timed_out = !read_all(said[0], outcome, now_ms() + run->seconds_max * 1000);
	if (outcome->timed_out)
		kill(pid, SIGKILL);
	close(said[0]);
	while (waitpid(pid, &outcome->wait_status, 0) < 0)
		if (errno != EINTR)
			fail("waitpid: %s", strerror(errno));
}

static void judge(const struct run *run, const struct outcome *outcome)
{
	const char *name = run->command[0];
	int status = outcome->wait_status;
	size_t said_bytes = strlen(outcome->said);
	char line[SAID_BYTES_MAX];

	if (outcome->timed_out)
		fail("%s still ran after %ld s, having said: \"%s\"", name, run->seconds_max,
		     outcome->said);
	if (WIFEXITED(status))
		fail("%s exited with status %d instead of aborting, having said: \"%s\"", name,
		     WEXITSTATUS(status), outcome->said);
	if (WTERMSIG(status) != run->signal)
		fail("%s died of signal %d instead of SIG%s, having said: \"%s\"", name,
		     WTERMSIG(status), sigabbrev_np(run->signal), outcome->said);
	if (said_bytes == 0 && strcmp(run->sentence, "-") == 0)
		return;
	if (said_bytes == 0)
		fail("%s aborted and said nothing; expected: \"%s\"", name, run->sentence);
	memcpy(line, outcome->said, said_bytes + 1);
	if (line[said_bytes - 1] == '\n')
		line[said_bytes - 1] = '\0';
	else
		line[0] = '\0'; /* an unfinished line is no sentence */
	if (!matches(run->sentence, line))
		fail("%s said other words.\nexpected: \"%s\"\nsaid:     \"%s\"", name,
		     run->sentence, outcome->said);
}

int main(int argc, char **argv)
{
	struct run run = {.seconds_max = 10, .signal = SIGABRT};
	struct outcome outcome = {.timed_out = false};
	int at = 1;

	for (; at + 1 < argc && strncmp(argv[at], "--", 2) == 0; at += 2) {
		if (strcmp(argv[at], "--preload") == 0)
			run.library = argv[at + 1];
		else if (strcmp(argv[at], "--seconds") == 0)
			run.seconds_max = strtol(argv[at + 1], NULL, 10);
		else if (strcmp(argv[at], "--signal") == 0)
			run.signal = (int)strtol(argv[at + 1], NULL, 10);
		else
			fail("%s is not an option", argv[at]);
	}
	if (argc - at < 2 || run.seconds_max <= 0 || sigabbrev_np(run.signal) == NULL)
		fail("usage: [--preload LIBRARY] [--seconds N] [--signal N] SENTENCE PROGRAM "
		     "[ARGUMENT...]");
	/* The loader would only grumble on fd 2 and run the program with another malloc. */
	if (run.library != NULL && access(run.library, R_OK) != 0)
		fail("%s: %s", run.library, strerror(errno));
	run.sentence = argv[at];
	run.command = argv + at + 1;
	run_program(&run, &outcome);
	judge(&run, &outcome);
	return 0;
}
