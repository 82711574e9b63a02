/* Goal: a program with an agent (HAK_AGENT=1) is as it was, but for the memory that it gets back
 * while it stands still: it may fork, become a daemon or somebody else, close all descriptors,
 * become another program; and there is no agent where none may be.
 * Method: preloaded; one case a run. What stands still reads /proc by plain system calls, and
 * nothing else: no call of malloc, so no slow path of its own. Waits have a bound that no machine
 * should need. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)
#define BLOCK_BYTES 4000
#define BLOCKS (96 * MIB / BLOCK_BYTES)
#define SECONDS_MAX 30

static void fail(const char *what)
{
	(void)!write(STDERR_FILENO, what, strlen(what));
	(void)!write(STDERR_FILENO, "\n", 1);
	_exit(1);
}

static void must(bool is_true, const char *what)
{
	if (!is_true)
		fail(what);
}

static void read_file(const char *path, char *text, size_t text_bytes)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t bytes = fd >= 0 ? read(fd, text, text_bytes - 1) : -1;

	must(bytes > 0, path);
	text[bytes] = '\0';
	close(fd);
}

/* A number of /proc/self/FILE behind a name, or its first but one. */
static unsigned long number_of(const char *path, const char *name)
{
	char text[4096];
	const char *at;

	read_file(path, text, sizeof text);
	at = name != NULL ? strstr(text, name) : strchr(text, ' ');
	must(at != NULL, "no such number");
	return strtoul(at + (name != NULL ? strlen(name) : 1), NULL, 10);
}

static unsigned long thread_count(void)
{
	return number_of("/proc/self/status", "\nThreads:\t");
}

static size_t resident_bytes(void)
{
	return number_of("/proc/self/statm", NULL) * (size_t)sysconf(_SC_PAGESIZE);
}

static void nap(void)
{
	const struct timespec time = {.tv_nsec = 20000000};

	nanosleep(&time, NULL);
}

static char *blocks[BLOCKS];

static void use(void)
{
	for (size_t i = 0; i < BLOCKS; i++) {
		blocks[i] = malloc(BLOCK_BYTES);
		must(blocks[i] != NULL, "no memory");
		memset(blocks[i], 1, BLOCK_BYTES);
	}
	must(resident_bytes() > 90 * MIB, "it is resident");
}

static void free_all(void)
{
	for (size_t i = 0; i < BLOCKS; i++)
		free(blocks[i]);
}

static void use_and_free(void)
{
	use();
	free_all();
}

static void await_threads(unsigned long count)
{
	for (int i = 0; i < SECONDS_MAX * 50; i++, nap())
		if (thread_count() == count)
			return;
	fail("it never has so many threads");
}

/* The agent comes with the heap, and gives it back. */
static void await_return(void)
{
	for (int i = 0; i < SECONDS_MAX * 50; i++, nap())
		if (resident_bytes() < 30 * MIB)
			return;
	fail("nothing is given back while it stands still");
}

static void use_with_agent(void)
{
	use_and_free();
	await_threads(2);
}

/* And with the one that watches, where there is something to watch. */
static void use_with_agents(void)
{
	use_and_free();
	await_threads(getenv("WATCHED") != NULL ? 3 : 2);
}

#define SMALL_BYTES 1000
#define SMALL_BLOCKS (24 * MIB / SMALL_BYTES)

static char *small_blocks[SMALL_BLOCKS];

/* A quarter of the heap, in holes of three pages: less than is ever looked for while a program is
 * at work (govern/sweep.c). */
static bool is_in_hole(size_t i)
{
	return i % 64 < 16;
}

static void fill_holes(void)
{
	for (size_t i = 0; i < SMALL_BLOCKS; i++) {
		if (small_blocks[i] == NULL)
			small_blocks[i] = malloc(SMALL_BYTES);
		must(small_blocks[i] != NULL, "no memory");
		memset(small_blocks[i], 1, SMALL_BYTES);
	}
}

static void make_holes(void)
{
	for (size_t i = 0; i < SMALL_BLOCKS; i++) {
		if (!is_in_hole(i))
			continue;
		free(small_blocks[i]);
		small_blocks[i] = NULL;
	}
}

/* All that is free goes when the program stands still; but for one that has needed it again at
 * once, and then stands still for no longer than that. */
static void sweeps_all(void)
{
	size_t full;

	fill_holes();
	await_threads(2);
	full = resident_bytes();
	make_holes();
	for (int i = 0; resident_bytes() + 4 * MIB > full; i++, nap())
		must(i < SECONDS_MAX * 50, "nothing is given back while it stands still");
	fill_holes();
	full = resident_bytes();
	make_holes();
	for (int i = 0; i < 5 * 50; i++, nap())
		must(resident_bytes() + 2 * MIB > full, "it was needed again, and went");
}

static void gives_back(void)
{
	use_with_agent();
	await_return();
	/* And a second time, after it has slept. */
	use_and_free();
	await_return();
}

