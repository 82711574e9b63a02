/* Goal: a hello says what it said when it was written, and one that is cut short, foreign, of
 * another version or impossible is refused with the word for it, and changes nothing.
 * Method: one good hello; every length it could be cut to or grown to; every field at both sides of
 * its bounds; 100,000 random and spoilt ones, each in a buffer of exactly its size, so that
 * AddressSanitizer sees a byte read too many. */
#include "proto.h"

#include "proto/hello.h"
#include "proto/page.h"

#include <stdlib.h>

/* No decoder writes it: it is no version that is accepted. */
#define UNTOUCHED 0xdead

static const struct hak_hello good = {
	.version = HAK_HELLO_VERSION,
	.bytes = HAK_HELLO_BYTES,
	.superslab_count = 8192,
	.region_base = 0x55d234000000,
	.library_version = (uint64_t)1 << 32 | 2 << 16 | 3,
	.exe = "/usr/sbin/nginx",
};

static void assert_same(const struct hak_hello *one, const struct hak_hello *other)
{
	assert_int_equal(one->version, other->version);
	assert_int_equal(one->bytes, other->bytes);
	assert_int_equal(one->superslab_count, other->superslab_count);
	assert_int_equal(one->region_base, other->region_base);
	assert_int_equal(one->library_version, other->library_version);
	assert_int_equal(one->reserved, other->reserved);
	assert_memory_equal(one->exe, other->exe, sizeof one->exe);
}

/* Decodes from a copy that is not a byte longer than `count`. */
static enum hak_hello_error decode(const uint8_t *bytes, size_t count, struct hak_hello *hello)
{
	uint8_t *copy = malloc(count + (count == 0));
	enum hak_hello_error error;

	assert_non_null(copy);
	memcpy(copy, bytes, count);
	*hello = (struct hak_hello){.version = UNTOUCHED};
	error = hak_hello_decode(copy, count, hello);
	if (error != HAK_HELLO_OK)
		assert_same(hello, &(struct hak_hello){.version = UNTOUCHED});
	free(copy);
	return error;
}

static enum hak_hello_error decode_changed(struct hak_hello changed)
{
	uint8_t bytes[HAK_HELLO_BYTES];
	struct hak_hello hello;
	enum hak_hello_error error;

	hak_hello_encode(&changed, bytes);
	error = decode(bytes, sizeof bytes, &hello);
	if (error == HAK_HELLO_OK)
		assert_same(&hello, &changed);
	return error;
}

#define DECODE_WITH(field, value)                                                                  \
	({                                                                                         \
		struct hak_hello changed_ = good;                                                  \
		changed_.field = (value);                                                          \
		decode_changed(changed_);                                                          \
	})

static void goes_round(void **state)
{
	uint8_t bytes[HAK_HELLO_BYTES];
	struct hak_hello hello;

	(void)state;
	hak_hello_encode(&good, bytes);
	assert_memory_equal(bytes, "hakHELLO", 8);
	assert_int_equal(decode(bytes, sizeof bytes, &hello), HAK_HELLO_OK);
	assert_same(&hello, &good);
	assert_int_equal(DECODE_WITH(library_version, UINT64_MAX), HAK_HELLO_OK);
}

static void every_truncation_is_refused(void **state)
{
	uint8_t bytes[HAK_HELLO_BYTES];
	struct hak_hello shorter = good, hello;

	(void)state;
	for (size_t count = 0; count < HAK_HELLO_BYTES; count++) {
		hak_hello_encode(&good, bytes);
		assert_int_equal(decode(bytes, count, &hello), HAK_HELLO_SHORT);
	}
	/* And where it even says so. */
	for (size_t count = 0; count < HAK_HELLO_BYTES_MIN; count++) {
		shorter.bytes = (uint16_t)count;
		hak_hello_encode(&shorter, bytes);
		assert_int_equal(decode(bytes, count, &hello), HAK_HELLO_SHORT);
		assert_int_equal(decode(bytes, sizeof bytes, &hello), HAK_HELLO_SHORT);
	}
}

