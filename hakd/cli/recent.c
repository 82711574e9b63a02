#include "cli/recent.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct render_column columns[] = {
	{.name = "WHEN"},
	{.name = "PID", .is_number = true},
	{.name = "COMMAND", .is_cut = true},
	{.name = "TRIGGER"},
	{.name = "METHOD", .hide_turn = 2},
	{.name = "RESULT"},
	{.name = "TARGET", .is_number = true, .hide_turn = 3},
	{.name = "RELEASED", .is_number = true},
	{.name = "TOOK", .is_number = true, .hide_turn = 1},
};
#define COLUMN_COUNT (sizeof columns / sizeof columns[0])

/* "0.4ms", "12ms", "1.3s": most take less than a second. */
static const char *render_duration(double seconds, char text[RENDER_NUMBER_BYTES])
{
	if (seconds < 0 || seconds > 1e6)
		return "?";
	if (seconds < 0.0095)
		snprintf(text, RENDER_NUMBER_BYTES, "%.1fms", seconds * 1000);
	else if (seconds < 0.9995)
		snprintf(text, RENDER_NUMBER_BYTES, "%.0fms", seconds * 1000);
	else
		snprintf(text, RENDER_NUMBER_BYTES, "%.1fs", seconds);
	return text;
}

static void put_row(struct render_table *table, struct answer *answer, const json_t *action,
		    enum render_size how)
{
	char text[RENDER_NUMBER_BYTES];
	size_t i = 0;

	render_table_add_line(table);
	render_table_put(table, i++, answer_text(answer, action, "when"));
	render_table_put(table, i++,
			 render_size(answer_integer(answer, action, "pid"), RENDER_SIZE_EXACT,
				     text));
	render_table_put(table, i++, answer_text(answer, action, "command"));
	render_table_put(table, i++, answer_text(answer, action, "trigger"));
	render_table_put(table, i++, answer_text(answer, action, "method"));
	render_table_put(table, i++, answer_text(answer, action, "result"));
	render_table_put(table, i++,
			 render_size(answer_integer(answer, action, "target_bytes"), how, text));
	render_table_put(table, i++,
			 render_size(answer_integer(answer, action, "released_bytes"), how, text));
	render_table_put(table, i++,
			 render_duration(answer_real(answer, action, "duration_seconds"), text));
}

void recent_print(struct answer *answer, const json_t *reply, enum render_size how, bool has_legend)
{
	const json_t *list = answer_array(answer, reply, "actions");
	struct render_table *table = render_table_new(columns, COLUMN_COUNT, has_legend);

	for (size_t i = 0; i < json_array_size(list); i++)
		put_row(table, answer, json_array_get(list, i), how);
	if (answer_is_good(answer) && json_array_size(list) > 0)
		render_table_print(table);
	else if (answer_is_good(answer) && has_legend)
		printf("hakd has taken no memory back so far.\n");
	render_table_free(table);
}

/* How hakd knows, where it does not hear of it from the kernel. */
static const char *source_words(const char *source)
{
	if (strcmp(source, "polled") == 0)
		return " (by files, every 2 s)";
	return strcmp(source, "none") == 0 ? " (the kernel does not tell)" : "";
}

static const char *governor_words(struct answer *answer, const json_t *governor)
{
	if (answer_truth(answer, governor, "paused"))
		return ", paused";
	return answer_truth(answer, governor, "dry_run") ? ", dry run" : "";
}

void recent_print_pressure(struct answer *answer, const json_t *status, enum render_size how)
{
	const json_t *pressure = json_object_get(status, "pressure");
	const json_t *governor = json_object_get(status, "governor");
	char *level, text[RENDER_NUMBER_BYTES];
	const char *source, *words;
	int64_t count, bytes;

	if (pressure == NULL || governor == NULL)
		return;
	level = render_safe(answer_text(answer, pressure, "level"));
	source = source_words(answer_text(answer, pressure, "source"));
	words = governor_words(answer, governor);
	count = answer_integer(answer, governor, "release_count");
	bytes = answer_integer(answer, governor, "released_bytes");
	if (answer_is_good(answer))
		printf("memory pressure %s%s; %lld release%s%s, %s taken back\n", level, source,
		       (long long)count, count == 1 ? "" : "s", words,
		       render_size(bytes, how, text));
	free(level);
}