/* The id of the one thread that is not the first. */
static pid_t agent_id(void)
{
	static char names[4096];
	int fd = open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	long bytes = syscall(SYS_getdents64, fd, names, sizeof names);
	pid_t found = 0;

	for (long at = 0; at < bytes; at += *(unsigned short *)(void *)(names + at + 16)) {
		pid_t id = atoi(names + at + 19);

		if (id != 0 && id != getpid())
			found = id;
	}
	close(fd);
	must(found != 0, "no second thread");
	return found;
}

static void *use_pinned(void *context)
{
	cpu_set_t all, one;
	size_t cpu = 0;

	must(sched_getaffinity(0, sizeof all, &all) == 0, "where it may run");
	while (!CPU_ISSET(cpu, &all))
		cpu++;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	must(sched_setaffinity(0, sizeof one, &one) == 0, "it is pinned");
	use_and_free();
	return context;
}

/* It is started by a worker that has a processor for itself, and does not stay there. */
static void is_not_pinned(void)
{
	cpu_set_t ours, its;
	pthread_t worker;

	must(pthread_create(&worker, NULL, use_pinned, NULL) == 0, "a thread");
	pthread_join(worker, NULL);
	await_threads(2);
	must(sched_getaffinity(0, sizeof ours, &ours) == 0, "where we may run");
	for (int i = 0; i < SECONDS_MAX * 50; i++, nap()) {
		must(sched_getaffinity(agent_id(), sizeof its, &its) == 0, "where it may run");
		if (CPU_EQUAL(&ours, &its))
			return;
	}
	fail("it is pinned with the thread that started it");
}

static void read_status_of_agent(char *text, size_t text_bytes)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/self/task/%d/status", agent_id());
	read_file(path, text, text_bytes);
}

/* How often it has woken. */
static unsigned long switches_of_agent(void)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/self/task/%d/status", agent_id());
	return number_of(path, "\nvoluntary_ctxt_switches:\t");
}

/* The kernel, too, keeps two signals from being blocked: SIGKILL and SIGSTOP. */
static void is_quiet(void)
{
	sigset_t before, after;
	char text[4096];

	sigprocmask(SIG_SETMASK, NULL, &before);
	use_with_agent();
	sigprocmask(SIG_SETMASK, NULL, &after);
	must(memcmp(&before, &after, sizeof before) == 0, "the program's signals");
	do {
		nap(); /* it names itself */
		read_status_of_agent(text, sizeof text);
	} while (strncmp(text, "Name:\thak-agent\n", 16) != 0);
	must(strstr(text, "\nSigBlk:\tfffffffe7ffbfeff\n") != NULL, text);
}

/* Locked memory cannot go back. Who has nothing else is not worth a look four times a second. */
static void is_locked(void)
{
	const struct timespec a_while = {.tv_sec = 3};

	use();
	/* By syscall(2): sanitizers make mlock(2) do nothing. */
	for (size_t i = 0; i < BLOCKS; i++)
		if (syscall(SYS_mlock, blocks[i], BLOCK_BYTES) != 0)
			_exit(77); /* RLIMIT_MEMLOCK */
	free_all();
	await_threads(2);
	for (int i = 0; i < SECONDS_MAX / 3; i++) {
		unsigned long before = switches_of_agent();

		nanosleep(&a_while, NULL);
		if (switches_of_agent() - before <= 3) {
			must(resident_bytes() > 90 * MIB, "what is locked is still there");
			return;
		}
	}
	fail("it looks again and again for what cannot go");
}

static void await_child(pid_t child)
{
	int status;

	must(child > 0 && waitpid(child, &status, 0) == child, "no child");
	must(WIFEXITED(status) && WEXITSTATUS(status) == 0, "what the child says");
}

static void be_child(void)
{
	must(thread_count() == 1, "a child begins with one thread");
	gives_back();
	_exit(0);
}

static void forks(void)
{
	pid_t child;

	use_with_agent();
	for (int i = 0; i < 200; i++) {
		child = fork();
		if (child == 0)
			_exit(thread_count() == 1 ? 0 : 1);
		await_child(child);
	}
	child = fork();
	if (child == 0)
		be_child();
	await_child(child);
	/* Past all handlers. */
	child = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
	if (child == 0)
		be_child();
	await_child(child);
	await_return();
}

/* The child of vfork(2) allocates in its parent's memory, and must leave no thread there. */
static void is_borrowed(void)
{
	pid_t child = vfork();

	if (child == 0) {
		use_and_free();
		_exit(thread_count() == 1 ? 0 : 1);
	}
	await_child(child);
}

/* A process ends with its last thread, which the agent is not; by exit(3), as it always does. */
static void has_ended(void)
{
	_exit(0);
}

static void ends_by_threads(void)
{
	use_with_agent();
	must(atexit(has_ended) == 0, "atexit");
	alarm(60);
	pthread_exit(NULL);
}

static void becomes_a_daemon(void)
{
	int done[2];
	char byte;

	must(pipe(done) == 0, "pipe");
	use_with_agent();
	pid_t child = fork();

	if (child == 0) {
		must(daemon(0, 1) == 0, "daemon(3)");
		must(thread_count() == 1, "a daemon begins with one thread");
		gives_back();
		must(write(done[1], "", 1) == 1, "write");
		_exit(0);
	}
	await_child(child);
	close(done[1]);
	must(read(done[0], &byte, 1) == 1, "what the daemon says");
}

