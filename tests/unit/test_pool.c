/* Goal: units are given once, in one word, aligned, nearly full SuperSlabs first; empty SuperSlabs
 * age, go back and come again.
 * Method: a map of all units beside the pool, random takes and gives, hak_pool_is_valid() on the
 * way; then the policies one by one. */
#include "unit.h"

#include "base/os.h"
#include "heap/pool.h"
#include "heap/region.h"

#include <stdlib.h>
#include <string.h>

#define UNITS_MAX 65536
#define TAKES 500

struct taken {
	uint32_t unit;
	unsigned count;
};

static unsigned char owned[UNITS_MAX];

static uint32_t take(unsigned count, unsigned alignment)
{
	bool zeroed;
	uint32_t unit = hak_pool_take(count, alignment, &zeroed);

	assert_int_not_equal(unit, HAK_POOL_NONE);
	assert_true(unit + count <= UNITS_MAX);
	assert_int_equal(unit / 64, (unit + count - 1) / 64);
	assert_int_equal(unit % alignment, 0);
	for (unsigned i = 0; i < count; i++)
		assert_int_equal(owned[unit + i], 0);
	memset(owned + unit, 1, count);
	return unit;
}

static void give(uint32_t unit, unsigned count)
{
	memset(owned + unit, 0, count);
	hak_pool_give(unit, count, (struct hak_advice_units){0});
}

static int start(void **state)
{
	(void)state;
	return hak_region_init() ? 0 : -1;
}

static void units_have_one_owner(void **state)
{
	struct taken taken[TAKES] = {{0, 0}};

	(void)state;
	srand(7);
	for (int round = 0; round < 20000; round++) {
		struct taken *at = &taken[rand() % TAKES];

		if (at->count == 0) {
			at->count = 1 + (unsigned)rand() % (rand() % 8 == 0 ? 64 : 8);
			at->unit = take(at->count, 1u << (rand() % 4 == 0 ? rand() % 7 : 0));
		} else {
			give(at->unit, at->count);
			at->count = 0;
		}
		if (round % 500 == 0)
			assert_true(hak_pool_is_valid());
	}
	for (int i = 0; i < TAKES; i++)
		if (taken[i].count != 0)
			give(taken[i].unit, taken[i].count);
	assert_true(hak_pool_is_valid());
}

static int compare_units(const void *left, const void *right)
{
	const uint32_t *a = left, *b = right;

	return *a < *b ? -1 : *a > *b;
}

static void nearly_full_superslabs_serve_first(void **state)
{
	uint32_t words[4];

	(void)state;
	/* Two SuperSlabs, a hole of 2 in the second and of 5 in the first: 2 units fit the
	 * second. */
	for (int i = 0; i < 4; i++)
		words[i] = take(64, 1);
	qsort(words, 4, sizeof *words, compare_units);
	give(words[0] + 10, 5);
	give(words[3] + 20, 2);
	assert_int_equal(take(2, 1), words[3] + 20);
	assert_int_equal(take(2, 1), words[0] + 10);
	give(words[0], 12);
	give(words[0] + 15, 49);
	for (int i = 1; i < 4; i++)
		give(words[i], 64);
	assert_true(hak_pool_is_valid());
}

