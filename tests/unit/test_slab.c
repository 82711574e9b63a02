/* Goal: a slab hands out each block once, lowest first; what is partly free is found again; what is
 * all free goes back to the pool, class bytes cleared.
 * Method: one thread takes and gives whole slabs of every class; then four threads take by leases
 * and give each other's blocks. Interleavings: model_slab.c. */
#include "unit.h"

#include "base/misuse.h"
#include "base/settings.h"
#include "base/size_class.h"
#include "heap/census.h"
#include "heap/region.h"
#include "heap/slab.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int start(void **state)
{
	(void)state;
	return hak_region_init() ? 0 : -1;
}

static unsigned class_at(uint32_t unit)
{
	return hak_region_class(unit);
}

static void a_slab_of_every_class_is_used_up_and_given_back(void **state)
{
	void *blocks[HAK_SLAB_BLOCKS_MAX];

	(void)state;
	for (unsigned class_idx = 1; class_idx <= HAK_CLASS_COUNT; class_idx++) {
		const struct hak_size_class *row = &hak_size_classes[class_idx];
		uint32_t unit = hak_slab_lease(class_idx);

		assert_int_not_equal(unit, HAK_POOL_NONE);
		assert_int_equal(hak_slab_take(unit, 3, blocks), 3);
		assert_int_equal(hak_slab_take(unit, HAK_SLAB_BLOCKS_MAX, blocks + 3),
				 row->block_count - 3);
		assert_int_equal(hak_slab_take(unit, 1, blocks), 0);
		/* Of each time the lowest last. */
		for (unsigned i = 0; i < row->block_count; i++) {
			unsigned index = i < 3 ? 2 - i : row->block_count + 2 - i;

			assert_ptr_equal(blocks[i],
					 hak_region_address(unit) + index * row->block_bytes);
		}
		for (unsigned i = 0; i < row->unit_count; i++)
			assert_int_equal(class_at(unit + i), class_idx);
		assert_true(hak_census_is_valid(unit));
		hak_slab_unlease(unit);
		hak_slab_give(class_idx, blocks, row->block_count - 1u);
		assert_true(hak_census_is_valid(unit));
		assert_int_equal(class_at(unit), class_idx);
		hak_slab_give(class_idx, blocks + row->block_count - 1, 1);
		assert_int_equal(class_at(unit), HAK_CLASS_NONE);
		assert_true(hak_census_is_valid(unit));
		assert_true(hak_pool_is_valid());
	}
}

/* Each fault is planted in a slab of several units that is whole before and after. */
static void what_is_wrong_is_not_valid(void **state)
{
	unsigned class_idx = hak_size_class_of(HAK_SMALL_BYTES_MAX);
	uint32_t unit = hak_slab_lease(class_idx);
	struct hak_slab *slab = hak_control_slab(unit), *second = hak_control_slab(unit + 1);
	uint64_t free = slab->free[0];

	(void)state;
	assert_true(hak_census_is_valid(unit));
	slab->free[0] = free & (free - 1); /* fewer free blocks than are counted */
	assert_false(hak_census_is_valid(unit));
	slab->free[0] = UINT64_MAX; /* more than there are */
	assert_false(hak_census_is_valid(unit));
	slab->free[0] = free;
	hak_region.class_of_unit[unit + 1] = HAK_CLASS_NONE;
	assert_false(hak_census_is_valid(unit));
	hak_region.class_of_unit[unit + 1] = (uint8_t)class_idx;
	second->head_distance++;
	assert_false(hak_census_is_valid(unit));
	second->head_distance--;
	assert_true(hak_census_is_valid(unit));
	hak_slab_unlease(unit);
	assert_int_equal(class_at(unit), HAK_CLASS_NONE);
	hak_region.class_of_unit[unit] = HAK_CLASS_RUN_HEAD; /* nothing is there */
	assert_false(hak_census_is_valid(unit));
	hak_region.class_of_unit[unit] = HAK_CLASS_NONE;
}

static void a_partly_free_slab_is_leased_again(void **state)
{
	unsigned class_idx = hak_size_class_of(64);
	unsigned block_count = hak_size_classes[class_idx].block_count;
	void *blocks[HAK_SLAB_BLOCKS_MAX], *block;
	uint32_t unit = hak_slab_lease(class_idx);

	(void)state;
	assert_int_equal(hak_slab_take(unit, HAK_SLAB_BLOCKS_MAX, blocks), block_count);
	hak_slab_unlease(unit);
	hak_slab_give(class_idx, blocks + 7, 1);
	assert_int_equal(hak_slab_lease(class_idx), unit);
	/* Leased, it is on no list: the next lease is another slab. */
	uint32_t other = hak_slab_lease(class_idx);

	assert_int_not_equal(other, unit);
	hak_slab_unlease(other);
	assert_int_equal(hak_slab_take(unit, 2, &block), 1);
	assert_ptr_equal(block, blocks[7]);
	/* All of it comes back while it is leased: it is retired by the unlease, not before. */
	hak_slab_give(class_idx, blocks, block_count);
	assert_int_equal(class_at(unit), class_idx);
	hak_slab_unlease(unit);
	assert_int_equal(class_at(unit), HAK_CLASS_NONE);
}

