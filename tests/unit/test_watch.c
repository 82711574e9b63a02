/* Goal: $MEMORY_PRESSURE_WRITE is what base64 says it is, or nothing.
 * Method: the vectors of RFC 4648, the words of systemd, texts that are none. What is done with
 * them: tests/order/watch.py. */
#include "unit.h"

#include "govern/watch.h"

#include <string.h>

static void texts_and_their_bytes(void **state)
{
	static const char *const pairs[][2] = {
		{"", ""},
		{"Zg==", "f"},
		{"Zm8=", "fo"},
		{"Zm9v", "foo"},
		{"Zm9vYg==", "foob"},
		{"Zm9vYmE=", "fooba"},
		{"Zm9vYmFy", "foobar"},
		{"c29tZSAyMDAwMDAgMjAwMDAwMAA=", "some 200000 2000000"},
		{"++//", "\xfb\xef\xff"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
		uint8_t bytes[32] = {0};
		size_t count;

		assert_true(hak_watch_decode(pairs[i][0], bytes, sizeof bytes, &count));
		assert_int_equal(count, strlen(pairs[i][1]) + (i == 7 ? 1 : 0));
		assert_memory_equal(bytes, pairs[i][1], count);
	}
}

static void texts_that_are_none(void **state)
{
	static const char *const texts[] = {
		"Z",	    "Zg",   "Zg=",   "Zm9",  "Z===", "====",   "=",
		"Zg==Zg==", "Zm=v", "Zm9v=", "Zm 9", "Zm9-", "Zm9v\n", "Zm9\x80"};
	uint8_t bytes[32];
	size_t count;

	(void)state;
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
		assert_false(hak_watch_decode(texts[i], bytes, sizeof bytes, &count));
}

static void no_more_than_there_is_room_for(void **state)
{
	uint8_t bytes[4] = {0, 0, 0, 7};
	size_t count;

	(void)state;
	assert_true(hak_watch_decode("Zm9v", bytes, 3, &count));
	assert_int_equal(bytes[3], 7);
	assert_false(hak_watch_decode("Zm9vYg==", bytes, 3, &count));
	assert_int_equal(bytes[3], 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(texts_and_their_bytes),
		cmocka_unit_test(texts_that_are_none),
		cmocka_unit_test(no_more_than_there_is_room_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
