/* Goal: each call keeps its contract: sizes, alignment, zeroes, errno, usable size, growth; a block
 * made much smaller gives memory back.
 * Method: every size class's edges and beyond, (size, alignment) pairs, and what must be
 * refused. */
#include "unit.h"

#include "base/config.h"

#include <errno.h>
#include <hak/hak.h>
#include <string.h>
#include <unistd.h>

/* Sizes around every edge: classes, units, the three kinds. */
static const size_t sizes[] = {
	0,     1,     15,    16,     17,     127,    128,     129,     1023,	1024,	 1025,
	2048,  2049,  4096,  5000,   8192,   16384,  20000,   32768,   32769,	49152,	 65536,
	65537, 99999, 99999, 262144, 500000, 524288, 1048576, 1048577, 2097152, 5000000,
};

static void blocks_hold_what_was_asked_for(void **state)
{
	(void)state;
	for (size_t i = 0; i < UNIT_COUNT(sizes); i++) {
		errno = 77;
		char *block = hak_malloc(sizes[i]);

		assert_non_null(block);
		assert_int_equal((uintptr_t)block % 16, 0);
		size_t usable = hak_malloc_usable_size(block);

		assert_true(usable >= sizes[i]);
		memset(block, 0x5a, usable);
		assert_int_equal(hak_malloc_usable_size(block), usable);
		assert_ptr_equal(hak_realloc(block, usable), block);
		hak_free(block);
		assert_int_equal(errno, 77);
	}
}

static void calloc_clears_what_was_used(void **state)
{
	(void)state;
	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < UNIT_COUNT(sizes); i++) {
			unsigned char *block = hak_calloc(1, sizes[i]);

			assert_non_null(block);
			for (size_t at = 0; at < sizes[i]; at++)
				if (block[at] != 0)
					fail_msg("byte %zu of %zu", at, sizes[i]);
			memset(block, 0xff, hak_malloc_usable_size(block));
			hak_free(block);
		}
	}
}

static void realloc_keeps_the_bytes(void **state)
{
	(void)state;
	for (size_t from = 0; from < UNIT_COUNT(sizes); from++) {
		for (size_t to = 0; to < UNIT_COUNT(sizes); to++) {
			size_t both = sizes[from] < sizes[to] ? sizes[from] : sizes[to];
			unsigned char *block = hak_malloc(sizes[from]);

			for (size_t at = 0; at < sizes[from]; at++)
				block[at] = (unsigned char)(at * 7);
			block = hak_realloc(block, sizes[to]);
			assert_non_null(block);
			assert_true(hak_malloc_usable_size(block) >= sizes[to]);
			for (size_t at = 0; at < both; at++)
				if (block[at] != (unsigned char)(at * 7))
					fail_msg("%zu to %zu: byte %zu", sizes[from], sizes[to],
						 at);
			hak_free(block);
		}
	}
	assert_non_null(hak_realloc(NULL, 10)); /* lost on purpose: as malloc */
}

/* Down to its half a small block stays where it is; below that it moves to a smaller one. */
static void realloc_moves_small_blocks_down(void **state)
{
	(void)state;
	for (size_t size = 64; size <= HAK_SMALL_BYTES_MAX; size *= 2) {
		char *block = hak_malloc(size);
		size_t usable = hak_malloc_usable_size(block);

		assert_ptr_equal(hak_realloc(block, usable / 2), block);
		assert_int_equal(hak_malloc_usable_size(block), usable);
		block = hak_realloc(block, usable / 2 - 1);
		assert_non_null(block);
		assert_true(hak_malloc_usable_size(block) < usable);
		hak_free(block);
	}
}

static void realloc_shrinks_runs_in_place(void **state)
{
	char *block = hak_malloc(HAK_RUN_BYTES_MAX);

	(void)state;
	assert_int_equal(hak_malloc_usable_size(block), HAK_RUN_BYTES_MAX);
	assert_ptr_equal(hak_realloc(block, 3 * HAK_UNIT_BYTES - 5), block);
	assert_int_equal(hak_malloc_usable_size(block), 3 * HAK_UNIT_BYTES);
	hak_free(block);
}

static void waste_is_bounded(size_t size, size_t alignment, size_t usable)
{
	size_t grain = alignment < 16 ? 16 : alignment;
	size_t rounded = (size + grain - 1) / grain * grain;

	if (rounded == 0)
		rounded = grain;
	if (rounded <= HAK_SMALL_BYTES_MAX)
		assert_true(usable <= rounded + rounded / 4);
	else if (rounded <= HAK_RUN_BYTES_MAX)
		assert_true(usable <= rounded + HAK_UNIT_BYTES);
	else
		assert_true(usable <= rounded + (size_t)getpagesize());
}

