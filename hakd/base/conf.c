#include "base/conf.h"

#include <dirent.h>
#include <errno.h>
#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SUFFIX ".conf"

/* A file that is being read. */
struct reading {
	struct conf *config;
	struct conf_report *report;
	FILE *stream;
	const char *name; /* config's */
	char *line;
	size_t line_size;
	unsigned line_number;
	bool is_full; /* said already */
};

/* A drop-in: of several of one name the last one found holds. */
struct drop_in {
	char *name;
	char *path;
};

struct drop_ins {
	struct drop_in items[CONF_FILES_MAX];
	size_t count;
};

void conf_report_deinit(struct conf_report *report)
{
	text_deinit(&report->text);
	*report = (struct conf_report){.error_count = 0};
}

__attribute__((format(printf, 5, 0))) static void complain(struct conf_report *report,
							   const char *file, unsigned line,
							   const char *kind, const char *format,
							   va_list arguments)
{
	char sentence[512];

	vsnprintf(sentence, sizeof sentence, format, arguments);
	if (line != 0)
		text_print(&report->text, "%.400s:%u: %s%s\n", file, line, kind, sentence);
	else
		text_print(&report->text, "%.400s: %s%s\n", file, kind, sentence);
}

void conf_error(struct conf_report *report, const char *file, unsigned line, const char *format,
		...)
{
	va_list arguments;

	va_start(arguments, format);
	complain(report, file, line, "", format, arguments);
	va_end(arguments);
	report->error_count++;
}

void conf_warn(struct conf_report *report, const char *file, unsigned line, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	complain(report, file, line, "warning: ", format, arguments);
	va_end(arguments);
	report->warning_count++;
}

/* Where a line's words begin: inih passes over a byte order mark at the begin of a file. */
static const char *words_of(const struct reading *reading)
{
	static const char mark[] = "\xEF\xBB\xBF";
	const char *line = reading->line;

	if (reading->line_number == 1 && strncmp(line, mark, sizeof mark - 1) == 0)
		line += sizeof mark - 1;
	return line + strspn(line, " \t");
}

/* A line is judged before inih has it, which would cut what is too long in silence: a line and the
 * name of a section. */
static bool judge_line(struct reading *reading, size_t count)
{
	const char *line = words_of(reading);
	const char *end = line[0] == '[' ? strchr(line, ']') : NULL;

	if (strlen(reading->line) != count) {
		conf_error(reading->report, reading->name, reading->line_number,
			   "the line holds a NUL byte; a line of text is expected");
		return false;
	}
	if (count > CONF_LINE_BYTES_MAX) {
		conf_error(reading->report, reading->name, reading->line_number,
			   "the line has %zu bytes; %d at most are expected", count,
			   CONF_LINE_BYTES_MAX);
		return false;
	}
	if (end != NULL && end - line - 1 > CONF_NAME_BYTES_MAX) {
		conf_error(reading->report, reading->name, reading->line_number,
			   "the section's name is too long; %d bytes at most are expected",
			   CONF_NAME_BYTES_MAX);
		return false;
	}
	return true;
}

/* inih's fgets(3). A line that was refused is given as an empty one, so that the next are read. */
static char *read_line(char *to, int size, void *context)
{
	struct reading *reading = context;
	ssize_t count = getline(&reading->line, &reading->line_size, reading->stream);
	const char *from = reading->line;

	if (count < 0)
		return NULL;
	reading->line_number++;
	if (count > 0 && reading->line[count - 1] == '\n')
		reading->line[--count] = '\0';
	if (!judge_line(reading, (size_t)count))
		from = "";
	/* Else a line that begins with a blank would go on with the value of the line before. */
	from += strspn(from, " \t");
	snprintf(to, (size_t)size, "%s", from);
	return to;
}

static void free_entry(struct conf_entry *entry)
{
	free(entry->section);
	free(entry->key);
	free(entry->value);
}

