/* render.h - numbers, names and tables for people, on stdout.
 *
 * What a client says of itself (its command, its path) may hold any bytes: nothing of it reaches a
 * terminal but through render_safe. A table passes its cells through it by itself. One thread.
 */
#ifndef HAK_CLI_RENDER_H
#define HAK_CLI_RENDER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RENDER_NUMBER_BYTES 32

/* How a number of bytes is written: 1310720 is "1.2Mi" in a narrow column, "1.2 MiB" in a sentence,
 * "1310720" for programs. Below 0, which no number of bytes can be, it is "?" for people. */
enum render_size {
	RENDER_SIZE_NARROW,
	RENDER_SIZE_WORDS,
	RENDER_SIZE_EXACT,
};

const char *render_size(int64_t size_bytes, enum render_size how, char text[RENDER_NUMBER_BYTES]);

/* "0.2s", "45s", "12m", "3h", "4d". */
const char *render_age(double age_seconds, char text[RENDER_NUMBER_BYTES]);

/* "61.3%", or "-" of nothing. */
const char *render_share(double part, double whole, char text[RENDER_NUMBER_BYTES]);

/* The same as up to 20 characters. */
const char *render_bar(double part, double whole, char text[RENDER_NUMBER_BYTES]);

/* A copy in which control characters, bytes that the locale knows no character for, and marks that
 * turn the direction of writing are \xNN. Backslashes stay: hakd has escaped the same way already,
 * where it knew what it had. The caller frees it; never NULL. */
char *render_safe(const char *text);

/* JSON for people and programs. Beyond ASCII all is \uNNNN, so that it is safe for a terminal. */
void render_json(const json_t *json);

struct render_column {
	const char *name;
	bool is_number;	    /* to the right */
	bool is_cut;	    /* loses its end where the line is too long */
	unsigned hide_turn; /* 1 is left out first where the terminal is too narrow; 0: never */
};

struct render_table;

/* `columns` stays with the caller. */
struct render_table *render_table_new(const struct render_column *columns, size_t column_count,
				      bool has_legend);
void render_table_free(struct render_table *table);

void render_table_add_line(struct render_table *table);

/* Into the line that was added last. */
void render_table_put(struct render_table *table, size_t column_idx, const char *text);

/* As wide as $COLUMNS says, or the terminal; a pipe has no width. With a legend, the names of what
 * was left out come below. */
void render_table_print(struct render_table *table);

#endif
