/* at_exit.c - how much memory a program has when it ends.
 *
 * Goal     the memory of a process as it is, not that of one that was made to tell: /bin/true reads
 *          no file of /proc.
 * Method   `at_exit COMMAND...` runs the command and has the kernel stop it in its exit, when its
 *          memory is all there still (PTRACE_O_TRACEEXIT of ptrace(2)). It prints Rss and
 *          Anonymous of proc_pid_smaps(5), counts of pages that are exact, in bytes: all, and what
 *          is of no file. Exit status 77 where nobody may be traced.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXIT_SKIPPED 77

static void fail(const char *what)
{
	fprintf(stderr, "at_exit: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void become(char **command)
{
	/* Where a file lies decides how much of it a fault brings along. */
	(void)personality(ADDR_NO_RANDOMIZE);
	/* The command, and nothing before it, is what is measured: it stops by its exec. */
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
		_exit(EXIT_SKIPPED);
	execv(command[0], command);
	_exit(127);
}

/* Ends in the line that scripts read, as the bench programs do. */
static void print_memory(pid_t pid)
{
	char path[64], line[256];
	uint64_t resident_kib = 0, anonymous_kib = 0;
	FILE *file;

	snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)pid);
	file = fopen(path, "re");
	if (file == NULL)
		fail(path);
	while (fgets(line, sizeof line, file) != NULL) {
		(void)sscanf(line, "Rss: %" SCNu64, &resident_kib);
		(void)sscanf(line, "Anonymous: %" SCNu64, &anonymous_kib);
	}
	fclose(file);
	if (resident_kib == 0)
		fail(path);
	printf("resident_bytes=%" PRIu64 " anonymous_bytes=%" PRIu64 "\n", resident_kib << 10,
	       anonymous_kib << 10);
}

int main(int argc, char **argv)
{
	int status, signal_number;
	pid_t pid;

	if (argc < 2) {
		fputs("usage: at_exit COMMAND...\n", stderr);
		return 2;
	}
	pid = fork();
	if (pid == 0)
		become(argv + 1);
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		fail("fork");
	if (!WIFSTOPPED(status))
		return WEXITSTATUS(status);
	if (ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_TRACEEXIT | PTRACE_O_EXITKILL) != 0)
		fail("ptrace");
	signal_number = 0;
	for (;;) {
		if (ptrace(PTRACE_CONT, pid, NULL, (void *)(intptr_t)signal_number) != 0 ||
		    waitpid(pid, &status, 0) != pid)
			fail("ptrace");
		if (!WIFSTOPPED(status))
			break;
		if (status >> 8 == (SIGTRAP | PTRACE_EVENT_EXIT << 8)) {
			print_memory(pid);
			signal_number = 0;
		} else {
			signal_number = WSTOPSIG(status);
		}
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
