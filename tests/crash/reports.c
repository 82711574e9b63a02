/* Goal: under HAK_MISUSE=report every misuse is one sentence, the program goes on, and its heap
 * with it: blocks that were not to be freed stay as they were, and the count is right.
 * Method: each kind of misuse once, between blocks that are checked; reports.sh has the words. */
#include "twin.h"

#include <errno.h>
#include <hak/hak.h>
#include <malloc.h>

#define COUNT 20000
#define KEPT 10

static char *volatile blocks[COUNT];

static void misuse(void)
{
	static long not_ours[4];
	void (*free_sized)(void *block, size_t size);
	char *volatile small = malloc(100);
	char *volatile run = malloc(100000);
	char *volatile huge = malloc(3000000);
	char *volatile other = malloc(100);

	find_twin("free_sized", &free_sized);
	free(small + 8);
	free(small + 1);
	free(run + 16);
	free(run + 20000);
	free(huge + 4096);
	free(not_ours);
	if (malloc_usable_size(not_ours) != 0 || malloc_usable_size(run + 16) != 0)
		exit(1);
	errno = 0;
	if (realloc(not_ours, 10) != NULL || errno != ENOMEM)
		exit(1);
	free_sized(other, 1000);
	free(small);
	free(small); /* twice in a row */
	free(run);
	free(run);
	free(huge);
	free(huge);
}

int main(void)
{
	int (*stats_get)(struct hak_stats * stats, size_t stats_bytes);
	struct hak_stats empty, before, after;
	size_t block_bytes;

	find_twin("hak_stats_get", &stats_get);
	stats_get(&empty, sizeof empty);
	for (size_t i = 0; i < COUNT; i++)
		memset(blocks[i] = malloc(64), (int)i, 64);
	stats_get(&before, sizeof before);
	block_bytes = (before.live_bytes - empty.live_bytes) / COUNT;
	misuse();
	/* Found as their batches are flushed: one inside a block, one free already. */
	free(blocks[1] + 16);
	for (size_t i = 0; i < COUNT; i += 2)
		free(blocks[i]);
	free(blocks[0]);
	for (size_t i = 0; i < 10000; i++)
		free(malloc(64));
	for (size_t i = 1; i < COUNT; i += 2) {
		if (i > COUNT - KEPT * 2)
			continue; /* so that no sum of the class ends at 0, where it is cut off */
		for (size_t j = 0; j < 64; j++)
			if (blocks[i][j] != (char)i)
				return 1;
		free(blocks[i]);
	}
	/* All threads' caches into the slabs: whatever is wrong yet is found now. */
	malloc_trim(0);
	stats_get(&after, sizeof after);
	if (after.misuse_count != 15)
		return 2;
	/* What was leaked is live for ever: the block of 100 bytes that free_sized refused. */
	return after.live_bytes == before.live_bytes - (COUNT - KEPT) * block_bytes + 112 ? 0 : 4;
}
