/* Goal: while the gate is closed nobody but the closer is inside, and everybody gets in again.
 * Method: three threads pass in and out, each noting itself; a fourth closes the gate thousands of
 * times and must find nobody noted. Interleavings: model_gate.c. */
#include "unit.h"

#include "base/gate.h"

#include <pthread.h>
#include <unistd.h>

#define THREADS 3
#define CLOSINGS 5000

static struct hak_gate gate;
static struct hak_gate_pass passes[THREADS + 1];
static _Atomic int noted;
static _Atomic bool over;
static _Atomic long passages;

static void *pass_in_and_out(void *arg)
{
	struct hak_gate_pass *pass = arg;

	while (!atomic_load(&over)) {
		hak_gate_enter(&gate, pass);
		atomic_fetch_add(&noted, 1);
		atomic_fetch_add(&passages, 1);
		atomic_fetch_sub(&noted, 1);
		hak_gate_leave(pass);
	}
	return NULL;
}

static void nobody_is_inside_a_closed_gate(void **state)
{
	pthread_t threads[THREADS];
	int found = 0;

	(void)state;
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, pass_in_and_out, &passes[i]), 0);
	while (atomic_load(&passages) == 0)
		usleep(100); /* the threads are slow to start where the machine is busy */
	for (int closing = 0; closing < CLOSINGS; closing++) {
		hak_gate_close(&gate, &passes[THREADS]);
		for (int i = 0; i < THREADS; i++)
			hak_gate_close_pass(&passes[i]);
		for (int look = 0; look < 20; look++)
			found += atomic_load(&noted);
		/* The closer itself passes. */
		hak_gate_enter(&gate, &passes[THREADS]);
		hak_gate_leave(&passes[THREADS]);
		hak_gate_open(&gate);
	}
	atomic_store(&over, true);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(found, 0);
}

static void *close_and_open(void *arg)
{
	for (int closing = 0; closing < CLOSINGS; closing++) {
		hak_gate_close(&gate, arg);
		assert_int_equal(atomic_fetch_add(&noted, 1), 0);
		atomic_fetch_sub(&noted, 1);
		hak_gate_open(&gate);
	}
	return NULL;
}

static void one_closer_at_a_time(void **state)
{
	pthread_t threads[THREADS];

	(void)state;
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, close_and_open, &passes[i]), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_is_inside_a_closed_gate),
		cmocka_unit_test(one_closer_at_a_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
