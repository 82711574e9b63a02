/* Goal: a cursor never touches a byte outside its buffer, whatever is asked of it, and says so
 * afterwards; numbers are little-endian on the wire, whatever the machine.
 * Method: every width by hand; buffers of every small size between bytes that must not change;
 * random sequences of puts and gets against a model that only counts. */
#include "proto.h"

#include "proto/wire.h"

#define FENCE 0xa5

static void numbers_are_little_endian(void **state)
{
	const uint8_t expected[] = {8, 7, 6, 5, 4, 3, 2, 1};

	(void)state;
	for (size_t count = 1; count <= 8; count++) {
		uint8_t bytes[8] = {0};
		struct hak_wire wire = hak_wire_of(bytes, sizeof bytes);
		uint64_t kept = 0x0102030405060708u & (~(uint64_t)0 >> (64 - 8 * count));

		hak_wire_put(&wire, 0x0102030405060708u, count);
		assert_false(wire.overrun);
		assert_int_equal(wire.used, count);
		assert_memory_equal(bytes, expected, count);
		for (size_t i = count; i < sizeof bytes; i++)
			assert_int_equal(bytes[i], 0);
		wire = hak_wire_of(bytes, count);
		assert_int_equal(hak_wire_get(&wire, count), kept);
		assert_false(wire.overrun);
	}
}

static void what_does_not_fit_is_not_written(void **state)
{
	(void)state;
	for (size_t size = 0; size < 8; size++) {
		uint8_t bytes[24];
		struct hak_wire wire = hak_wire_of(bytes + 8, size);

		memset(bytes, FENCE, sizeof bytes);
		hak_wire_put(&wire, 0, 8);
		assert_true(wire.overrun);
		assert_int_equal(wire.used, 0);
		for (size_t i = 0; i < sizeof bytes; i++)
			assert_int_equal(bytes[i], FENCE);
	}
}

static void an_overrun_sticks(void **state)
{
	uint8_t bytes[4] = {1, 2, 3, 4};
	struct hak_wire wire = hak_wire_of(bytes, sizeof bytes);

	(void)state;
	assert_int_equal(hak_wire_get(&wire, 3), 0x030201);
	assert_int_equal(hak_wire_get(&wire, 2), 0);
	assert_true(wire.overrun);
	/* There would be room for this one. */
	assert_int_equal(hak_wire_get(&wire, 1), 0);
	hak_wire_put(&wire, 9, 1);
	assert_int_equal(bytes[3], 4);
	assert_null(hak_wire_skip(&wire, 0));
	assert_true(wire.overrun);
}

static void no_count_is_too_large(void **state)
{
	uint8_t bytes[16];

	(void)state;
	for (size_t used = 0; used <= sizeof bytes; used++) {
		struct hak_wire wire = hak_wire_of(bytes, sizeof bytes);

		assert_ptr_equal(hak_wire_skip(&wire, used), bytes);
		assert_false(wire.overrun);
		/* Added to what is used, these would wrap around to something small. */
		assert_null(hak_wire_skip(&wire, SIZE_MAX - used + (used > 0)));
		assert_true(wire.overrun);
		assert_int_equal(wire.used, used);
	}
}

static void cursors_stay_inside(void **state)
{
	(void)state;
	for (int round = 0; round < PROTO_INPUT_COUNT; round++) {
		uint8_t bytes[64 + 2];
		size_t size = proto_random() % 65, used = 0;
		struct hak_wire wire = hak_wire_of(bytes + 1, size);
		bool overrun = false;

		bytes[0] = bytes[size + 1] = FENCE;
		for (int step = 0; step < 16; step++) {
			size_t count = 1 + proto_random() % 8;

			if (proto_random() % 2 == 0)
				hak_wire_put(&wire, 0, count);
			else
				hak_wire_get(&wire, count);
			overrun = overrun || used + count > size;
			used += overrun ? 0 : count;
			assert_int_equal(wire.overrun, overrun);
			assert_int_equal(wire.used, used);
		}
		assert_int_equal(bytes[0], FENCE);
		assert_int_equal(bytes[size + 1], FENCE);
	}
}

static void records_are_their_words(void **state)
{
	uint64_t record[5], back[5];
	uint8_t bytes[8 * 5 + 1];

	(void)state;
	proto_number_words(record, 5);
	memset(bytes, FENCE, sizeof bytes);
	hak_wire_put_record(bytes, record, 5);
	assert_int_equal(bytes[8 * 5], FENCE);
	for (size_t i = 0; i < 5; i++)
		assert_int_equal(proto_word(bytes, i), record[i]);
	hak_wire_get_record(bytes, back, 5);
	assert_memory_equal(back, record, sizeof record);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_are_little_endian),
		cmocka_unit_test(what_does_not_fit_is_not_written),
		cmocka_unit_test(an_overrun_sticks),
		cmocka_unit_test(no_count_is_too_large),
		cmocka_unit_test(cursors_stay_inside),
		cmocka_unit_test(records_are_their_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
