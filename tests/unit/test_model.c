/* Goal: the explorer of model.h finds what it says it finds, and nothing else.
 *
 * Method: small scenarios whose answer is known. Wrong ones (a lost update, two locks taken in
 * both orders, Peterson's lock with its two stores exchanged, a wake-up that is lost) must be
 * found, and right ones pass; the number of executions must be the number that combinatorics
 * gives, so that no interleaving is left out or run twice.
 */
#include "model.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static struct model_report report;

static _Atomic uint32_t counter;
static _Atomic uint32_t words[2];
static uint32_t step_goal;

static void explore(const struct model *model, enum model_verdict expected)
{
	model_explore(model, &report);
	if (report.verdict != expected)
		fail_msg("verdict %d instead of %d: %s", report.verdict, expected, report.words);
}

/* ---- counting ---- */

static void reset(void)
{
	atomic_store(&counter, 0);
	atomic_store(&words[0], 0);
	atomic_store(&words[1], 0);
}

static void make_steps(void)
{
	for (uint32_t i = 0; i < step_goal; i++)
		atomic_fetch_add_explicit(&counter, 1, memory_order_relaxed);
}

static void check_steps_of_two(void)
{
	MODEL_CHECK(atomic_load(&counter) == 2 * step_goal);
}

static void test_two_threads_have_binomially_many_executions(void **unused)
{
	static const uint64_t central_binomial[] = {1, 2, 6, 20, 70, 252, 924, 3432};
	struct model model = {.setup = reset,
			      .threads = {make_steps, make_steps},
			      .check = check_steps_of_two,
			      .preemptions_max = MODEL_ALL};

	(void)unused;
	for (step_goal = 0; step_goal < 8; step_goal++)
		assert_int_equal(model_run(&model), central_binomial[step_goal]);
}

static void test_more_threads_have_multinomially_many_executions(void **unused)
{
	static const uint64_t of_three[] = {1, 6, 90, 1680};
	struct model model = {.setup = reset,
			      .threads = {make_steps, make_steps, make_steps},
			      .preemptions_max = MODEL_ALL};

	(void)unused;
	for (step_goal = 0; step_goal < 4; step_goal++)
		assert_int_equal(model_run(&model), of_three[step_goal]);
	model.threads[3] = make_steps;
	step_goal = 2;
	assert_int_equal(model_run(&model), 2520); /* 8! / 2!^4 */
}

/* Without preemptions a thread that has begun goes on to its end: only their order is free. With
 * one, one of the k - 1 points inside the first thread may be left as well: 2 + 2 (k - 1). */
static void test_preemptions_are_bounded(void **unused)
{
	struct model model = {
		.setup = reset, .threads = {make_steps, make_steps}, .preemptions_max = 0};

	(void)unused;
	step_goal = 5;
	assert_int_equal(model_run(&model), 2);
	model.preemptions_max = 1;
	assert_int_equal(model_run(&model), 10);
	model.preemptions_max = 100;
	assert_int_equal(model_run(&model), 252);
}

static void test_too_many_executions_are_a_failure(void **unused)
{
	struct model model = {.setup = reset,
			      .threads = {make_steps, make_steps},
			      .preemptions_max = MODEL_ALL,
			      .executions_max = 69};

	(void)unused;
	step_goal = 4;
	explore(&model, MODEL_TOO_MANY);
	assert_int_equal(report.execution_count, 69);
	model.executions_max = 70;
	explore(&model, MODEL_PASSED);
	assert_int_equal(report.execution_count, 70);
}

/* ---- updates ---- */

static void add_in_two_steps(void)
{
	uint32_t seen = atomic_load_explicit(&counter, memory_order_acquire);

	atomic_store_explicit(&counter, seen + 1, memory_order_release);
}

static void add_by_exchange(void)
{
	uint32_t seen = atomic_load_explicit(&counter, memory_order_relaxed);

	while (!atomic_compare_exchange_weak_explicit(&counter, &seen, seen + 1,
						      memory_order_acq_rel, memory_order_relaxed))
		;
}

static void check_sum_is_two(void)
{
	MODEL_CHECK(atomic_load(&counter) == 2);
}

