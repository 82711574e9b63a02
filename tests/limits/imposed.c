/* Goal: a program that takes something from itself, or was started with less, lives on libhak as
 * before, or gets NULL with ENOMEM; nothing else ever comes of it.
 *
 * Method: one case each, in a program that knows nothing of libhak, preloaded (or all static): it
 * imposes the limit on itself, then works in every way, from several threads and in a child, until
 * it is more than a second old and its heap larger than 8 MiB, when all that libhak does late is
 * due: it looks for memory to give back, for a daemon, for the control group's limit.
 *
 *	limits_imposed CASE [ARGUMENT]
 */
#include "work.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static size_t argument; /* of the case */

static void expect_good_end(pid_t pid)
{
	int status;

	EXPECT(pid > 0 && waitpid(pid, &status, 0) == pid);
	EXPECT(status == 0);
}

static void live(void)
{
	EXPECT(work() == 0);
	EXPECT(work_in_threads(3, 2) == 0);
	pid_t pid = fork();

	if (pid == 0)
		_exit(work() == 0 ? 0 : 1);
	if (pid > 0 || errno != ENOMEM) /* it is charged for all that its parent has */
		expect_good_end(pid);
	work_sleep_ms(1100);
	/* Some slow paths more than those between two looks at the clock. */
	for (int i = 0; i < 3; i++)
		EXPECT(work() == 0);
	malloc_trim(0);
	EXPECT(work_in_threads(3, 1) == 0);
}

/* To the end of memory in each size, of which there are so many MiB at least. */
static void end(void)
{
	static const size_t sizes[] = {64, 4096, 40000, 500000, 4 * MIB};

	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		EXPECT(work_until_none(sizes[i]) * sizes[i] >= argument * MIB);
		EXPECT(work() == 0);
	}
	/* Together they may have more than there is. */
	(void)work_in_threads(8, 1);
	malloc_trim(0);
	live();
}

/* The same where there is too little for all of it at once. Where writable memory is what is
 * counted, what was opened for smaller blocks stays so when its memory goes back: huge ones cannot
 * have it any more, so they come first. */
static void end_of_little(void)
{
	static const size_t sizes[] = {4 * MIB, 500000, 40000, 4096, 64};

	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		EXPECT(work_until_none(sizes[i]) * sizes[i] >= argument * MIB);
		(void)work_in_threads(4, 1);
		(void)work();
	}
	malloc_trim(0);
	EXPECT(work_until_none(1000) * 1000 >= argument * MIB);
}

/* The secure build has a guard behind each run, and at such a limit may not be able to open it
 * again: what lies before it serves others then. */
static void end_of_runs(void)
{
	(void)work_until_none(40000);
	EXPECT(work_until_none(1000) * 1000 >= argument * MIB);
}

/* A program of a few blocks says how much memory it has. */
static void small(void)
{
	for (size_t i = 1; i < 200; i++)
		memset(malloc(i * 10), 1, i * 10);
	printf("%zu\n", work_resident_bytes());
}

/* ---- mappings ---- */

#define HUGE_BLOCKS 30

/* Neighbours of different access, until the kernel allows no more. It is its default limit that is
 * met, of 65,530: a lower one would be everybody's on this machine. */
static char *use_up_mappings(size_t bytes)
{
	size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
	char *start = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t used = 0;

	EXPECT(start != MAP_FAILED);
	while (used < bytes && mprotect(start + used, page_bytes, PROT_READ) == 0)
		used += 2 * page_bytes;
	EXPECT(errno == ENOMEM);
	EXPECT(used < bytes);
	return start;
}