static void alignments_are_kept(void **state)
{
	(void)state;
	for (size_t alignment = 1; alignment <= (size_t)64 << 20; alignment *= 2) {
		for (size_t i = 0; i < UNIT_COUNT(sizes); i++) {
			char *block = hak_memalign(alignment, sizes[i]);

			assert_non_null(block);
			assert_int_equal((uintptr_t)block % alignment, 0);
			size_t usable = hak_malloc_usable_size(block);

			assert_true(usable >= sizes[i]);
			waste_is_bounded(sizes[i], alignment, usable);
			assert_ptr_equal(hak_realloc(block, usable), block);
			if (sizes[i] != 0)
				block[0] = block[sizes[i] - 1] = 1;
			assert_ptr_equal(hak_realloc(block, usable), block);
			block = hak_realloc(block, sizes[i] + 1000);
			assert_non_null(block);
			hak_free(block);
		}
	}
}

static void empty_aligned_blocks_are_unique(void **state)
{
	(void)state;
	for (size_t alignment = 16; alignment <= (size_t)64 << 20; alignment *= 2) {
		char *first = hak_memalign(alignment, 0), *second = hak_memalign(alignment, 0);

		assert_non_null(first);
		assert_non_null(second);
		assert_ptr_not_equal(first, second);
		assert_true(hak_malloc_usable_size(first) > 0);
		first[0] = second[0] = 1;
		hak_free(first);
		hak_free(second);
	}
}

static void what_cannot_be_is_refused(void **state)
{
	void *block = &block;
	/* volatile, or the compiler says what it thinks of such sizes */
	volatile size_t most = PTRDIFF_MAX, half = SIZE_MAX / 2 + 2;

	(void)state;
	for (int i = 0; i < 6; i++) {
		void *refused[] = {hak_malloc(most + 1),
				   hak_malloc(SIZE_MAX),
				   hak_calloc(half, 2),
				   hak_memalign(64, most + 1),
				   hak_reallocarray(NULL, half, 2),
				   hak_pvalloc(SIZE_MAX)};

		assert_null(refused[i]);
	}
	errno = 0;
	assert_null(hak_malloc(SIZE_MAX));
	assert_int_equal(errno, ENOMEM);
	errno = 0;
	assert_null(hak_calloc(half, 2));
	assert_int_equal(errno, ENOMEM);
	errno = 0;
	assert_null(hak_aligned_alloc(48, 100));
	assert_int_equal(errno, EINVAL);
	errno = 0;
	assert_null(hak_aligned_alloc(0, 100));
	assert_int_equal(errno, EINVAL);
	errno = 77;
	assert_int_equal(hak_posix_memalign(&block, 4, 100), EINVAL);
	assert_int_equal(hak_posix_memalign(&block, 24, 100), EINVAL);
	assert_int_equal(hak_posix_memalign(&block, 64, most + 1), ENOMEM);
	assert_ptr_equal(block, &block);
	assert_int_equal(errno, 77);
	assert_int_equal(hak_posix_memalign(&block, 64, 100), 0);
	assert_int_equal((uintptr_t)block % 64, 0);
	/* A refused realloc leaves the block alone. */
	memset(block, 9, 100);
	assert_null(hak_realloc(block, SIZE_MAX));
	assert_int_equal(((char *)block)[99], 9);
	hak_free(block);
	hak_free(NULL);
	assert_int_equal(hak_malloc_usable_size(NULL), 0);
}

static void page_calls_give_pages(void **state)
{
	size_t page = (size_t)getpagesize();
	void *one = hak_valloc(10), *whole = hak_pvalloc(page + 1), *none = hak_pvalloc(0);

	(void)state;
	assert_int_equal((uintptr_t)one % page, 0);
	assert_int_equal((uintptr_t)whole % page, 0);
	assert_true(hak_malloc_usable_size(whole) >= 2 * page);
	assert_true(hak_malloc_usable_size(none) >= page);
	hak_free(one);
	hak_free(whole);
	hak_free(none);
}

static void empty_blocks_are_unique(void **state)
{
	void *first = hak_malloc(0), *second = hak_malloc(0), *third = hak_malloc(50);

	(void)state;
	third = hak_realloc(third, 0);
	assert_non_null(third);
	assert_ptr_not_equal(first, second);
	assert_ptr_not_equal(first, third);
	hak_free(first);
	hak_free(second);
	hak_free(third);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(blocks_hold_what_was_asked_for),
		cmocka_unit_test(calloc_clears_what_was_used),
		cmocka_unit_test(realloc_keeps_the_bytes),
		cmocka_unit_test(realloc_moves_small_blocks_down),
		cmocka_unit_test(realloc_shrinks_runs_in_place),
		cmocka_unit_test(alignments_are_kept),
		cmocka_unit_test(empty_aligned_blocks_are_unique),
		cmocka_unit_test(what_cannot_be_is_refused),
		cmocka_unit_test(page_calls_give_pages),
		cmocka_unit_test(empty_blocks_are_unique),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
