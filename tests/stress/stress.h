/* stress.h - what the stress tests share: random numbers, contents that can be checked, failures
 * that can be repeated, and the proof that a test is able to fail.
 *
 * The tests call libhak by its hak_ names; whatever else needs memory (the threads, stdio) uses the
 * C library's malloc. So when a test has freed all, nothing is live: stress_expect_nothing_live().
 *
 * A failure prints one line with the seed, the thread and its operation, and aborts. A thread that
 * did not call stress_begin_thread() is thread 0.
 */
#ifndef HAK_TESTS_STRESS_H
#define HAK_TESTS_STRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What this thread is doing, for the words of a failure. */
struct stress_position {
	unsigned thread;
	uint64_t operation;
	const char *name;
};

extern __thread struct stress_position stress_position;

/* Sets the seed that failures print, and the thread's random numbers, which depend on both. */
void stress_set_seed(uint64_t seed);
void stress_begin_thread(unsigned thread);

/* splitmix64 (Steele, Lea & Flood, OOPSLA 2014), one sequence per thread. */
uint64_t stress_random(void);

/* A number below `end`, which is not 0. */
uint64_t stress_random_below(uint64_t end);

/* A size of a random magnitude up to `bytes_max`: small ones are as likely as large ones. */
size_t stress_random_size(size_t bytes_max);

_Noreturn void stress_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Fails with the condition's text. */
#define STRESS_CHECK(condition)                                                                    \
	((condition) ? (void)0                                                                     \
		     : stress_fail("%s, line %d: not so: %s", __FILE__, __LINE__, #condition))

/* argv[index] as a number, or `otherwise` where there are not so many arguments. */
uint64_t stress_argument(int argc, char **argv, int index, uint64_t otherwise);

/* A block and what it holds. Blocks to 4 KiB are filled and checked whole, larger ones at both ends
 * and by one word a page. The contents follow from the address, the size and a sequence number, so
 * that those of another block, or of another life of this one, are not taken for them. */
struct stress_block {
	unsigned char *address; /* NULL: none */
	size_t size;
	uint64_t key;
};

void stress_fill(struct stress_block *block);
void stress_verify(const struct stress_block *block);

/* After a realloc to `address`: the first `bytes` are as they were in the old block. */
void stress_verify_moved(const struct stress_block *old, unsigned char *address, size_t bytes);

/* hak_malloc and fill; verify and hak_free. Failure of either is a failure of the test. */
void stress_make(struct stress_block *block, size_t size);
void stress_release(struct stress_block *block);

/* Nothing is in the program's hands: all that was given out has come back. */
void stress_expect_nothing_live(void);

/* Runs `function` in a child, which must abort after a line with `words`; ends the program with 0
 * if so. To be called before there are threads. */
_Noreturn void stress_expect_abort(void (*function)(void), const char *words);

#endif
