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

/* What of it the kernel may take when it needs memory (LazyFree): marked by MADV_FREE. */
uint64_t measure_marked_bytes(void);

/* The file that malloc comes from, as the dynamic loader knows it, or "unknown". LD_PRELOAD of a
 * library that cannot be loaded is only a warning, and the run would measure glibc instead. */
const char *measure_allocator_path(void);

/* Reads a decimal number within min..max. Returns false, and leaves *number alone, otherwise. */
bool measure_parse(const char *text, uint64_t min, uint64_t max, uint64_t *number);

/* A word of the command line that is a number. */
struct measure_argument {
	const char *name; /* as the usage calls it */
	uint64_t min, max;
	uint64_t *number;
};

/* Reads the numbers, in their order and no more of them. --help prints the usage and ends with
 * status 0; what makes no sense ends with MEASURE_EXIT_USAGE, after the usage and a line that says
 * what it is. first: where in argv the numbers begin (optind, after a program's own options). */
void measure_arguments(int argc, char **argv, int first, const char *usage,
		       const struct measure_argument *arguments, size_t count);

/* Ends the program with the usage, a line that says what makes no sense, and MEASURE_EXIT_USAGE. */
__attribute__((noreturn)) void measure_refuse(const char *usage, const char *what,
					      const char *word);

/* Ends the program with a sentence on standard error and MEASURE_EXIT_FAILURE. */
__attribute__((noreturn)) void measure_fail(const char *what);

/* The same for what the allocator did wrong. */
__attribute__((noreturn)) void measure_wrong(const char *what);

/* malloc that ends the program where there is no memory. */
void *measure_malloc(size_t bytes);

/* Runs work(0..count-1), each in a thread of its own, or in this one where count is 1. They enter
 * together. Returns the seconds from the first one's entry to the last one's end. */
#define MEASURE_THREADS_MAX 4096u
double measure_threads(unsigned count, void (*work)(unsigned number));

/* The loop of random_mixed for blocks of other kinds: so many times one of the slots is picked; a
 * filled one is freed, an empty one gets new_block(random bits). Fills in the time, the number of
 * operations and the peak, and then frees all. */
struct measure_result;
void measure_churn(uint64_t iterations, uint64_t slot_count, uint64_t seed,
		   void *(*new_block)(uint64_t bits), struct measure_result *result);

/* What a program measured. */
struct measure_result {
	const char *program;
	double seconds;
	uint64_t operations;	 /* in that time; 0: not counted */
	uint64_t peak_bytes;	 /* 0: measure_print() asks */
	uint64_t resident_bytes; /* the same */
};

/* Prints it in lines for people, then in one last line of key=value words for scripts. more: others
 * of these words, printf-like, or NULL. */
void measure_print(const struct measure_result *result, const char *more, ...)
	__attribute__((format(printf, 2, 3)));

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