#define THREADS 4
#define ROUNDS 20000
#define MAILBOXES 1024

/* Blocks on their way from one thread to another; each is stamped with its own address. */
static _Atomic(void *) mailboxes[MAILBOXES];

static void *take_and_swap(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg;
	unsigned class_idx = hak_size_class_of(48);
	void *blocks[32];

	for (int round = 0; round < ROUNDS; round++) {
		uint32_t unit = hak_slab_lease(class_idx);
		unsigned count = hak_slab_take(unit, 1 + (unsigned)rand_r(&seed) % 32, blocks);

		hak_slab_unlease(unit);
		for (unsigned i = 0; i < count; i++) {
			memcpy(blocks[i], &blocks[i], sizeof blocks[i]);
			blocks[i] = atomic_exchange(&mailboxes[(unsigned)rand_r(&seed) % MAILBOXES],
						    blocks[i]);
			if (blocks[i] == NULL)
				continue;
			if (memcmp(blocks[i], &blocks[i], sizeof blocks[i]) != 0)
				abort();
			hak_slab_give(class_idx, &blocks[i], 1);
		}
	}
	return NULL;
}

static void threads_give_each_others_blocks(void **state)
{
	struct hak_census_row counts[HAK_CLASS_COUNT + 1] = {{0}};
	unsigned class_idx = hak_size_class_of(48);
	pthread_t threads[THREADS];
	uint64_t run_unit_count;

	(void)state;
	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, take_and_swap, (void *)(i + 1)),
				 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < MAILBOXES; i++) {
		void *block = atomic_load(&mailboxes[i]);

		if (block != NULL)
			hak_slab_give(class_idx, &block, 1);
	}
	hak_census_of_slabs(counts, &run_unit_count);
	assert_int_equal(counts[class_idx].taken_block_count, 0);
	/* Nothing is taken and nothing leased, so no slab may have missed its way to the pool. */
	assert_int_equal(counts[class_idx].slab_count, 0);
	assert_int_equal(run_unit_count, 0);
}

/* A free of what is free already, in the moment in which somebody has claimed all that is free, is
 * believed; who gives the claim back finds it, and counts the block once. */
static void a_block_freed_while_it_is_claimed(void **state)
{
	unsigned class_idx = hak_size_class_of(4096);
	unsigned block_count = hak_size_classes[class_idx].block_count, count;
	uint64_t claimed[HAK_SLAB_WORDS], misuses = hak_misuse_count();
	void *held[2], *rest[HAK_SLAB_BLOCKS_MAX];
	uint32_t unit = hak_slab_lease(class_idx), generation;

	(void)state;
	alarm(30); /* with a count of one too many it looks for a block that is not there */
	hak_settings.misuse = HAK_ON_MISUSE_REPORT;
	assert_int_equal(hak_slab_take(unit, 2, held), 2);
	hak_slab_give(class_idx, &held[0], 1);
	generation = hak_control_generation(
		atomic_load_explicit(&hak_control_slab(unit)->control, memory_order_relaxed));
	count = hak_slab_claim_free(unit, generation, claimed);
	assert_int_equal(count, block_count - 1);
	hak_slab_give(class_idx, &held[0], 1);
	hak_slab_unclaim(unit, claimed, count);
	assert_int_equal(hak_misuse_count(), misuses + 1);
	assert_int_equal(hak_slab_take(unit, HAK_SLAB_BLOCKS_MAX, rest), block_count - 1);
	hak_slab_unlease(unit);
	hak_slab_give(class_idx, rest, block_count - 1);
	/* One is held still: the slab is nobody else's. */
	assert_int_equal(class_at(unit), class_idx);
	hak_slab_give(class_idx, &held[1], 1);
	hak_settings.misuse = HAK_ON_MISUSE_ABORT;
	alarm(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_slab_of_every_class_is_used_up_and_given_back),
		cmocka_unit_test(what_is_wrong_is_not_valid),
		cmocka_unit_test(a_partly_free_slab_is_leased_again),
		cmocka_unit_test(threads_give_each_others_blocks),
		cmocka_unit_test(a_block_freed_while_it_is_claimed),
	};

	return cmocka_run_group_tests(tests, start, NULL);
}