/* And one that has a part of it, which nobody sends, has none. */
static void an_older_hello_has_no_exe(void **state)
{
	uint8_t bytes[HAK_HELLO_BYTES];
	struct hak_hello older = good, hello, wanted;

	(void)state;
	for (size_t count = HAK_HELLO_BYTES_MIN; count < HAK_HELLO_BYTES; count++) {
		older.bytes = (uint16_t)count;
		hak_hello_encode(&older, bytes);
		assert_int_equal(decode(bytes, count, &hello), HAK_HELLO_OK);
		wanted = older;
		memset(wanted.exe, 0, sizeof wanted.exe);
		assert_same(&hello, &wanted);
	}
}

static void an_exe_has_an_end(void **state)
{
	uint8_t bytes[HAK_HELLO_BYTES];
	struct hak_hello endless = good, hello;

	(void)state;
	memset(endless.exe, 'x', sizeof endless.exe);
	hak_hello_encode(&endless, bytes);
	assert_int_equal(decode(bytes, sizeof bytes, &hello), HAK_HELLO_OK);
	assert_int_equal(strlen(hello.exe), HAK_HELLO_EXE_BYTES - 1);
}

/* What a later libhak may send: the same fields, and more behind them. */
static void a_longer_hello_is_read_as_far_as_it_is_known(void **state)
{
	uint8_t bytes[HAK_HELLO_BYTES_MAX];
	struct hak_hello longer = good, hello;

	(void)state;
	memset(bytes, 0xff, sizeof bytes);
	longer.reserved = UINT64_MAX; /* as a field of its own by then */
	for (size_t count = HAK_HELLO_BYTES; count <= sizeof bytes; count++) {
		longer.bytes = (uint16_t)count;
		hak_hello_encode(&longer, bytes);
		assert_int_equal(decode(bytes, count, &hello), HAK_HELLO_OK);
		assert_same(&hello, &longer);
		/* Cut on its way by one byte, or with one behind it that it does not know of. */
		if (count > HAK_HELLO_BYTES)
			assert_int_equal(decode(bytes, count - 1, &hello), HAK_HELLO_SHORT);
		if (count < sizeof bytes)
			assert_int_equal(decode(bytes, count + 1, &hello), HAK_HELLO_SHORT);
	}
}

static void other_versions_are_refused(void **state)
{
	(void)state;
	for (unsigned version = 0; version <= UINT16_MAX; version++) {
		enum hak_hello_error error = DECODE_WITH(version, (uint16_t)version);

		assert_int_equal(error,
				 version == HAK_HELLO_VERSION || version == HAK_HELLO_VERSION + 1
					 ? HAK_HELLO_OK
					 : HAK_HELLO_UNKNOWN);
	}
}

