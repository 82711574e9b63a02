/* Goal: one holder at a time, sleepers are woken, and debug builds see a broken order.
 * Method: four threads count under one lock with and without contention; the order is broken in a
 * child, which must abort in debug builds. Interleavings: model_lock.c. */
#include "unit.h"

#include "base/lock.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define THREADS 4
#define ROUNDS 200000

static struct hak_lock counter_lock = HAK_LOCK_OF(HAK_LOCK_POOL);
static long counter;

static void *count(void *arg)
{
	(void)arg;
	for (int i = 0; i < ROUNDS; i++) {
		hak_lock_take(&counter_lock);
		counter++;
		hak_lock_give(&counter_lock);
	}
	return NULL;
}

static void no_count_is_lost(void **state)
{
	pthread_t threads[THREADS];

	(void)state;
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, count, NULL), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(counter, THREADS * ROUNDS);
	assert_int_equal(atomic_load(&counter_lock.state), 0);
}

static void *take_and_give(void *arg)
{
	hak_lock_take(arg);
	hak_lock_give(arg);
	return NULL;
}

static void a_sleeper_is_woken(void **state)
{
	static struct hak_lock lock = HAK_LOCK_OF(HAK_LOCK_POOL);
	pthread_t thread;

	(void)state;
	hak_lock_take(&lock);
	assert_int_equal(pthread_create(&thread, NULL, take_and_give, &lock), 0);
	/* 2 is "held, and somebody sleeps": wait until it really does */
	while (atomic_load(&lock.state) != 2)
		usleep(100);
	hak_lock_give(&lock);
	assert_int_equal(pthread_join(thread, NULL), 0);
}

static void a_broken_order_aborts_in_debug_builds(void **state)
{
	static struct hak_lock lower = HAK_LOCK_OF(HAK_LOCK_CLASS);
	static struct hak_lock higher = HAK_LOCK_OF(HAK_LOCK_META);
	int status;

	(void)state;
	if (!HAK_DEBUG)
		skip();
	pid_t child = fork();

	if (child == 0) {
		signal(SIGABRT, SIG_DFL);
		dup2(open("/dev/null", O_WRONLY), STDERR_FILENO);
		hak_lock_take(&lower);
		hak_lock_take(&higher);
		hak_lock_give(&higher);
		hak_lock_give(&lower);
		hak_lock_take(&higher);
		hak_lock_take(&lower);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_count_is_lost),
		cmocka_unit_test(a_sleeper_is_woken),
		cmocka_unit_test(a_broken_order_aborts_in_debug_builds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
