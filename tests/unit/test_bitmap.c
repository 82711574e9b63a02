/* Goal: a word of free bits gives what it has, lowest first, and finds rows of bits exactly.
 * Method: by hand for the edges, and against a bit-by-bit reference for 100,000 random words. */
#include "unit.h"

#include "base/bitmap.h"

static uint64_t random_word(void)
{
	static uint64_t state = 88172645463325252ull;

	/* xorshift64, and by turns denser and sparser words, where rows are long or short */
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state % 3 == 0	? state | state << 3 | state >> 5
	       : state % 3 == 1 ? state
				: ~0ull << 9;
}

static uint64_t run_starts_by_hand(uint64_t word, unsigned count)
{
	uint64_t starts = 0;

	for (unsigned first = 0; first + count <= 64; first++) {
		unsigned length = 0;

		while (length < count && (word >> (first + length) & 1) != 0)
			length++;
		if (length == count)
			starts |= (uint64_t)1 << first;
	}
	return starts;
}

static void lowest_bits_come_first(void **state)
{
	(void)state;
	assert_int_equal(hak_bitmap_lowest(0, 5), 0);
	assert_int_equal(hak_bitmap_lowest(0xf0, 0), 0);
	assert_int_equal(hak_bitmap_lowest(0xf0, 2), 0x30);
	assert_int_equal(hak_bitmap_lowest(0xf0, 4), 0xf0);
	assert_int_equal(hak_bitmap_lowest(0xf0, 63), 0xf0);
	assert_int_equal(hak_bitmap_lowest(~0ull, 64), ~0ull);
}

static void taking_clears_and_giving_sets(void **state)
{
	_Atomic uint64_t word = 0xff;

	(void)state;
	assert_int_equal(hak_bitmap_take(&word, 3), 0x07);
	assert_int_equal(word, 0xf8);
	assert_int_equal(hak_bitmap_take(&word, 64), 0xf8);
	assert_int_equal(hak_bitmap_take(&word, 1), 0);
	assert_int_equal(hak_bitmap_give(&word, 0x05), 0);
	assert_int_equal(word, 0x05);
	/* Of what is given twice, the second giver is told. */
	assert_int_equal(hak_bitmap_give(&word, 0x0c), 0x04);
	assert_int_equal(word, 0x0d);
}

static void masks_cover_their_bits(void **state)
{
	(void)state;
	assert_int_equal(hak_bitmap_mask(0, 1), 1);
	assert_int_equal(hak_bitmap_mask(63, 1), 1ull << 63);
	assert_int_equal(hak_bitmap_mask(4, 8), 0xff0);
	assert_int_equal(hak_bitmap_mask(0, 64), ~0ull);
}

static void runs_are_found_exactly(void **state)
{
	(void)state;
	for (int round = 0; round < 100000; round++) {
		uint64_t word = random_word();
		unsigned count = 1 + (unsigned)round % 64;
		unsigned longest = hak_bitmap_longest_run(word);

		assert_int_equal(hak_bitmap_run_starts(word, count),
				 run_starts_by_hand(word, count));
		assert_int_equal(hak_bitmap_run_starts(word, count) != 0, count <= longest);
	}
	assert_int_equal(hak_bitmap_longest_run(0), 0);
	assert_int_equal(hak_bitmap_longest_run(~0ull), 64);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lowest_bits_come_first),
		cmocka_unit_test(taking_clears_and_giving_sets),
		cmocka_unit_test(masks_cover_their_bits),
		cmocka_unit_test(runs_are_found_exactly),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
