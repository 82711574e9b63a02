/* conf.h - configuration files, merged: which text stands for which key, and where it was found.
 *
 * A directory has a main file, hakd.conf, and drop-ins, hakd.conf.d/?*.conf. Several directories
 * are merged as systemd merges its own (systemd-system.conf(5)): of the main files the one of the
 * directory of the highest rank is read, and first; then the drop-ins of all directories in the
 * byte order of their names. Of two drop-ins of one name that of the higher rank is read alone, and
 * where that is a link to /dev/null, or empty, there is none.
 *
 * What sections and keys mean is not known here (fleet/policy.h): entries come in the order in
 * which they were read, so the last one of a key is the one that holds.
 *
 * Limits: CONF_LINE_BYTES_MAX a line, CONF_NAME_BYTES_MAX a name of a section,
 * CONF_ENTRIES_MAX entries, CONF_FILES_MAX files; beyond them is an error with file and line.
 *
 * The format is inih's: [section], key = value, comments behind # or ; at the begin of a line and
 * behind a blank and ; anywhere. Values are not continued on the next line.
 */
#ifndef HAKD_BASE_CONF_H
#define HAKD_BASE_CONF_H

#include "base/text.h"

#define CONF_LINE_BYTES_MAX 190
#define CONF_NAME_BYTES_MAX 48
#define CONF_ENTRIES_MAX 16384
#define CONF_FILES_MAX 1024
#define CONF_DIRS_MAX 8

struct conf_entry {
	char *section; /* "" before the first */
	char *key;
	char *value;
	const char *file;
	unsigned line;
};

struct conf {
	struct conf_entry *entries;
	size_t entry_count;
	char **files; /* as they were read */
	size_t file_count;
};

/* What is wrong, a line each: "file:line: sentence", of warnings "file:line: warning: sentence". A
 * file that was not read has no line. */
struct conf_report {
	struct text text;
	size_t error_count;
	size_t warning_count;
};

/* Where to look: a main file by its name alone, or NULL; and directories, the lowest rank first. */
struct conf_sources {
	const char *main_file;
	const char *dirs[CONF_DIRS_MAX];
	size_t dir_count;
};

void conf_report_deinit(struct conf_report *report);
void conf_error(struct conf_report *report, const char *file, unsigned line, const char *format,
		...) __attribute__((format(printf, 4, 5)));
void conf_warn(struct conf_report *report, const char *file, unsigned line, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* Reads all of it; what is wrong is in the report, and the rest was read. Files that are not there
 * are no error, but for main_file. conf_deinit is due in either case. */
void conf_read(struct conf *config, const struct conf_sources *sources, struct conf_report *report);

/* The same of one file's bytes; for tests. */
void conf_read_text(struct conf *config, const char *file, const char *bytes, size_t count,
		    struct conf_report *report);

void conf_deinit(struct conf *config);

#endif