static void empty_superslabs_go_back_and_come_again(void **state)
{
	struct hak_pool_counts before, after;
	struct hak_pool_claim claim;
	uint32_t returned = 0;
	bool zeroed;

	(void)state;
	assert_true(hak_pool_has_empty());
	assert_false(hak_pool_claim_empty(0, &claim)); /* none is that old */
	hak_pool_count(&before);
	while (hak_pool_claim_empty(UINT64_MAX, &claim)) {
		uint32_t unit = claim.superslab * (uint32_t)HAK_SUPERSLAB_UNITS;

		/* Units that were never used may be left out. */
		assert_true(hak_os_return(hak_region_address(unit), HAK_SUPERSLAB_BYTES));
		hak_pool_put_back(&claim, HAK_POOL_RETURNED);
		returned++;
	}
	hak_pool_count(&after);
	assert_true(returned > 0);
	assert_int_equal(after.open_count, before.open_count - returned);
	assert_int_equal(after.open_count, 0);
	assert_false(hak_pool_has_empty());
	assert_true(hak_pool_is_valid());

	uint32_t unit = hak_pool_take(3, 1, &zeroed);

	assert_true(zeroed);
	hak_pool_count(&before);
	assert_int_equal(before.open_count, 1);
	assert_int_equal(before.opened_total, after.opened_total + 1);
	memset(hak_region_address(unit), 1, 3 * HAK_UNIT_BYTES);
	hak_pool_give(unit, 3, (struct hak_advice_units){0});
	assert_int_equal(hak_pool_take(3, 1, &zeroed), unit);
	assert_false(zeroed);
	hak_pool_give(unit, 3, (struct hak_advice_units){0});
	/* What could not be advised stays open; only what was touched is claimed. */
	assert_true(hak_pool_claim_empty(UINT64_MAX, &claim));
	assert_int_equal(claim.units[0] | claim.units[1], 7);
	hak_pool_put_back(&claim, HAK_POOL_KEPT);
	hak_pool_count(&after);
	assert_int_equal(after.open_count, 1);
	assert_int_equal(after.free_touched_unit_count, 3);
	assert_true(hak_pool_is_valid());
}

static void a_trim_finds_touched_units_wherever_they_are(void **state)
{
	struct hak_pool_counts counts;
	struct hak_pool_claim claim;
	uint32_t used = take(64, 1), hole = take(8, 1), next = 0;
	bool zeroed;

	(void)state;
	give(hole + 2, 3);
	hak_pool_count(&counts);
	assert_true(counts.free_touched_unit_count >= 3);
	uint64_t found = 0;

	while (hak_pool_claim_from(&next, &claim)) {
		assert_true(next > claim.superslab);
		found += (uint64_t)__builtin_popcountl(claim.units[0]) +
			 (uint64_t)__builtin_popcountl(claim.units[1]);
		hak_pool_put_back(&claim, HAK_POOL_RETURNED);
	}
	assert_int_equal(found, counts.free_touched_unit_count);
	hak_pool_count(&counts);
	assert_int_equal(counts.free_touched_unit_count, 0);
	assert_true(hak_pool_is_valid());
	/* What went back is known to be zero. */
	assert_int_equal(hak_pool_take(3, 1, &zeroed), hole + 2);
	assert_true(zeroed);
	give(hole, 8);
	give(used, 64);
	assert_true(hak_pool_is_valid());
}

/* A slab that lay in between would keep the rest of both rows from any other of ten units. */
static void rows_begin_where_they_would_were_nothing_away(void **state)
{
	struct hak_pool_claim claim;
	uint32_t words[2] = {take(64, 1), take(64, 1)};
	uint32_t next = words[0] / (uint32_t)HAK_SUPERSLAB_UNITS;

	(void)state;
	give(words[0], 8);
	assert_true(hak_pool_claim_from(&next, &claim));
	assert_int_equal(claim.units[words[0] / 64 % 2], 0xff);
	give(words[0] + 8, 12);
	assert_true(hak_pool_is_valid());
	assert_int_equal(take(10, 1), words[0] + 10);
	hak_pool_put_back(&claim, HAK_POOL_RETURNED);
	assert_int_equal(take(10, 1), words[0]);
	assert_true(hak_pool_is_valid());
	for (int i = 0; i < 2; i++)
		give(words[i], 64);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(units_have_one_owner),
		cmocka_unit_test(nearly_full_superslabs_serve_first),
		cmocka_unit_test(empty_superslabs_go_back_and_come_again),
		cmocka_unit_test(a_trim_finds_touched_units_wherever_they_are),
		cmocka_unit_test(rows_begin_where_they_would_were_nothing_away),
	};

	return cmocka_run_group_tests(tests, start, NULL);
}
