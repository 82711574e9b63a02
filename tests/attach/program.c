/* program.c: what the cases of attach.py run under libhak, by name. Each prints what the case needs
 * to know, a line at a time, and ends with 0 where all that it saw itself was as it should be. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)
#define BLOCK_BYTES 1000

static char **blocks;
static size_t block_count;

static void expect(int condition, const char *words)
{
	if (condition)
		return;
	printf("not so: %s\n", words);
	fflush(stdout);
	_exit(1);
}

/* Holds so many bytes in blocks of 1000, each with its number in it. */
static void hold(size_t bytes)
{
	block_count = bytes / BLOCK_BYTES;
	blocks = malloc(block_count * sizeof *blocks);
	expect(blocks != NULL, "memory for a table");
	for (size_t i = 0; i < block_count; i++) {
		blocks[i] = malloc(BLOCK_BYTES);
		expect(blocks[i] != NULL, "memory for a block");
		memset(blocks[i], (int)i, BLOCK_BYTES);
	}
}

static void check(size_t step)
{
	for (size_t i = 0; i < block_count; i += step)
		expect(blocks[i][0] == (char)i && blocks[i][BLOCK_BYTES - 1] == (char)i,
		       "blocks hold what was written");
}

static void let_go_but(size_t step)
{
	for (size_t i = 0; i < block_count; i++)
		if (i % step != 0)
			free(blocks[i]);
}

/* Slow paths for so long: a program that goes on. */
static void go_on(double seconds)
{
	struct timespec begin, now, pause = {.tv_nsec = 5000000};

	clock_gettime(CLOCK_MONOTONIC, &begin);
	do {
		void *kept[300];

		for (size_t i = 0; i < 300; i++)
			kept[i] = malloc(500 + i);
		for (size_t i = 0; i < 300; i++)
			free(kept[i]);
		nanosleep(&pause, NULL);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while ((double)(now.tv_sec - begin.tv_sec) +
			 (double)(now.tv_nsec - begin.tv_nsec) * 1e-9 <
		 seconds);
}

static void say(const char *words)
{
	puts(words);
	fflush(stdout);
}

/* Until the case writes a line, the program is idle. */
static void wait_for_case(void)
{
	char line[16];

	expect(read(STDIN_FILENO, line, sizeof line) > 0, "a line on standard input");
}

static unsigned open_descriptors(void)
{
	unsigned count = 0;

	for (int fd = 0; fd < 1024; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

static void holds(void)
{
	hold(256 * MIB);
	say("held");
	wait_for_case();
	check(1);
}

static void *holds_in_thread(void *arg)
{
	char **mine = malloc(32 * MIB / BLOCK_BYTES * sizeof *mine);

	for (size_t i = 0; i < 32 * MIB / BLOCK_BYTES; i++) {
		mine[i] = malloc(BLOCK_BYTES);
		memset(mine[i], 1, BLOCK_BYTES);
	}
	pthread_barrier_wait(arg);
	pthread_barrier_wait(arg);
	return NULL;
}

static void holds_in_threads(void)
{
	pthread_barrier_t barrier;
	pthread_t threads[8];

	pthread_barrier_init(&barrier, NULL, 9);
	for (int i = 0; i < 8; i++)
		expect(pthread_create(&threads[i], NULL, holds_in_thread, &barrier) == 0,
		       "a thread");
	pthread_barrier_wait(&barrier);
	say("held");
	wait_for_case();
	pthread_barrier_wait(&barrier);
	for (int i = 0; i < 8; i++)
		pthread_join(threads[i], NULL);
}

static void is_trimmed(void)
{
	hold(128 * MIB);
	let_go_but(100);
	say("freed");
	wait_for_case();
	go_on(1);
	check(100);
	say("went on");
	wait_for_case();
}

static void forks(void)
{
	int status;

	hold(16 * MIB);
	say("held");
	wait_for_case();
	pid_t child = fork();

	if (child == 0) {
		hold(40 * MIB);
		go_on(1.3);
		check(1);
		_exit(0);
	}
	printf("%d\n", (int)child);
	fflush(stdout);
	expect(waitpid(child, &status, 0) == child && status == 0, "the child ended well");
	wait_for_case();
}

/* clone(2) without the C library: no fork handler runs. */
static void clones(void)
{
	int status;

	hold(16 * MIB);
	say("held");
	wait_for_case();
	pid_t child = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

	if (child == 0) {
		hold(40 * MIB);
		check(1);
		_exit(0);
	}
	expect(waitpid(child, &status, 0) == child && status == 0, "the child ended well");
	say("cloned");
	wait_for_case();
}

/* The child of a vfork(2) works in its parent's memory, and is not whose heap it is. */
static void vforks(void)
{
	pid_t child;
	int status;

	hold(1 * MIB);
	child = vfork();
	if (child == 0) {
		hold(16 * MIB);
		_exit(0);
	}
	expect(waitpid(child, &status, 0) == child && status == 0, "the child ended well");
	sleep(2); /* it has been tried, by the child */
	hold(20 * MIB);
	say("held");
	wait_for_case();
}

static void keeps_no_descriptor(void)
{
	unsigned before = open_descriptors();

	hold(16 * MIB);
	go_on(0.1);
	expect(open_descriptors() == before, "no descriptor more than before");
	closefrom(3);
	go_on(0.1);
	say("held");
	wait_for_case();
}

static void has_no_descriptors(void)
{
	struct rlimit limit = {.rlim_cur = 3, .rlim_max = 1024};

	expect(setrlimit(RLIMIT_NOFILE, &limit) == 0, "a limit of descriptors");
	errno = EDOM;
	hold(16 * MIB);
	expect(errno == EDOM, "errno as it was");
	go_on(0.3);
	limit.rlim_cur = 1024;
	expect(setrlimit(RLIMIT_NOFILE, &limit) == 0, "a limit of descriptors");
	say("limited");
	go_on(6.5);
	wait_for_case();
}

static void has_closed_standard_descriptors(void)
{
	int output = dup(STDOUT_FILENO), input = dup(STDIN_FILENO);

	close(STDIN_FILENO);
	close(STDOUT_FILENO);
	close(STDERR_FILENO);
	hold(16 * MIB);
	go_on(0.1);
	for (int fd = 0; fd < 3; fd++)
		if (open("/dev/null", O_RDWR) != fd)
			_exit(3);
	dup2(output, STDOUT_FILENO);
	dup2(input, STDIN_FILENO);
	say("held");
	wait_for_case();
}

static void is_in_a_chroot(void)
{
	expect(chroot("/usr") == 0, "chroot");
	hold(16 * MIB);
	go_on(0.1);
}

static void may_write_small_files(void)
{
	struct rlimit limit = {.rlim_cur = 4096, .rlim_max = 4096};

	expect(setrlimit(RLIMIT_FSIZE, &limit) == 0, "a limit of file sizes");
	hold(16 * MIB);
	go_on(0.1);
}

/* A filter that kills whoever makes a socket or a memfd. */
static void is_filtered(void)
{
	struct sock_filter program[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_memfd_create, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	};
	struct sock_fprog filter = {.len = sizeof program / sizeof *program, .filter = program};

	expect(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "no new privileges");
	expect(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0, "a filter");
	hold(16 * MIB);
	go_on(0.1);
}

/* A filter that kills for all that malloc need not do: every call of it is allowed by name, and
 * those of the case itself. Set as an unprivileged program does it. */
static void is_filtered_strictly(void)
{
	static const int allowed[] = {
		SYS_mmap,  SYS_munmap, SYS_mremap,	    SYS_mprotect,   SYS_madvise,
		SYS_futex, SYS_brk,    SYS_write,	    SYS_exit_group, SYS_clock_nanosleep,
		SYS_fstat, SYS_clone3, SYS_set_robust_list, SYS_rseq,	    SYS_rt_sigprocmask,
		SYS_exit,
	};
	struct sock_filter program[2 * sizeof allowed / sizeof *allowed + 2];
	struct sock_fprog filter = {.filter = program};
	struct sock_filter load = BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
					   offsetof(struct seccomp_data, nr));
	struct sock_filter kill = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);

	program[filter.len++] = load;
	for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++) {
		struct sock_filter differs = BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
						      (unsigned)allowed[i], 0, 1);
		struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);

		program[filter.len++] = differs;
		program[filter.len++] = allow;
	}
	program[filter.len++] = kill;
	expect(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "no new privileges");
	expect(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) == 0, "a filter");
	hold(16 * MIB);
	/* Huge blocks that are freed and kept, grown, and a thread's death. */
	for (size_t i = 1; i < 20; i++) {
		char *block = malloc(i * MIB);

		expect(block != NULL, "memory for a huge block");
		block[0] = 1;
		block = realloc(block, 2 * i * MIB);
		expect(block != NULL && block[0] == 1, "a longer one");
		free(block);
	}
	go_on(1.5);
}