static void test_lost_update_is_found(void **unused)
{
	static const uint8_t schedule[] = {0, 1, 1, 0};
	struct model model = {.setup = reset,
			      .threads = {add_in_two_steps, add_in_two_steps},
			      .check = check_sum_is_two,
			      .preemptions_max = MODEL_ALL};

	(void)unused;
	explore(&model, MODEL_CHECK_FAILED);
	assert_int_equal(report.execution_count, 2);
	assert_int_equal(report.step_count, sizeof schedule);
	assert_memory_equal(report.schedule, schedule, sizeof schedule);
	assert_non_null(strstr(report.words, "atomic_load(&counter) == 2"));
	assert_non_null(strstr(report.words, "test_model.c:"));
	model.preemptions_max = 1;
	explore(&model, MODEL_CHECK_FAILED);
	model.preemptions_max = 0;
	explore(&model, MODEL_PASSED);
}

static void test_compare_exchange_loses_no_update(void **unused)
{
	struct model model = {.setup = reset,
			      .threads = {add_by_exchange, add_by_exchange},
			      .check = check_sum_is_two,
			      .preemptions_max = MODEL_ALL};

	(void)unused;
	/* Where the two overlap, one fails and tries again alone: no choice is added to the 6. */
	assert_int_equal(model_run(&model), 6);
}

/* ---- locks ---- */

static void lock(_Atomic uint32_t *word)
{
	while (atomic_exchange_explicit(word, 1, memory_order_acquire) != 0)
		model_wait(word, 1);
}

static void unlock(_Atomic uint32_t *word)
{
	atomic_store_explicit(word, 0, memory_order_release);
}

static void lock_both(_Atomic uint32_t *first, _Atomic uint32_t *second)
{
	lock(first);
	lock(second);
	add_in_two_steps();
	unlock(second);
	unlock(first);
}

static void lock_upwards(void)
{
	lock_both(&words[0], &words[1]);
}

static void lock_downwards(void)
{
	lock_both(&words[1], &words[0]);
}

static void test_two_locks_in_both_orders_deadlock(void **unused)
{
	struct model model = {.setup = reset,
			      .threads = {lock_upwards, lock_downwards},
			      .check = check_sum_is_two,
			      .preemptions_max = MODEL_ALL};

	(void)unused;
	explore(&model, MODEL_DEADLOCK);
	model.threads[1] = lock_upwards;
	explore(&model, MODEL_PASSED);
	assert_true(report.execution_count > 1);
}

/* Peterson, "Myths about the mutual exclusion problem" (1981). words: who wants to enter. */
static _Atomic uint32_t turn;

static void peterson_wait_and_add(unsigned self)
{
	while (atomic_load(&words[1 - self]) != 0 && atomic_load(&turn) != self)
		model_yield();
	add_in_two_steps();
	atomic_store(&words[self], 0);
}

static void peterson(void)
{
	unsigned self = model_thread();

	atomic_store(&words[self], 1);
	atomic_store(&turn, 1 - self);
	peterson_wait_and_add(self);
}

static void peterson_stores_exchanged(void)
{
	unsigned self = model_thread();

	atomic_store(&turn, 1 - self);
	atomic_store(&words[self], 1);
	peterson_wait_and_add(self);
}

static void test_peterson_excludes(void **unused)
{
	struct model model = {.setup = reset,
			      .threads = {peterson, peterson},
			      .check = check_sum_is_two,
			      .preemptions_max = MODEL_ALL};

	(void)unused;
	explore(&model, MODEL_PASSED);
	assert_true(report.execution_count > 20);
	model.threads[0] = model.threads[1] = peterson_stores_exchanged;
	explore(&model, MODEL_CHECK_FAILED);
}

/* ---- waiting ---- */

static void await_counter(void)
{
	while (atomic_load(&counter) == 0)
		model_futex_wait(&counter, 0);
}

static void set_counter(void)
{
	atomic_store(&counter, 1);
}

static void set_counter_and_wake_one(void)
{
	atomic_store(&counter, 1);
	model_futex_wake(&counter, 1);
}

static void set_counter_and_wake_all(void)
{
	atomic_store(&counter, 1);
	model_futex_wake(&counter, 100);
}

static void test_lost_wake_is_found(void **unused)
{
	struct model model = {.setup = reset,
			      .threads = {await_counter, set_counter},
			      .preemptions_max = MODEL_ALL};

	(void)unused;
	explore(&model, MODEL_DEADLOCK);
	model.threads[1] = set_counter_and_wake_one;
	explore(&model, MODEL_PASSED);
	model.threads[2] = await_counter;
	explore(&model, MODEL_DEADLOCK);
	model.threads[1] = set_counter_and_wake_all;
	explore(&model, MODEL_PASSED);
}

