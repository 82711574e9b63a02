#include "base/report.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *program = "";

void hak_line_name(const char *path)
{
	program = path;
	/* No strrchr(3): a sanitizer has its own, which is not ready where libhak comes first. */
	for (; *path != '\0'; path++)
		if (*path == '/')
			program = path + 1;
}

void hak_line_begin(struct hak_line *line)
{
	line->used = 0;
	hak_line_put(line, "hak: ");
	/* A program may have given itself another name. */
	hak_line_put(line, program_invocation_short_name[0] != '\0' ? program_invocation_short_name
								    : program);
	hak_line_put(line, "[");
	hak_line_put_number(line, (uint64_t)syscall(SYS_getpid));
	hak_line_put(line, "] ");
}

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
	int saved_errno = errno; /* a free that is misuse, and is to be reported only, keeps it */

	line->text[line->used++] = '\n';
	while (done < line->used) {
		/* By syscall(2): write(2) is a cancellation point, and a sanitizer's own before
		 * that is ready. */
		long wrote = syscall(SYS_write, fd, line->text + done, line->used - done);

		if (wrote > 0)
			done += (size_t)wrote;
		else if (wrote == 0 || errno != EINTR)
			break; /* nobody listens: there is no second place to say it */
	}
	line->used = 0;
	errno = saved_errno;
}

void hak_report_abort(void)
{
	static _Atomic int dying;
	static const uintptr_t by_default[4]; /* the kernel's struct sigaction: SIG_DFL */
	int id = (int)syscall(SYS_gettid);

	if (atomic_exchange_explicit(&dying, id, memory_order_relaxed) == id)
		(void)syscall(SYS_rt_sigaction, SIGABRT, by_default, NULL, sizeof(uint64_t));
	abort();
}

void hak_report_broken(const char *text)
{
	struct hak_line line;

	hak_line_begin(&line);
	hak_line_put(&line, text);
	hak_line_write(&line);
	hak_report_abort();
}
