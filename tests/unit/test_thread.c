/* Goal: a dead thread leaves nothing in its hands and its record to the next, and to one only,
 * after a fork as well; destructors and what comes after them may allocate and free.
 * Method: threads that take blocks and end, in turn and all at once; keys made before and after the
 * library's own, whose destructors free; the fork handlers called where all others are gone as they
 * are in a child. */
#include "unit.h"

#include "base/size_class.h"
#include "heap/meta.h"
#include "heap/thread.h"

#include <hak/hak.h>
#include <pthread.h>

static void *take_and_give_some(void *arg)
{
	void *blocks[64];

	(void)arg;
	for (size_t i = 0; i < 64; i++)
		blocks[i] = hak_malloc(16 + i * 37);
	for (size_t i = 0; i < 64; i++)
		hak_free(blocks[i]);
	return NULL;
}

static void run_one(void *(*story)(void *), void *arg)
{
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, story, arg), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
}

static void records_are_used_again(void **state)
{
	size_t meta_bytes;
	uint64_t counts[HAK_CLASS_COUNT + 1] = {0};

	(void)state;
	hak_free(hak_malloc(1)); /* the main thread's record */
	for (int i = 0; i < 50; i++)
		run_one(take_and_give_some, NULL);
	meta_bytes = hak_meta_bytes();
	for (int i = 0; i < 2000; i++)
		run_one(take_and_give_some, NULL);
	assert_int_equal(hak_meta_bytes(), meta_bytes);

	struct hak_thread *thread = hak_thread_enter();

	hak_thread_count(counts);
	hak_thread_leave(thread);
	for (unsigned i = 2; i <= HAK_CLASS_COUNT; i++)
		assert_int_equal(counts[i], 0); /* only main lives, and it used class 1 alone */
}

static pthread_barrier_t both_live;

static void *note_record(void *arg)
{
	struct hak_thread *thread = hak_thread_enter();

	*(struct hak_thread **)arg = thread;
	hak_thread_leave(thread);
	pthread_barrier_wait(&both_live);
	return NULL;
}

/* A fork's child takes the records of those who are gone. Who was dead before has given his own,
 * and what is given twice would be two threads' at once. No fork is needed for that: its handlers
 * are called here with no other thread left, and threads may be started after them. */
static void a_dead_threads_record_is_given_once(void **state)
{
	struct hak_thread *records[2];
	pthread_t threads[2];

	(void)state;
	run_one(take_and_give_some, NULL);
	hak_thread_fork_prepare();
	hak_thread_fork_child();
	pthread_barrier_init(&both_live, NULL, 2);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, note_record, &records[i]), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	pthread_barrier_destroy(&both_live);
	assert_non_null(records[0]);
	assert_non_null(records[1]);
	assert_ptr_not_equal(records[0], records[1]);
}

static pthread_key_t late_key;
static _Atomic int destructions;

/* Runs in every round, before and after the library's own destructor had its last one. */
static void free_and_come_again(void *block)
{
	hak_free(block);
	hak_free(hak_malloc(100));
	if (atomic_fetch_add(&destructions, 1) % 8 < 6)
		pthread_setspecific(late_key, hak_malloc(24));
}

static void *set_key(void *arg)
{
	(void)arg;
	pthread_setspecific(late_key, hak_malloc(24));
	return take_and_give_some(NULL);
}

static void destructors_may_allocate(void **state)
{
	struct hak_stats stats;

	(void)state;
	assert_int_equal(pthread_key_create(&late_key, free_and_come_again), 0);
	for (int i = 0; i < 200; i++)
		run_one(set_key, NULL);
	assert_true(atomic_load(&destructions) > 200);
	assert_int_equal(hak_stats_get(&stats, sizeof stats), 0);
	/* A block may be lost to a key that is set in the last round of all, and none but that. */
	assert_true(stats.live_bytes <= 200 * 32);
}

static void *take_block(void *arg)
{
	*(void **)arg = hak_malloc(5000);
	return NULL;
}

static void blocks_outlive_their_thread(void **state)
{
	unsigned char *block = NULL;

	(void)state;
	run_one(take_block, &block);
	assert_non_null(block);
	for (int i = 0; i < 5000; i++)
		block[i] = (unsigned char)i;
	run_one(take_and_give_some, NULL);
	for (int i = 0; i < 5000; i++)
		assert_int_equal(block[i], (unsigned char)i);
	hak_free(block);
}

static void *free_a_few(void *arg)
{
	void **blocks = arg;

	for (size_t i = 0; i < 3; i++)
		hak_free(blocks[i]);
	return NULL;
}

/* Fewer than a magazine holds: no flush ever tells that the thread had this class. */
static void a_thread_that_only_frees_keeps_nothing(void **state)
{
	void *blocks[3] = {hak_malloc(700), hak_malloc(700), hak_malloc(700)};
	struct hak_stats before, after;

	(void)state;
	hak_stats_get(&before, sizeof before);
	run_one(free_a_few, blocks);
	hak_stats_get(&after, sizeof after);
	assert_int_equal(before.live_bytes - after.live_bytes, 3 * 768);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(records_are_used_again),
		cmocka_unit_test(a_dead_threads_record_is_given_once),
		cmocka_unit_test(destructors_may_allocate),
		cmocka_unit_test(blocks_outlive_their_thread),
		cmocka_unit_test(a_thread_that_only_frees_keeps_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