static uint32_t asleep_count;
static uint32_t first_awake; /* thread + 1 */
static uint32_t first_awake_seen;

static void set_up_sleepers(void)
{
	reset();
	asleep_count = 0;
	first_awake = 0;
}

static void sleep_and_report(void)
{
	while (atomic_load(&counter) == 0) {
		asleep_count++;
		model_futex_wait(&counter, 0);
	}
	if (first_awake == 0)
		first_awake = 1 + model_thread();
	atomic_store(&words[0], 1);
}

static void wake_one_by_one(void)
{
	atomic_store(&counter, 1);
	model_futex_wake(&counter, 1);
	model_wait(&words[0], 0);
	model_futex_wake(&counter, 1);
}

static void note_first_of_two_sleepers(void)
{
	if (asleep_count == 2)
		first_awake_seen |= 1u << first_awake;
}

/* Without preemptions nothing but the choice of whom to wake tells who reports first. */
static void test_who_is_woken_is_a_choice(void **unused)
{
	struct model model = {
		.setup = set_up_sleepers,
		.threads = {sleep_and_report, sleep_and_report, wake_one_by_one},
		.check = note_first_of_two_sleepers,
		.preemptions_max = 0,
	};

	(void)unused;
	first_awake_seen = 0;
	explore(&model, MODEL_PASSED);
	assert_int_equal(first_awake_seen, 1u << 1 | 1u << 2);
	model.preemptions_max = MODEL_ALL;
	explore(&model, MODEL_PASSED);
}

static void spin_for_counter(void)
{
	while (atomic_load(&counter) == 0)
		model_yield();
}

static void spin_a_little(void)
{
	for (int spin = 0; spin < 10 && atomic_load(&counter) == 0; spin++)
		model_yield();
}

static void test_spinning_alone_is_a_livelock(void **unused)
{
	struct model model = {.setup = reset,
			      .threads = {spin_for_counter, spin_for_counter},
			      .preemptions_max = MODEL_ALL};

	(void)unused;
	explore(&model, MODEL_LIVELOCK);
	/* Unfair schedules, in which one spins for ever and the other never runs, do not count. */
	model.threads[2] = set_counter;
	explore(&model, MODEL_PASSED);
	model.threads[0] = model.threads[1] = model.threads[2] = spin_a_little;
	explore(&model, MODEL_PASSED);
}

static void spin_without_yield(void)
{
	while (atomic_load(&counter) == 0)
		;
}

static void test_an_execution_without_end_is_a_livelock(void **unused)
{
	struct model model = {.setup = reset,
			      .threads = {spin_without_yield, set_counter},
			      .preemptions_max = MODEL_ALL};

	(void)unused;
	explore(&model, MODEL_LIVELOCK);
	assert_int_equal(report.step_count, MODEL_STEPS_MAX);
}

/* ---- threads' own variables, repeatability ---- */

static __thread uint32_t own = 7;
static __thread uint32_t own_zero;

static void count_own(void)
{
	for (uint32_t i = 0; i < 2; i++) {
		MODEL_CHECK(own == 7 + i && own_zero == i);
		own++;
		own_zero++;
		atomic_fetch_add(&counter, 1);
	}
}

static void check_own(void)
{
	MODEL_CHECK(own == 100 && own_zero == 200);
}

static void test_thread_local_variables_are_local_and_fresh(void **unused)
{
	struct model model = {.setup = reset,
			      .threads = {count_own, count_own},
			      .check = check_own,
			      .preemptions_max = MODEL_ALL};

	(void)unused;
	own = 100;
	own_zero = 200;
	assert_int_equal(model_run(&model), 6);
	assert_int_equal(own, 100);
}

static void step_until_three(void)
{
	while (atomic_fetch_add(&counter, 1) < 3)
		;
}

static void test_a_scenario_that_keeps_state_is_refused(void **unused)
{
	struct model model = {.threads = {step_until_three, step_until_three},
			      .preemptions_max = MODEL_ALL};

	(void)unused;
	reset();
	explore(&model, MODEL_NOT_REPEATABLE);
}

/* ---- the operations themselves ---- */

