/* Goal: memory that has been empty for the decay goes back to the system on later slow paths, and
 * memory that is in use does not.
 * Method: 64 MiB of small blocks and 32 MiB of huge ones are freed; resident memory is read from
 * /proc before and after, while light work goes on. */
#include "resident.h"
#include "unit.h"

#include "base/config.h"
#include "base/os.h"
#include "govern/purge.h"
#include "heap/thread.h"

#include <hak/hak.h>
#include <string.h>
#include <unistd.h>

/* With ThreadSanitizer most of what is resident is its shadow, which does not go back. */
#if defined(__SANITIZE_THREAD__)
#define RESIDENT_IS_OURS 0
#else
#define RESIDENT_IS_OURS 1
#endif

#define BLOCKS 65536
#define MIB ((size_t)1 << 20)

/* Some slow paths every ten milliseconds, for more than two decays. */
static void work_lightly(void)
{
	void *runs[4];

	for (int i = 0; i < 250; i++) {
		for (int j = 0; j < 4; j++)
			runs[j] = hak_malloc(100000);
		for (int j = 0; j < 4; j++)
			hak_free(runs[j]);
		usleep(10000);
	}
}

static void what_is_freed_goes_back(void **state)
{
	static char *blocks[BLOCKS];
	size_t before, full, after;
	char *huge, *kept;
	struct hak_stats stats;

	(void)state;
	kept = hak_malloc(1000);
	memset(kept, 0x77, 1000);
	before = resident_bytes();
	for (size_t i = 0; i < BLOCKS; i++) {
		blocks[i] = hak_malloc(1000);
		memset(blocks[i], 1, 1000);
	}
	huge = hak_malloc(32 * MIB);
	memset(huge, 1, 32 * MIB);
	full = resident_bytes();
	assert_true(full - before >= 95 * MIB);
	for (size_t i = 0; i < BLOCKS; i++)
		hak_free(blocks[i]);
	hak_free(huge);
	work_lightly();
	after = resident_bytes();
	hak_stats_get(&stats, sizeof stats);
	print_message("resident %zu KiB, full %zu KiB, after %zu KiB\n", before / 1024, full / 1024,
		      after / 1024);
	if (RESIDENT_IS_OURS)
		assert_true(after < before + 8 * MIB);
	assert_true(stats.superslab_open_count <= 3);
	assert_int_equal(stats.huge_cached_bytes, 0);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(kept[i], 0x77);
	/* What went back is there again, and reads as zero where calloc says so. */
	for (size_t i = 0; i < BLOCKS; i++) {
		blocks[i] = hak_calloc(1, 1000);
		for (size_t at = 0; at < 1000; at++)
			assert_int_equal(blocks[i][at], 0);
	}
	for (size_t i = 0; i < BLOCKS; i++)
		hak_free(blocks[i]);
	hak_free(kept);
}

/* A whole trim, without a daemon. */
static uint64_t trim(uint64_t target_bytes)
{
	struct hak_purge_trim trim = {.level = HAK_PURGE_ALL, .target_bytes = target_bytes};
	bool more;

	do {
		struct hak_thread *thread = hak_thread_enter();

		more = hak_purge_trim(&trim);
		hak_thread_leave(thread);
	} while (more);
	return trim.released_bytes;
}

static int64_t returned_bytes(void)
{
	struct hak_tally_sums sums;
	struct hak_thread *thread = hak_thread_enter();

	hak_thread_tally(&sums);
	hak_thread_leave(thread);
	return sums.returned_bytes;
}

/* One block in a hundred stays: hardly a slab is empty, but most pages are. */
static void a_trim_finds_the_holes_in_slabs(void **state)
{
	static unsigned char *blocks[BLOCKS];
	const size_t block_bytes = 1000, all_bytes = BLOCKS * block_bytes;
	struct hak_stats before, after;
	size_t resident;

	(void)state;
	trim(UINT64_MAX);
	for (size_t i = 0; i < BLOCKS; i++) {
		blocks[i] = hak_malloc(block_bytes);
		memset(blocks[i], (int)(i % 251), block_bytes);
	}
	resident = resident_bytes();
	for (size_t i = 0; i < BLOCKS; i++)
		if (i % 100 != 0)
			hak_free(blocks[i]);
	assert_int_equal(hak_stats_get(&before, sizeof before), 0);
	assert_int_equal(trim(MIB) / MIB, 1); /* no more than what was asked for, and a little */
	assert_true(trim(UINT64_MAX) > all_bytes * 9 / 10);
	if (RESIDENT_IS_OURS)
		assert_true(resident_bytes() + all_bytes * 9 / 10 < resident);
	assert_int_equal(hak_stats_get(&after, sizeof after), 0);
	assert_true(after.free_bytes + all_bytes * 9 / 10 <
		    before.free_bytes + before.lazyfree_bytes + before.cached_bytes);
	assert_int_equal(after.lazyfree_bytes, 0);
	assert_true(after.hole_bytes > all_bytes / 8); /* most slabs are empty */
	assert_int_equal(after.live_bytes, before.live_bytes);
	assert_int_equal(trim(UINT64_MAX), 0); /* a second one finds nothing */

	/* What is handed out again is memory again. */
	for (size_t i = 0; i < BLOCKS; i++) {
		if (i % 100 == 0)
			continue;
		blocks[i] = hak_malloc(block_bytes);
		memset(blocks[i], (int)(i % 251), block_bytes);
	}
	assert_true(returned_bytes() >= 0 && returned_bytes() < (int64_t)MIB);
	for (size_t i = 0; i < BLOCKS; i++) {
		assert_int_equal(blocks[i][0], i % 251);
		assert_int_equal(blocks[i][block_bytes - 1], i % 251);
		hak_free(blocks[i]);
	}
	trim(UINT64_MAX);
	assert_int_equal(returned_bytes(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_freed_goes_back),
		cmocka_unit_test(a_trim_finds_the_holes_in_slabs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
