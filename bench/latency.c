/* latency.c - how long single calls take.
 *
 * Goal     the calls that a median hides: a refill, a lock that is held, a system call. A service
 *          that answers in a millisecond feels each of them.
 * Method   random_mixed's loop, where each call is timed by the processor's counter, read before
 *          and after it, and counted in a histogram whose steps are an eighth of a power of two.
 *          What two readings without a call between them take at least is taken off. With THREADS
 *          over 1 all threads do the same, and their histograms are added up.
 */
#include "measure.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <x86intrin.h>

#define THREADS_MAX 64u
#define STEPS_LOG2 3u
#define STEPS (64u << STEPS_LOG2)

static uint64_t iterations, slot_count, seed, thread_count;
static uint64_t overhead;

static struct histogram {
	uint64_t counts[STEPS];
	uint64_t longest;
} * histograms;

/* A reading that nothing before or after it overtakes (Intel SDM, RDTSCP and LFENCE). */
static uint64_t read_counter(void)
{
	unsigned processor;
	uint64_t count = __rdtscp(&processor);

	_mm_lfence();
	return count;
}

static void note(struct histogram *histogram, uint64_t ticks)
{
	ticks = ticks > overhead ? ticks - overhead : 0;
	unsigned log2 = 63u - (unsigned)__builtin_clzll(ticks | 1);
	unsigned part = log2 <= STEPS_LOG2 ? 0
					   : (unsigned)(ticks >> (log2 - STEPS_LOG2)) &
						     ((1u << STEPS_LOG2) - 1);

	histogram->counts[(log2 << STEPS_LOG2) + part]++;
	histogram->longest = ticks > histogram->longest ? ticks : histogram->longest;
}

/* The upper end of a step. */
static double ticks_of(unsigned step)
{
	unsigned log2 = step >> STEPS_LOG2, part = step & ((1u << STEPS_LOG2) - 1);
	double width = (double)(UINT64_C(1) << log2) / (1 << STEPS_LOG2);

	return (double)(UINT64_C(1) << log2) + width * (part + 1);
}

static double quantile(const struct histogram *histogram, double share)
{
	uint64_t total = 0, below = 0;

	for (unsigned i = 0; i < STEPS; i++)
		total += histogram->counts[i];
	for (unsigned i = 0; i < STEPS; i++) {
		below += histogram->counts[i];
		if ((double)below >= share * (double)total)
			return ticks_of(i);
	}
	return 0;
}

static void work(unsigned number)
{
	void **slots = measure_map(slot_count * sizeof(*slots));
	struct histogram *histogram = &histograms[number];
	uint64_t random = seed + number;

	for (uint64_t left = iterations; left > 0; left--) {
		uint64_t bits = measure_random(&random);
		void **slot = &slots[measure_scale((uint32_t)(bits >> 32), slot_count)];
		size_t size = measure_random_size((uint32_t)bits);
		bool is_full = *slot != NULL;
		uint64_t begin = read_counter();

		if (is_full)
			free(*slot);
		else
			*slot = malloc(size);
		note(histogram, read_counter() - begin);
		if (is_full)
			*slot = NULL;
		else if (*slot == NULL)
			measure_fail("malloc");
		else
			measure_touch_ends(*slot, size);
	}
	for (uint64_t i = 0; i < slot_count; i++)
		free(slots[i]);
}

static void measure_overhead(void)
{
	overhead = UINT64_MAX;
	for (unsigned i = 0; i < 10000; i++) {
		uint64_t begin = read_counter(), ticks = read_counter() - begin;

		overhead = ticks < overhead ? ticks : overhead;
	}
}

int main(int argc, char **argv)
{
	static const char usage[] =
		"usage: latency ITERATIONS SLOTS SEED THREADS\n"
		"\n"
		"  ITERATIONS  calls of each thread: malloc or free\n"
		"  SLOTS       of each thread; half of them are filled on average\n"
		"  SEED        thread number i draws from SEED + i\n"
		"  THREADS     1 to 64\n";
	const struct measure_argument arguments[] = {
		{"ITERATIONS", 1, UINT64_C(1) << 40, &iterations},
		{"SLOTS", 1, UINT64_C(1) << 28, &slot_count},
		{"SEED", 0, UINT32_MAX, &seed},
		{"THREADS", 1, THREADS_MAX, &thread_count},
	};
	struct measure_result result = {.program = "latency"};
	struct histogram *all;

	measure_arguments(argc, argv, 1, usage, arguments, 4);
	histograms = measure_map((thread_count + 1) * sizeof(*histograms));
	all = &histograms[thread_count];
	measure_overhead();

	uint64_t begin = read_counter();
	double start_seconds = measure_now_seconds();

	result.seconds = measure_threads((unsigned)thread_count, work);

	double ns_per_tick = (measure_now_seconds() - start_seconds) * 1e9 /
			     (double)(read_counter() - begin);

	for (uint64_t i = 0; i < thread_count; i++) {
		for (unsigned step = 0; step < STEPS; step++)
			all->counts[step] += histograms[i].counts[step];
		all->longest = histograms[i].longest > all->longest ? histograms[i].longest
								    : all->longest;
	}
	result.operations = iterations * thread_count;
	measure_print(&result, "p50_ns=%.1f p99_ns=%.1f p999_ns=%.1f max_ns=%.0f",
		      quantile(all, 0.5) * ns_per_tick, quantile(all, 0.99) * ns_per_tick,
		      quantile(all, 0.999) * ns_per_tick, (double)all->longest * ns_per_tick);
	return EXIT_SUCCESS;
}
