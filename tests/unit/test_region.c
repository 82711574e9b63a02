/* Goal: the region is one reservation that opens as a prefix; any pointer at all can be asked
 * about; the allocator's own memory comes zeroed and arrays come again.
 * Method: the first SuperSlabs opened one by one, pointers of every kind looked up. */
#include "unit.h"

#include "heap/meta.h"
#include "heap/region.h"

#include <string.h>

static void before_birth_nothing_is_ours(void **state)
{
	int local = 0;

	(void)state;
	assert_false(hak_region_is_born());
	assert_false(hak_region_has_grain(hak_region_grain(&local)));
	assert_false(hak_region_has_grain(hak_region_grain(NULL)));
	assert_null(hak_meta_take(64));
}

static void the_prefix_grows(void **state)
{
	uint32_t index;

	(void)state;
	assert_true(hak_region_init());
	assert_true(hak_region_init());
	assert_int_equal(hak_region.base % HAK_SUPERSLAB_BYTES, 0);
	assert_false(hak_region_has_grain(hak_region_grain((void *)hak_region.base)));
	for (uint32_t expected = 0; expected < 40; expected++) {
		assert_true(hak_region_open_next(&index));
		assert_int_equal(index, expected);
		char *first = (char *)hak_region.base + expected * HAK_SUPERSLAB_BYTES;

		first[0] = first[HAK_SUPERSLAB_BYTES - 1] = 1;
		assert_true(hak_region_has_grain(hak_region_grain(first)));
		assert_true(
			hak_region_has_grain(hak_region_grain(first + HAK_SUPERSLAB_BYTES - 16)));
		assert_false(hak_region_has_grain(hak_region_grain(first + HAK_SUPERSLAB_BYTES)));
		for (unsigned i = 1; i < 16; i++)
			assert_false(hak_region_has_grain(hak_region_grain(first + i)));
		assert_int_equal(hak_region_class_of_grain(hak_region_grain(first)),
				 HAK_CLASS_NONE);
	}
	assert_false(hak_region_has_grain(hak_region_grain((char *)hak_region.base - 16)));
	assert_false(hak_region_has_grain(hak_region_grain((void *)UINTPTR_MAX)));
	assert_false(hak_region_has_grain(hak_region_grain(NULL)));
}

static void marks_are_read_back(void **state)
{
	(void)state;
	hak_region_mark(200, 5, 7, 9);
	assert_int_equal(hak_region_class(200), 7);
	for (uint32_t unit = 201; unit < 205; unit++)
		assert_int_equal(hak_region_class(unit), 9);
	assert_int_equal(hak_region_class(205), HAK_CLASS_NONE);
	assert_ptr_equal(hak_region_address(200), hak_region.base + 200 * HAK_UNIT_BYTES);
	assert_int_equal(hak_region_unit(hak_region_address(200) + 100), 200);
	hak_region_mark(200, 5, HAK_CLASS_RUN_HEAD, HAK_CLASS_RUN_TAIL);
	assert_int_equal(hak_region_run_head(204), 200);
	hak_region_mark(200, 5, HAK_CLASS_NONE, HAK_CLASS_NONE);
}

static void own_memory_is_zeroed_and_arrays_come_again(void **state)
{
	static const char zeroes[10000];
	char *memory = hak_meta_take(sizeof zeroes);
	void **array;

	(void)state;
	assert_non_null(memory);
	assert_int_equal((uintptr_t)memory % 64, 0);
	assert_memory_equal(memory, zeroes, sizeof zeroes);
	size_t bytes = hak_meta_bytes();

	assert_true(bytes >= sizeof zeroes);
	for (unsigned log2 = 3; log2 <= HAK_META_LOG2_MAX; log2++) {
		array = hak_meta_take_array(log2);
		assert_non_null(array);
		memset(array, 0xff, sizeof *array << log2);
		bytes = hak_meta_bytes();
		hak_meta_give_array(array, log2);
		assert_ptr_equal(hak_meta_take_array(log2), array);
		assert_int_equal(hak_meta_bytes(), bytes);
	}
	assert_null(hak_meta_take(hak_region.meta_bytes));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(before_birth_nothing_is_ours),
		cmocka_unit_test(the_prefix_grows),
		cmocka_unit_test(marks_are_read_back),
		cmocka_unit_test(own_memory_is_zeroed_and_arrays_come_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
