/* Goal: threads come and go by the ten thousand, and what they leave behind is neither lost nor in
 * anybody's way: memory does not grow with the number of threads that there ever were.
 *
 * Method: waves of short-lived threads. Each allocates blocks of many sizes, frees some, puts some
 * into mailboxes, where a later thread finds and frees them, and leaves some to its destructor of
 * thread-specific data. That destructor frees, allocates and asks to be called again until the last
 * of its rounds, so that it also runs after libhak has said good-bye to the thread: its key is made
 * last and so comes last in each round. Every few waves the statistics must show the heap at the
 * size that it had after the first tenth; at the end all is freed and nothing is live.
 *
 *	stress_threads [THREADS [AT_ONCE [SEED]]]
 */
#include "stress.h"

#include <hak/hak.h>

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define AT_ONCE_MAX 64
#define BLOCKS 48 /* that a thread makes */
#define MAILBOXES 128
#define LEGACY_BLOCKS 4 /* that each round of a destructor frees */
#define BYTES_MAX ((size_t)40 << 10)

/* What the heap may grow beyond its early size. The blocks in the mailboxes are of random sizes,
 * and so the heap breathes; a loss of one smallest block a thread would be several times this in
 * all, and is found exactly by what is live at the end. */
#define SUPERSLABS_SLACK 4
#define METADATA_BYTES_SLACK ((uint64_t)512 << 10)

/* Rounds of destructors that the test takes part in. ThreadSanitizer says its own good-bye to a
 * thread in the last one, and code that it instruments must not run afterwards. */
#if defined(__SANITIZE_THREAD__)
#define ROUNDS (PTHREAD_DESTRUCTOR_ITERATIONS - 1)
#else
#define ROUNDS PTHREAD_DESTRUCTOR_ITERATIONS
#endif

/* What a thread leaves to its destructor; lies in the memory under test itself. */
struct legacy {
	unsigned round;
	struct stress_block blocks[ROUNDS][LEGACY_BLOCKS];
};

static _Atomic(struct stress_block *) mailboxes[MAILBOXES];
static pthread_key_t legacy_key;
static _Atomic uint64_t rounds_total;

static size_t random_size(void)
{
	return stress_random_below(4) != 0 ? stress_random_below(513)
					   : stress_random_size(BYTES_MAX);
}

/* A letter is a block that says where another one is; both are freed by who opens it. */
static struct stress_block *write_letter(void)
{
	struct stress_block *letter = hak_malloc(sizeof *letter);

	STRESS_CHECK(letter != NULL);
	stress_make(letter, random_size());
	return letter;
}

static void open_letter(struct stress_block *letter)
{
	if (letter == NULL)
		return;
	stress_release(letter);
	hak_free(letter);
}

/* acq_rel: what is in the letter and its block goes with it */
static void exchange_letter(struct stress_block *letter)
{
	open_letter(atomic_exchange_explicit(&mailboxes[stress_random_below(MAILBOXES)], letter,
					     memory_order_acq_rel));
}

/* The destructor of thread-specific data, called once a round for as long as it sets the key. */
static void inherit(void *argument)
{
	struct legacy *legacy = argument;
	struct stress_block *blocks = legacy->blocks[legacy->round];
	struct stress_block fresh;

	stress_position.name = "destructor";
	stress_position.operation = legacy->round;
	atomic_fetch_add_explicit(&rounds_total, 1, memory_order_relaxed);
	for (unsigned i = 0; i < LEGACY_BLOCKS; i++) {
		stress_make(&fresh, random_size());
		stress_release(&blocks[i]);
		exchange_letter(write_letter());
		stress_release(&fresh);
	}
	if (++legacy->round == ROUNDS)
		hak_free(legacy);
	else
		STRESS_CHECK(pthread_setspecific(legacy_key, legacy) == 0);
}

static void leave_legacy(void)
{
	struct legacy *legacy = hak_calloc(1, sizeof *legacy);

	STRESS_CHECK(legacy != NULL && legacy->round == 0);
	for (unsigned i = 0; i < ROUNDS; i++)
		for (unsigned j = 0; j < LEGACY_BLOCKS; j++)
			stress_make(&legacy->blocks[i][j], random_size());
	STRESS_CHECK(pthread_setspecific(legacy_key, legacy) == 0);
}

/* One short life. A few only free: what others allocated, of classes that they never ask for. */
static void *live(void *argument)
{
	struct stress_block blocks[BLOCKS];
	unsigned number = (unsigned)(uintptr_t)argument;

	stress_begin_thread(number);
	stress_position.name = "live";
	if (number % 8 == 0) {
		for (unsigned i = 0; i < BLOCKS; i++)
			exchange_letter(NULL);
		return NULL;
	}
	for (unsigned i = 0; i < BLOCKS; i++) {
		stress_position.operation = i;
		stress_make(&blocks[i], random_size());
		if (i % 4 == 0)
			exchange_letter(write_letter());
	}
	for (unsigned i = 0; i < BLOCKS; i++)
		stress_release(&blocks[i]);
	leave_legacy();
	return NULL;
}

static void compare(const struct hak_stats *early)
{
	struct hak_stats now;

	STRESS_CHECK(hak_stats_get(&now, sizeof now) == 0);
	if (now.superslab_open_count > early->superslab_open_count + SUPERSLABS_SLACK)
		stress_fail("%llu SuperSlabs are open, %llu were after the first tenth",
			    (unsigned long long)now.superslab_open_count,
			    (unsigned long long)early->superslab_open_count);
	if (now.metadata_bytes > early->metadata_bytes + METADATA_BYTES_SLACK)
		stress_fail("%llu bytes of metadata, %llu were after the first tenth",
			    (unsigned long long)now.metadata_bytes,
			    (unsigned long long)early->metadata_bytes);
}

static void run_wave(unsigned first_number, unsigned count)
{
	pthread_t threads[AT_ONCE_MAX];

	for (unsigned i = 0; i < count; i++)
		STRESS_CHECK(pthread_create(&threads[i], NULL, live,
					    (void *)(uintptr_t)(first_number + i)) == 0);
	for (unsigned i = 0; i < count; i++)
		STRESS_CHECK(pthread_join(threads[i], NULL) == 0);
}

int main(int argc, char **argv)
{
	unsigned thread_count = (unsigned)stress_argument(argc, argv, 1, 20000);
	unsigned at_once = (unsigned)stress_argument(argc, argv, 2, 8);
	struct hak_stats early = {.version = 0};
	unsigned mourned = 0; /* threads that leave a legacy */

	stress_set_seed(stress_argument(argc, argv, 3, 1));
	STRESS_CHECK(at_once >= 1 && at_once <= AT_ONCE_MAX && thread_count >= 10 * at_once);
	STRESS_CHECK(pthread_key_create(&legacy_key, inherit) == 0);
	for (unsigned i = 1; i <= thread_count; i += at_once) {
		run_wave(i, at_once);
		for (unsigned j = i; j < i + at_once; j++)
			mourned += j % 8 != 0;
		if (i > thread_count / 10 && early.version == 0)
			STRESS_CHECK(hak_stats_get(&early, sizeof early) == 0);
		else if (early.version != 0)
			compare(&early);
	}
	/* Otherwise the later rounds, which are the point, would not have been tested. */
	STRESS_CHECK(atomic_load(&rounds_total) == (uint64_t)mourned * ROUNDS);
	for (unsigned i = 0; i < MAILBOXES; i++)
		open_letter(atomic_load(&mailboxes[i]));
	stress_expect_nothing_live();
	return 0;
}
