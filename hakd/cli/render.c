#include "cli/render.h"

#include "cli/arguments.h"

#include <libsmartcols.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>
#include <wctype.h>

#define BAR_WIDTH 20

/* A column that is cut keeps so many characters before others are left out for it. */
#define CUT_WIDTH_MIN 8

struct render_table {
	struct libscols_table *scols;
	struct libscols_line *line;
	const struct render_column *columns;
	size_t column_count;
	size_t *widths; /* of the widest cell, one each */
	bool has_legend;
};

const char *render_size(int64_t size_bytes, enum render_size how, char text[RENDER_NUMBER_BYTES])
{
	static const char letters[] = "KMGTPE";
	double size = (double)size_bytes;
	int unit = -1;

	if (how == RENDER_SIZE_EXACT) {
		snprintf(text, RENDER_NUMBER_BYTES, "%lld", (long long)size_bytes);
		return text;
	}
	if (size_bytes < 0)
		return strcpy(text, "?");
	/* 999.95 would be printed with four digits. */
	while (size >= (unit < 0 ? 1000 : 999.95)) {
		size /= 1024;
		unit++;
	}
	if (unit < 0)
		snprintf(text, RENDER_NUMBER_BYTES, how == RENDER_SIZE_WORDS ? "%.0f B" : "%.0fB",
			 size);
	else
		snprintf(text, RENDER_NUMBER_BYTES,
			 how == RENDER_SIZE_WORDS ? "%.1f %ciB" : "%.1f%ci", size, letters[unit]);
	return text;
}

const char *render_age(double age_seconds, char text[RENDER_NUMBER_BYTES])
{
	static const struct {
		double until, unit;
		int digits;
		char letter;
	} rows[] = {
		{9.95, 1, 1, 's'},	{120, 1, 0, 's'},	  {7200, 60, 0, 'm'},
		{172800, 3600, 0, 'h'}, {86400e4, 86400, 0, 'd'},
	};

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		if (age_seconds >= 0 && age_seconds < rows[i].until) {
			snprintf(text, RENDER_NUMBER_BYTES, "%.*f%c", rows[i].digits,
				 age_seconds / rows[i].unit, rows[i].letter);
			return text;
		}
	}
	return strcpy(text, "?");
}

const char *render_share(double part, double whole, char text[RENDER_NUMBER_BYTES])
{
	if (whole <= 0 || part < 0)
		return strcpy(text, "-");
	snprintf(text, RENDER_NUMBER_BYTES, "%.1f%%", 100 * part / whole);
	return text;
}

const char *render_bar(double part, double whole, char text[RENDER_NUMBER_BYTES])
{
	double share = whole <= 0 || part < 0 ? 0 : part / whole;
	size_t width = share >= 1 ? BAR_WIDTH : (size_t)(share * BAR_WIDTH + 0.5);

	memset(text, '#', width);
	text[width] = '\0';
	return text;
}

static bool is_safe(wchar_t character)
{
	/* These print nothing, but what follows runs backwards or lands elsewhere. */
	bool turns = (character >= 0x200b && character <= 0x200f) ||
		     (character >= 0x2028 && character <= 0x202e) ||
		     (character >= 0x2060 && character <= 0x206f) || character == 0xfeff;

	return iswprint((wint_t)character) && !turns;
}

char *render_safe(const char *text)
{
	char *safe = arguments_must(malloc(4 * strlen(text) + 1));
	char *at = safe;
	mbstate_t state = {0};

	while (*text != '\0') {
		wchar_t character;
		size_t length = mbrtowc(&character, text, strlen(text), &state);
		bool is_known = length != (size_t)-1 && length != (size_t)-2;

		if (is_known && is_safe(character)) {
			at = (char *)memcpy(at, text, length) + length;
		} else {
			if (!is_known) {
				length = 1;
				memset(&state, 0, sizeof state);
			}
			for (size_t i = 0; i < length; i++)
				at += sprintf(at, "\\x%02x", (unsigned char)text[i]);
		}
		text += length;
	}
	*at = '\0';
	return safe;
}

void render_json(const json_t *json)
{
	/* 15 digits are what a number with a fraction keeps on its way through a double. */
	json_dumpf(json, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(15));
	putchar('\n');
}

/* Columns on the screen of a text that is safe. */
static size_t width_of(const char *text)
{
	mbstate_t state = {0};
	size_t width = 0, length;
	wchar_t character;

	for (;
	     (length = mbrtowc(&character, text, strlen(text), &state)) != 0 && length < (size_t)-2;
	     text += length)
		width += (size_t)wcwidth(character);
	return width;
}

