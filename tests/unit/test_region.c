/* Goal: the region is one reservation that opens as a prefix, and takes half of what a limit leaves
 * at most; any pointer at all can be asked about; the allocator's own memory comes zeroed and
 * arrays come again.
 * Method: born first in a child that has a limit; the first SuperSlabs opened one by one, pointers
 * of every kind looked up. */
#include "unit.h"

#include "base/os.h"
#include "heap/meta.h"
#include "heap/region.h"

#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static void before_birth_nothing_is_ours(void **state)
{
	int local = 0;

	(void)state;
	assert_false(hak_region_is_born());
	assert_false(hak_region_has_grain(hak_region_grain(&local)));
	assert_false(hak_region_has_grain(hak_region_grain(NULL)));
	assert_null(hak_meta_take(64));
}

/* Sets the limit so that about `bytes` are left, and returns how many are. */
static size_t limit_to(size_t bytes)
{
	struct rlimit limit = {.rlim_cur = (rlim_t)1 << 60, .rlim_max = RLIM_INFINITY};

	/* What is mapped already, a sanitizer's shadow too, is known from what a limit leaves. */
	if (setrlimit(RLIMIT_AS, &limit) != 0)
		return 0;
	limit.rlim_cur -= hak_os_address_space_bytes();
	limit.rlim_cur += bytes;
	return setrlimit(RLIMIT_AS, &limit) == 0 ? hak_os_address_space_bytes() : 0;
}

/* A limit that leaves a quarter more than the region without one: it would fit, with its tables. 0
 * where half of what is left is taken and a thirteenth of that for tables, else what went wrong. */
static int take_under_a_limit(void)
{
	size_t unlimited_bytes = hak_os_ram_bytes() * HAK_REGION_RAM_FACTOR;

	if (unlimited_bytes < HAK_REGION_BYTES_LOW)
		unlimited_bytes = HAK_REGION_BYTES_LOW;
	if (unlimited_bytes > HAK_REGION_BYTES_HIGH)
		unlimited_bytes = HAK_REGION_BYTES_HIGH;
	size_t left = limit_to(unlimited_bytes + unlimited_bytes / 4);

	if (left <= unlimited_bytes || !hak_region_init())
		return 2;
	size_t bytes = hak_region.superslab_count_max * HAK_SUPERSLAB_BYTES;

	if (bytes > left / 2 || bytes < left / 2 - HAK_SUPERSLAB_BYTES)
		return 3;
	return hak_os_address_space_bytes() >= left / 2 - left / 20 ? 0 : 4;
}

static void half_of_what_a_limit_leaves_is_taken(void **state)
{
	struct rlimit limit;
	int status;

	(void)state;
	getrlimit(RLIMIT_AS, &limit);
	if (limit.rlim_max != RLIM_INFINITY)
		skip();
	pid_t child = fork();

	if (child == 0)
		_exit(take_under_a_limit());
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_false(hak_region_is_born());
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
		cmocka_unit_test(half_of_what_a_limit_leaves_is_taken),
		cmocka_unit_test(the_prefix_grows),
		cmocka_unit_test(marks_are_read_back),
		cmocka_unit_test(own_memory_is_zeroed_and_arrays_come_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
