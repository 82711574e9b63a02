/* thread_churn.c - threads that die young.
 *
 * Goal     what the birth and death of a thread cost in the allocator, and whether anything stays
 *          behind: a server that starts a thread per connection lives for millions of them.
 * Method   THREADS threads run in turn, each joined before the next is made. Each allocates BLOCKS
 *          blocks of 16..1024 bytes, writes the first and last byte of each, and frees them all.
 *          All of them run on the processor that the program finds itself on: where the kernel
 *          puts a new thread decides how long its start and its join take, varies from run to run
 *          by more than an allocator costs, and is nothing that an allocator can change.
 *          Resident memory is read after the 1,000th thread, when caches of stacks and of the
 *          allocator have their lasting size, and after the last.
 */
#include "measure.h"

#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WARM_THREADS 1000u
#define BLOCKS_MAX (UINT64_C(1) << 28)

struct memory {
	uint64_t resident_bytes;
	uint64_t peak_bytes;
};

/* Only one thread runs at a time, and pthread_create and pthread_join order what it sees. */
static void **blocks;
static uint64_t block_count;
static uint64_t thread_seed;

static void stay_on_this_processor(void)
{
	cpu_set_t here;
	int processor = sched_getcpu();

	CPU_ZERO(&here);
	if (processor >= 0)
		CPU_SET((size_t)processor, &here);
	if (processor < 0 || sched_setaffinity(0, sizeof(here), &here) != 0) {
		perror("thread_churn: staying on one processor");
		exit(MEASURE_EXIT_FAILURE);
	}
}

static void *live_and_die(void *unused)
{
	uint64_t random = thread_seed;

	(void)unused;
	for (uint64_t i = 0; i < block_count; i++) {
		size_t size = measure_random_size((uint32_t)measure_random(&random));

		blocks[i] = malloc(size);
		if (blocks[i] == NULL) {
			fputs("thread_churn: malloc returned NULL\n", stderr);
			exit(MEASURE_EXIT_FAILURE);
		}
		measure_touch_ends(blocks[i], size);
	}
	for (uint64_t i = 0; i < block_count; i++)
		free(blocks[i]);
	return NULL;
}

static void run_threads(uint64_t first, uint64_t end)
{
	for (uint64_t i = first; i < end; i++) {
		pthread_t thread;

		thread_seed = i;

		int error = pthread_create(&thread, NULL, live_and_die, NULL);

		if (error != 0) {
			fprintf(stderr, "thread_churn: pthread_create: %s\n", strerror(error));
			exit(MEASURE_EXIT_FAILURE);
		}
		pthread_join(thread, NULL);
	}
}

static struct memory read_memory(void)
{
	return (struct memory){
		.resident_bytes = measure_resident_bytes(),
		.peak_bytes = measure_peak_bytes(),
	};
}

static void print_result(double seconds, uint64_t thread_count, struct memory warm,
			 struct memory end)
{
	const char *allocator = measure_allocator_path();

	printf("allocator         %s\n", allocator);
	printf("threads           %.6f s, %.3f us each\n", seconds,
	       seconds * 1e6 / (double)thread_count);
	printf("resident          %" PRIu64 " bytes when warm, %" PRIu64 " at the end: %+" PRId64
	       "\n",
	       warm.resident_bytes, end.resident_bytes,
	       (int64_t)(end.resident_bytes - warm.resident_bytes));
	printf("peak memory       %" PRIu64 " bytes when warm, %" PRIu64 " at the end: %+" PRId64
	       "\n",
	       warm.peak_bytes, end.peak_bytes, (int64_t)(end.peak_bytes - warm.peak_bytes));
	printf("program=thread_churn seconds=%.9f warm_resident_bytes=%" PRIu64
	       " resident_bytes=%" PRIu64 " warm_peak_bytes=%" PRIu64 " peak_bytes=%" PRIu64
	       " allocator=%s\n",
	       seconds, warm.resident_bytes, end.resident_bytes, warm.peak_bytes, end.peak_bytes,
	       allocator);
}

static void print_usage(FILE *stream)
{
	fputs("usage: thread_churn THREADS BLOCKS\n"
	      "\n"
	      "  THREADS  threads to make, one after the other; at least 1000\n"
	      "  BLOCKS   blocks that each allocates and frees\n"
	      "  --help   this text\n",
	      stream);
}

static bool parse_options(int argc, char **argv, uint64_t *thread_count)
{
	static const struct option long_options[] = {
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int letter = getopt_long(argc, argv, "", long_options, NULL);

	if (letter == 'h') {
		print_usage(stdout);
		exit(EXIT_SUCCESS);
	}
	return letter == -1 && argc - optind == 2 &&
	       measure_parse(argv[optind], WARM_THREADS, UINT32_MAX, thread_count) &&
	       measure_parse(argv[optind + 1], 1, BLOCKS_MAX, &block_count);
}

int main(int argc, char **argv)
{
	uint64_t thread_count;

	if (!parse_options(argc, argv, &thread_count)) {
		print_usage(stderr);
		return MEASURE_EXIT_USAGE;
	}
	stay_on_this_processor();
	blocks = measure_map(block_count * sizeof(void *));

	double start_seconds = measure_now_seconds();

	run_threads(0, WARM_THREADS);

	double warm_seconds = measure_now_seconds() - start_seconds;
	struct memory warm = read_memory();

	start_seconds = measure_now_seconds();
	run_threads(WARM_THREADS, thread_count);

	double seconds = warm_seconds + measure_now_seconds() - start_seconds;

	print_result(seconds, thread_count, warm, read_memory());
	return EXIT_SUCCESS;
}
