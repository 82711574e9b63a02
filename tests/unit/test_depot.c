/* Goal: a depot gives back what was put, newest first, and refuses what it has no room for.
 * Method: numbers in place of blocks, which a depot never touches; every class filled to its
 * bound. */
#include "unit.h"

#include "base/size_class.h"
#include "heap/depot.h"
#include "heap/region.h"

static int start(void **state)
{
	(void)state;
	return hak_region_init() ? 0 : -1;
}

static void the_newest_comes_first(void **state)
{
	void *in[5] = {(void *)1, (void *)2, (void *)3, (void *)4, (void *)5};
	void *out[5];

	(void)state;
	assert_int_equal(hak_depot_take(3, 5, out), 0);
	assert_true(hak_depot_put(3, in, 5));
	assert_int_equal(hak_depot_count(3), 5);
	assert_int_equal(hak_depot_take(3, 2, out), 2);
	assert_ptr_equal(out[0], in[3]);
	assert_ptr_equal(out[1], in[4]);
	assert_int_equal(hak_depot_take(3, 5, out), 3);
	assert_ptr_equal(out[2], in[2]);
	assert_int_equal(hak_depot_count(3), 0);
}

static void each_class_has_its_bound(void **state)
{
	void *block = (void *)16, *out[HAK_DEPOT_SLOTS_MAX];

	(void)state;
	for (unsigned class_idx = 1; class_idx <= HAK_CLASS_COUNT; class_idx++) {
		size_t bytes = hak_size_classes[class_idx].block_bytes;
		unsigned count = 0;

		while (hak_depot_put(class_idx, &block, 1))
			count++;
		assert_true(count >= 1 && count <= HAK_DEPOT_SLOTS_MAX);
		assert_true(count * bytes <= HAK_DEPOT_BYTES_MAX);
		assert_true(hak_depot_is_valid(class_idx));
		assert_int_equal(hak_depot_take(class_idx, HAK_DEPOT_SLOTS_MAX, out), count);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_newest_comes_first),
		cmocka_unit_test(each_class_has_its_bound),
	};

	return cmocka_run_group_tests(tests, start, NULL);
}