static void mappings(void)
{
	size_t filler_bytes = (size_t)70000 * 2 * (size_t)sysconf(_SC_PAGESIZE);
	char *blocks[HUGE_BLOCKS];
	struct rlimit limit;

	EXPECT(work() == 0);
	for (size_t i = 0; i < HUGE_BLOCKS; i++) {
		/* No multiple of 2 MiB, to which the kernel would align it. */
		size_t size = (2 + i) * MIB + 100000;

		blocks[i] = malloc(size);
		memset(blocks[i], (int)i, size);
	}
	char *filler = use_up_mappings(filler_bytes);

	/* Out of the middle of what the kernel has joined. */
	for (size_t i = 0; i < HUGE_BLOCKS; i += 2)
		free(blocks[i]);
	for (size_t i = 1; i < HUGE_BLOCKS; i += 2) {
		char *shorter = realloc(blocks[i], 5 * MIB / 4);

		EXPECT(shorter != NULL || errno == ENOMEM);
		blocks[i] = shorter != NULL ? shorter : blocks[i];
		for (size_t j = 0; j < 5 * MIB / 4; j += 1000)
			EXPECT(blocks[i][j] == (char)i);
	}
	(void)work();
	(void)work_in_threads(4, 2);
	/* So that there is an end for small blocks, too. */
	getrlimit(RLIMIT_DATA, &limit);
	limit.rlim_cur = work_resident_bytes() + 300 * MIB;
	setrlimit(RLIMIT_DATA, &limit);
	(void)work_until_none(1000);
	(void)work_until_none(3 * MIB);
	(void)work();
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_DATA, &limit);
	EXPECT(munmap(filler, filler_bytes) == 0);
	for (size_t i = 1; i < HUGE_BLOCKS; i += 2)
		free(blocks[i]);
	live();
	EXPECT(work_resident_bytes() < 100 * MIB);
}

/* ---- a filter ---- */

#define SANDBOXED_THREADS 4

static _Atomic int begun_count, is_filtered, done_count;

/* More blocks than guards may have mappings; half of them again, as places are used anew. */
static void guards(void)
{
	enum { COUNT = 40000, BYTES = 34000 };
	static char *blocks[COUNT];
	char *place;

	for (size_t i = 0; i < COUNT; i++)
		EXPECT((blocks[i] = malloc(BYTES)) != NULL);
	for (size_t i = 0; i < COUNT; i += 2)
		free(blocks[i]);
	for (size_t i = 0; i < COUNT; i += 2)
		EXPECT((blocks[i] = malloc(BYTES)) != NULL);
	/* The program has half of all mappings to itself. */
	place = mmap(NULL, (size_t)30000 * 2 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	EXPECT(place != MAP_FAILED);
	for (size_t i = 0; i < 15000; i++)
		EXPECT(mprotect(place + i * 2 * 4096, 4096, PROT_READ) == 0);
	for (size_t i = 0; i < COUNT; i++)
		free(blocks[i]);
	live();
}

static void wait_for(_Atomic int *word, int value)
{
	for (int now; (now = atomic_load(word)) < value;)
		syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, now, NULL, NULL, 0);
}

static void add_one(_Atomic int *word)
{
	atomic_fetch_add(word, 1);
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 100, NULL, NULL, 0);
}

/* What a thread does at its beginning and its end is not in the list below. */
static void *live_filtered(void *unused)
{
	add_one(&begun_count);
	wait_for(&is_filtered, 1);
	for (int i = 0; i < 5; i++)
		EXPECT(work() == 0);
	add_one(&done_count);
	wait_for(&done_count, INT32_MAX);
	return unused;
}

/* Where the argument is 1 the heap is used before there is a filter, else first under it. */
static void sandbox(void)
{
	pthread_t thread;
	void *held[200];

	if (argument == 1)
		EXPECT(work() == 0);
	for (int i = 0; i < SANDBOXED_THREADS; i++)
		EXPECT(pthread_create(&thread, NULL, live_filtered, NULL) == 0);
	wait_for(&begun_count, SANDBOXED_THREADS);
	work_forbid_all_but_malloc();
	add_one(&is_filtered);
	for (size_t i = 0; i < sizeof held / sizeof *held; i++)
		memset(held[i] = malloc(100000), 1, 100000);
	EXPECT(work() == 0);
	work_sleep_ms(1100);
	for (int i = 0; i < 5; i++)
		EXPECT(work() == 0);
	malloc_trim(0);
	(void)malloc_usable_size(held[0]);
	(void)mallinfo2();
	EXPECT(work() == 0);
	for (size_t i = 0; i < sizeof held / sizeof *held; i++)
		free(held[i]);
	wait_for(&done_count, SANDBOXED_THREADS);
	_exit(0);
}

/* ---- descriptors ---- */