struct render_table *render_table_new(const struct render_column *columns, size_t column_count,
				      bool has_legend)
{
	struct render_table *table = arguments_must(calloc(1, sizeof *table));

	table->columns = columns;
	table->column_count = column_count;
	table->has_legend = has_legend;
	table->widths = arguments_must(calloc(column_count, sizeof *table->widths));
	table->scols = arguments_must(scols_new_table());
	scols_table_enable_noheadings(table->scols, !has_legend);
	/* No blanks at the end of lines. */
	scols_table_enable_minout(table->scols, 1);
	/* It would escape the backslashes of what is escaped already. */
	scols_table_enable_noencoding(table->scols, 1);
	for (size_t i = 0; i < column_count; i++) {
		int flags = (columns[i].is_number ? SCOLS_FL_RIGHT : 0) |
			    (columns[i].is_cut ? SCOLS_FL_TRUNC : 0);

		arguments_must(scols_table_new_column(table->scols, columns[i].name, 0, flags));
		table->widths[i] = has_legend ? strlen(columns[i].name) : 0;
	}
	return table;
}

void render_table_free(struct render_table *table)
{
	if (table == NULL)
		return;
	scols_unref_table(table->scols);
	free(table->widths);
	free(table);
}

void render_table_add_line(struct render_table *table)
{
	table->line = arguments_must(scols_table_new_line(table->scols, NULL));
}

void render_table_put(struct render_table *table, size_t column_idx, const char *text)
{
	char *safe = render_safe(text);
	size_t width = width_of(safe);

	if (width > table->widths[column_idx])
		table->widths[column_idx] = width;
	scols_line_refer_data(table->line, column_idx, safe);
}

/* Characters of a line on the screen; 0 is no limit. */
static size_t screen_width(void)
{
	const char *columns = getenv("COLUMNS");
	struct winsize size;
	char *end;

	if (columns != NULL && columns[0] != '\0') {
		unsigned long width = strtoul(columns, &end, 10);

		if (*end == '\0' && width > 0 && width < 10000)
			return width;
	}
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0)
		return size.ws_col;
	return 0;
}

static bool is_hidden(const struct render_table *table, size_t column_idx)
{
	return scols_column_is_hidden(scols_table_get_column(table->scols, column_idx));
}

static size_t least_width(const struct render_table *table)
{
	size_t sum = 0, shown_count = 0;

	for (size_t i = 0; i < table->column_count; i++) {
		if (is_hidden(table, i))
			continue;
		shown_count++;
		if (table->columns[i].is_cut && table->widths[i] > CUT_WIDTH_MIN)
			sum += CUT_WIDTH_MIN;
		else
			sum += table->widths[i];
	}
	return sum + shown_count - 1;
}

/* Libsmartcols cuts and wraps columns that do not fit; numbers must not be cut, so whole columns
 * leave before that. */
static void hide_columns(struct render_table *table, size_t screen)
{
	for (unsigned turn = 1; turn <= table->column_count; turn++) {
		for (size_t i = 0; i < table->column_count; i++) {
			struct libscols_column *column = scols_table_get_column(table->scols, i);
			int flags = scols_column_get_flags(column);

			if (least_width(table) <= screen)
				return;
			if (table->columns[i].hide_turn == turn)
				scols_column_set_flags(column, flags | SCOLS_FL_HIDDEN);
		}
	}
}

static void print_hidden(const struct render_table *table)
{
	bool is_first = true;

	for (size_t i = 0; i < table->column_count; i++) {
		if (is_hidden(table, i)) {
			printf("%s%s", is_first ? "Too narrow for: " : ", ",
			       table->columns[i].name);
			is_first = false;
		}
	}
	if (!is_first)
		putchar('\n');
}

void render_table_print(struct render_table *table)
{
	size_t screen = screen_width();

	if (screen > 0) {
		hide_columns(table, screen);
		scols_table_set_termforce(table->scols, SCOLS_TERMFORCE_ALWAYS);
		scols_table_set_termwidth(table->scols, screen);
	} else {
		scols_table_set_termforce(table->scols, SCOLS_TERMFORCE_NEVER);
	}
	fflush(stdout);
	scols_print_table(table->scols);
	if (table->has_legend)
		print_hidden(table);
}