static void becomes_somebody_else(void)
{
	char text[4096];
	bool is_root = geteuid() == 0;
	uid_t uid = is_root ? 65534 : getuid();
	char wanted[64];

	use_with_agent();
	nap();
	must(setresgid(uid, uid, uid) == 0 || !is_root, "setresgid");
	must(setresuid(uid, uid, uid) == 0, "setresuid");
	read_status_of_agent(text, sizeof text);
	snprintf(wanted, sizeof wanted, "\nUid:\t%u\t%u\t%u\t%u\n", uid, uid, uid, uid);
	must(strstr(text, wanted) != NULL, text);
	await_return();
}

static void closes_all(void)
{
	use_with_agent();
	must(close_range(3, ~0u, 0) == 0, "close_range");
	must(open("/dev/null", O_RDWR) == 3, "a descriptor was left open");
	use_and_free();
	await_return();
	must(open("/dev/null", O_RDWR) == 4, "a descriptor was opened");
}

static void becomes_another_program(const char *self)
{
	use_with_agent();
	execl(self, self, "was_exec", (char *)NULL);
	fail("exec");
}

static void was_exec(void)
{
	must(thread_count() == 1, "a program begins with one thread");
	gives_back();
}

static void is_short(void)
{
	free(malloc(100000));
	must(thread_count() == 1, "a short program needs none");
}

static void has_a_filter(void)
{
	const char *allowed = getenv("HAK_REGISTER");

	must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "prctl");
	use_and_free();
	for (int i = 0; i < 20; i++, nap())
		use_and_free();
	must(thread_count() == (allowed != NULL && strcmp(allowed, "1") == 0 ? 2 : 1),
	     "what a filter may kill for is asked for");
}

static void on_signal(int number)
{
	(void)number;
	use_and_free();
	must(thread_count() == 1, "a thread was made in a signal handler");
}

static void has_a_handler(void)
{
	must(signal(SIGUSR1, on_signal) != SIG_ERR, "signal");
	must(raise(SIGUSR1) == 0, "raise");
	sleep(1); /* after which the next slow path asks again */
	use_with_agent();
}

/* Found before the C library's. */
static bool refuses;

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*function)(void *),
		   void *context)
{
	static int (*next)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

	if (refuses)
		return EAGAIN;
	if (next == NULL)
		*(void **)&next = dlsym(RTLD_NEXT, "pthread_create");
	return next(thread, attributes, function, context);
}

/* agent.sh looks for the line. */
static void is_refused(void)
{
	refuses = true;
	for (int i = 0; i < 10; i++)
		use_and_free();
	must(thread_count() == 1, "it was refused");
}

/* watch.py says when, by its environment's means. */
static void is_pressed(void)
{
	use_with_agents();
	must(write(STDOUT_FILENO, "ready\n", 6) == 6, "write");
	await_return();
}

/* All descriptors but the standard ones are closed, and a child is made, which has no more. */
static void is_pressed_and_closes(void)
{
	int fd;

	use_with_agents();
	for (int i = 0; i < SECONDS_MAX * 50 && fcntl(100, F_GETFD) < 0; i++)
		nap();
	must(fcntl(100, F_GETFD) == FD_CLOEXEC, "a descriptor that is not passed on");
	pid_t child = fork();

	if (child == 0)
		_exit(fcntl(100, F_GETFD) < 0 ? 0 : 1);
	await_child(child);
	must(close_range(3, ~0u, 0) == 0, "close_range");
	fd = open("/proc/self/exe", O_RDONLY);
	must(fd >= 0 && dup2(fd, 100) == 100, "dup2");
	must(write(STDOUT_FILENO, "ready\n", 6) == 6, "write");
	await_return();
	must(fcntl(100, F_GETFD) == 0, "the program's own descriptor was closed");
	must(lseek(100, 0, SEEK_CUR) == 0, "the program's own file was read");
}

int main(int count, char **arguments)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} cases[] = {
		{"gives_back", gives_back},
		{"sweeps_all", sweeps_all},
		{"is_quiet", is_quiet},
		{"is_locked", is_locked},
		{"is_not_pinned", is_not_pinned},
		{"forks", forks},
		{"becomes_a_daemon", becomes_a_daemon},
		{"is_borrowed", is_borrowed},
		{"ends_by_threads", ends_by_threads},
		{"becomes_somebody_else", becomes_somebody_else},
		{"closes_all", closes_all},
		{"was_exec", was_exec},
		{"is_short", is_short},
		{"has_a_filter", has_a_filter},
		{"has_a_handler", has_a_handler},
		{"is_refused", is_refused},
		{"is_pressed", is_pressed},
		{"is_pressed_and_closes", is_pressed_and_closes},
	};

	if (count != 2)
		return 2;
	if (strcmp(arguments[1], "becomes_another_program") == 0)
		becomes_another_program(arguments[0]);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		if (strcmp(cases[i].name, arguments[1]) != 0)
			continue;
		cases[i].run();
		return 0;
	}
	return 2;
}
