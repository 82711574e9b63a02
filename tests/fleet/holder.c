/* holder.c: programs of fleet.py. Each prints "ready" when it holds what it is to hold, and then
 * waits for a line on its standard input.
 *
 *	holder live MIB THREADS     holds known blocks, prints their bytes before "ready"
 *	holder small                a heap large enough to register, hardly any memory
 *	holder exec PROGRAM         registers, waits, and becomes PROGRAM
 *	holder prefork CHILDREN     registers, forks children that work, prints their pids
 *	holder keep MIB             takes and frees as much, then works with next to nothing
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)

static size_t bytes_each;

static void ready(void)
{
	puts("ready");
	fflush(stdout);
}

static void wait_for_line(void)
{
	char line[16];

	if (read(STDIN_FILENO, line, sizeof line) < 0)
		_exit(1);
}

static char *take(size_t size)
{
	char *block = malloc(size);

	if (block == NULL)
		_exit(1);
	memset(block, 1, size);
	return block;
}

/* Blocks whose sizes are size classes, so that what is asked for is what is held. */
static void *hold(void *list)
{
	static const size_t sizes[] = {64, 512, 4096, 16384, 65536};
	void **last = list;

	for (size_t held = 0, i = 0; held < bytes_each; i++) {
		void **block = (void **)(void *)take(sizes[i % 5]);

		*block = *last;
		*last = block;
		held += sizes[i % 5];
	}
	return NULL;
}

static void hold_live(size_t bytes, size_t thread_count)
{
	pthread_t threads[64];
	void *lists[64] = {NULL};

	bytes_each = bytes / thread_count;
	for (size_t i = 0; i < thread_count; i++)
		if (pthread_create(&threads[i], NULL, hold, &lists[i]) != 0)
			_exit(1);
	for (size_t i = 0; i < thread_count; i++)
		pthread_join(threads[i], NULL);
	size_t held = 0;

	for (size_t i = 0; i < thread_count; i++) {
		static const size_t sizes[] = {64, 512, 4096, 16384, 65536};

		for (size_t sum = 0, n = 0; sum < bytes_each; n++)
			sum += sizes[n % 5], held += sizes[n % 5];
	}
	printf("%zu\n", held);
	ready();
	wait_for_line();
}

static void hold_small(void)
{
	for (int i = 0; i < 100; i++)
		if (malloc(100000) == NULL)
			_exit(1);
	ready();
	wait_for_line();
}

static void work_for(double seconds)
{
	struct timespec begin, now, nap = {.tv_nsec = 5000000};

	clock_gettime(CLOCK_MONOTONIC, &begin);
	do {
		char *blocks[400];

		for (size_t i = 0; i < 400; i++)
			blocks[i] = take(700);
		for (size_t i = 0; i < 400; i++)
			free(blocks[i]);
		nanosleep(&nap, NULL);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while ((double)(now.tv_sec - begin.tv_sec) + (double)(now.tv_nsec - begin.tv_nsec) / 1e9 <
		 seconds);
}

static void prefork(int count)
{
	for (int i = 0; i < 100; i++)
		take(100000);
	for (int i = 0; i < count; i++) {
		pid_t child = fork();

		if (child == 0) {
			work_for(6);
			_exit(0);
		}
		printf("%d\n", (int)child);
	}
	ready();
	wait_for_line();
}

/* Frees in the order of taking, so that all that the settings leave to it stays free and held. */
static void keep(size_t bytes)
{
	size_t block_count = bytes / 4000;
	char **blocks = malloc(block_count * sizeof *blocks);

	if (blocks == NULL)
		_exit(1);
	for (size_t i = 0; i < block_count; i++)
		blocks[i] = take(4000);
	for (size_t i = 0; i < block_count; i++)
		free(blocks[i]);
	ready();
	work_for(60);
}

int main(int count, char **arguments)
{
	const char *what = count > 1 ? arguments[1] : "";

	alarm(100);
	if (strcmp(what, "live") == 0 && count == 4) {
		hold_live(strtoul(arguments[2], NULL, 10) * MIB, strtoul(arguments[3], NULL, 10));
	} else if (strcmp(what, "small") == 0) {
		hold_small();
	} else if (strcmp(what, "exec") == 0 && count == 3) {
		hold_small();
		execl(arguments[2], arguments[2], (char *)NULL);
		return 1;
	} else if (strcmp(what, "prefork") == 0 && count == 3) {
		prefork(atoi(arguments[2]));
	} else if (strcmp(what, "keep") == 0 && count == 3) {
		keep(strtoul(arguments[2], NULL, 10) * MIB);
	} else {
		return 2;
	}
	return 0;
}
