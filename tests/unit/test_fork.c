/* Goal: a fork made by a signal handler, wherever it strikes, leaves parent and child with a heap
 * that goes on; what other threads kept is given back in an ordinary fork's child.
 * Method: a timer strikes a loop that is mostly in slow paths; its handler forks, and the child
 * goes back into the loop for a while. Threads that hold blocks sleep while the main thread
 * forks. */
#include "unit.h"

#include "heap/thread.h"

#include <hak/hak.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define FORKS 300
#define BLOCKS 2000

static volatile sig_atomic_t fork_count;
static volatile sig_atomic_t is_child;

static void fork_here(int signal_number)
{
	pid_t child;

	(void)signal_number;
	if (is_child || fork_count == FORKS)
		return;
	fork_count++;
	child = fork();
	if (child == 0)
		is_child = 1;
}

/* Many blocks of one class at a time: most of it is refills, flushes and the pool. */
static void work(size_t size)
{
	static char *blocks[BLOCKS];

	for (size_t i = 0; i < BLOCKS; i++) {
		blocks[i] = hak_malloc(size);
		memset(blocks[i], (int)i, 16);
	}
	for (size_t i = 0; i < BLOCKS; i++) {
		if (blocks[i][15] != (char)i)
			_exit(2);
		hak_free(blocks[i]);
	}
}

static void a_signal_handler_may_fork(void **state)
{
	struct itimerval every = {{0, 1000}, {0, 1000}}, never = {{0, 0}, {0, 0}};
	struct sigaction action = {.sa_handler = fork_here, .sa_flags = SA_RESTART};
	int status, failed = 0, ended = 0;

	(void)state;
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &every, NULL);
	for (size_t size = 16; fork_count < FORKS && !is_child; size = size % 5000 + 48)
		work(size);
	if (is_child) {
		work(100);
		work(3000);
		_exit(0);
	}
	setitimer(ITIMER_REAL, &never, NULL);
	while (waitpid(-1, &status, 0) > 0) {
		ended++;
		failed += !WIFEXITED(status) || WEXITSTATUS(status) != 0;
	}
	assert_int_equal(failed, 0);
	assert_int_equal(ended, FORKS);
}

static pthread_barrier_t filled, over;

static void *hold_magazines(void *arg)
{
	void *blocks[100];

	(void)arg;
	for (size_t i = 0; i < 100; i++)
		blocks[i] = hak_malloc(200 + i * 20);
	for (size_t i = 0; i < 100; i++)
		hak_free(blocks[i]);
	pthread_barrier_wait(&filled);
	pthread_barrier_wait(&over);
	return NULL;
}

/* Blocks in the magazines of all threads that the heap knows of. */
static uint64_t magazine_block_count(void)
{
	uint64_t counts[HAK_CLASS_COUNT + 1] = {0}, sum = 0;
	struct hak_thread *thread = hak_thread_enter();

	hak_thread_count(counts);
	hak_thread_leave(thread);
	for (unsigned i = 1; i <= HAK_CLASS_COUNT; i++)
		sum += counts[i];
	return sum;
}

/* In the child only the forking thread is left: live must be what it was, and what the three others
 * kept, a block of each size at least, is in depots or slabs. */
static void a_child_gets_the_magazines_of_the_others(void **state)
{
	struct hak_stats before, after;
	uint64_t kept_count;
	pthread_t threads[3];
	int status;

	(void)state;
	pthread_barrier_init(&filled, NULL, 4);
	pthread_barrier_init(&over, NULL, 4);
	for (int i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, hold_magazines, NULL), 0);
	pthread_barrier_wait(&filled);
	hak_stats_get(&before, sizeof before);
	kept_count = magazine_block_count();
	pid_t child = fork();

	if (child == 0) {
		bool is_given = magazine_block_count() + 30 <= kept_count;

		hak_stats_get(&after, sizeof after);
		work(500);
		_exit(is_given && after.live_bytes == before.live_bytes ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	pthread_barrier_wait(&over);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_child_gets_the_magazines_of_the_others),
		cmocka_unit_test(a_signal_handler_may_fork),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
