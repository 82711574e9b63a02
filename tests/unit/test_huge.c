/* Goal: huge blocks are known by their address alone, keep their bytes when resized, and freed
 * mappings are used again, within bounds, until they are purged.
 * Method: a few hundred blocks at once, bytes checked, counts compared on the way. */
#include "unit.h"

#include "base/os.h"
#include "heap/huge.h"
#include "heap/region.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define MIB ((size_t)1 << 20)

static int start(void **state)
{
	(void)state;
	return hak_region_init() ? 0 : -1;
}

static struct hak_huge_counts counted(void)
{
	struct hak_huge_counts counts;

	hak_huge_count(&counts);
	return counts;
}

static void blocks_are_found_by_address(void **state)
{
	static char *blocks[300];
	size_t bytes;

	(void)state;
	for (size_t i = 0; i < 300; i++) {
		bool zeroed;

		blocks[i] = hak_huge_take(MIB + i * 5000, 1, &zeroed);
		assert_non_null(blocks[i]);
		assert_true(zeroed);
		blocks[i][MIB + i * 5000 - 1] = (char)i;
	}
	assert_int_equal(counted().block_count, 300);
	assert_true(hak_huge_is_valid());
	for (size_t i = 0; i < 300; i++) {
		assert_true(hak_huge_bytes(blocks[i], &bytes));
		assert_in_range(bytes, MIB + i * 5000, MIB + i * 5000 + hak_os_page_bytes() - 1);
		assert_false(hak_huge_bytes(blocks[i] + hak_os_page_bytes(), &bytes));
		assert_int_equal(blocks[i][MIB + i * 5000 - 1], (char)i);
	}
	for (size_t i = 0; i < 300; i++) {
		assert_true(hak_huge_give(blocks[i]));
		assert_false(hak_huge_give(blocks[i]));
	}
	assert_int_equal(counted().block_count, 0);
	assert_int_equal(counted().live_bytes, 0);
	assert_true(counted().cached_bytes <= (64 * MIB));
	hak_huge_purge(UINT64_MAX);
	assert_int_equal(counted().cached_bytes, 0);
}

static void freed_mappings_serve_again(void **state)
{
	bool zeroed;
	char *first = hak_huge_take(8 * MIB, 1, &zeroed);
	char *again, *longer, *shorter;
	size_t bytes;

	(void)state;
	memset(first, 1, 8 * MIB);
	assert_true(hak_huge_give(first));
	assert_int_equal(counted().cached_bytes, 8 * MIB);
	assert_true(hak_huge_is_valid());
	hak_huge_purge(0); /* not that old: it stays */
	assert_int_equal(counted().cached_bytes, 8 * MIB);
	/* A little less fits as it is; what it holds is not zero. */
	again = hak_huge_take(8 * MIB - 3 * 4096, 1, &zeroed);
	assert_ptr_equal(again, first);
	assert_false(zeroed);
	assert_true(hak_huge_bytes(again, &bytes));
	assert_in_range(bytes, 8 * MIB - 3 * 4096, 8 * MIB - 2 * 4096);
	assert_true(hak_huge_give(again));
	/* Much less: the tail is one of its own, unless it is shorter than huge blocks are. */
	shorter = hak_huge_take(3 * MIB, 1, &zeroed);
	assert_ptr_equal(shorter, first);
	assert_int_equal(counted().cached_bytes, 5 * MIB);
	again = hak_huge_take(4 * MIB + MIB / 2, 1, &zeroed);
	assert_ptr_equal(again, first + 3 * MIB);
	assert_int_equal(counted().cached_bytes, 0);
	assert_int_equal(again[4 * MIB], 1);
	assert_true(hak_huge_is_valid());
	assert_true(hak_huge_give(again));
	hak_huge_purge(UINT64_MAX);
	/* More: the mapping grows. */
	assert_true(hak_huge_give(shorter));
	assert_int_equal(counted().cached_bytes, 3 * MIB);
	longer = hak_huge_take(5 * MIB, 1, &zeroed);
	assert_int_equal(counted().cached_bytes, 0);
	assert_int_equal(longer[3 * MIB - 1], 1);
	longer[5 * MIB - 1] = 1;
	assert_true(hak_huge_give(longer));
	hak_huge_purge(UINT64_MAX);
	assert_int_equal(counted().cached_bytes, 0);
}

/* One that is longer than all that the cache may hold goes back at once and pushes nothing out. */
static void a_mapping_too_long_to_keep_goes_back(void **state)
{
	unsigned char resident;
	bool zeroed;
	char *kept = hak_huge_take(8 * MIB, 1, &zeroed);
	char *longest = hak_huge_take((64 * MIB), 1, &zeroed);
	char *too_long = hak_huge_take((64 * MIB) + 1, 1, &zeroed);

	(void)state;
	assert_true(hak_huge_give(kept));
	assert_int_equal(counted().cached_bytes, 8 * MIB);
	assert_int_equal(mincore(too_long, 1, &resident), 0);
	assert_true(hak_huge_give(too_long));
	assert_int_equal(counted().cached_bytes, 8 * MIB);
	errno = 0;
	assert_int_equal(mincore(too_long, 1, &resident), -1);
	assert_int_equal(errno, ENOMEM);
	/* The longest that it may hold is held, alone. */
	assert_true(hak_huge_give(longest));
	assert_int_equal(counted().cached_bytes, (64 * MIB));
	assert_true(hak_huge_is_valid());
	hak_huge_purge(UINT64_MAX);
	assert_int_equal(counted().cached_bytes, 0);
}

static void alignments_are_kept(void **state)
{
	(void)state;
	for (size_t alignment = MIB; alignment <= 256 * MIB; alignment *= 4) {
		bool zeroed;
		char *block = hak_huge_take(MIB + 1, alignment, &zeroed);

		assert_non_null(block);
		assert_int_equal((uintptr_t)block % alignment, 0);
		block[0] = block[MIB] = 1;
		assert_true(hak_huge_give(block));
	}
	hak_huge_purge(UINT64_MAX);
}

static void resized_blocks_keep_their_bytes(void **state)
{
	bool zeroed;
	char *block = hak_huge_take(2 * MIB, 1, &zeroed);
	size_t bytes;

	(void)state;
	for (size_t i = 0; i < 2 * MIB; i += 4096)
		block[i] = (char)(i >> 12);
	block = hak_huge_resize(block, 64 * MIB);
	assert_non_null(block);
	assert_true(hak_huge_is_valid());
	block[64 * MIB - 1] = 1;
	block = hak_huge_resize(block, 2 * MIB);
	assert_non_null(block);
	assert_true(hak_huge_bytes(block, &bytes));
	assert_int_equal(bytes, 2 * MIB);
	for (size_t i = 0; i < 2 * MIB; i += 4096)
		assert_int_equal(block[i], (char)(i >> 12));
	/* More than there is: the block stays as it was. */
	assert_null(hak_huge_resize(block, PTRDIFF_MAX / 2));
	assert_true(hak_huge_bytes(block, &bytes));
	assert_int_equal(bytes, 2 * MIB);
	assert_true(hak_huge_give(block));
	assert_null(hak_huge_resize(block, 3 * MIB));
	hak_huge_purge(UINT64_MAX);
	assert_true(hak_huge_is_valid());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(blocks_are_found_by_address),
		cmocka_unit_test(freed_mappings_serve_again),
		cmocka_unit_test(a_mapping_too_long_to_keep_goes_back),
		cmocka_unit_test(alignments_are_kept),
		cmocka_unit_test(resized_blocks_keep_their_bytes),
	};

	return cmocka_run_group_tests(tests, start, NULL);
}
