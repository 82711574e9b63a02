/* crowd.c - a thousand threads with little work each.
 *
 * Goal     what a thread costs that has allocated something once and now waits: pools of workers, a
 *          thread for each connection.
 * Method   THREADS threads are alive at once. Each allocates BLOCKS blocks of 16..1024 bytes,
 *          writes their ends, frees them all, and sleeps until all have done so. Then resident
 *          memory is read and divided; before it stands what as many threads take that never
 *          allocate. The time is that of all threads' lives.
 */
#include "measure.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>

#define THREADS_MAX MEASURE_THREADS_MAX
#define BLOCKS_MAX 256u

static uint64_t thread_count, block_count, seed;
static pthread_barrier_t all_done, may_end;

static void use_heap(uint64_t random)
{
	void *blocks[BLOCKS_MAX];

	for (uint64_t i = 0; i < block_count; i++) {
		size_t size = measure_random_size((uint32_t)measure_random(&random));

		blocks[i] = measure_malloc(size);
		measure_touch_ends(blocks[i], size);
	}
	for (uint64_t i = 0; i < block_count; i++)
		free(blocks[i]);
}

static void *live(void *seed_as_pointer)
{
	if (seed_as_pointer != NULL)
		use_heap((uint64_t)(uintptr_t)seed_as_pointer);
	pthread_barrier_wait(&all_done);
	pthread_barrier_wait(&may_end);
	return NULL;
}

/* Resident bytes while all threads wait. */
static uint64_t run(bool allocating)
{
	static pthread_t threads[THREADS_MAX];
	uint64_t resident;

	for (uint64_t i = 0; i < thread_count; i++)
		if (pthread_create(&threads[i], NULL, live,
				   allocating ? (void *)(uintptr_t)(seed + i) : NULL) != 0)
			measure_fail("pthread_create");
	pthread_barrier_wait(&all_done);
	resident = measure_resident_bytes();
	pthread_barrier_wait(&may_end);
	for (uint64_t i = 0; i < thread_count; i++)
		pthread_join(threads[i], NULL);
	return resident;
}

int main(int argc, char **argv)
{
	static const char usage[] = "usage: crowd THREADS BLOCKS SEED\n"
				    "\n"
				    "  THREADS  alive at once, 1 to 4096\n"
				    "  BLOCKS   that each allocates and frees, 1 to 256\n"
				    "  SEED     at least 1; thread number i draws from SEED + i\n";
	const struct measure_argument arguments[] = {
		{"THREADS", 1, THREADS_MAX, &thread_count},
		{"BLOCKS", 1, BLOCKS_MAX, &block_count},
		{"SEED", 1, UINT32_MAX, &seed},
	};
	struct measure_result result = {.program = "crowd"};
	uint64_t without, with;

	measure_arguments(argc, argv, 1, usage, arguments, 3);
	pthread_barrier_init(&all_done, NULL, (unsigned)thread_count + 1);
	pthread_barrier_init(&may_end, NULL, (unsigned)thread_count + 1);
	without = run(false);

	double start_seconds = measure_now_seconds();

	with = run(true);
	result.seconds = measure_now_seconds() - start_seconds;
	result.operations = 2 * thread_count * block_count;
	measure_print(&result, "thread_bytes=%.0f",
		      ((double)with - (double)without) / (double)thread_count);
	return EXIT_SUCCESS;
}
