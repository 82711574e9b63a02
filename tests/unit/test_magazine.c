/* Goal: magazines are stacks with bounds; what a thread leaves behind is back in the slabs or the
 * depot; a thread without one is served as well.
 * Method: by the same calls as malloc and free make; counts of slabs, depots and magazines are
 * compared after each step. */
#include "unit.h"

#include "base/size_class.h"
#include "heap/census.h"
#include "heap/depot.h"
#include "heap/magazine.h"
#include "heap/meta.h"
#include "heap/region.h"
#include "heap/slab.h"

#include <string.h>

static struct hak_magazines *magazines;

static int start(void **state)
{
	(void)state;
	if (!hak_region_init())
		return -1;
	magazines = hak_meta_take(sizeof *magazines);
	return magazines == NULL ? -1 : 0;
}

static void *take(unsigned class_idx)
{
	void *block = hak_magazine_pop(class_idx);

	return block != NULL ? block : hak_magazine_refill(magazines, class_idx);
}

static void give(unsigned class_idx, void *block)
{
	if (!hak_magazine_push(class_idx, block))
		hak_magazine_flush(magazines, class_idx, block);
}

static struct hak_census_row counts_of(unsigned class_idx)
{
	struct hak_census_row counts[HAK_CLASS_COUNT + 1];
	uint64_t run_unit_count;

	memset(counts, 0, sizeof counts);
	hak_census_of_slabs(counts, &run_unit_count);
	return counts[class_idx];
}

static uint64_t taken_of(unsigned class_idx)
{
	return counts_of(class_idx).taken_block_count;
}

static void before_birth_nothing_goes_in_or_out(void **state)
{
	int block;

	(void)state;
	for (unsigned class_idx = 0; class_idx < HAK_CLASS_BYTES; class_idx++) {
		assert_null(hak_magazine_pop(class_idx));
		assert_false(hak_magazine_push(class_idx, &block));
	}
}

static void the_newest_comes_first_and_a_double_is_seen(void **state)
{
	void *first = take(4), *second = take(4);

	(void)state;
	assert_non_null(first);
	assert_non_null(second);
	give(4, first);
	give(4, second);
	assert_true(hak_magazine_is_newest(4, second));
	assert_false(hak_magazine_push(4, second));
	assert_ptr_equal(hak_magazine_pop(4), second);
	assert_ptr_equal(hak_magazine_pop(4), first);
	give(4, first);
	give(4, second);
	assert_true(hak_magazine_is_valid(magazines));
}

/* Each fault is planted in a magazine that is whole before and after. */
static void what_is_wrong_is_not_valid(void **state)
{
	struct hak_magazine_heads *heads = magazines->heads;
	void **bottom = magazines->bottom[4], **top = heads->top[4], **limit = heads->limit[4];
	void *newest = top[-1];

	(void)state;
	assert_true(hak_magazine_is_valid(magazines));
	top[-1] = NULL; /* an empty slot among the blocks */
	assert_false(hak_magazine_is_valid(magazines));
	top[-1] = newest;
	bottom[0] = newest; /* no sentinel */
	assert_false(hak_magazine_is_valid(magazines));
	bottom[0] = NULL;
	heads->top[4] = bottom; /* below the first slot */
	assert_false(hak_magazine_is_valid(magazines));
	heads->top[4] = limit + 1; /* beyond the last */
	assert_false(hak_magazine_is_valid(magazines));
	heads->top[4] = top;
	heads->limit[4] = limit + 1; /* more than the room of its array */
	assert_false(hak_magazine_is_valid(magazines));
	heads->limit[4] = limit;
	heads->top[5] = top; /* a class that was never opened has blocks */
	assert_false(hak_magazine_is_valid(magazines));
	heads->top[5] = heads->top[6];
	assert_true(hak_magazine_is_valid(magazines));
}

static void every_class_grows_to_its_bound(void **state)
{
	static void *blocks[2000];

	(void)state;
	for (unsigned class_idx = 1; class_idx <= HAK_CLASS_COUNT; class_idx++) {
		size_t most = 0;

		for (int round = 0; round < 4; round++) {
			for (size_t i = 0; i < 2000; i++) {
				blocks[i] = take(class_idx);
				assert_non_null(blocks[i]);
				memset(blocks[i], 1, 16);
			}
			for (size_t i = 0; i < 2000; i++) {
				give(class_idx, blocks[i]);
				if (hak_magazine_count(magazines, class_idx) > most)
					most = hak_magazine_count(magazines, class_idx);
			}
			assert_true(hak_magazine_is_valid(magazines));
		}
		assert_true(most >= 2 && most <= HAK_MAGAZINE_SLOTS_MAX);
		assert_true(most * hak_size_classes[class_idx].block_bytes <=
			    HAK_MAGAZINE_BYTES_MAX);
		/* Nothing is lost: what is not in the program's hands is cached or in the slabs. */
		assert_int_equal(taken_of(class_idx), hak_magazine_count(magazines, class_idx) +
							      hak_depot_count(class_idx));
	}
}

