/* Goal: no call fails for want of memory while the mappings of freed huge blocks are kept.
 * Method: a process frees a huge block, which is kept, forbids itself more writable memory than it
 * has now and a little (RLIMIT_DATA), and asks for more than that in each of the ways that memory
 * is had: a mapping, one that grows, small blocks. Each way is a process of its own.
 *
 * Not for AddressSanitizer or ThreadSanitizer, whose own mappings the limit would forbid.
 */
#include "stress.h"

#include <hak/hak.h>

#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)
#define KEPT_BYTES (60 * MIB)
#define WANTED_BYTES (20 * MIB)
#define ALLOWED_BYTES (4 * MIB)

/* Private writable memory of this process: the line "VmData:" of proc(5). */
static size_t data_bytes(void)
{
	FILE *status = fopen("/proc/self/status", "re");
	char line[256];
	size_t kib = 0;

	STRESS_CHECK(status != NULL);
	while (fgets(line, sizeof line, status) != NULL)
		if (sscanf(line, "VmData: %zu kB", &kib) == 1)
			break;
	fclose(status);
	STRESS_CHECK(kib != 0);
	return kib << 10;
}

static void keep_and_limit(void)
{
	struct hak_stats stats;
	struct rlimit limit;

	hak_free(hak_malloc(KEPT_BYTES));
	STRESS_CHECK(hak_stats_get(&stats, sizeof stats) == 0);
	STRESS_CHECK(stats.huge_cached_bytes == KEPT_BYTES);
	STRESS_CHECK(getrlimit(RLIMIT_DATA, &limit) == 0);
	limit.rlim_cur = data_bytes() + ALLOWED_BYTES;
	STRESS_CHECK(setrlimit(RLIMIT_DATA, &limit) == 0);
}

/* What is kept is not taken where it must be aligned. */
static void map(void)
{
	keep_and_limit();
	STRESS_CHECK(hak_memalign(2 * MIB, WANTED_BYTES) != NULL);
}

/* As much as is kept and no more: there is no room for a second block to copy to. */
static void grow(void)
{
	size_t bytes = 50 * MIB;
	char *block = hak_malloc(bytes);

	keep_and_limit();
	block[bytes - 1] = 7;
	block = hak_realloc(block, 2 * bytes);
	STRESS_CHECK(block != NULL && block[bytes - 1] == 7);
}

static void fill_with_small(void)
{
	keep_and_limit();
	for (size_t bytes = 0; bytes < WANTED_BYTES; bytes += 256)
		STRESS_CHECK(hak_malloc(256) != NULL);
}

/* Runs are served by the region. */
static void fill_with_runs(void)
{
	keep_and_limit();
	for (size_t bytes = 0; bytes < WANTED_BYTES; bytes += MIB / 2)
		STRESS_CHECK(hak_malloc(MIB / 2) != NULL);
}

int main(void)
{
	void (*const ways[])(void) = {map, grow, fill_with_small, fill_with_runs};
	int status;

	for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
		pid_t child = fork();

		if (child == 0) {
			stress_position.operation = i;
			ways[i]();
			_exit(0);
		}
		STRESS_CHECK(child > 0 && waitpid(child, &status, 0) == child);
		if (status != 0)
			return 1;
	}
	return 0;
}