static void other_protocols_are_refused(void **state)
{
	uint8_t bytes[HAK_HELLO_BYTES];
	struct hak_hello hello;

	(void)state;
	hak_hello_encode(&good, bytes);
	for (size_t bit = 0; bit < 64; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_equal(decode(bytes, sizeof bytes, &hello), HAK_HELLO_FOREIGN);
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	assert_int_equal(decode(bytes, sizeof bytes, &hello), HAK_HELLO_OK);
}

static void fields_have_bounds(void **state)
{
	const uint64_t mib2 = HAK_PAGE_SUPERSLAB_BYTES;
	const uint64_t last = HAK_PAGE_ADDRESS_END - good.superslab_count * mib2;

	(void)state;
	assert_int_equal(DECODE_WITH(superslab_count, 0), HAK_HELLO_RANGE);
	assert_int_equal(DECODE_WITH(superslab_count, 1), HAK_HELLO_OK);
	assert_int_equal(DECODE_WITH(superslab_count, HAK_PAGE_SUPERSLABS_MAX), HAK_HELLO_OK);
	assert_int_equal(DECODE_WITH(superslab_count, HAK_PAGE_SUPERSLABS_MAX + 1),
			 HAK_HELLO_RANGE);
	assert_int_equal(DECODE_WITH(superslab_count, UINT32_MAX), HAK_HELLO_RANGE);

	for (uint64_t bit = 1; bit < mib2; bit <<= 1)
		assert_int_equal(DECODE_WITH(region_base, good.region_base | bit), HAK_HELLO_RANGE);
	assert_int_equal(DECODE_WITH(region_base, last), HAK_HELLO_OK);
	assert_int_equal(DECODE_WITH(region_base, last + mib2), HAK_HELLO_RANGE);
	assert_int_equal(DECODE_WITH(region_base, HAK_PAGE_ADDRESS_END), HAK_HELLO_RANGE);
	/* Base and size together would wrap around to a small address. */
	assert_int_equal(DECODE_WITH(region_base, UINT64_MAX - mib2 + 1), HAK_HELLO_RANGE);
	assert_int_equal(DECODE_WITH(region_base, 0), HAK_HELLO_RANGE);
}

static void hostile_bytes_do_no_harm(void **state)
{
	uint8_t bytes[HAK_HELLO_BYTES_MAX], again[HAK_HELLO_BYTES];
	struct hak_hello hello;
	size_t taken_count = 0, refused_count = 0, known_count;

	(void)state;
	for (int round = 0; round < PROTO_INPUT_COUNT; round++) {
		size_t count = proto_random() % (sizeof bytes + 1);

		proto_fill(bytes, count);
		/* By turns noise, noise behind the magic, and a good one that was spoilt. */
		if (round % 3 == 1 && count >= 8)
			memcpy(bytes, "hakHELLO", 8);
		if (round % 3 == 2) {
			hak_hello_encode(&good, bytes);
			proto_spoil(bytes, count = HAK_HELLO_BYTES);
		}
		if (decode(bytes, count, &hello) != HAK_HELLO_OK) {
			refused_count++;
			continue;
		}
		taken_count++;
		assert_in_range(hello.superslab_count, 1, HAK_PAGE_SUPERSLABS_MAX);
		assert_int_equal(hello.region_base % HAK_PAGE_SUPERSLAB_BYTES, 0);
		assert_true(hello.region_base < HAK_PAGE_ADDRESS_END);
		assert_true(HAK_PAGE_ADDRESS_END - hello.region_base >=
			    hello.superslab_count * HAK_PAGE_SUPERSLAB_BYTES);
		hak_hello_encode(&hello, again);
		/* The last byte of exe is its end, whatever came. */
		known_count = count < HAK_HELLO_BYTES ? HAK_HELLO_BYTES_MIN : HAK_HELLO_BYTES - 1;
		assert_memory_equal(again, bytes, known_count);
	}
	/* Neither half of the checks above stood idle. */
	assert_true(taken_count > PROTO_INPUT_COUNT / 100);
	assert_true(refused_count > PROTO_INPUT_COUNT / 2);
}

static void every_error_has_a_sentence(void **state)
{
	(void)state;
	for (int error = HAK_HELLO_OK; error <= HAK_HELLO_RANGE; error++) {
		const char *text = hak_hello_error_text((enum hak_hello_error)error);

		assert_non_null(text);
		assert_true(strlen(text) > 0);
		for (int other = HAK_HELLO_OK; other < error; other++)
			assert_string_not_equal(text,
						hak_hello_error_text((enum hak_hello_error)other));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(goes_round),
		cmocka_unit_test(every_truncation_is_refused),
		cmocka_unit_test(an_older_hello_has_no_exe),
		cmocka_unit_test(an_exe_has_an_end),
		cmocka_unit_test(a_longer_hello_is_read_as_far_as_it_is_known),
		cmocka_unit_test(other_versions_are_refused),
		cmocka_unit_test(other_protocols_are_refused),
		cmocka_unit_test(fields_have_bounds),
		cmocka_unit_test(hostile_bytes_do_no_harm),
		cmocka_unit_test(every_error_has_a_sentence),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
