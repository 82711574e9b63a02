/* random_mixed.c - blocks of random sizes that die in random order.
 *
 * Goal     the cost of malloc and free, and the memory held, for a heap whose working set fits the
 *          first cache, the second cache, or none (256, 8,192 and 1,000,000 slots), and for a
 *          process so short that starting the allocator is most of its work (1,000 iterations).
 * Method   each thread has SLOTS slots and a generator of its own. An iteration picks a slot: a
 *          filled one is freed, an empty one gets a block of 16..1024 bytes whose first and last
 *          byte are written. So half of the slots are filled once the loop is warm. All threads
 *          enter the loop together; the time is from the first one's entry to the last one's exit.
 */
#include "measure.h"

#include <dlfcn.h>
#include <getopt.h>
#include <hak/hak.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define THREADS_MAX 256u
#define SLOTS_MAX (UINT64_C(1) << 28)

#define SETTLE_SECONDS 2.0
#define SETTLE_STEP_NS 10000000L
#define SETTLE_BLOCKS 64u

/* The size lies beside the pointer, in the same cache line, so that counting live bytes costs every
 * allocator the same small sum. */
struct slot {
	void *block;
	size_t size;
};

struct worker {
	pthread_t thread;
	struct slot *slots;
	uint64_t random;
	uint64_t live_bytes;
	uint64_t live_peak_bytes;
	double entered_seconds;
	double left_seconds;
};

struct options {
	uint64_t iterations;
	uint64_t slot_count;
	uint64_t seed;
	uint64_t thread_count;
	bool settle;
};

struct result {
	double seconds;
	double operations_per_second;
	uint64_t peak_bytes;
	uint64_t live_bytes;
	uint64_t live_peak_bytes;
	uint64_t resident_bytes;
};

static struct options options = {.thread_count = 1};
static struct worker workers[THREADS_MAX];

/* Met three times: before the loop, after it, and after the peak has been read. */
static pthread_barrier_t barrier;

static void out_of_memory(void)
{
	fputs("random_mixed: malloc returned NULL\n", stderr);
	exit(MEASURE_EXIT_FAILURE);
}

static void churn(struct worker *worker)
{
	struct slot *slots = worker->slots;
	const uint64_t slot_count = options.slot_count;
	uint64_t random = worker->random;
	uint64_t live_bytes = 0;
	uint64_t live_peak_bytes = 0;

	for (uint64_t left = options.iterations; left > 0; left--) {
		uint64_t bits = measure_random(&random);
		struct slot *slot = &slots[measure_scale((uint32_t)(bits >> 32), slot_count)];

		if (slot->block != NULL) {
			free(slot->block);
			slot->block = NULL;
			live_bytes -= slot->size;
			continue;
		}
		slot->size = measure_random_size((uint32_t)bits);
		slot->block = malloc(slot->size);
		if (slot->block == NULL)
			out_of_memory();
		measure_touch_ends(slot->block, slot->size);
		live_bytes += slot->size;
		if (live_bytes > live_peak_bytes)
			live_peak_bytes = live_bytes;
	}
	worker->live_bytes = live_bytes;
	worker->live_peak_bytes = live_peak_bytes;
}

static void *work(void *argument)
{
	struct worker *worker = argument;

	pthread_barrier_wait(&barrier);
	worker->entered_seconds = measure_now_seconds();
	churn(worker);
	worker->left_seconds = measure_now_seconds();
	pthread_barrier_wait(&barrier);

	pthread_barrier_wait(&barrier);
	for (uint64_t i = 0; i < options.slot_count; i++)
		free(worker->slots[i].block);
	return NULL;
}

/* The main thread is worker 0, so that one thread means a process that never made a second one:
 * allocators may and do have a shorter path there. The three meetings of work() are spelled out for
 * it, because it reads the peak between the second and the third. */
static uint64_t run_workers(void)
{
	pthread_barrier_init(&barrier, NULL, (unsigned int)options.thread_count);
	for (uint64_t i = 0; i < options.thread_count; i++) {
		workers[i].slots = measure_map(options.slot_count * sizeof(struct slot));
		workers[i].random = options.seed + i;
	}
	for (uint64_t i = 1; i < options.thread_count; i++) {
		int error = pthread_create(&workers[i].thread, NULL, work, &workers[i]);

		if (error != 0) {
			fprintf(stderr, "random_mixed: pthread_create: %s\n", strerror(error));
			exit(MEASURE_EXIT_FAILURE);
		}
	}

	pthread_barrier_wait(&barrier);
	workers[0].entered_seconds = measure_now_seconds();
	churn(&workers[0]);
	workers[0].left_seconds = measure_now_seconds();
	pthread_barrier_wait(&barrier);

	uint64_t peak_bytes = measure_peak_bytes();

	pthread_barrier_wait(&barrier);
	for (uint64_t i = 0; i < options.slot_count; i++)
		free(workers[0].slots[i].block);
	for (uint64_t i = 1; i < options.thread_count; i++)
		pthread_join(workers[i].thread, NULL);
	pthread_barrier_destroy(&barrier);
	return peak_bytes;
}

/* An allocator that gives memory back after a delay does so on its next calls; a program that has
 * become quiet, but not silent, gives it these. */
