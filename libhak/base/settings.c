#include "base/settings.h"

#include "base/report.h"

#include <string.h>
#include <sys/auxv.h>

enum kind {
	YES_NO,
	REGISTRATION,
	MISUSE,
	PATH,
	SIZE,
	MILLISECONDS,
};

/* What each kind takes, as it is told to people. */
static const char *const takes[] = {
	[YES_NO] = "1, yes, 0 or no",
	[REGISTRATION] = "auto, 1, yes, 0 or no",
	[MISUSE] = "abort or report",
	[PATH] = "an absolute path of 107 bytes at most",
	[SIZE] = "a number of bytes, such as 4096, 512K, 64M or 2G",
	[MILLISECONDS] = "a number of milliseconds, a day at most",
};

#define DAY_MS 86400000ull

static const struct row {
	const char *name;
	void *value;
	enum kind kind;
	bool at_start;
	const char *default_text;
	const char *help;
} rows[] = {
#define SETTING(name, field, kind, at_start, default_text, help)                                   \
	{name, &hak_settings.field, kind, at_start, default_text, help},
#include "base/settings.def"
#undef SETTING
};

#define ROW_COUNT (sizeof rows / sizeof rows[0])

/* The defaults once more, as values: malloc is called before any constructor. A unit test compares
 * them with their texts. */
struct hak_settings hak_settings = {
	.socket = "/run/hak/client",
	.decay_ms = 1000,
	.lazyfree = true,
	.huge_cache_bytes = 64 << 20,
};

/* The commands' own (hak-status(1)), not ours. */
static const char *const others[] = {"HAK_RUNTIME_DIR"};

static bool is_one_of(const char *text, const char *one, const char *other)
{
	return strcmp(text, one) == 0 || strcmp(text, other) == 0;
}

static bool is_yes(const char *text)
{
	return is_one_of(text, "1", "yes");
}

static bool is_no(const char *text)
{
	return is_one_of(text, "0", "no");
}

static bool read_registration(const char *text, enum hak_registration *value)
{
	if (strcmp(text, "auto") == 0)
		*value = HAK_REGISTRATION_AUTO;
	else if (is_yes(text))
		*value = HAK_REGISTRATION_ALWAYS;
	else if (is_no(text))
		*value = HAK_REGISTRATION_NEVER;
	else
		return false;
	return true;
}

static bool read_misuse(const char *text, enum hak_on_misuse *value)
{
	if (!is_one_of(text, "abort", "report"))
		return false;
	*value = text[0] == 'a' ? HAK_ON_MISUSE_ABORT : HAK_ON_MISUSE_REPORT;
	return true;
}

/* The bits to shift by for K, M, G and T; 0 for the end of the text, -1 for anything else. */
static int shift_of(const char *suffix)
{
	static const char letters[] = "KMGT";
	const char *letter = suffix[0] != '\0' ? strchr(letters, suffix[0]) : NULL;

	if (suffix[0] == '\0')
		return 0;
	return letter != NULL && suffix[1] == '\0' ? 10 * (int)(letter - letters + 1) : -1;
}

/* Digits and, for sizes, one letter. */
static bool read_number(const char *text, enum kind kind, _Atomic uint64_t *value)
{
	uint64_t number = 0;
	const char *at = text;

	for (; *at >= '0' && *at <= '9'; at++)
		if (__builtin_mul_overflow(number, 10, &number) ||
		    __builtin_add_overflow(number, (uint64_t)(*at - '0'), &number))
			return false;
	int shift = shift_of(at);

	if (at == text || shift < 0 || number > UINT64_MAX >> shift)
		return false;
	if (kind == MILLISECONDS && (shift != 0 || number > DAY_MS))
		return false;
	atomic_store_explicit(value, number << shift, memory_order_relaxed);
	return true;
}

static bool read_path(const char *text, char *value)
{
	if (text[0] != '/' || strlen(text) >= HAK_PATH_BYTES)
		return false;
	strcpy(value, text);
	return true;
}

