/* measure.h - what every bench program asks of the system: the clock, its own memory, and which
 * library serves its malloc.
 *
 * Threads   all calls may be made from any thread; none keeps state.
 * Memory    nothing here calls malloc before the answer is read, so that asking does not change
 *           what is measured. measure_allocator_path() calls the dynamic loader, which may: ask
 *           after the measurement.
 * Errors    a /proc file that cannot be read ends the program with exit status 1: a number that
 *           is silently 0 would pass for a very good one.
 */
#ifndef HAK_BENCH_MEASURE_H
#define HAK_BENCH_MEASURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Exit statuses of the bench programs: the arguments make no sense, and the run failed. */
#define MEASURE_EXIT_FAILURE 1
#define MEASURE_EXIT_USAGE 2

/* CLOCK_MONOTONIC in seconds. */
double measure_now_seconds(void);

/* The highest resident set so far (VmHWM of proc_pid_status(5)). */
uint64_t measure_peak_bytes(void);

/* The resident set now: Rss of /proc/self/smaps_rollup. VmRSS is kept per processor by the kernel
 * and may be wrong by 256 KiB on two processors, which is as much as thread_churn looks for. */
uint64_t measure_resident_bytes(void);

/* The file that malloc comes from, as the dynamic loader knows it, or "unknown". LD_PRELOAD of a
 * library that cannot be loaded is only a warning, and the run would measure glibc instead. */
const char *measure_allocator_path(void);

/* Reads a decimal number within min..max. Returns false, and leaves *number alone, otherwise. */
bool measure_parse(const char *text, uint64_t min, uint64_t max, uint64_t *number);

/* Zeroed memory from mmap(2), resident at once. The programs' own tables come from here: they are
 * not part of what the allocator is judged by, nor are their page faults. Ends the program where
 * the system has no memory. */
void *measure_map(size_t bytes);

/* One step of splitmix64 (Steele, Lea, Flood 2014): *state is any number, all 64 bits are good. */
static inline uint64_t measure_random(uint64_t *state)
{
	uint64_t bits = *state += 0x9e3779b97f4a7c15u;

	bits = (bits ^ (bits >> 30)) * 0xbf58476d1ce4e5b9u;
	bits = (bits ^ (bits >> 27)) * 0x94d049bb133111ebu;
	return bits ^ (bits >> 31);
}

/* Maps 32 random bits onto 0..bound-1 without a division. */
static inline uint64_t measure_scale(uint32_t bits, uint64_t bound)
{
	return ((uint64_t)bits * bound) >> 32;
}

/* The sizes that random_mixed and thread_churn ask for: uniform in 16..1024. */
#define MEASURE_SIZE_MIN 16u
#define MEASURE_SIZE_MAX 1024u

static inline size_t measure_random_size(uint32_t bits)
{
	return MEASURE_SIZE_MIN + measure_scale(bits, MEASURE_SIZE_MAX - MEASURE_SIZE_MIN + 1);
}

/* Writes the first and the last byte, as a program would use a block; volatile, since the compiler
 * may otherwise drop an allocation that nobody reads. */
static inline void measure_touch_ends(void *block, size_t size)
{
	volatile char *bytes = block;

	bytes[0] = 1;
	bytes[size - 1] = 1;
}

#endif
