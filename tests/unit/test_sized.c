/* Goal: free_sized() and free_aligned_sized() take back what fits, and say so of what does not.
 * Method: blocks of every road with their own size, with the least that is still theirs after a
 * realloc, and with wrong ones, under HAK_MISUSE=report: each wrong one is one more on the count,
 * and its block stays in use. The sentences: tests/crash. */
#include "unit.h"

#include "base/config.h"
#include "base/misuse.h"
#include "base/settings.h"

#include <fcntl.h>
#include <hak/hak.h>
#include <stdio.h>
#include <unistd.h>

static int start(void **state)
{
	(void)state;
	hak_settings.misuse = HAK_ON_MISUSE_REPORT;
	return 0;
}

/* How many misuses a call is, and whether the block of so many bytes went back. What is said of
 * them is not for the log of a test that passes. */
static uint64_t misuses_of(void *block, size_t alignment, size_t size)
{
	uint64_t before = hak_misuse_count();
	int kept = dup(STDERR_FILENO), nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);

	dup2(nowhere, STDERR_FILENO);
	if (alignment == 0)
		hak_free_sized(block, size);
	else
		hak_free_aligned_sized(block, alignment, size);
	dup2(kept, STDERR_FILENO);
	close(kept);
	close(nowhere);
	return hak_misuse_count() - before;
}

static uint64_t live_bytes(void)
{
	struct hak_stats stats;

	assert_int_equal(hak_stats_get(&stats, sizeof stats), 0);
	return stats.live_bytes;
}

static const size_t sizes[] = {
	0,
	1,
	16,
	100,
	1024,
	1025,
	20000,
	HAK_SMALL_BYTES_MAX,
	HAK_SMALL_BYTES_MAX + 1,
	100000,
	HAK_RUN_BYTES_MAX,
	HAK_RUN_BYTES_MAX + 1,
	5000000,
};

static void its_own_size_frees_a_block(void **state)
{
	uint64_t before = live_bytes();

	(void)state;
	for (size_t i = 0; i < UNIT_COUNT(sizes); i++) {
		assert_int_equal(misuses_of(hak_malloc(sizes[i]), 0, sizes[i]), 0);
		for (size_t alignment = 8; alignment <= (size_t)4 << 20; alignment *= 2)
			assert_int_equal(misuses_of(hak_aligned_alloc(alignment, sizes[i]),
						    alignment, sizes[i]),
					 0);
	}
	assert_int_equal(live_bytes(), before);
}

static void nothing_is_of_any_size(void **state)
{
	(void)state;
	assert_int_equal(misuses_of(NULL, 0, 100), 0);
	assert_int_equal(misuses_of(NULL, 64, 100), 0);
	assert_int_equal(misuses_of(NULL, 0, SIZE_MAX), 0);
}

/* realloc leaves a block where it is down to half its size. */
static void a_block_made_smaller_is_of_its_new_size(void **state)
{
	(void)state;
	for (size_t i = 3; i < UNIT_COUNT(sizes); i++) {
		size_t smaller = sizes[i] / 2 + 8;
		void *block = hak_realloc(hak_malloc(sizes[i]), smaller);

		assert_int_equal(misuses_of(block, 0, smaller), 0);
	}
}

static void another_size_is_told(void **state)
{
	(void)state;
	for (size_t i = 3; i < UNIT_COUNT(sizes); i++) {
		uint64_t before = live_bytes();
		void *block = hak_malloc(sizes[i]);
		size_t usable = hak_malloc_usable_size(block);

		assert_int_equal(misuses_of(block, 0, usable + 1), 1);
		assert_int_equal(misuses_of(block, 0, sizes[i] / 4), 1);
		assert_int_equal(misuses_of(block, 64, usable + 1), 1);
		assert_int_equal(misuses_of(block, 0, SIZE_MAX), 1);
		assert_int_equal(hak_malloc_usable_size(block), usable);
		hak_free(block);
		assert_int_equal(live_bytes(), before);
	}
}

static void another_alignment_is_told(void **state)
{
	char *block = hak_aligned_alloc(64, 192);

	(void)state;
	assert_int_equal(misuses_of(block, (size_t)1 << 30, 192), 1);
	assert_int_equal(misuses_of(block, 0, 5), 1);
	assert_int_equal(misuses_of(block + 32, 32, 192), 1); /* and no block at all */
	assert_int_equal(misuses_of(block, 64, 192), 0);
}

static void the_version_is_the_headers(void **state)
{
	char text[32];

	(void)state;
	snprintf(text, sizeof text, "%d.%d.%d", HAK_VERSION_MAJOR, HAK_VERSION_MINOR,
		 HAK_VERSION_PATCH);
	assert_string_equal(hak_version(), text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(its_own_size_frees_a_block),
		cmocka_unit_test(nothing_is_of_any_size),
		cmocka_unit_test(a_block_made_smaller_is_of_its_new_size),
		cmocka_unit_test(another_size_is_told),
		cmocka_unit_test(another_alignment_is_told),
		cmocka_unit_test(the_version_is_the_headers),
	};

	return cmocka_run_group_tests(tests, start, NULL);
}
