/* Goal: every size has the smallest class that holds it, waste keeps its bounds, and offsets turn
 * into block indices exactly.
 * Method: exhaustive over all sizes to 32 KiB and all offsets of a slab of every class. */
#include "unit.h"

#include "base/size_class.h"

static void each_size_has_the_smallest_class(void **state)
{
	(void)state;
	for (size_t size = 0; size <= HAK_SMALL_BYTES_MAX; size++) {
		unsigned class_idx = hak_size_class_of(size);

		assert_in_range(class_idx, 1, HAK_CLASS_COUNT);
		assert_true(hak_size_classes[class_idx].block_bytes >= size);
		if (class_idx > 1)
			assert_true(hak_size_classes[class_idx - 1].block_bytes < size);
	}
}

static void rounding_wastes_a_fifth_at_most(void **state)
{
	(void)state;
	for (size_t size = 17; size <= HAK_SMALL_BYTES_MAX; size++) {
		size_t grains = (size + 15) & ~(size_t)15;
		size_t bytes = hak_size_classes[hak_size_class_of(size)].block_bytes;

		assert_true(bytes * 100 <= grains * (size <= 2048 ? 125 : 113));
	}
}

static void slabs_are_well_cut(void **state)
{
	(void)state;
	for (unsigned i = 1; i <= HAK_CLASS_COUNT; i++) {
		const struct hak_size_class *row = &hak_size_classes[i];
		size_t slab_bytes = row->unit_count * HAK_UNIT_BYTES;
		size_t used = (size_t)row->block_count * row->block_bytes;

		assert_int_equal(row->block_bytes % HAK_GRAIN_BYTES, 0);
		assert_in_range(row->unit_count, 1, HAK_SLAB_UNITS_MAX);
		assert_in_range(row->block_count, 8, HAK_SLAB_BLOCKS_MAX);
		assert_true(used <= slab_bytes && (slab_bytes - used) * 32 <= slab_bytes);
	}
}

static void offsets_find_their_block(void **state)
{
	(void)state;
	for (unsigned i = 1; i <= HAK_CLASS_COUNT; i++) {
		size_t slab_bytes = hak_size_classes[i].unit_count * HAK_UNIT_BYTES;
		size_t block_bytes = hak_size_classes[i].block_bytes;

		for (size_t offset = 0; offset < slab_bytes; offset++)
			if (hak_size_class_index(i, offset) != offset / block_bytes)
				fail_msg("class %u offset %zu", i, offset);
	}
}

static void powers_of_two_are_classes(void **state)
{
	(void)state;
	for (size_t size = HAK_GRAIN_BYTES; size <= HAK_SMALL_BYTES_MAX; size *= 2)
		assert_int_equal(hak_size_classes[hak_size_class_of(size)].block_bytes, size);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_size_has_the_smallest_class),
		cmocka_unit_test(rounding_wastes_a_fifth_at_most),
		cmocka_unit_test(slabs_are_well_cut),
		cmocka_unit_test(offsets_find_their_block),
		cmocka_unit_test(powers_of_two_are_classes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
