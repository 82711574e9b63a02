/* Goal: a fork made by a signal handler, wherever it strikes, leaves parent and child with a heap
 * that goes on; an ordinary fork waits for all that are inside a slow path, those without a record
 * too, and what other threads kept is given back in its child.
 * Method: a timer strikes a loop that is mostly in slow paths; its handler forks, and the child
 * goes back into the loop for a while. Threads that hold blocks sleep while the main thread
 * forks; one sleeps inside, and the child looks whether it still is. */
#include "unit.h"

#include "heap/thread.h"

#include <hak/hak.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__SANITIZE_THREAD__)
/* ThreadSanitizer starts a thread of its own in the child of each fork, which allocates. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
	return "report_signal_unsafe=0";
}
#endif

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
	fork_count = 0;
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

static _Atomic bool visitor_is_inside;

/* Inside for as long as the main thread may need to begin its fork. */
static void *visit(void *arg)
{
	struct hak_thread *thread = hak_thread_enter_to_give();

	(void)arg;
	atomic_store(&visitor_is_inside, true);
	pthread_barrier_wait(&filled);
	usleep(100000);
	atomic_store(&visitor_is_inside, false);
	hak_thread_leave(thread);
	/* A thread that has ended by the time of the fork is a leak of the child's to
	 * ThreadSanitizer. */
	pthread_barrier_wait(&over);
	return thread;
}

/* A thread that only frees has no record at first, and so none whose pass a fork could look at. */
static void a_fork_waits_for_threads_without_a_record(void **state)
{
	pthread_t thread;
	void *record;
	int status;

	(void)state;
	hak_free(hak_malloc(1)); /* who only gives finds a heap */
	pthread_barrier_init(&filled, NULL, 2);
	pthread_barrier_init(&over, NULL, 2);
	assert_int_equal(pthread_create(&thread, NULL, visit, NULL), 0);
	pthread_barrier_wait(&filled);
	pid_t child = fork();

	if (child == 0)
		_exit(atomic_load(&visitor_is_inside) ? 1 : 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	pthread_barrier_wait(&over);
	assert_int_equal(pthread_join(thread, &record), 0);
	assert_null(record);
	assert_int_equal(status, 0);
}

static void *parents_block;
static pthread_key_t freeing_key;

static void *leave_block_to_destructor(void *arg)
{
	pthread_setspecific(freeing_key, parents_block);
	return arg;
}

/* A thread whose only use of the heap is a free in a destructor: it is born when it dies. On a
 * stack that is too large for the C library to keep, so that its thread-local storage is gone at
 * once. */
static void a_thread_born_in_a_destructor_leaves_nothing(void **state)
{
	struct hak_stats stats;
	pthread_attr_t attributes;
	pthread_t thread;
	int status;

	(void)state;
	assert_int_equal(pthread_key_create(&freeing_key, hak_free), 0);
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, (size_t)64 << 20);
	parents_block = hak_malloc(64);
	assert_int_equal(pthread_create(&thread, &attributes, leave_block_to_destructor, NULL), 0);
	pthread_join(thread, NULL);
	pthread_attr_destroy(&attributes);
	assert_int_equal(hak_stats_get(&stats, sizeof stats), 0);
	pid_t child = fork();

	if (child == 0) {
		work(64);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static volatile sig_atomic_t nested_fork_count;

/* A fork and, in its child, one more: both must come through. */
static void fork_twice(int signal_number)
{
	pid_t child;

	(void)signal_number;
	/* The kernel begins a fork anew for each signal: it must have a time without any. */
	if (is_child || nested_fork_count >= 60) {
		setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 0}}, NULL);
		return;
	}
	nested_fork_count++;
	child = fork();
	if (child == 0) {
		is_child = 1;
		child = fork();
		if (child == 0)
			_exit(0);
		waitpid(child, NULL, 0);
	}
}

