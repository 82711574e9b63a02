/* Goal: a daemon that counts is believed to live, however late a thread comes with its look at the
 * clock; one that has stopped is found to be gone. Threads that make the process's own page at once
 * all have it as it is then, which ThreadSanitizer sees. What else a registration is: tests/attach.
 * Method: a page of the test's own, and times that are made up. */
#include "unit.h"

#include "govern/attach.h"
#include "proto/mailbox.h"
#include "proto/page.h"

#include <pthread.h>

#define SECOND_NS ((uint64_t)1000000000)

static uint64_t words[HAK_PAGE_TELEMETRY / sizeof(uint64_t)];

static bool is_orphan_at(uint64_t counter, uint64_t now_ns)
{
	words[(HAK_PAGE_MAILBOX + HAK_MAILBOX_DAEMON_SEEN) / sizeof(uint64_t)] = counter;
	return hak_attach_is_orphan((unsigned char *)words, now_ns);
}

static void a_daemon_that_counts_lives(void **state)
{
	(void)state;
	for (uint64_t i = 1; i < 10; i++)
		assert_false(is_orphan_at(i, (100 + 2 * i) * SECOND_NS));
}

static void a_late_thread_does_not_find_it_gone(void **state)
{
	(void)state;
	assert_false(is_orphan_at(20, 200 * SECOND_NS));
	assert_false(is_orphan_at(20, 200 * SECOND_NS - 4000000));
	assert_false(is_orphan_at(20, 204 * SECOND_NS));
}

static void one_that_stands_still_is_gone(void **state)
{
	(void)state;
	assert_false(is_orphan_at(30, 300 * SECOND_NS));
	assert_false(is_orphan_at(30, 304 * SECOND_NS));
	assert_true(is_orphan_at(30, 305 * SECOND_NS));
	assert_false(is_orphan_at(31, 306 * SECOND_NS));
}

static void one_that_is_silent_for_long_is_not_heeded(void **state)
{
	(void)state;
	assert_false(is_orphan_at(40, 1000 * SECOND_NS));
	assert_false(hak_attach_is_silent(1059 * SECOND_NS));
	assert_true(hak_attach_is_silent(1060 * SECOND_NS));
	/* That it looks so late is the process's own doing. */
	assert_false(is_orphan_at(41, 2000 * SECOND_NS));
	assert_false(hak_attach_is_silent(2000 * SECOND_NS));
}

static void a_late_thread_does_not_make_the_process_older(void **state)
{
	(void)state;
	assert_false(hak_attach_is_due(400 * SECOND_NS));
	assert_false(hak_attach_is_due(400 * SECOND_NS - 4000000));
	assert_true(hak_attach_is_due(401 * SECOND_NS));
}

static void *make_page(void *start)
{
	pthread_barrier_wait(start);
	return hak_attach_share() && hak_attach_is_own_memory() ? start : NULL;
}

static void threads_that_make_the_page_at_once_share_it(void **state)
{
	pthread_barrier_t start;
	pthread_t threads[4];
	void *made;

	(void)state;
	pthread_barrier_init(&start, NULL, UNIT_COUNT(threads));
	for (size_t i = 0; i < UNIT_COUNT(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, make_page, &start), 0);
	for (size_t i = 0; i < UNIT_COUNT(threads); i++) {
		assert_int_equal(pthread_join(threads[i], &made), 0);
		assert_ptr_equal(made, &start);
	}
	pthread_barrier_destroy(&start);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_daemon_that_counts_lives),
		cmocka_unit_test(a_late_thread_does_not_find_it_gone),
		cmocka_unit_test(one_that_stands_still_is_gone),
		cmocka_unit_test(one_that_is_silent_for_long_is_not_heeded),
		cmocka_unit_test(a_late_thread_does_not_make_the_process_older),
		cmocka_unit_test(threads_that_make_the_page_at_once_share_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
