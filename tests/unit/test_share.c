/* Goal: a budget that several share is dealt out whole, by weight, and starves nobody.
 * Method: sums, floors and orders over hand-made and pseudo-random weights. */
#include "unit.h"

#include "fleet/share.h"

#define MIB ((uint64_t)1 << 20)
#define COUNT_MAX 1000

static uint64_t shares[COUNT_MAX];

static uint64_t deal(uint64_t budget_bytes, const uint64_t *weights, uint64_t count)
{
	unsigned __int128 weight_sum = 0;
	uint64_t sum = 0;
	struct share share;

	for (uint64_t i = 0; i < count; i++)
		weight_sum += weights[i];
	share = share_begin(budget_bytes, count, weight_sum);
	for (uint64_t i = 0; i < count; i++) {
		shares[i] = share_next(&share, weights[i]);
		sum += shares[i];
	}
	return sum;
}

static void by_weight(void **state)
{
	const uint64_t weights[] = {300 * MIB, 100 * MIB, 0};

	(void)state;
	assert_int_equal(deal(1024 * MIB, weights, 3), 1024 * MIB);
	/* 16 MiB each, and of the other 976 three quarters, one quarter, nothing. */
	assert_int_equal(shares[0], 16 * MIB + 732 * MIB);
	assert_int_equal(shares[1], 16 * MIB + 244 * MIB);
	assert_int_equal(shares[2], SHARE_FLOOR_BYTES);
}

static void of_equals_and_of_nothing(void **state)
{
	const uint64_t nothing[3] = {0}, twos[] = {2, 0, 0};

	(void)state;
	assert_int_equal(deal(300 * MIB, nothing, 3), 300 * MIB);
	for (int i = 0; i < 3; i++)
		assert_int_equal(shares[i], 100 * MIB);
	/* A sum of weights that is the count of members is still a sum of weights. */
	assert_int_equal(deal(300 * MIB, twos, 2), 300 * MIB);
	assert_int_equal(shares[1], SHARE_FLOOR_BYTES);
	assert_int_equal(deal(77, nothing, 1), 77);
}

static void little_for_many(void **state)
{
	static const uint64_t weights[COUNT_MAX];

	(void)state;
	/* Half of an equal share is the floor then. */
	assert_int_equal(deal(8 * MIB, weights, 8), 8 * MIB);
	assert_true(shares[7] >= MIB / 2);
	/* And nobody is told of 0, which would mean that there is no budget. */
	deal(10, weights, COUNT_MAX);
	for (int i = 0; i < COUNT_MAX; i++)
		assert_true(shares[i] >= 1);
}

static void any_weights(void **state)
{
	static uint64_t weights[COUNT_MAX];
	uint64_t seed = 42;

	(void)state;
	for (uint64_t round = 1; round <= 300; round++) {
		uint64_t count = 1 + round * 7 % COUNT_MAX, budget_bytes = UINT64_MAX >> round % 30;

		for (uint64_t i = 0; i < count; i++) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			weights[i] = seed >> (seed >> 58);
		}
		if (round % 5 == 0)
			weights[0] = weights[count - 1] = UINT64_MAX;
		assert_true(deal(budget_bytes, weights, count) == budget_bytes);
		for (uint64_t i = 0; i < count; i++)
			assert_true(shares[i] >= 16 * MIB || budget_bytes / count / 2 < 16 * MIB);
		/* More weight is never less share, but for the rounding of one. */
		for (uint64_t i = 1; i < count; i++)
			if (weights[i] > weights[i - 1])
				assert_true(shares[i] + 1 >= shares[i - 1]);
	}
}

static void newcomers(void **state)
{
	(void)state;
	assert_int_equal(share_newcomer(0, 5, 100), 0);
	assert_int_equal(share_newcomer(1024 * MIB, 0, 0), 1024 * MIB);
	assert_int_equal(share_newcomer(1024 * MIB, 3, 1000 * MIB), 24 * MIB);
	assert_int_equal(share_newcomer(1024 * MIB, 3, 2000 * MIB), 16 * MIB);
	assert_int_equal(share_newcomer(1, 3, 2), 1);
	assert_int_equal(share_stricter(0, 7), 7);
	assert_int_equal(share_stricter(7, 0), 7);
	assert_int_equal(share_stricter(8, 7), 7);
	assert_int_equal(share_stricter(0, 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(by_weight),	   cmocka_unit_test(of_equals_and_of_nothing),
		cmocka_unit_test(little_for_many), cmocka_unit_test(any_weights),
		cmocka_unit_test(newcomers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