static void death_gives_everything_back(void **state)
{
	unsigned leased_count = 0;
	void *block;

	(void)state;
	for (unsigned class_idx = 1; class_idx <= HAK_CLASS_COUNT; class_idx++)
		leased_count += magazines->lease[class_idx] != 0;
	assert_true(leased_count > 0);
	hak_magazine_death(magazines);
	assert_null(hak_magazine_pop(4));
	for (unsigned class_idx = 1; class_idx <= HAK_CLASS_COUNT; class_idx++)
		assert_int_equal(taken_of(class_idx), hak_depot_count(class_idx));
	/* Without a magazine: straight from the depot or the slabs and back. */
	block = hak_magazine_take_direct(4);
	assert_non_null(block);
	hak_magazine_give_direct(4, block);
	for (unsigned class_idx = 1; class_idx <= HAK_CLASS_COUNT; class_idx++) {
		while (hak_depot_take(class_idx, 1, &block) == 1)
			hak_slab_give(class_idx, &block, 1);
		assert_int_equal(taken_of(class_idx), 0);
		/* One that somebody leases stays, however free it is. */
		assert_int_equal(counts_of(class_idx).slab_count, 0);
	}
	block = hak_magazine_take_direct(4);
	assert_non_null(block);
	hak_magazine_give_direct(4, block);
	assert_int_equal(taken_of(4), 0);
	hak_magazine_birth(magazines);
	assert_true(hak_magazine_is_valid(magazines));
	hak_magazine_death(magazines);
}

/* What a thread has used a few times: its magazine keeps little, and others have the slab. */
static void a_young_magazine_keeps_little(void **state)
{
	static const size_t sizes[] = {16, 64, 128, 512, 1024, 4096, 32768};
	void *blocks[3];

	(void)state;
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		unsigned class_idx = hak_size_class_of(sizes[i]);

		for (unsigned j = 0; j < 3; j++)
			blocks[j] = take(class_idx);
		for (unsigned j = 0; j < 3; j++)
			give(class_idx, blocks[j]);
		assert_in_range(hak_magazine_count(magazines, class_idx) * sizes[i], 1,
				sizes[i] > HAK_MAGAZINE_BYTES_YOUNG ? sizes[i]
								    : HAK_MAGAZINE_BYTES_YOUNG);
		assert_int_equal(magazines->lease[class_idx], 0);
	}
	assert_true(hak_magazine_is_valid(magazines));
}

/* The last of all, since there is no way back. */
static void without_memory_for_a_magazine_blocks_go_straight(void **state)
{
	unsigned class_idx = hak_size_class_of(160);
	void *block, *other;

	(void)state;
	magazines = hak_meta_take(sizeof *magazines); /* those before have their arrays */
	assert_non_null(magazines);
	hak_magazine_birth(magazines);
	for (size_t bytes = (size_t)64 << 20; bytes >= 64; bytes /= 2)
		while (hak_meta_take(bytes) != NULL)
			;
	block = take(class_idx);
	other = take(class_idx);
	assert_non_null(block);
	assert_ptr_not_equal(block, other);
	give(class_idx, block);
	give(class_idx, other);
	assert_int_equal(hak_magazine_count(magazines, class_idx), 0);
	assert_int_equal(taken_of(class_idx), hak_depot_count(class_idx));
	assert_true(hak_magazine_is_valid(magazines));
}

static void birth(void **state)
{
	(void)state;
	hak_magazine_birth(magazines);
	assert_true(hak_magazine_is_valid(magazines));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(before_birth_nothing_goes_in_or_out),
		cmocka_unit_test(birth),
		cmocka_unit_test(the_newest_comes_first_and_a_double_is_seen),
		cmocka_unit_test(what_is_wrong_is_not_valid),
		cmocka_unit_test(a_young_magazine_keeps_little),
		cmocka_unit_test(every_class_grows_to_its_bound),
		cmocka_unit_test(death_gives_everything_back),
		cmocka_unit_test(without_memory_for_a_magazine_blocks_go_straight),
	};

	return cmocka_run_group_tests(tests, start, NULL);
}
