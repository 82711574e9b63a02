/* log.h - what the daemon says: one sentence a line, on fd 2.
 *
 * Where fd 2 is the journal ($JOURNAL_STREAM names it) each line begins with its priority as <N>
 * (sd-daemon(3)), else with the program's name. A line is at most LOG_LINE_BYTES long; the rest is
 * cut off.
 * Strings that a client chose go through text_clean first. One thread.
 */
#ifndef HAKD_BASE_LOG_H
#define HAKD_BASE_LOG_H

#include <stdbool.h>
#include <syslog.h> /* LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG */

#define LOG_LINE_BYTES 1024

/* Says nothing less important than priority_max from here on. Before it: LOG_INFO, no <N>. */
void log_init(int priority_max);

/* error, warning, info or debug as a priority; false for another word. */
bool log_parse_level(const char *word, int *priority);

/* Whether fd 2 is the journal; whether what is so important is said at all. */
bool log_is_journal(void);
bool log_says(int priority);

void log_say(int priority, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
