/* Goal: every setting has the default that its text says; a value is taken or refused whole, with
 * one line that says why; a program may change what it may.
 * Method: the table's texts are set and compared with what the struct began with; environments made
 * by hand; lines read from a pipe in place of fd 2. A secure program: test_report.c. */
#include "unit.h"

#include "base/settings.h"

#include <errno.h>
#include <hak/hak.h>
#include <string.h>
#include <unistd.h>

static int saved_stderr, reading_end;

static void capture(void)
{
	int ends[2];

	assert_int_equal(pipe(ends), 0);
	saved_stderr = dup(STDERR_FILENO);
	dup2(ends[1], STDERR_FILENO);
	close(ends[1]);
	reading_end = ends[0];
}

static const char *captured(void)
{
	static char text[8000];
	ssize_t bytes;

	dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
	bytes = read(reading_end, text, sizeof text - 1);
	close(reading_end);
	assert_true(bytes >= 0);
	text[bytes] = '\0';
	return text;
}

/* What reading one variable says, "" where it is taken. */
static const char *said_of(const char *variable)
{
	char copy[200];
	char *environment[] = {copy, NULL};

	strcpy(copy, variable);
	capture();
	hak_settings_read(environment);
	return captured();
}

static void defaults_are_what_their_texts_say(void **state)
{
	struct hak_settings before;

	(void)state;
	memcpy(&before, &hak_settings, sizeof before);
	memset(&hak_settings, 0x5a, sizeof hak_settings);
#define SETTING(name, field, kind, at_start, default_text, help)                                   \
	assert_string_equal(said_of(name "=" default_text), "");
#include "base/settings.def"
#undef SETTING
	assert_string_equal(hak_settings.socket, before.socket);
	strncpy(hak_settings.socket, before.socket, sizeof hak_settings.socket);
	assert_int_equal(hak_settings.help, before.help);
	assert_int_equal(hak_settings.disable, before.disable);
	assert_int_equal(hak_settings.misuse, before.misuse);
	assert_int_equal(hak_settings.stats, before.stats);
	assert_int_equal(hak_settings.registration, before.registration);
	assert_int_equal(hak_settings.decay_ms, before.decay_ms);
	assert_int_equal(hak_settings.huge_cache_bytes, before.huge_cache_bytes);
	assert_int_equal(hak_settings.budget_soft_bytes, before.budget_soft_bytes);
	assert_int_equal(hak_settings.budget_hard_bytes, before.budget_hard_bytes);
}

static void sizes_have_letters(void **state)
{
	(void)state;
	assert_string_equal(said_of("HAK_HUGE_CACHE=4096"), "");
	assert_int_equal(hak_settings.huge_cache_bytes, 4096);
	assert_string_equal(said_of("HAK_HUGE_CACHE=3K"), "");
	assert_int_equal(hak_settings.huge_cache_bytes, 3 << 10);
	assert_string_equal(said_of("HAK_HUGE_CACHE=2G"), "");
	assert_int_equal(hak_settings.huge_cache_bytes, (uint64_t)2 << 30);
	assert_string_equal(said_of("HAK_HUGE_CACHE=16777215T"), "");
	assert_string_equal(said_of("HAK_HUGE_CACHE=64M"), "");
	assert_int_equal(hak_settings.huge_cache_bytes, 64 << 20);
}

static void what_is_no_value_is_told_and_ignored(void **state)
{
	static const char *const bad[] = {"64m",  "M",	       "-1",
					  "1.5G", "64MB",      "0x10",
					  " 64",  "16777216T", "99999999999999999999"};
	const char *said;

	(void)state;
	for (size_t i = 0; i < UNIT_COUNT(bad); i++) {
		char variable[100] = "HAK_HUGE_CACHE=";
		char expected[200] = "hak: HAK_HUGE_CACHE=";

		strcat(variable, bad[i]);
		strcat(strcat(expected, bad[i]),
		       " is not a number of bytes, such as 4096, 512K, 64M or 2G; ignored\n");
		assert_string_equal(said_of(variable), expected);
		assert_int_equal(hak_settings.huge_cache_bytes, 64 << 20);
	}
	said = said_of("HAK_DECAY=86400001");
	assert_string_equal(said, "hak: HAK_DECAY=86400001 is not a number of milliseconds, a day "
				  "at most; ignored\n");
	said = said_of("HAK_DECAY=1K");
	assert_non_null(strstr(said, "ignored"));
	said = said_of("HAK_MISUSE=shout");
	assert_string_equal(said, "hak: HAK_MISUSE=shout is not abort or report; ignored\n");
	said = said_of("HAK_SOCKET=relative");
	assert_non_null(strstr(said, "is not an absolute path of 107 bytes at most; ignored"));
	said = said_of("HAK_STATSS=1");
	assert_string_equal(said, "hak: HAK_STATSS=1 is no setting (HAK_HELP=1 lists them); "
				  "ignored\n");
	assert_string_equal(said_of("HAK_STAT=1"),
			    "hak: HAK_STAT=1 is no setting (HAK_HELP=1 lists them); ignored\n");
	/* The commands' own, another's, and none at all. */
	assert_string_equal(said_of("HAK_RUNTIME_DIR=/run/hak"), "");
	assert_string_equal(said_of("HAKA=1"), "");
	assert_string_equal(said_of("HAK_MISUSE="), "");
}

static void a_program_sets_what_it_may(void **state)
{
	(void)state;
	assert_int_equal(hak_set_setting("HAK_DECAY", "250"), 0);
	assert_int_equal(hak_settings.decay_ms, 250);
	errno = 0;
	assert_int_equal(hak_set_setting("HAK_DECAY", "soon"), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(hak_settings.decay_ms, 250);
	assert_int_equal(hak_set_setting("HAK_STATS", "1"), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(hak_set_setting("HAK_DEC", "1"), -1);
	assert_int_equal(errno, ENOENT);
	assert_int_equal(hak_set_setting("HAK_DECAY", "1000"), 0);
}

static void help_names_every_setting(void **state)
{
	const char *said;

	(void)state;
	capture();
	hak_settings_print();
	said = captured();
#define SETTING(name, field, kind, at_start, default_text, help)                                   \
	assert_non_null(strstr(said, name "=" default_text "    ("));                              \
	assert_non_null(strstr(said, help));
#include "base/settings.def"
#undef SETTING
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_are_what_their_texts_say),
		cmocka_unit_test(sizes_have_letters),
		cmocka_unit_test(what_is_no_value_is_told_and_ignored),
		cmocka_unit_test(a_program_sets_what_it_may),
		cmocka_unit_test(help_names_every_setting),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
