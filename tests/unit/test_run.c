/* Goal: runs are whole units, aligned as asked, marked from first to last, and shrink in place.
 * Method: every length and alignment once, bytes written to both ends; class bytes looked at. */
#include "unit.h"

#include "heap/census.h"
#include "heap/control.h"
#include "heap/pool.h"
#include "heap/region.h"
#include "heap/run.h"
#include "heap/slab.h"

#include <string.h>

static int start(void **state)
{
	(void)state;
	return hak_region_init() ? 0 : -1;
}

static void every_length_is_marked_and_given_back(void **state)
{
	(void)state;
	for (unsigned units = 1; units <= 64; units++) {
		bool zeroed;
		char *block = hak_run_take(units * HAK_UNIT_BYTES - 5, 1, &zeroed);
		uint32_t unit = hak_region_unit(block);

		assert_non_null(block);
		assert_int_equal(hak_run_bytes(block, "test"), units * HAK_UNIT_BYTES);
		memset(block, 0xa5, units * HAK_UNIT_BYTES);
		assert_int_equal(hak_region_class(unit), HAK_CLASS_RUN_HEAD);
		for (unsigned i = 1; i < units; i++)
			assert_int_equal(hak_region_class(unit + i), HAK_CLASS_RUN_TAIL);
		assert_true(hak_census_is_valid(unit));
		hak_run_give(block);
		for (unsigned i = 0; i < units; i++)
			assert_int_equal(hak_region_class(unit + i), HAK_CLASS_NONE);
	}
	assert_true(hak_pool_is_valid());
}

static void alignments_are_kept(void **state)
{
	(void)state;
	for (size_t alignment = HAK_UNIT_BYTES; alignment <= HAK_RUN_BYTES_MAX; alignment *= 2) {
		bool zeroed;
		void *in_the_way = hak_run_take(HAK_UNIT_BYTES, 1, &zeroed);
		void *block = hak_run_take(40000, alignment, &zeroed);

		assert_non_null(block);
		assert_int_equal((uintptr_t)block % alignment, 0);
		hak_run_give(block);
		hak_run_give(in_the_way);
	}
}

static void a_shrunk_run_gives_its_tail_back(void **state)
{
	bool zeroed;
	char *block = hak_run_take(10 * HAK_UNIT_BYTES, 1, &zeroed);

	(void)state;
	hak_run_shrink(block, 3 * HAK_UNIT_BYTES - 1);
	assert_int_equal(hak_run_bytes(block, "test"), 3 * HAK_UNIT_BYTES);
	assert_int_equal(hak_region_class(hak_region_unit(block) + 3), HAK_CLASS_NONE);
	/* The lowest row of seven free units is the tail again. */
	char *tail = hak_run_take(7 * HAK_UNIT_BYTES, 1, &zeroed);

	assert_ptr_equal(tail, block + 3 * HAK_UNIT_BYTES);
	hak_run_give(tail);
	hak_run_give(block);
	assert_true(hak_pool_is_valid());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_length_is_marked_and_given_back),
		cmocka_unit_test(alignments_are_kept),
		cmocka_unit_test(a_shrunk_run_gives_its_tail_back),
	};

	return cmocka_run_group_tests(tests, start, NULL);
}
