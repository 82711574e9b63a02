/* Goal: what a thread has freed it gets again, however little else there is, while others give free
 * memory back to the system: no ENOMEM but where there is no memory.
 *
 * Method: under RLIMIT_DATA all memory is taken in blocks of one size; then some are freed and
 * taken again, over and over, while a second thread trims. What that one has in its hands for a
 * moment, on the way from a cache to the slabs or to the system, must not be missed.
 *
 *	stress_trim_storm [SECONDS]
 */
#include "stress.h"

#include <hak/hak.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#define LIMIT_BYTES ((size_t)64 << 20)
#define BLOCKS_MAX 20000

static _Atomic bool is_over;
static void *blocks[BLOCKS_MAX];

static void *trim(void *arg)
{
	while (!atomic_load(&is_over))
		hak_trim(SIZE_MAX);
	return arg;
}

static void free_and_take(size_t size, size_t count, time_t seconds)
{
	time_t end = time(NULL) + seconds;
	size_t block_count = 0;

	stress_position.name = "take all";
	while (block_count < BLOCKS_MAX && (blocks[block_count] = hak_malloc(size)) != NULL)
		block_count++;
	STRESS_CHECK(block_count > count);
	stress_position.name = "free and take";
	while (time(NULL) < end) {
		for (size_t i = 0; i < count; i++)
			hak_free(blocks[i]);
		for (size_t i = 0; i < count; i++) {
			blocks[i] = hak_malloc(size);
			if (blocks[i] == NULL)
				stress_fail("no block of %zu bytes, of which %zu were freed", size,
					    count - i);
		}
	}
	while (block_count != 0)
		hak_free(blocks[--block_count]);
}

int main(int argc, char **argv)
{
	time_t seconds = argc > 1 ? atoi(argv[1]) : 6;
	struct rlimit limit = {LIMIT_BYTES, LIMIT_BYTES};
	pthread_t trimmer;

	STRESS_CHECK(pthread_create(&trimmer, NULL, trim, NULL) == 0);
	STRESS_CHECK(setrlimit(RLIMIT_DATA, &limit) == 0);
	/* Huge blocks first: the memory of smaller ones stays open, and counts. */
	free_and_take((size_t)2 << 20, 1, seconds / 3);
	free_and_take(4096, 40, seconds / 3);
	free_and_take(20000, 40, seconds / 3);
	atomic_store(&is_over, true);
	return pthread_join(trimmer, NULL);
}
