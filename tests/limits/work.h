/* work.h - what the programs of this room do once they have less of something: use the heap in each
 * of its ways, and find out where it ends.
 *
 * A block holds what follows from its number, and is checked before it changes or goes. What cannot
 * be had must be NULL with ENOMEM, and free keeps errno. A failure is one line on fd 2 and _exit:
 * nothing else may be allowed any more.
 */
#ifndef HAK_TESTS_LIMITS_WORK_H
#define HAK_TESTS_LIMITS_WORK_H

#include <stdbool.h>
#include <stddef.h>

#define MIB ((size_t)1 << 20)

/* The allocator under test: the program's malloc, unless another one is put here. */
extern struct work_calls {
	void *(*malloc)(size_t size);
	void *(*calloc)(size_t count, size_t size);
	void *(*realloc)(void *block, size_t size);
	int (*posix_memalign)(void **block, size_t alignment, size_t size);
	void (*free)(void *block);
} work_calls;

_Noreturn void work_fail(const char *words, int line);

/* Ends the program with what ctest takes for "skipped". */
_Noreturn void work_skip(const char *why);

#define EXPECT(condition) ((condition) ? (void)0 : work_fail(#condition, __LINE__))

/* Blocks of all kinds, some 20 MiB at once: made, resized, freed in a strange order. Returns how
 * many requests were refused. */
unsigned work(void);

/* The same in several threads at once, `rounds` times each. A thread that cannot be had is left
 * out; returns how many were. */
unsigned work_in_threads(unsigned count, unsigned rounds);

/* Blocks of one size until there is no more of them, then all freed, and this twice. Returns the
 * smaller number of both. */
size_t work_until_none(size_t size);

/* What of this program is in memory. */
size_t work_resident_bytes(void);

/* Sleeps by futex(2), which every filter has to allow. */
void work_sleep_ms(long ms);

/* A filter for all threads that allows malloc's usual calls, and those by which a program reads,
 * writes and ends; for every other one it kills. */
void work_forbid_all_but_malloc(void);

/* Whether libhak came with this program, preloaded or linked. */
bool work_is_ours(void);

#endif
