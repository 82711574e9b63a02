/* Goal: bytes that are taken again soon after they have gone back are counted, those that are taken
 * late are not, nor those that were only marked, nor is a heap that only grows; and what threads
 * take is counted.
 * Method: blocks of two sizes and runs, taken and freed and trimmed; a time that is past, by the
 * stamp of it; a page with a daemon's word in it. */
#include "unit.h"

#include "base/os.h"
#include "govern/purge.h"
#include "heap/advice.h"
#include "heap/pool.h"
#include "heap/shared.h"
#include "heap/thread.h"
#include "proto/mailbox.h"
#include "proto/page.h"

#include <hak/hak.h>
#include <string.h>

#define MIB ((int64_t)1 << 20)
#define RUN_BYTES ((size_t)512 << 10)
#define RUNS 64
#define BLOCKS 4096

static void *runs[RUNS];
static void *blocks[BLOCKS];

static struct hak_tally_sums sums_now(void)
{
	struct hak_tally_sums sums = {.run_units = 0};

	(void)hak_thread_tally(&sums);
	return sums;
}

static void take_runs(void)
{
	for (size_t i = 0; i < RUNS; i++) {
		runs[i] = hak_malloc(RUN_BYTES);
		assert_non_null(runs[i]);
		memset(runs[i], 1, RUN_BYTES);
	}
}

static void give_runs(void)
{
	for (size_t i = 0; i < RUNS; i++)
		hak_free(runs[i]);
}

static void a_heap_that_grows_has_no_refaults(void **state)
{
	int64_t refilled = sums_now().refilled_bytes;

	(void)state;
	take_runs();
	assert_int_equal(sums_now().refaulted_bytes, 0);
	assert_in_range(sums_now().refilled_bytes - refilled, RUNS * RUN_BYTES,
			RUNS * RUN_BYTES + MIB);
	give_runs();
}

static void runs_that_come_back_at_once(void **state)
{
	int64_t before;

	(void)state;
	take_runs();
	give_runs();
	(void)hak_trim(SIZE_MAX);
	before = sums_now().refaulted_bytes;
	take_runs();
	assert_in_range(sums_now().refaulted_bytes - before, 31 * MIB, 33 * MIB);
	/* What has been taken once is the program's: it is not counted again. */
	give_runs();
	before = sums_now().refaulted_bytes;
	take_runs();
	assert_int_equal(sums_now().refaulted_bytes, before);
	give_runs();
}

/* Every second block keeps its slab; of 4 KiB each hole is a page. */
static void pages_in_slabs_that_come_back_at_once(void **state)
{
	const size_t block_bytes = 4096;
	int64_t before;

	(void)state;
	for (size_t i = 0; i < BLOCKS; i++)
		memset(blocks[i] = hak_malloc(block_bytes), 1, block_bytes);
	for (size_t i = 0; i < BLOCKS; i += 2)
		hak_free(blocks[i]);
	(void)hak_trim(SIZE_MAX);
	before = sums_now().refaulted_bytes;
	for (size_t i = 0; i < BLOCKS; i += 2)
		memset(blocks[i] = hak_malloc(block_bytes), 1, block_bytes);
	assert_true(sums_now().refaulted_bytes - before > 6 * MIB);
	assert_true(sums_now().refaulted_bytes - before < 10 * MIB);
	for (size_t i = 0; i < BLOCKS; i++)
		hak_free(blocks[i]);
}

static uint8_t stamp_before(unsigned steps)
{
	return (uint8_t)((hak_advice_stamp() + 254u - steps) % 255 + 1);
}

static int64_t counted_of(uint8_t returned_at, uint8_t marked_at, unsigned lazy_count,
			  uint64_t zero_units)
{
	int64_t before = sums_now().refaulted_bytes;

	hak_advice_use_units(returned_at, marked_at, lazy_count, zero_units);
	return sums_now().refaulted_bytes - before;
}

static int64_t counted(uint8_t stamp, unsigned lazy_count, uint64_t zero_units)
{
	return counted_of(stamp, stamp, lazy_count, zero_units);
}

static void ten_seconds_are_soon(void **state)
{
	(void)state;
	assert_int_equal(counted(stamp_before(0), 3, 6), 2 << 14);
	assert_int_equal(counted(stamp_before(4), 0, 1), 1 << 14);
	assert_int_equal(counted(stamp_before(7), 3, 6), 0);
	assert_int_equal(counted(stamp_before(200), 3, 6), 0);
	/* Never. */
	assert_int_equal(counted(0, 3, 6), 0);
}

/* Of this page nothing but one word of the mailbox is looked at. */
static _Alignas(uint64_t) unsigned char page[HAK_PAGE_MAILBOX + HAK_MAILBOX_BYTES];

static void say_reclaimed_at(uint64_t now_ns)
{
	memcpy(page + HAK_PAGE_MAILBOX + HAK_MAILBOX_RECLAIMED, &now_ns, sizeof now_ns);
}

static void marks_count_where_a_daemon_has_taken_them(void **state)
{
	static struct hak_shared shared = {.page = page};
	uint64_t now_ns = hak_os_now_ns();

	(void)state;
	atomic_store(&hak_shared, &shared);
	assert_int_equal(counted(stamp_before(0), 3, 0), 0);
	say_reclaimed_at(now_ns);
	assert_int_equal(counted(stamp_before(0), 3, 0), 3 << 14);
	assert_int_equal(counted(stamp_before(1), 3, 6), 5 << 14);
	assert_int_equal(counted_of(0, stamp_before(1), 3, 6), 3 << 14);
	say_reclaimed_at(now_ns - 9000000000);
	assert_int_equal(counted(stamp_before(100), 3, 6), 3 << 14);
	/* Marked since; never. */
	assert_int_equal(counted(stamp_before(1), 3, 0), 0);
	assert_int_equal(counted(0, 3, 0), 0);
	/* Taken long ago; in a time that is not ours. */
	say_reclaimed_at(now_ns - 11000000000);
	assert_int_equal(counted(stamp_before(0), 3, 0), 0);
	say_reclaimed_at(now_ns + 9000000000);
	assert_int_equal(counted(stamp_before(0), 3, 0), 0);
	atomic_store(&hak_shared, NULL);
}

/* Huge blocks whose mappings went while they were cached. */
static void mappings_that_come_back_at_once(void **state)
{
	const size_t bytes = (size_t)20 << 20;
	int64_t before = sums_now().refaulted_bytes;
	void *one = hak_malloc(bytes), *other = hak_malloc(bytes);

	(void)state;
	assert_int_equal(sums_now().refaulted_bytes, before);
	hak_free(one);
	hak_free(hak_malloc(bytes)); /* out of the cache */
	assert_int_equal(sums_now().refaulted_bytes, before);
	assert_true(hak_trim(SIZE_MAX) >= bytes);
	one = hak_malloc(bytes / 2);
	assert_in_range(sums_now().refaulted_bytes - before, bytes / 2, bytes / 2 + 8192);
	hak_free(hak_malloc(3 * bytes)); /* no more than has gone */
	assert_in_range(sums_now().refaulted_bytes - before, bytes, bytes + 8192);
	hak_free(one);
	hak_free(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_heap_that_grows_has_no_refaults),
		cmocka_unit_test(runs_that_come_back_at_once),
		cmocka_unit_test(pages_in_slabs_that_come_back_at_once),
		cmocka_unit_test(mappings_that_come_back_at_once),
		cmocka_unit_test(ten_seconds_are_soon),
		cmocka_unit_test(marks_count_where_a_daemon_has_taken_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
