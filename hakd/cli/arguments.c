#include "cli/arguments.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* PID_MAX_LIMIT of Linux. */
#define PID_MAX (1L << 22)

#define TIMEOUT_SECONDS_MAX 86400.0
#define DURATION_SECONDS_MAX (365 * 86400.0)

/* JSON's integers end at 2^63; whoever asks for more means all. */
#define SIZE_BYTES_MAX 0x1p62

const char *arguments_runtime_dir(void)
{
	const char *dir = getenv("HAK_RUNTIME_DIR");

	return dir != NULL && dir[0] != '\0' ? dir : ARGUMENTS_RUNTIME_DIR;
}

void arguments_complain(const char *format, ...)
{
	va_list values;

	fprintf(stderr, "%s: ", program_invocation_short_name);
	va_start(values, format);
	vfprintf(stderr, format, values);
	va_end(values);
	fputc('\n', stderr);
}

enum exit_code arguments_refuse(void)
{
	fprintf(stderr, "Try '%s --help'.\n", program_invocation_short_name);
	return EXIT_CODE_USAGE;
}

bool arguments_pid(const char *text, pid_t *pid)
{
	char *end;
	long number;

	errno = 0;
	number = strtol(text, &end, 10);
	if (!isdigit((unsigned char)text[0]) || *end != '\0' || errno != 0 || number < 1 ||
	    number > PID_MAX) {
		arguments_complain("'%s' is not a process id", text);
		return false;
	}
	*pid = (pid_t)number;
	return true;
}

/* strtod takes more than people mean by a number: blanks, signs, hexadecimal digits, "inf". */
static double number_of(const char *text, char **end)
{
	if (!isdigit((unsigned char)text[0]) || text[strspn(text, "0123456789")] == 'x')
		return NAN;
	return strtod(text, end);
}

bool arguments_timeout(const char *text, int64_t *timeout_ms)
{
	char *end = NULL;
	double seconds = number_of(text, &end);

	if (isnan(seconds) || *end != '\0' || seconds < 0.001 || seconds > TIMEOUT_SECONDS_MAX) {
		arguments_complain("'%s' is not a time: seconds, more than 0 and at most %.0f",
				   text, TIMEOUT_SECONDS_MAX);
		return false;
	}
	*timeout_ms = (int64_t)(seconds * 1000);
	return true;
}

bool arguments_duration(const char *text, int64_t *duration_ms)
{
	static const struct {
		const char *name;
		double seconds;
	} units[] = {{"", 1}, {"s", 1}, {"min", 60}, {"m", 60}, {"h", 3600}, {"d", 86400}};
	char *end = NULL;
	double number = number_of(text, &end);

	for (size_t i = 0; !isnan(number) && i < sizeof units / sizeof units[0]; i++) {
		double seconds = number * units[i].seconds;

		if (strcmp(end, units[i].name) != 0 || seconds < 0.001 ||
		    seconds > DURATION_SECONDS_MAX)
			continue;
		*duration_ms = (int64_t)(seconds * 1000);
		return true;
	}
	arguments_complain("'%s' is not a time: a number of seconds, or one with s, min, h or d "
			   "behind; more than 0 and at most a year",
			   text);
	return false;
}

/* What the letters behind a size multiply it by; 0 where they are none that we know. */
static double unit_of(const char *suffix)
{
	static const char letters[] = "KMGT";
	const char *letter;

	if (suffix[0] == '\0' || strcmp(suffix, "B") == 0)
		return 1;
	letter = strchr(letters, toupper((unsigned char)suffix[0]));
	if (letter == NULL ||
	    (suffix[1] != '\0' && strcmp(suffix + 1, "B") != 0 && strcmp(suffix + 1, "iB") != 0))
		return 0;
	return (double)((uint64_t)1 << (10 * (letter - letters + 1)));
}

bool arguments_size(const char *text, uint64_t *size_bytes)
{
	char *end = NULL;
	double number = number_of(text, &end);
	double unit = isnan(number) ? 0 : unit_of(end);
	double bytes = number * unit;

	/* Half a byte is a slip of the keyboard; half a gigabyte is not. */
	if (unit == 0 || bytes < 1 || bytes > SIZE_BYTES_MAX ||
	    (unit == 1 && number != floor(number))) {
		arguments_complain("'%s' is not a size: a number above 0, of bytes, or with K, M, "
				   "G or T behind",
				   text);
		return false;
	}
	*size_bytes = (uint64_t)bytes;
	return true;
}

void *arguments_must(void *memory)
{
	if (memory == NULL) {
		arguments_complain("no memory is left");
		exit(EXIT_CODE_FAILED);
	}
	return memory;
}

enum exit_code arguments_finish(enum exit_code code)
{
	errno = 0;
	if (fflush(stdout) == 0 && !ferror(stdout))
		return code;
	arguments_complain("cannot write: %s", strerror(errno != 0 ? errno : EIO));
	return code == EXIT_CODE_OK ? EXIT_CODE_FAILED : code;
}
