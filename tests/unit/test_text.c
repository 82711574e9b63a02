/* Goal: text grows and stops at its end; forms are read and written as the header says.
 * Method: strings in, strings out. */
#include "unit.h"

#include "base/text.h"
#include "fleet/process.h"

#include <stdlib.h>
#include <string.h>

static void texts_grow_and_stop(void **state)
{
	struct text text = {.bytes = NULL};
	char *large = calloc(1, TEXT_BYTES_MAX + 1);

	(void)state;
	for (int i = 0; i < 10000; i++)
		text_print(&text, "%d,", i % 10);
	assert_int_equal(text.used, 20000);
	assert_int_equal(strlen(text.bytes), 20000);
	memset(large, 'x', TEXT_BYTES_MAX);
	text_put(&text, large);
	assert_true(text.failed);
	text_put(&text, "after");
	assert_int_equal(text.used, 20000);
	text_deinit(&text);
	text_deinit(&text);
	assert_false(text.failed);
	free(large);
}

static void escapes_are_those_of_prometheus(void **state)
{
	struct text text = {.bytes = NULL};

	(void)state;
	text_put_label(&text, "a\\b\"c\nd");
	text_put(&text, " ");
	text_put_help(&text, "a\\b\"c\nd");
	assert_string_equal(text.bytes, "a\\\\b\\\"c\\nd a\\\\b\"c\\nd");
	text_deinit(&text);
}

static void names_become_harmless(void **state)
{
	char small[6], to[64];

	(void)state;
	text_clean(to, sizeof to, "a\n\0\x7f\xc3\xa4\"\\~ ", 10);
	assert_string_equal(to, "a\\x0a\\x00\\x7f\\xc3\\xa4\"\\~ ");
	text_clean(small, sizeof small, "abcdefgh", 8);
	assert_string_equal(small, "abcde");
	text_clean(small, sizeof small, "ab\ncd", 5);
	assert_string_equal(small, "ab");
	text_clean(small, sizeof small, "a\nb", 3);
	assert_string_equal(small, "a\\x0a");
	text_clean(to, sizeof to, "", 0);
	assert_string_equal(to, "");
}

static void sizes_are_read_or_refused(void **state)
{
	static const struct {
		const char *string;
		uint64_t bytes;
	} good[] = {
		{"0", 0},
		{"1", 1},
		{"4096", 4096},
		{"64K", 65536},
		{"1.5G", (uint64_t)3 << 29},
		{"2T", (uint64_t)2 << 40},
		{"1k", 1024},
		{"64MiB", (uint64_t)64 << 20},
		{"1.5gB", (uint64_t)3 << 29},
		{"50%", 500},
		{"0%", 0},
		{"100%", 1000},
		{"12.5%", 125},
	};
	static const char *const bad[] = {
		"",	    "x",   "-1",  "+1",	   " 1",   "1 ",
		"1Ki",	    "1iB", "K",	  "%",	   "101%", "1e3",
		"0x10",	    "inf", "nan", "1.2.3", ".",	   "9999999999999999999",
		"8388608T", "1%%", "1,5",
	};
	uint64_t bytes;

	(void)state;
	for (size_t i = 0; i < UNIT_COUNT(good); i++) {
		bytes = 99;
		assert_true(text_parse_bytes(good[i].string, 1000, &bytes));
		assert_int_equal(bytes, good[i].bytes);
	}
	for (size_t i = 0; i < UNIT_COUNT(bad); i++)
		assert_false(text_parse_bytes(bad[i], 1000, &bytes));
	assert_false(text_parse_bytes("50%", 0, &bytes));
}

static void sizes_and_times_are_written(void **state)
{
	char to[TEXT_SIZE_BYTES], when[TEXT_TIME_BYTES];

	(void)state;
	text_format_bytes(to, 17);
	assert_string_equal(to, "17 B");
	text_format_bytes(to, 1536);
	assert_string_equal(to, "1.5 KiB");
	text_format_bytes(to, (uint64_t)345 << 20);
	assert_string_equal(to, "345 MiB");
	text_format_bytes(to, UINT64_MAX);
	assert_string_equal(to, "16.0 EiB");
	text_format_time(when, 1795402801);
	assert_string_equal(when, "2026-11-23T03:00:01Z");
}

static void units_are_the_innermost(void **state)
{
	static const struct {
		const char *cgroup, *unit;
	} cases[] = {
		{"/", ""},
		{"", ""},
		{"/system.slice/redis.service", "redis.service"},
		{"/system.slice/redis.service/worker", "redis.service"},
		{"/user.slice/user-7.slice/user@7.service/app.slice/a.scope", "a.scope"},
		{"/user.slice", "user.slice"},
		{"/docker/0123", ""},
		{"/.service", ""},
		{"/a.serviced/b", ""},
		{"/../../x.scope", "x.scope"},
	};

	(void)state;
	for (size_t i = 0; i < UNIT_COUNT(cases); i++) {
		char unit[32];

		process_unit_of(cases[i].cgroup, unit, sizeof unit);
		assert_string_equal(unit, cases[i].unit);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(texts_grow_and_stop),
		cmocka_unit_test(escapes_are_those_of_prometheus),
		cmocka_unit_test(names_become_harmless),
		cmocka_unit_test(sizes_are_read_or_refused),
		cmocka_unit_test(sizes_and_times_are_written),
		cmocka_unit_test(units_are_the_innermost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