/* The timer strikes inside fork(2) itself, which takes long enough for a large heap. */
static void a_handler_may_interrupt_a_fork(void **state)
{
	struct itimerval every = {{0, 1500}, {0, 1500}}, never = {{0, 0}, {0, 0}};
	struct sigaction action = {.sa_handler = fork_twice, .sa_flags = SA_RESTART};
	size_t large_bytes = (size_t)64 << 20;
	char *large = hak_malloc(large_bytes);
	int status, failed = 0;

	(void)state;
	memset(large, 1, large_bytes);
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &every, NULL);
	while (nested_fork_count < 60 && !is_child) {
		pid_t child = fork();

		if (child == 0) {
			setitimer(ITIMER_REAL, &never, NULL);
			is_child = 1;
			break;
		}
		work(2000);
	}
	if (is_child) {
		work(100);
		_exit(0);
	}
	setitimer(ITIMER_REAL, &never, NULL);
	while (waitpid(-1, &status, 0) > 0)
		failed += status != 0;
	assert_int_equal(failed, 0);
	hak_free(large);
}

#define DEATHS 300
#define DEATH_BLOCKS 6000

static pthread_key_t after_death;

/* Runs after our own destructor, in the thread and in its copy. */
static void end_of_death(void *arg)
{
	sigset_t strike;

	(void)arg;
	sigemptyset(&strike);
	sigaddset(&strike, SIGALRM);
	pthread_sigmask(SIG_BLOCK, &strike, NULL);
	if (is_child) {
		hak_free(hak_malloc(100));
		_exit(0);
	}
}

/* Much to give back at its death, of all classes, and a timer that strikes meanwhile. */
static void *die_with_blocks(void *arg)
{
	static void *blocks[DEATH_BLOCKS];
	struct itimerval once = {{0, 0}, {0, 1 + *(int *)arg % 200}};
	sigset_t strike;

	for (size_t i = 0; i < DEATH_BLOCKS; i++)
		blocks[i] = hak_malloc(16 + i * 48 % 32000);
	for (size_t i = 0; i < DEATH_BLOCKS; i++)
		hak_free(blocks[i]);
	pthread_setspecific(after_death, arg);
	sigemptyset(&strike);
	sigaddset(&strike, SIGALRM);
	pthread_sigmask(SIG_UNBLOCK, &strike, NULL);
	setitimer(ITIMER_REAL, &once, NULL);
	return NULL;
}

static void a_handler_may_fork_in_a_threads_death(void **state)
{
	struct sigaction action = {.sa_handler = fork_here, .sa_flags = SA_RESTART};
	int status, failed = 0;
	sigset_t strike;

	(void)state;
	fork_count = 0;
	sigemptyset(&strike);
	sigaddset(&strike, SIGALRM);
	pthread_sigmask(SIG_BLOCK, &strike, NULL);
	sigaction(SIGALRM, &action, NULL);
	assert_int_equal(pthread_key_create(&after_death, end_of_death), 0);
	for (int i = 0; i < DEATHS; i++) {
		pthread_t thread;

		assert_int_equal(pthread_create(&thread, NULL, die_with_blocks, &i), 0);
		assert_int_equal(pthread_join(thread, NULL), 0);
	}
	pthread_key_delete(after_death);
	signal(SIGALRM, SIG_IGN); /* one may be pending yet */
	pthread_sigmask(SIG_UNBLOCK, &strike, NULL);
	assert_true(fork_count > DEATHS / 10);
	while (waitpid(-1, &status, 0) > 0)
		failed += status != 0;
	assert_int_equal(failed, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		/* First: once a process has had threads, the C library itself holds a lock
		 * there. */
		cmocka_unit_test(a_handler_may_interrupt_a_fork),
		cmocka_unit_test(a_thread_born_in_a_destructor_leaves_nothing),
		cmocka_unit_test(a_child_gets_the_magazines_of_the_others),
		cmocka_unit_test(a_fork_waits_for_threads_without_a_record),
		cmocka_unit_test(a_handler_may_fork_in_a_threads_death),
		cmocka_unit_test(a_signal_handler_may_fork),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
