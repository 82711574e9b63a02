/* freer.c: programs of reclaim.py, whose free memory is taken from outside. Every block has a
 * content that follows from its number, and is looked at before it is freed and at the end.
 *
 *	freer burst MIB PERCENT
 *		takes MIB in blocks of 16 to 4,096 bytes, frees PERCENT of them in random order,
 *		says "ready" and waits for a line; then takes all again, looks at all, says "whole"
 *	freer work MIB PERCENT
 *		the same, but that it goes on with a few of them while it waits
 *	freer race MIB ROUNDS
 *		so often: takes, frees most, takes a part again and looks, gives all to the system;
 *		says "ready" after the first round, "whole" at the end
 *	freer thrash MIB SECONDS
 *		reads a file of so many MiB over and over, which waits where less memory is allowed
 */
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)
#define BYTES_MIN 16
#define BYTES_MAX 4096
#define AT_WORK 2000

static unsigned char **blocks;
static size_t block_count;
static uint32_t random_state = 42;

static uint32_t draw(uint32_t below)
{
	random_state = random_state * 1664525 + 1013904223;
	return (uint32_t)((uint64_t)random_state * below >> 32);
}

static size_t size_of(size_t i)
{
	return BYTES_MIN + (i * 2654435761u >> 8) % (BYTES_MAX - BYTES_MIN + 1);
}

static void say(const char *word)
{
	puts(word);
	fflush(stdout);
}

static void take(size_t i)
{
	if (blocks[i] != NULL)
		return;
	blocks[i] = malloc(size_of(i));
	if (blocks[i] == NULL)
		_exit(3);
	memset(blocks[i], (int)(i % 251) + 1, size_of(i));
}

/* Every byte: a page that was lost reads as zeroes. */
static void look(size_t i)
{
	for (size_t at = 0; blocks[i] != NULL && at < size_of(i); at++) {
		if (blocks[i][at] == i % 251 + 1)
			continue;
		printf("block %zu has %d at %zu\n", i, blocks[i][at], at);
		_exit(4);
	}
}

static void give(size_t i)
{
	look(i);
	free(blocks[i]);
	blocks[i] = NULL;
}

/* In an order that visits each number once: the step is a prime, and no divisor of the count. */
static void give_percent(unsigned percent)
{
	size_t step = 1000003, at = draw((uint32_t)block_count);

	for (size_t i = 0; i < block_count; i++) {
		at = (at + step) % block_count;
		if (draw(100) < percent)
			give(at);
	}
}

static void take_percent(unsigned percent)
{
	for (size_t i = 0; i < block_count; i++)
		if (draw(100) < percent)
			take(i);
}

static void look_at_all(void)
{
	for (size_t i = 0; i < block_count; i++)
		look(i);
}

static void plan(size_t mib)
{
	size_t bytes = 0;

	while (bytes < mib * MIB)
		bytes += size_of(block_count++);
	block_count |= 1;
	blocks = calloc(block_count, sizeof *blocks);
	if (blocks == NULL)
		_exit(3);
}

static void wait_for_line(void)
{
	char line[16];

	if (read(STDIN_FILENO, line, sizeof line) < 0)
		_exit(1);
}

static void go_on_until_line(void)
{
	struct pollfd line = {.fd = STDIN_FILENO, .events = POLLIN};

	while (poll(&line, 1, 1) == 0) {
		for (size_t i = 0; i < AT_WORK; i++)
			take(i);
		for (size_t i = 0; i < AT_WORK; i++)
			give(i);
	}
}

static void burst(unsigned percent, bool goes_on)
{
	take_percent(100);
	give_percent(percent);
	say("ready");
	if (goes_on)
		go_on_until_line();
	wait_for_line();
	look_at_all();
	take_percent(100);
	look_at_all();
	say("whole");
}

static void race(unsigned rounds)
{
	const struct timespec nap = {.tv_nsec = 1000000};

	for (unsigned i = 0; i < rounds; i++) {
		take_percent(100);
		give_percent(95);
		if (i % 2 == 0)
			nanosleep(&nap, NULL);
		take_percent(35);
		look_at_all();
		give_percent(100);
		malloc_trim(0);
		if (i == 0)
			say("ready");
	}
	say("whole");
}

static void thrash(size_t mib)
{
	int fd = open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	unsigned char *bytes = calloc(1, MIB);
	volatile uint64_t sum = 0;

	for (size_t i = 0; i < mib; i++)
		if (fd < 0 || pwrite(fd, bytes, MIB, (off_t)(i * MIB)) != (ssize_t)MIB)
			_exit(1);
	bytes = mmap(NULL, mib * MIB, PROT_READ, MAP_SHARED, fd, 0);
	for (;;)
		for (size_t i = 0; i < mib * MIB; i += 4096)
			sum += bytes[i];
}

int main(int count, char **arguments)
{
	if (count != 4)
		return 2;
	alarm(100);
	if (strcmp(arguments[1], "thrash") == 0) {
		alarm((unsigned)atoi(arguments[3]));
		thrash(strtoul(arguments[2], NULL, 10));
	}
	plan(strtoul(arguments[2], NULL, 10));
	if (strcmp(arguments[1], "burst") == 0)
		burst((unsigned)atoi(arguments[3]), false);
	else if (strcmp(arguments[1], "work") == 0)
		burst((unsigned)atoi(arguments[3]), true);
	else if (strcmp(arguments[1], "race") == 0)
		race((unsigned)atoi(arguments[3]));
	else
		return 2;
	return 0;
}