/* Writes the value, unless the text is none for that kind. */
static bool set(const struct row *row, const char *text)
{
	switch (row->kind) {
	case YES_NO:
		if (is_yes(text) || is_no(text))
			*(bool *)row->value = is_yes(text);
		return is_yes(text) || is_no(text);
	case REGISTRATION:
		return read_registration(text, row->value);
	case MISUSE:
		return read_misuse(text, row->value);
	case PATH:
		return read_path(text, row->value);
	case SIZE:
	case MILLISECONDS:
		return read_number(text, row->kind, row->value);
	}
	return false;
}

static const struct row *find(const char *name, size_t length)
{
	for (size_t i = 0; i < ROW_COUNT; i++)
		if (strncmp(rows[i].name, name, length) == 0 && rows[i].name[length] == '\0')
			return &rows[i];
	return NULL;
}

static bool is_others(const char *name, size_t length)
{
	for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
		if (strncmp(others[i], name, length) == 0 && others[i][length] == '\0')
			return true;
	return false;
}

/* NAME=TEXT as it stands in the environment. No text is no setting, as in a shell's NAME= . */
static void read_variable(const char *variable)
{
	const char *equals = strchr(variable, '=');
	struct hak_line line = {.used = 0};

	if (equals == NULL || equals[1] == '\0')
		return;
	size_t length = (size_t)(equals - variable);
	const struct row *row = find(variable, length);

	if (is_others(variable, length) || (row != NULL && set(row, equals + 1)))
		return;
	hak_line_put(&line, "hak: ");
	hak_line_put(&line, variable);
	hak_line_put(&line, row != NULL ? " is not " : " is no setting (HAK_HELP=1 lists them)");
	hak_line_put(&line, row != NULL ? takes[row->kind] : "");
	hak_line_put(&line, "; ignored");
	hak_line_write(&line);
}

struct hak_pressure_words hak_pressure_words;

/* The text behind a name. */
static void keep_words(const char *variable, const char *name, char *words, size_t words_bytes)
{
	size_t skip = strlen(name);

	if (strncmp(variable, name, skip) != 0)
		return;
	if (strlen(variable + skip) < words_bytes)
		strcpy(words, variable + skip);
	else
		hak_pressure_words.is_too_long = true;
}

static void read_words(const char *variable)
{
	keep_words(variable, "MEMORY_PRESSURE_WATCH=", hak_pressure_words.watch,
		   sizeof hak_pressure_words.watch);
	keep_words(variable, "MEMORY_PRESSURE_WRITE=", hak_pressure_words.write,
		   sizeof hak_pressure_words.write);
}

void hak_settings_read(char *const *environment)
{
	if (getauxval(AT_SECURE) != 0) {
		hak_settings.registration = HAK_REGISTRATION_NEVER;
		return;
	}
	/* Most begin otherwise, and this is a part of each program's start. */
	for (; environment != NULL && *environment != NULL; environment++) {
		const char *variable = *environment;

		if (variable[0] == 'H' && strncmp(variable, "HAK_", 4) == 0)
			read_variable(variable);
		else if (variable[0] == 'M')
			read_words(variable);
	}
}

enum hak_settings_refusal hak_settings_set(const char *name, const char *text)
{
	const struct row *row = find(name, strlen(name));

	if (row == NULL)
		return HAK_SETTINGS_UNKNOWN;
	if (row->at_start)
		return HAK_SETTINGS_AT_START;
	return set(row, text) ? HAK_SETTINGS_DONE : HAK_SETTINGS_BAD;
}

static void print_row(const struct row *row)
{
	struct hak_line line = {.used = 0};

	hak_line_put(&line, row->name);
	hak_line_put(&line, "=");
	hak_line_put(&line, row->default_text);
	hak_line_put(&line, "    (");
	hak_line_put(&line, takes[row->kind]);
	hak_line_put(&line, ")");
	hak_line_write(&line);
	hak_line_put(&line, "    ");
	hak_line_put(&line, row->help);
	hak_line_write(&line);
}

void hak_settings_print(void)
{
	struct hak_line line = {.used = 0};

	hak_line_put(&line, "hak: the settings of libhak, each with its default:");
	hak_line_write(&line);
	for (size_t i = 0; i < ROW_COUNT; i++)
		print_row(&rows[i]);
}
