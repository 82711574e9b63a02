#include "base/report.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void hak_line_put(struct hak_line *line, const char *text)
{
	size_t room = sizeof line->text - 1 - line->used; /* one byte stays for the newline */
	size_t bytes = strlen(text);

	if (bytes > room)
		bytes = room;
	memcpy(line->text + line->used, text, bytes);
	line->used += bytes;
}

void hak_line_put_number(struct hak_line *line, uint64_t number)
{
	char digits[21];
	size_t at = sizeof digits - 1;

	digits[at] = '\0';
	do {
		digits[--at] = (char)('0' + number % 10);
		number /= 10;
	} while (number != 0);
	hak_line_put(line, digits + at);
}

void hak_line_put_address(struct hak_line *line, const void *address)
{
	char digits[19];
	size_t at = sizeof digits - 1;
	uintptr_t number = (uintptr_t)address;

	digits[at] = '\0';
	do {
		digits[--at] = "0123456789abcdef"[number % 16];
		number /= 16;
	} while (number != 0);
	digits[--at] = 'x';
	digits[--at] = '0';
	hak_line_put(line, digits + at);
}

void hak_line_write(struct hak_line *line)
{
	hak_line_write_to(line, STDERR_FILENO);
}

void hak_line_write_to(struct hak_line *line, int fd)
{
	size_t done = 0;

	line->text[line->used++] = '\n';
	while (done < line->used) {
		ssize_t wrote = write(fd, line->text + done, line->used - done);

		if (wrote > 0)
			done += (size_t)wrote;
		else if (wrote == 0 || errno != EINTR)
			break; /* nobody listens: there is no second place to say it */
	}
	line->used = 0;
}

void hak_report_misuse(enum hak_misuse misuse, const char *call, const void *address, size_t bytes)
{
	struct hak_line line = {.used = 0};

	hak_line_put(&line, misuse == HAK_MISUSE_DOUBLE_FREE ? "hak: double " : "hak: ");
	hak_line_put(&line, call);
	hak_line_put(&line, " of ");
	hak_line_put_address(&line, address);
	switch (misuse) {
	case HAK_MISUSE_DOUBLE_FREE:
		hak_line_put(&line, ", a block of ");
		hak_line_put_number(&line, bytes);
		hak_line_put(&line, " bytes");
		break;
	case HAK_MISUSE_MISALIGNED:
		hak_line_put(&line, ", which is not aligned to 16 bytes");
		break;
	case HAK_MISUSE_INTERIOR:
		hak_line_put(&line, ", which lies inside a block of ");
		hak_line_put_number(&line, bytes);
		hak_line_put(&line, " bytes");
		break;
	case HAK_MISUSE_NOT_IN_USE:
		hak_line_put(&line, ", which is not in use: freed before, or never given out");
		break;
	case HAK_MISUSE_FOREIGN:
	case HAK_MISUSE_COUNT:
		hak_line_put(&line, ", which is not memory of this allocator, or no longer");
		break;
	}
	hak_line_write(&line);
	abort();
}

void hak_report_broken(const char *text)
{
	struct hak_line line = {.used = 0};

	hak_line_put(&line, "hak: ");
	hak_line_put(&line, text);
	hak_line_write(&line);
	abort();
}
