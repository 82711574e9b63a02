/* Goal: messages are bounded and say numbers right; settings that are no settings are told, and a
 * secure program takes none.
 * Method: lines written into a pipe that stands for fd 2; the auxiliary vector is what the linker's
 * --wrap lets a test say. The sentences of misuse: tests/crash; a program that is set-user-ID:
 * tests/order. */
#include "unit.h"

#include "base/report.h"
#include "base/settings.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

static bool is_secure;

/* What the library's own files are linked with in place of getauxval(3). */
unsigned long __real_getauxval(unsigned long type);
unsigned long __wrap_getauxval(unsigned long type);
unsigned long __wrap_getauxval(unsigned long type)
{
	return type == AT_SECURE ? is_secure : __real_getauxval(type);
}

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

/* What was written since capture(), as a string. */
static const char *captured(void)
{
	static char text[1000];
	ssize_t bytes;

	dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
	bytes = read(reading_end, text, sizeof text - 1);
	close(reading_end);
	assert_true(bytes >= 0);
	text[bytes] = '\0';
	return text;
}

static void errno_is_kept(void **state)
{
	struct hak_line line = {.used = 0};

	(void)state;
	errno = 77;
	hak_line_put(&line, "nobody reads this");
	hak_line_write_to(&line, -1);
	assert_int_equal(errno, 77);
}

static void numbers_are_written_out(void **state)
{
	struct hak_line line = {.used = 0};

	(void)state;
	capture();
	hak_line_put(&line, "a ");
	hak_line_put_number(&line, 0);
	hak_line_put(&line, " ");
	hak_line_put_number(&line, UINT64_MAX);
	hak_line_put(&line, " ");
	hak_line_put_address(&line, (void *)0xdeadbeef01ul);
	hak_line_put(&line, " ");
	hak_line_put_address(&line, (void *)UINTPTR_MAX);
	hak_line_write(&line);
	assert_string_equal(captured(),
			    "a 0 18446744073709551615 0xdeadbeef01 0xffffffffffffffff\n");
}

static void what_does_not_fit_is_cut_off(void **state)
{
	struct hak_line line = {.used = 0};

	(void)state;
	capture();
	for (int i = 0; i < 100; i++)
		hak_line_put(&line, "0123456789");
	hak_line_write(&line);
	const char *text = captured();

	assert_int_equal(strlen(text), sizeof line.text);
	assert_int_equal(text[sizeof line.text - 1], '\n');
	assert_int_equal(text[sizeof line.text - 2], '8');
}

static void settings_are_read_or_refused(void **state)
{
	(void)state;
	hak_settings.stats = false;
	setenv("HAK_STATS", "1", 1);
	hak_settings_read(environ);
	assert_true(hak_settings.stats);
	setenv("HAK_STATS", "0", 1);
	hak_settings_read(environ);
	assert_false(hak_settings.stats);
	setenv("HAK_STATS", "maybe", 1);
	capture();
	hak_settings_read(environ);
	assert_string_equal(captured(), "hak: HAK_STATS=maybe is not 1, yes, 0 or no; ignored\n");
	assert_false(hak_settings.stats);
	unsetenv("HAK_STATS");
}

static void a_secure_program_takes_no_settings(void **state)
{
	(void)state;
	hak_settings.stats = false;
	is_secure = true;
	setenv("HAK_STATS", "1", 1);
	hak_settings_read(environ);
	assert_false(hak_settings.stats);
	setenv("HAK_STATS", "maybe", 1);
	capture();
	hak_settings_read(environ);
	assert_string_equal(captured(), "");
	is_secure = false;
	unsetenv("HAK_STATS");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(errno_is_kept),
		cmocka_unit_test(numbers_are_written_out),
		cmocka_unit_test(what_does_not_fit_is_cut_off),
		cmocka_unit_test(settings_are_read_or_refused),
		cmocka_unit_test(a_secure_program_takes_no_settings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