static void test_operations_compute_what_stdatomic_says(void **unused)
{
	static _Atomic uint8_t byte;
	static _Atomic uint64_t large;
	static _Atomic(const char *) pointer;
	const char *expected_pointer = "other", *text = "text";
	uint64_t expected = 1;

	(void)unused;
	atomic_init(&byte, 255);
	assert_int_equal(atomic_fetch_add(&byte, 2), 255);
	assert_int_equal(atomic_fetch_sub(&byte, 3), 1);
	assert_int_equal(atomic_load(&byte), 254);
	atomic_store(&large, (uint64_t)1 << 63 | 6);
	assert_true(atomic_fetch_and(&large, ~(uint64_t)2) == ((uint64_t)1 << 63 | 6));
	assert_true(atomic_fetch_or(&large, 1) == ((uint64_t)1 << 63 | 4));
	assert_true(atomic_fetch_xor(&large, (uint64_t)1 << 63) == ((uint64_t)1 << 63 | 5));
	assert_true(atomic_exchange(&large, 9) == 5);
	assert_false(atomic_compare_exchange_strong(&large, &expected, 10));
	assert_true(expected == 9 && atomic_load(&large) == 9);
	assert_true(atomic_compare_exchange_strong(&large, &expected, 10));
	assert_true(expected == 9 && atomic_load(&large) == 10);
	atomic_store(&pointer, text);
	assert_false(atomic_compare_exchange_strong(&pointer, &expected_pointer, NULL));
	assert_ptr_equal(expected_pointer, text);
	assert_ptr_equal(atomic_exchange(&pointer, NULL), text);
}

/* ---- what a failure looks like ---- */

static void abort_if_second(void)
{
	if (atomic_fetch_add(&counter, 1) == 1)
		abort();
}

/* Runs the model in a child, which must abort. Returns what it said, up to a size. */
static void run_and_listen(const struct model *model, char *said, size_t said_bytes)
{
	struct rlimit core = {0, 0};
	size_t used = 0;
	ssize_t got;
	int ends[2], status;

	assert_int_equal(pipe(ends), 0);
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		setrlimit(RLIMIT_CORE, &core);
		dup2(ends[1], STDERR_FILENO);
		model_run(model);
		_exit(0);
	}
	close(ends[1]);
	while ((got = read(ends[0], said + used, said_bytes - 1 - used)) > 0)
		used += (size_t)got;
	said[used] = '\0';
	close(ends[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void test_a_failure_prints_its_schedule_and_aborts(void **unused)
{
	struct model model = {.setup = reset,
			      .threads = {add_in_two_steps, add_in_two_steps},
			      .check = check_sum_is_two,
			      .preemptions_max = MODEL_ALL};
	char said[8192];

	(void)unused;
	run_and_listen(&model, said, sizeof said);
	assert_non_null(strstr(said, "model: failed check in execution 2: "));
	assert_non_null(strstr(said, "  thread 1: store at "));
	assert_non_null(strstr(said, "  schedule: 0 1 1 0\n"));
	model.threads[0] = model.threads[1] = abort_if_second;
	run_and_listen(&model, said, sizeof said);
	assert_non_null(strstr(said, "model: signal 6 in execution 1, in the thread of the last"));
	assert_non_null(strstr(said, "  schedule: 0 1\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_two_threads_have_binomially_many_executions),
		cmocka_unit_test(test_more_threads_have_multinomially_many_executions),
		cmocka_unit_test(test_preemptions_are_bounded),
		cmocka_unit_test(test_too_many_executions_are_a_failure),
		cmocka_unit_test(test_lost_update_is_found),
		cmocka_unit_test(test_compare_exchange_loses_no_update),
		cmocka_unit_test(test_two_locks_in_both_orders_deadlock),
		cmocka_unit_test(test_peterson_excludes),
		cmocka_unit_test(test_lost_wake_is_found),
		cmocka_unit_test(test_who_is_woken_is_a_choice),
		cmocka_unit_test(test_spinning_alone_is_a_livelock),
		cmocka_unit_test(test_an_execution_without_end_is_a_livelock),
		cmocka_unit_test(test_thread_local_variables_are_local_and_fresh),
		cmocka_unit_test(test_a_scenario_that_keeps_state_is_refused),
		cmocka_unit_test(test_operations_compute_what_stdatomic_says),
		cmocka_unit_test(test_a_failure_prints_its_schedule_and_aborts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
