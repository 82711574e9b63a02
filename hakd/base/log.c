#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int said_max = LOG_INFO;
static bool to_journal;

/* $JOURNAL_STREAM is "device:inode" of the stream that the manager made: a program that has
 * inherited the variable but not the stream must not write priorities. */
static bool is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat status;

	return stream != NULL && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
	       fstat(STDERR_FILENO, &status) == 0 && status.st_dev == device &&
	       status.st_ino == inode;
}

void log_init(int priority_max)
{
	said_max = priority_max;
	to_journal = is_journal();
}

bool log_parse_level(const char *word, int *priority)
{
	static const struct {
		const char *word;
		int priority;
	} levels[] = {
		{"error", LOG_ERR},
		{"warning", LOG_WARNING},
		{"info", LOG_INFO},
		{"debug", LOG_DEBUG},
	};

	for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
		if (strcmp(word, levels[i].word) == 0) {
			*priority = levels[i].priority;
			return true;
		}
	}
	return false;
}

bool log_is_journal(void)
{
	return to_journal;
}

bool log_says(int priority)
{
	return priority <= said_max;
}

void log_say(int priority, const char *format, ...)
{
	char line[LOG_LINE_BYTES];
	size_t used;
	int count;
	va_list arguments;

	if (!log_says(priority))
		return;
	if (to_journal)
		used = (size_t)snprintf(line, sizeof line, "<%d>", priority);
	else
		used = (size_t)snprintf(line, sizeof line, "%s: ", program_invocation_short_name);
	va_start(arguments, format);
	count = vsnprintf(line + used, sizeof line - used, format, arguments);
	va_end(arguments);
	if (count < 0)
		return;
	used += (size_t)count;
	if (used > sizeof line - 1)
		used = sizeof line - 1;
	line[used++] = '\n';
	/* Whole lines, in one call each; a reader that is gone is no reason to stop. */
	if (write(STDERR_FILENO, line, used) < 0)
		return;
}