/* None is left when the heap is born, which looks how much is mapped where that is limited. */
static void descriptors(void)
{
	struct rlimit limit = {.rlim_cur = 30, .rlim_max = 30};

	EXPECT(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	while (open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0)
		;
	EXPECT(errno == EMFILE);
	live();
}

/* ---- locked memory ---- */

/* What is locked is resident at once: of what libhak has reserved, only what is open. */
static void locked(void)
{
	char *block;

	if (argument == 1)
		EXPECT(work() == 0);
	if (geteuid() != 0 || mlockall(MCL_CURRENT | MCL_FUTURE) != 0)
		work_skip("not allowed to lock all memory");
	live();
	EXPECT(work_resident_bytes() < 200 * MIB);
	for (int i = 0; i < 1000; i++) {
		block = malloc(50000);
		memset(block, 1, 50000);
		free(block);
	}
	EXPECT(munlockall() == 0);
	EXPECT(work() == 0);
	malloc_trim(0);
	/* The C library keeps three stacks of 8 MiB, which are resident since they were locked. */
	EXPECT(work_resident_bytes() < 40 * MIB);
}

/* As nobody, who may lock 64 MiB at most: so much address space there is for what is mapped from
 * then on. All the rest is refused, until nothing is locked any more. */
static void locked_a_little(void)
{
	struct rlimit limit;

	EXPECT(getrlimit(RLIMIT_MEMLOCK, &limit) == 0);
	if (limit.rlim_max > 64 * MIB)
		limit.rlim_max = 64 * MIB;
	limit.rlim_cur = limit.rlim_max;
	if (argument == 1)
		EXPECT(work() == 0);
	EXPECT(setrlimit(RLIMIT_MEMLOCK, &limit) == 0);
	EXPECT(geteuid() != 0 || (setgid(65534) == 0 && setuid(65534) == 0));
	EXPECT(mlockall(MCL_FUTURE) == 0);
	(void)work();
	(void)work_in_threads(8, 2);
	EXPECT(malloc(100 * MIB) == NULL && errno == ENOMEM);
	(void)work();
	EXPECT(munlockall() == 0);
	if (argument == 1)
		live();
	else
		(void)work(); /* the region stays as small as it was born */
}

/* ---- children of other kinds than fork's ---- */

static _Atomic bool is_over;

static void *go_on(void *refused)
{
	while (!atomic_load(&is_over))
		*(unsigned *)refused += work();
	return NULL;
}

/* No handler runs in it, nor for it: the child of a program with one thread goes on as it is. */
static void clone_raw(bool may_allocate)
{
	pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, 0L);

	if (pid == 0)
		_exit(may_allocate ? (int)work() : 0);
	expect_good_end(pid);
}

/* It is this thread, in this memory, until it ends; nothing that it takes and frees is lost. */
static void vfork_and_work(void)
{
	pid_t pid = vfork();

	if (pid == 0)
		_exit((int)work());
	expect_good_end(pid);
}

static void vfork_and_execute(void)
{
	pid_t pid = vfork();

	if (pid == 0) {
		execl("/bin/true", "true", (char *)NULL);
		_exit(1);
	}
	expect_good_end(pid);
}

static void children(void)
{
	pthread_t threads[2];
	unsigned refused[2] = {0};
	size_t live_before;

	EXPECT(work() == 0);
	live_before = mallinfo2().uordblks;
	for (int i = 0; i < 4; i++) {
		clone_raw(true);
		vfork_and_work();
	}
	EXPECT(mallinfo2().uordblks == live_before);
	for (int i = 0; i < 2; i++)
		EXPECT(pthread_create(&threads[i], NULL, go_on, &refused[i]) == 0);
	for (int i = 0; i < 8; i++) {
		clone_raw(false);
		vfork_and_work();
		vfork_and_execute();
	}
	atomic_store(&is_over, true);
	for (int i = 0; i < 2; i++) {
		pthread_join(threads[i], NULL);
		EXPECT(refused[i] == 0);
	}
	live();
}

int main(int count, char **arguments)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} cases[] = {
		{"live", live},
		{"end", end},
		{"end_of_little", end_of_little},
		{"end_of_runs", end_of_runs},
		{"small", small},
		{"mappings", mappings},
		{"guards", guards},
		{"sandbox", sandbox},
		{"descriptors", descriptors},
		{"locked", locked},
		{"locked_a_little", locked_a_little},
		{"children", children},
	};

	EXPECT(count >= 2);
	argument = count == 3 ? strtoul(arguments[2], NULL, 10) : 0;
	EXPECT(work_is_ours());
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		if (strcmp(arguments[1], cases[i].name) == 0) {
			cases[i].run();
			return 0;
		}
	return 2;
}
