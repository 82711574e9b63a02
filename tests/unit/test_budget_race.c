/* Goal: threads that take runs and huge blocks at once never come above a hard budget together,
 * and none is refused for what others only move. Method: threads that take, grow and free blocks of
 * most of the budget and less, and add up what they hold. */
#include "unit.h"

#include "govern/limit.h"

#include <hak/hak.h>
#include <pthread.h>
#include <stdatomic.h>

#define MIB ((size_t)1 << 20)
#define BUDGET (64 * MIB)
#define RACERS 3

static struct {
	pthread_barrier_t start;
	size_t bytes_max; /* of each thread */
	_Atomic size_t held_bytes, most_bytes;
	_Atomic unsigned refused_count, taken_count;
} race;

static void count_held(size_t bytes)
{
	size_t held = atomic_fetch_add(&race.held_bytes, bytes) + bytes;
	size_t most = atomic_load(&race.most_bytes);

	atomic_fetch_add(&race.taken_count, 1);
	while (held > most && !atomic_compare_exchange_weak(&race.most_bytes, &most, held))
		continue;
}

/* Runs, huge blocks, and huge blocks that grow: each may come from the cache or from the system. */
static void *take_large_ones(void *arg)
{
	uint32_t random = (uint32_t)(uintptr_t)arg;

	pthread_barrier_wait(&race.start);
	for (int round = 0; round < 300; round++) {
		random = random * 1664525 + 1013904223;
		size_t last = race.bytes_max >> (random >> 30), size = last / 2;
		void *block = hak_malloc(size), *longer;

		if (block == NULL) {
			atomic_fetch_add(&race.refused_count, 1);
			continue;
		}
		count_held(size);
		longer = hak_realloc(block, last);
		if (longer == NULL) {
			atomic_fetch_add(&race.refused_count, 1);
			last = size;
		} else {
			count_held(last - size);
			block = longer;
		}
		atomic_fetch_sub(&race.held_bytes, last);
		hak_free(block);
	}
	return NULL;
}

static void run_race(size_t bytes_max)
{
	pthread_t threads[RACERS];

	race.bytes_max = bytes_max;
	race.most_bytes = race.refused_count = race.taken_count = 0;
	pthread_barrier_init(&race.start, NULL, RACERS);
	for (uintptr_t i = 0; i < RACERS; i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, take_large_ones, (void *)(i + 1)), 0);
	for (size_t i = 0; i < RACERS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	pthread_barrier_destroy(&race.start);
	assert_true(race.taken_count > 0);
}

static void racing_threads_never_find_the_same_room(void **state)
{
	(void)state;
	assert_int_equal(hak_set_budget(0, BUDGET), 0);
	run_race(50 * MIB);
	assert_true(race.refused_count > 0);
	assert_in_range(race.most_bytes, 1, BUDGET);
	hak_set_budget(0, 0);
	hak_trim(SIZE_MAX);
	assert_true(hak_limit_used() < 2 * MIB);
}

static void who_has_room_is_not_refused_for_others(void **state)
{
	(void)state;
	assert_int_equal(hak_set_budget(0, BUDGET), 0);
	/* A mapping of the cache may be longer than its block, by an eighth. */
	run_race(17 * MIB);
	assert_int_equal(race.refused_count, 0);
	hak_set_budget(0, 0);
	hak_trim(SIZE_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(racing_threads_never_find_the_same_room),
		cmocka_unit_test(who_has_room_is_not_refused_for_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
