/* program.c - a heap whose every address is known, to be looked at from outside.
 *
 * `gdb_program blocks` prints a line for each address that it knows, "NAME ADDRESS", then what
 * hak_stats_get() says, then "ready", and waits for a line: "abort" ends it by SIGABRT, anything
 * else by exit. `live MIB FREED` holds so many MiB in blocks of several sizes and has freed that
 * many in others, then does so. `probes` goes by every slow path, and on until its input ends.
 */
#include <errno.h>
#include <hak/hak.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

/* In the library that is preloaded, or linked. */
__attribute__((weak)) int hak_stats_get(struct hak_stats *stats, size_t stats_bytes);

/* Variables of libhak have these names as well. */
static volatile int pool = 1, cache = 2, all = 3, depots = 4;

static void *volatile kept;

/* Compilers know what malloc and free are for. */
static void *take(size_t bytes)
{
	char *block = malloc(bytes);

	if (block == NULL)
		exit(1);
	memset(block, 1, bytes);
	kept = block;
	return block;
}

static void *taken_and_freed(size_t bytes)
{
	void *volatile block = take(bytes);

	free(block);
	return block;
}

static void say(const char *name, const void *address)
{
	printf("%s %p\n", name, address);
}

static pthread_barrier_t barrier;

static void *live_with_a_magazine(void *unused)
{
	(void)unused;
	say("other_magazine", taken_and_freed(1500));
	printf("other_tid %d\n", (int)gettid());
	pthread_barrier_wait(&barrier);
	pause();
	return NULL;
}

static void say_stats(void)
{
	struct hak_stats stats;

	if (hak_stats_get == NULL || hak_stats_get(&stats, sizeof stats) != 0)
		return;
	printf("stats %ju %ju %ju %ju %ju\n", (uintmax_t)stats.live_bytes,
	       (uintmax_t)stats.cached_bytes, (uintmax_t)stats.huge_bytes,
	       (uintmax_t)stats.huge_cached_bytes, (uintmax_t)stats.superslab_open_count);
}

static void wait_for_word(void)
{
	char word[16];

	printf("ready\n");
	if (fgets(word, sizeof word, stdin) != NULL && strcmp(word, "abort\n") == 0)
		abort();
}

/* A quarter of the bytes in each size; the first word of a block is the list of them. */
static void **take_many(size_t bytes)
{
	static const size_t sizes[] = {64, 1024, 16384, 65536};
	void **last = NULL;

	for (size_t i = 0; i < 4; i++) {
		for (size_t rest = bytes / 4; rest >= sizes[i]; rest -= sizes[i]) {
			void **block = take(sizes[i]);

			*block = last;
			last = block;
		}
	}
	return last;
}

static void free_many(void **block)
{
	while (block != NULL) {
		void **next = *block;

		free(block);
		block = next;
	}
}

static void hold_blocks(void)
{
	void *batch[24];
	pthread_t thread;
	char *block;

	/* Some SuperSlabs are empty, most of each of the others is free. */
	free_many(take_many((size_t)16 << 20));
	block = take(100);
	say("live", block);
	say("interior", block + 7);
	say("behind", (char *)((uintptr_t)block & ~(uintptr_t)16383) + 146 * 112);
	say("magazine", taken_and_freed(200));
	pthread_barrier_init(&barrier, NULL, 2);
	if (pthread_create(&thread, NULL, live_with_a_magazine, NULL) != 0)
		exit(1);
	pthread_barrier_wait(&barrier);
	for (size_t i = 0; i < 24; i++)
		batch[i] = take(3000);
	for (size_t i = 0; i < 24; i++)
		free(batch[i]);
	say("depot", batch[0]);
	block = take(5000);
	say("slab", block + 6 * 5120);
	block = take(100000);
	say("run", block);
	say("run_interior", block + 70000);
	say("freed_run", taken_and_freed(200000));
	block = take((size_t)3 << 20);
	say("huge", block);
	say("huge_interior", block + 1000001);
	say("cached", (char *)taken_and_freed((size_t)5 << 20) + 8);
	say("stack", &block);
	say("static", (const void *)(uintptr_t)&pool);
	say_stats();
	wait_for_word();
}

/* Slow paths, as a program that lives has them; so many times a millisecond. */
static void go_on(unsigned times)
{
	while (times-- > 0) {
		for (unsigned i = 0; i < 8; i++)
			(void)taken_and_freed(40000);
		usleep(1000);
	}
}

static void hold_live(size_t live_mib, size_t freed_mib, bool for_long)
{
	void **before = take_many((freed_mib << 20) / 2), **live = take_many(live_mib << 20);
	void **after = take_many((freed_mib << 20) / 2);

	free_many(before);
	free_many(after);
	if (for_long)
		go_on(2500);
	kept = live;
	wait_for_word();
}

static void run_slow_paths(void)
{
	struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
	char *block = take((size_t)2 << 20);

	block = realloc(block, (size_t)9 << 20);
	if (block == NULL)
		exit(1);
	free(block);
	free_many(take_many((size_t)16 << 20));
	if (malloc((size_t)1 << 46) != NULL || errno != ENOMEM)
		exit(1);
	printf("ready\n");
	while (poll(&input, 1, 0) == 0)
		go_on(100);
	/* What was freed goes back a decay later, if no trim came. */
	go_on(1200);
}

int main(int count, char **arguments)
{
	static char line[4096];

	/* Or stdio allocates. */
	setvbuf(stdout, line, _IOLBF, sizeof line);
	setvbuf(stdin, NULL, _IONBF, 0);
	/* Where a process may look at its children only, gdb is not our parent. */
	prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
	if (count == 2 && strcmp(arguments[1], "blocks") == 0)
		hold_blocks();
	else if (count == 5 && strcmp(arguments[1], "live") == 0)
		hold_live(strtoul(arguments[2], NULL, 10), strtoul(arguments[3], NULL, 10),
			  strcmp(arguments[4], "later") == 0);
	else if (count == 2 && strcmp(arguments[1], "probes") == 0)
		run_slow_paths();
	else
		return 2;
	return 0;
}