static bool add(struct reading *reading, const char *section, const char *key, const char *value)
{
	struct conf *config = reading->config;
	struct conf_entry *entry;

	if (config->entry_count % 64 == 0) {
		struct conf_entry *grown = realloc(config->entries,
						   (config->entry_count + 64) * sizeof *grown);

		if (grown == NULL)
			return false;
		config->entries = grown;
	}
	entry = &config->entries[config->entry_count];
	*entry = (struct conf_entry){
		.section = strdup(section),
		.key = strdup(key),
		.value = strdup(value),
		.file = reading->name,
		.line = reading->line_number,
	};
	if (entry->section != NULL && entry->key != NULL && entry->value != NULL) {
		config->entry_count++;
		return true;
	}
	free_entry(entry);
	return false;
}

/* inih's handler: 0 is an error of its own, which is not asked for. */
static int take(void *context, const char *section, const char *key, const char *value)
{
	struct reading *reading = context;

	if (reading->config->entry_count >= CONF_ENTRIES_MAX) {
		if (!reading->is_full)
			conf_error(reading->report, reading->name, reading->line_number,
				   "too many settings; %d at most are expected", CONF_ENTRIES_MAX);
		reading->is_full = true;
		return 1;
	}
	/* After a blank it is a comment: one character more or less would be another setting. */
	if (value[0] == ';')
		conf_error(reading->report, reading->name, reading->line_number,
			   "%s is '%s'; a value that begins with ; is not expected", key, value);
	else if (!add(reading, section, key, value))
		conf_error(reading->report, reading->name, reading->line_number,
			   "no memory is left");
	return 1;
}

/* NULL: no memory, or too many. */
static const char *note_file(struct conf *config, const char *name, struct conf_report *report)
{
	char **grown = config->file_count < CONF_FILES_MAX
			       ? realloc(config->files, (config->file_count + 1) * sizeof *grown)
			       : NULL;
	char *copy = strdup(name);

	if (grown != NULL)
		config->files = grown;
	if (grown == NULL || copy == NULL) {
		conf_error(report, name, 0, "cannot be read beside %zu other files",
			   config->file_count);
		free(copy);
		return NULL;
	}
	config->files[config->file_count++] = copy;
	return copy;
}

static void read_stream(struct conf *config, const char *name, FILE *stream,
			struct conf_report *report)
{
	struct reading reading = {.config = config, .report = report, .stream = stream};
	int bad_line;

	reading.name = note_file(config, name, report);
	if (reading.name == NULL)
		return;
	bad_line = ini_parse_stream(read_line, &reading, take, &reading);
	if (bad_line > 0)
		conf_error(report, reading.name, (unsigned)bad_line,
			   "neither a section nor a setting; [section] or key = value is "
			   "expected");
	if (ferror(stream))
		conf_error(report, reading.name, 0, "cannot be read: %s", strerror(errno));
	free(reading.line);
}

void conf_read_text(struct conf *config, const char *file, const char *bytes, size_t count,
		    struct conf_report *report)
{
	/* fmemopen(3) has no empty files. */
	FILE *stream = count > 0 ? fmemopen((void *)(uintptr_t)bytes, count, "r") : NULL;

	if (stream == NULL)
		return;
	read_stream(config, file, stream, report);
	fclose(stream);
}

/* False: there is no such file. Another error is told. */
static bool read_file(struct conf *config, const char *path, struct conf_report *report)
{
	struct stat status;
	FILE *stream;

	/* A FIFO would have to be waited for. */
	if (stat(path, &status) != 0) {
		if (errno == ENOENT || errno == ENOTDIR)
			return false;
		conf_error(report, path, 0, "cannot be read: %s", strerror(errno));
		return true;
	}
	if (S_ISCHR(status.st_mode)) /* /dev/null: masked */
		return true;
	if (!S_ISREG(status.st_mode)) {
		conf_error(report, path, 0, "is no regular file, which is expected");
		return true;
	}
	stream = fopen(path, "re");
	if (stream == NULL) {
		conf_error(report, path, 0, "cannot be read: %s", strerror(errno));
		return true;
	}
	read_stream(config, path, stream, report);
	fclose(stream);
	return true;
}