/* The longest malloc of this process, which one of them registers in. */
static void is_timed(void)
{
	struct timespec begin, end;
	long worst_ns = 0;

	for (size_t i = 0; i < 12 * MIB / BLOCK_BYTES; i++) {
		clock_gettime(CLOCK_MONOTONIC, &begin);
		char *block = malloc(BLOCK_BYTES);

		clock_gettime(CLOCK_MONOTONIC, &end);
		expect(block != NULL, "memory for a block");
		long ns = (end.tv_sec - begin.tv_sec) * 1000000000 + end.tv_nsec - begin.tv_nsec;

		worst_ns = ns > worst_ns ? ns : worst_ns;
	}
	printf("%ld\n", worst_ns);
}

static void outlives_daemons(void)
{
	hold(16 * MIB);
	say("held");
	go_on(16);
	check(1);
}

int main(int count, char **arguments)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} cases[] = {
		{"holds", holds},
		{"holds_in_threads", holds_in_threads},
		{"is_trimmed", is_trimmed},
		{"forks", forks},
		{"clones", clones},
		{"vforks", vforks},
		{"keeps_no_descriptor", keeps_no_descriptor},
		{"has_no_descriptors", has_no_descriptors},
		{"has_closed_standard_descriptors", has_closed_standard_descriptors},
		{"is_in_a_chroot", is_in_a_chroot},
		{"may_write_small_files", may_write_small_files},
		{"is_filtered", is_filtered},
		{"is_filtered_strictly", is_filtered_strictly},
		{"is_timed", is_timed},
		{"outlives_daemons", outlives_daemons},
	};

	alarm(60);
	for (size_t i = 0; count == 2 && i < sizeof cases / sizeof *cases; i++) {
		if (strcmp(arguments[1], cases[i].name) == 0) {
			cases[i].run();
			return 0;
		}
	}
	fputs("usage: program CASE\n", stderr);
	return 2;
}
