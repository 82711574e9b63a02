/* Goal: the numbers are true: live is what the program holds, the rest is cached or free, and all
 * of it returns to where it was; older and newer callers get what they can use.
 * Method: known sets of blocks, one thread and four; what a class rounds up is known from usable
 * size. */
#include "unit.h"

#include "heap/census.h"
#include "heap/slab.h"
#include "heap/thread.h"

#include <errno.h>
#include <hak/hak.h>
#include <pthread.h>
#include <string.h>

#define BLOCKS 20000

static void *blocks[BLOCKS];

static struct hak_stats read_stats(void)
{
	struct hak_stats stats;

	assert_int_equal(hak_stats_get(&stats, sizeof stats), 0);
	return stats;
}

static size_t take_set(void)
{
	size_t bytes = 0;

	for (size_t i = 0; i < BLOCKS; i++) {
		blocks[i] = hak_malloc(i % 100 == 0 ? 100000 : 16 + i % 3000);
		bytes += hak_malloc_usable_size(blocks[i]);
	}
	return bytes;
}

static void free_set(void)
{
	for (size_t i = 0; i < BLOCKS; i++)
		hak_free(blocks[i]);
}

static void live_is_exact_where_nothing_moves(void **state)
{
	struct hak_stats before, full, after;
	size_t bytes;
	void *huge;

	(void)state;
	hak_free(hak_malloc(1));
	before = read_stats();
	bytes = take_set();
	huge = hak_malloc(5000000);
	full = read_stats();
	assert_int_equal(full.live_bytes - before.live_bytes, bytes + hak_malloc_usable_size(huge));
	assert_int_equal(full.huge_bytes, hak_malloc_usable_size(huge));
	assert_int_equal(full.huge_count, 1);
	assert_true(full.superslab_open_count * ((uint64_t)2 << 20) >= bytes);
	assert_true(full.metadata_bytes > 0);
	assert_int_equal(full.version, HAK_STATS_VERSION);
	assert_in_range(full.class_count, 2, HAK_STATS_CLASS_COUNT_MAX);
	free_set();
	hak_free(huge);
	after = read_stats();
	assert_int_equal(after.live_bytes, before.live_bytes);
	assert_true(after.huge_cached_bytes >= 5000000);
	assert_true(after.superslab_peak_count >= full.superslab_open_count);
	assert_true(after.superslab_opened_total >= after.superslab_peak_count);
}

static void *free_all(void *arg)
{
	(void)arg;
	free_set();
	return NULL;
}

static void freeing_by_another_thread_counts_the_same(void **state)
{
	uint64_t before = read_stats().live_bytes;
	pthread_t thread;

	(void)state;
	take_set();
	assert_int_equal(pthread_create(&thread, NULL, free_all, NULL), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(read_stats().live_bytes, before);
}

static void other_versions_of_the_struct_are_served(void **state)
{
	struct {
		struct hak_stats stats;
		char later[32];
	} newer;
	struct hak_stats older;

	(void)state;
	memset(&newer, 0xff, sizeof newer);
	assert_int_equal(hak_stats_get(&newer.stats, sizeof newer), 0);
	for (size_t i = 0; i < sizeof newer.later; i++)
		assert_int_equal(newer.later[i], 0);
	memset(&older, 0xff, sizeof older);
	assert_int_equal(hak_stats_get(&older, offsetof(struct hak_stats, free_bytes)), 0);
	assert_int_equal(older.version, HAK_STATS_VERSION);
	assert_int_equal(older.free_bytes, UINT64_MAX);
	errno = 0;
	assert_int_equal(hak_stats_get(NULL, sizeof older), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(hak_stats_get(&older, 3), -1);
}

/* The running sums say what a walk over all slabs counts. */
static void sums_are_what_a_walk_counts(void **state)
{
	struct hak_census_row walked[HAK_CLASS_COUNT + 1] = {{0}};
	struct hak_tally_sums sums;
	uint64_t run_unit_count;

	(void)state;
	take_set();
	for (size_t i = 0; i < BLOCKS; i += 3) {
		hak_free(blocks[i]);
		blocks[i] = NULL;
	}
	struct hak_thread *thread = hak_thread_enter();

	hak_census_of_slabs(walked, &run_unit_count);
	hak_thread_tally(&sums);
	hak_thread_leave(thread);
	assert_int_equal(sums.run_units, run_unit_count);
	for (unsigned i = 1; i <= HAK_CLASS_COUNT; i++) {
		assert_int_equal(sums.slabs[i], walked[i].slab_count);
		assert_int_equal(sums.taken[i], walked[i].taken_block_count);
		assert_int_equal(sums.touched[i] - sums.taken[i],
				 walked[i].free_touched_block_count);
	}
	free_set();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(live_is_exact_where_nothing_moves),
		cmocka_unit_test(freeing_by_another_thread_counts_the_same),
		cmocka_unit_test(other_versions_of_the_struct_are_served),
		cmocka_unit_test(sums_are_what_a_walk_counts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