static bool is_drop_in(const char *name)
{
	size_t length = strlen(name);

	return name[0] != '.' && length > strlen(SUFFIX) &&
	       strcmp(name + length - strlen(SUFFIX), SUFFIX) == 0;
}

static struct drop_in *find(struct drop_ins *found, const char *name)
{
	for (size_t i = 0; i < found->count; i++)
		if (strcmp(found->items[i].name, name) == 0)
			return &found->items[i];
	return NULL;
}

/* False: no memory, or too many. */
static bool note_drop_in(struct drop_ins *found, const char *folder, const char *name)
{
	struct drop_in *item = find(found, name);
	char *path = NULL;

	if (asprintf(&path, "%s/%s", folder, name) < 0)
		return false;
	if (item != NULL) {
		free(item->path);
		item->path = path;
		return true;
	}
	if (found->count < CONF_FILES_MAX) {
		item = &found->items[found->count];
		*item = (struct drop_in){.name = strdup(name), .path = path};
		if (item->name != NULL) {
			found->count++;
			return true;
		}
	}
	free(path);
	return false;
}

static void list_drop_ins(struct drop_ins *found, const char *dir, struct conf_report *report)
{
	const struct dirent *entry;
	char *folder = NULL;
	DIR *stream;

	if (asprintf(&folder, "%s/hakd.conf.d", dir) < 0) {
		conf_error(report, dir, 0, "no memory is left");
		return;
	}
	stream = opendir(folder);
	if (stream == NULL && errno != ENOENT && errno != ENOTDIR)
		conf_error(report, folder, 0, "cannot be read: %s", strerror(errno));
	while (stream != NULL && (entry = readdir(stream)) != NULL)
		if (is_drop_in(entry->d_name) && !note_drop_in(found, folder, entry->d_name))
			conf_error(report, folder, 0, "holds too many files; %d are expected",
				   CONF_FILES_MAX);
	if (stream != NULL)
		closedir(stream);
	free(folder);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct drop_in *)a)->name, ((const struct drop_in *)b)->name);
}

static void read_drop_ins(struct conf *config, const struct conf_sources *sources,
			  struct conf_report *report)
{
	struct drop_ins *found = calloc(1, sizeof *found);

	if (found == NULL) {
		conf_error(report, "hakd.conf.d", 0, "no memory is left");
		return;
	}
	for (size_t i = 0; i < sources->dir_count; i++)
		list_drop_ins(found, sources->dirs[i], report);
	qsort(found->items, found->count, sizeof found->items[0], by_name);
	for (size_t i = 0; i < found->count; i++) {
		/* One that has gone since it was listed, or points nowhere. */
		if (!read_file(config, found->items[i].path, report))
			conf_warn(report, found->items[i].path, 0, "leads to no file");
		free(found->items[i].name);
		free(found->items[i].path);
	}
	free(found);
}

/* Of the directories the one of the highest rank that has such a file. */
static void read_main(struct conf *config, const struct conf_sources *sources,
		      struct conf_report *report)
{
	bool found = false;

	if (sources->main_file != NULL) {
		if (!read_file(config, sources->main_file, report))
			conf_error(report, sources->main_file, 0, "there is no such file");
		return;
	}
	for (size_t i = sources->dir_count; i > 0 && !found; i--) {
		char *path = NULL;

		if (asprintf(&path, "%s/hakd.conf", sources->dirs[i - 1]) < 0) {
			conf_error(report, sources->dirs[i - 1], 0, "no memory is left");
			return;
		}
		found = read_file(config, path, report);
		free(path);
	}
}

void conf_read(struct conf *config, const struct conf_sources *sources, struct conf_report *report)
{
	*config = (struct conf){.entries = NULL};
	read_main(config, sources, report);
	read_drop_ins(config, sources, report);
}

void conf_deinit(struct conf *config)
{
	for (size_t i = 0; i < config->entry_count; i++)
		free_entry(&config->entries[i]);
	for (size_t i = 0; i < config->file_count; i++)
		free(config->files[i]);
	free(config->entries);
	free(config->files);
	*config = (struct conf){.entries = NULL};
}
