/* Goal: the walk shows every block that the program holds, once, with its size, and nothing that
 * lies in a magazine or a depot; it may be stopped, and what it calls may allocate.
 * Method: sets of blocks of all kinds, marked as they are shown; threads that keep caches, and
 * threads that go on meanwhile. */
#include "unit.h"

#include "base/config.h"

#include <errno.h>
#include <hak/hak.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define BLOCKS 30000

static char *blocks[BLOCKS];
static unsigned shown[BLOCKS];

static size_t size_of(size_t i)
{
	static const size_t sizes[] = {1, 16, 100, 512, 4000, 30000, 50000, 700000, 2000000};

	return i % 1000 == 0 ? sizes[i / 1000 % 9] : sizes[i % 5];
}

struct seen {
	size_t others, foreign_bytes, out_of_order, sum;
	const char *last;
};

static int compare(const void *a, const void *b)
{
	const char *const *one = a, *const *other = b;

	return *one < *other ? -1 : *one > *other;
}

static int mark(const struct hak_heap_block *block, void *context)
{
	struct seen *seen = context;
	char *address = block->address;
	char **found = bsearch(&address, blocks, BLOCKS, sizeof *blocks, compare);

	/* Each once: addresses rise, but for the huge blocks at the end. */
	if (address <= seen->last && block->bytes <= (size_t)1 << 20)
		seen->out_of_order++;
	seen->last = address;
	if (found == NULL) {
		seen->others++;
		return 0;
	}
	shown[found - blocks]++;
	size_t usable = hak_malloc_usable_size(address);

	/* In the secure build what lies behind, the block's end, is shown with it. */
	if (HAK_SECURE ? block->bytes < usable : block->bytes != usable)
		seen->foreign_bytes++;
	seen->sum += (unsigned char)address[block->bytes - 1]; /* all of it can be read */
	hak_free(hak_malloc(64)); /* with the gate open: as anybody may */
	return 0;
}

static void take_set(void)
{
	for (size_t i = 0; i < BLOCKS; i++)
		blocks[i] = hak_malloc(size_of(i));
	/* The C library's own sort and malloc: this test is built without the names. */
	qsort(blocks, BLOCKS, sizeof *blocks, compare);
	memset(shown, 0, sizeof shown);
}

static void each_block_is_shown_once(void **state)
{
	struct seen seen = {0};
	void *cached[500];

	(void)state;
	/* Before and after the set: what is freed lies in magazines and depots all about it. */
	for (size_t i = 0; i < UNIT_COUNT(cached); i++)
		cached[i] = hak_malloc(size_of(i));
	take_set();
	for (size_t i = 0; i < UNIT_COUNT(cached); i++)
		hak_free(cached[i]);
	assert_int_equal(hak_heap_walk(mark, &seen), 0);
	for (size_t i = 0; i < BLOCKS; i++)
		assert_int_equal(shown[i], 1);
	assert_int_equal(seen.others, 0);
	assert_int_equal(seen.foreign_bytes, 0);
	assert_int_equal(seen.out_of_order, 0);
	for (size_t i = 0; i < BLOCKS; i++)
		hak_free(blocks[i]);
	assert_int_equal(hak_heap_walk(mark, &seen), 0);
	assert_int_equal(seen.others, 0);
	for (size_t i = 0; i < BLOCKS; i++)
		assert_int_equal(shown[i], 1);
}

static int stop_at_third(const struct hak_heap_block *block, void *context)
{
	unsigned *count = context;

	(void)block;
	return ++*count == 3 ? 42 : 0;
}

static void it_can_be_stopped(void **state)
{
	unsigned count = 0;
	void *some[10];

	(void)state;
	for (size_t i = 0; i < 10; i++)
		some[i] = hak_malloc(50);
	assert_int_equal(hak_heap_walk(stop_at_third, &count), 42);
	assert_int_equal(count, 3);
	for (size_t i = 0; i < 10; i++)
		hak_free(some[i]);
}

static _Atomic bool is_over;

static void *churn(void *arg)
{
	void *mine[100] = {NULL};

	(void)arg;
	for (unsigned i = 0; !atomic_load(&is_over); i++) {
		hak_free(mine[i % 100]);
		mine[i % 100] = hak_malloc(16 + i * 7919 % 5000);
	}
	for (size_t i = 0; i < 100; i++)
		hak_free(mine[i]);
	return NULL;
}

static void others_may_go_on(void **state)
{
	pthread_t threads[3];

	(void)state;
	take_set();
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, churn, NULL), 0);
	for (unsigned round = 1; round <= 20; round++) {
		struct seen seen = {0};

		assert_int_equal(hak_heap_walk(mark, &seen), 0);
		for (size_t i = 0; i < BLOCKS; i++)
			assert_int_equal(shown[i], round);
		assert_int_equal(seen.out_of_order, 0);
	}
	atomic_store(&is_over, true);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	for (size_t i = 0; i < BLOCKS; i++)
		hak_free(blocks[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_block_is_shown_once),
		cmocka_unit_test(it_can_be_stopped),
		cmocka_unit_test(others_may_go_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
