#include "base/text.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void text_deinit(struct text *text)
{
	free(text->bytes);
	*text = (struct text){.bytes = NULL};
}

/* Makes room for `count` bytes and a NUL. */
static bool reserve(struct text *text, size_t count)
{
	size_t size = text->size < 4096 ? 4096 : text->size;
	char *bytes;

	if (text->failed || count >= TEXT_BYTES_MAX - text->used) {
		text->failed = true;
		return false;
	}
	if (count < text->size - text->used && text->size > 0)
		return true;
	while (size - text->used <= count)
		size *= 2;
	bytes = realloc(text->bytes, size);
	if (bytes == NULL) {
		text->failed = true;
		return false;
	}
	text->bytes = bytes;
	text->size = size;
	return true;
}

static void put_bytes(struct text *text, const char *bytes, size_t count)
{
	if (!reserve(text, count))
		return;
	memcpy(text->bytes + text->used, bytes, count);
	text->used += count;
	text->bytes[text->used] = '\0';
}

void text_put(struct text *text, const char *string)
{
	put_bytes(text, string, strlen(string));
}

void text_print(struct text *text, const char *format, ...)
{
	char line[1024];
	va_list arguments;
	int count;

	va_start(arguments, format);
	count = vsnprintf(line, sizeof line, format, arguments);
	va_end(arguments);
	if (count < 0 || (size_t)count >= sizeof line)
		text->failed = true;
	else
		put_bytes(text, line, (size_t)count);
}

static void put_escaped(struct text *text, const char *string, const char *escaped)
{
	for (; *string != '\0'; string++) {
		if (strchr(escaped, *string) != NULL)
			put_bytes(text, "\\", 1);
		put_bytes(text, *string == '\n' ? "n" : string, 1);
	}
}

void text_put_label(struct text *text, const char *string)
{
	put_escaped(text, string, "\\\"\n");
}

void text_put_help(struct text *text, const char *string)
{
	put_escaped(text, string, "\\\n");
}

void text_clean(char *to, size_t size, const char *from, size_t count)
{
	size_t used = 0;

	for (size_t i = 0; i < count; i++) {
		unsigned char byte = (unsigned char)from[i];
		char escape[8];
		size_t length = 1;

		if (byte < ' ' || byte > '~')
			length = (size_t)snprintf(escape, sizeof escape, "\\x%02x", byte);
		else
			escape[0] = (char)byte;
		if (length >= size - used)
			break;
		memcpy(to + used, escape, length);
		used += length;
	}
	to[used] = '\0';
}

bool text_parse_bytes(const char *string, uint64_t of_bytes, uint64_t *bytes)
{
	static const char units[] = "KMGT";
	const char *unit;
	char *end;
	double number;

	/* strtod takes blanks, signs, exponents, hexadecimal, "inf" and "nan" as well. */
	number = strtod(string, &end);
	if (end == string || end != string + strspn(string, "0123456789."))
		return false;
	if (*end == '%' && of_bytes != 0) {
		if (number > 100)
			return false;
		number = number * (double)of_bytes / 100;
		end++;
	} else if (*end != '\0' && (unit = strchr(units, toupper((unsigned char)*end))) != NULL) {
		number = ldexp(number, 10 * (int)(unit - units + 1));
		end++;
		if (strcmp(end, "B") == 0 || strcmp(end, "iB") == 0)
			end += strlen(end);
	}
	if (*end != '\0' || number >= 0x1p63)
		return false;
	*bytes = (uint64_t)number;
	return true;
}

void text_format_bytes(char to[TEXT_SIZE_BYTES], uint64_t bytes)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double number = (double)bytes;
	size_t unit = 0;

	while (number >= 1024 && unit + 1 < sizeof units / sizeof units[0]) {
		number /= 1024;
		unit++;
	}
	snprintf(to, TEXT_SIZE_BYTES, unit > 0 && number < 100 ? "%.1f %s" : "%.0f %s", number,
		 units[unit]);
}

void text_format_time(char to[TEXT_TIME_BYTES], time_t when)
{
	struct tm parts;

	if (gmtime_r(&when, &parts) == NULL ||
	    strftime(to, TEXT_TIME_BYTES, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0)
		to[0] = '\0';
}

ssize_t text_read_file(const char *path, char *to, size_t size)
{
	ssize_t count;
	int fd;

	to[0] = '\0';
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	count = read(fd, to, size - 1);
	if (count < 0)
		count = -errno;
	close(fd);
	to[count < 0 ? 0 : count] = '\0';
	return count;
}