static void settle(void)
{
	const struct timespec step = {.tv_nsec = SETTLE_STEP_NS};
	double end_seconds = measure_now_seconds() + SETTLE_SECONDS;
	uint64_t random = options.seed;
	void *blocks[SETTLE_BLOCKS];

	while (measure_now_seconds() < end_seconds) {
		for (size_t i = 0; i < SETTLE_BLOCKS; i++) {
			size_t size = measure_random_size((uint32_t)measure_random(&random));

			blocks[i] = malloc(size);
			if (blocks[i] == NULL)
				out_of_memory();
			measure_touch_ends(blocks[i], size);
		}
		for (size_t i = 0; i < SETTLE_BLOCKS; i++)
			free(blocks[i]);
		nanosleep(&step, NULL);
	}
}

/* Each thread's peak is at its own moment, so with threads the sum is an upper bound; in a loop of
 * steady size they are close. */
static void sum_up(struct result *result)
{
	double entered_seconds = workers[0].entered_seconds;
	double left_seconds = workers[0].left_seconds;

	for (uint64_t i = 0; i < options.thread_count; i++) {
		const struct worker *worker = &workers[i];

		if (worker->entered_seconds < entered_seconds)
			entered_seconds = worker->entered_seconds;
		if (worker->left_seconds > left_seconds)
			left_seconds = worker->left_seconds;
		result->live_bytes += worker->live_bytes;
		result->live_peak_bytes += worker->live_peak_bytes;
	}
	result->seconds = left_seconds - entered_seconds;
	result->operations_per_second = (double)(options.iterations * options.thread_count) /
					result->seconds;
}

/* Looked up at run time: the program is linked to no allocator, and only libhak has the call. */
static bool read_hak_stats(struct hak_stats *stats)
{
	int (*stats_get)(struct hak_stats *, size_t);
	void *entry = dlsym(RTLD_DEFAULT, "hak_stats_get");

	if (entry == NULL)
		return false;
	/* ISO C has no cast from an object pointer to a function; POSIX has the two alike. */
	memcpy(&stats_get, &entry, sizeof(stats_get));
	return stats_get(stats, sizeof(*stats)) == 0;
}

static void print_result(const struct result *result)
{
	struct hak_stats stats;
	bool has_stats = read_hak_stats(&stats);
	const char *allocator = measure_allocator_path();

	printf("allocator         %s\n", allocator);
	printf("loop              %.6f s, %.0f operations/s\n", result->seconds,
	       result->operations_per_second);
	printf("peak memory       %" PRIu64 " bytes\n", result->peak_bytes);
	printf("live              %" PRIu64 " bytes at the end of the loop, %" PRIu64 " at most\n",
	       result->live_bytes, result->live_peak_bytes);
	printf("resident          %" PRIu64 " bytes after all was freed%s\n",
	       result->resident_bytes, options.settle ? " and 2 s passed" : "");
	if (has_stats)
		printf("SuperSlabs        %" PRIu64 " at peak, %" PRIu64
		       " opened in total, %" PRIu64 " open at the end\n",
		       stats.superslab_peak_count, stats.superslab_opened_total,
		       stats.superslab_open_count);

	printf("program=random_mixed seconds=%.9f operations_per_second=%.0f peak_bytes=%" PRIu64
	       " live_bytes=%" PRIu64 " live_peak_bytes=%" PRIu64 " resident_bytes=%" PRIu64,
	       result->seconds, result->operations_per_second, result->peak_bytes,
	       result->live_bytes, result->live_peak_bytes, result->resident_bytes);
	if (has_stats)
		printf(" superslab_peak_count=%" PRIu64 " superslab_opened_total=%" PRIu64
		       " superslab_open_count=%" PRIu64,
		       stats.superslab_peak_count, stats.superslab_opened_total,
		       stats.superslab_open_count);
	printf(" allocator=%s\n", allocator);
}

static void print_usage(FILE *stream)
{
	fputs("usage: random_mixed [--settle] ITERATIONS SLOTS SEED [THREADS]\n"
	      "\n"
	      "  ITERATIONS  how often each thread picks a slot: one malloc or one free\n"
	      "  SLOTS       slots of each thread; half of them are filled on average\n"
	      "  SEED        thread number i draws from SEED + i\n"
	      "  THREADS     1 to 256; 1 if not given\n"
	      "  --settle    after all is freed, 2 seconds of light activity before the resident\n"
	      "              memory is read\n"
	      "  --help      this text\n",
	      stream);
}

static bool parse_options(int argc, char **argv)
{
	static const struct option long_options[] = {
		{"settle", no_argument, NULL, 's'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int letter;

	while ((letter = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		if (letter == 'h') {
			print_usage(stdout);
			exit(EXIT_SUCCESS);
		}
		if (letter != 's')
			return false;
		options.settle = true;
	}

	int count = argc - optind;
	char **words = argv + optind;

	if (count != 3 && count != 4)
		return false;
	return measure_parse(words[0], 1, UINT64_MAX / THREADS_MAX, &options.iterations) &&
	       measure_parse(words[1], 1, SLOTS_MAX, &options.slot_count) &&
	       measure_parse(words[2], 0, UINT64_MAX - THREADS_MAX, &options.seed) &&
	       (count == 3 || measure_parse(words[3], 1, THREADS_MAX, &options.thread_count));
}

int main(int argc, char **argv)
{
	struct result result = {0};

	if (!parse_options(argc, argv)) {
		print_usage(stderr);
		return MEASURE_EXIT_USAGE;
	}
	result.peak_bytes = run_workers();
	sum_up(&result);
	if (options.settle)
		settle();
	result.resident_bytes = measure_resident_bytes();
	print_result(&result);
	return EXIT_SUCCESS;
}
