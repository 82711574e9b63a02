/* budget.c: programs of policy.py. Each does its work under a daemon's budget and says what it met.
 *
 *	budget latency         registers, says after how many microseconds it was refused
 *	budget grow MIB SIZE   takes blocks of SIZE until it is refused or holds MIB, prints the
 *	                       bytes it got and "refused" or "held"; and so again for each line
 *	                       that it is given, which may have another MIB
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)

static double now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static int latency(void)
{
	double begin_us, end_us;
	void *block;

	for (int i = 0; i < 7; i++)
		if (malloc(MIB - 65536) == NULL)
			return 1;
	begin_us = now_us();
	end_us = begin_us + 5e6;
	do { /* each of these is a slow path; the first of them pass 8 MiB */
		block = malloc(65536);
		if (block == NULL)
			break;
		free(malloc(200000));
	} while (now_us() < end_us);
	printf("%.0f\n", block == NULL && errno == ENOMEM ? now_us() - begin_us : -1);
	return 0;
}

/* Slow paths for a while, on which numbers are told and policy is heard. */
static void pass_slowly(void)
{
	for (int i = 0; i < 40; i++) {
		free(malloc(100000));
		usleep(5000);
	}
}

/* True: it was refused. */
static int grow(size_t *held, size_t most, size_t size)
{
	while (*held < most) {
		char *block = malloc(size);

		if (block == NULL)
			return 1;
		memset(block, 1, size);
		*held += size;
	}
	return 0;
}

int main(int count, char **arguments)
{
	size_t held = 0, most, size;
	int refused;
	char line[16];

	alarm(150);
	if (count == 2 && strcmp(arguments[1], "latency") == 0)
		return latency();
	if (count != 4 || strcmp(arguments[1], "grow") != 0)
		return 2;
	most = strtoul(arguments[2], NULL, 10) * MIB;
	size = strtoul(arguments[3], NULL, 10);
	/* Its budget is there before it grows on. */
	grow(&held, 10 * MIB, size);
	pass_slowly();
	for (;;) {
		refused = grow(&held, most, size);
		pass_slowly();
		printf("%zu %s\n", held, refused ? "refused" : "held");
		fflush(stdout);
		if (fgets(line, sizeof line, stdin) == NULL)
			return 0;
		most = strtoul(line, NULL, 10) != 0 ? strtoul(line, NULL, 10) * MIB : most;
	}
}
