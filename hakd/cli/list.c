#include "cli/list.h"

#include "cli/arguments.h"
#include "cli/recent.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct row {
	size_t place; /* among the daemon's */
	bool is_plausible;
	int64_t numbers[LIST_COLUMN_COUNT]; /* AGE in milliseconds */
	const char *texts[LIST_COLUMN_COUNT];
};

/* The turns: what one misses least in a narrow terminal leaves first. */
static const struct render_column columns[LIST_COLUMN_COUNT] = {
	[LIST_PID] = {.name = "PID", .is_number = true},
	[LIST_USER] = {.name = "USER", .hide_turn = 4},
	[LIST_COMMAND] = {.name = "COMMAND", .is_cut = true},
	[LIST_LIVE] = {.name = "LIVE", .is_number = true},
	[LIST_CACHED] = {.name = "CACHED", .is_number = true, .hide_turn = 5},
	[LIST_FREE] = {.name = "FREE", .is_number = true, .hide_turn = 6},
	[LIST_RESIDENT] = {.name = "RESIDENT", .is_number = true, .hide_turn = 7},
	[LIST_SUPERSLABS] = {.name = "SUPERSLABS", .is_number = true, .hide_turn = 1},
	[LIST_BUDGET] = {.name = "BUDGET", .is_number = true, .hide_turn = 3},
	[LIST_AGE] = {.name = "AGE", .is_number = true, .hide_turn = 2},
};

enum list_column list_column_of(const char *name)
{
	for (enum list_column i = 0; i < LIST_COLUMN_COUNT; i++) {
		if (strcasecmp(columns[i].name, name) == 0)
			return i;
	}
	return LIST_COLUMN_COUNT;
}

static int compare(const void *left_row, const void *right_row, void *sorted_by)
{
	const struct row *left = left_row, *right = right_row;
	enum list_column column = *(const enum list_column *)sorted_by;
	int64_t a = left->numbers[column], b = right->numbers[column];
	int order = 0;

	if (left->texts[column] != NULL)
		order = strcmp(left->texts[column], right->texts[column]);
	else if (a != b)
		order = (a < b) == (column == LIST_PID || column == LIST_AGE) ? -1 : 1;
	if (order == 0)
		order = left->place < right->place ? -1 : 1;
	return order;
}

static struct row read_row(struct answer *answer, const json_t *client, size_t place)
{
	const json_t *metrics = answer_object(answer, client, "metrics");
	double age_seconds = answer_real(answer, client, "age_seconds");

	return (struct row){
		.place = place,
		.is_plausible = answer_truth(answer, client, "plausible"),
		.numbers[LIST_PID] = answer_integer(answer, client, "pid"),
		.texts[LIST_USER] = answer_text(answer, client, "user"),
		.texts[LIST_COMMAND] = answer_text(answer, client, "command"),
		.numbers[LIST_LIVE] = answer_integer(answer, metrics, "live_bytes"),
		.numbers[LIST_CACHED] = answer_integer(answer, metrics, "cached_bytes"),
		.numbers[LIST_FREE] = answer_integer(answer, metrics, "free_bytes"),
		.numbers[LIST_RESIDENT] = answer_integer(answer, client, "resident_bytes"),
		.numbers[LIST_SUPERSLABS] = answer_integer(answer, metrics, "superslab_open_count"),
		.numbers[LIST_BUDGET] = answer_integer(answer, client, "soft_budget_bytes"),
		/* An age that cannot be is shown as such, and must not overflow here. */
		.numbers[LIST_AGE] = age_seconds >= 0 && age_seconds < 1e9
					     ? (int64_t)(age_seconds * 1000)
					     : -1,
	};
}

static void put_row(struct render_table *table, const struct row *row, enum render_size how)
{
	char text[RENDER_NUMBER_BYTES];

	render_table_add_line(table);
	for (enum list_column i = 0; i < LIST_COLUMN_COUNT; i++) {
		int64_t number = row->numbers[i];
		const char *cell;

		if (row->texts[i] != NULL)
			cell = row->texts[i];
		else if (i == LIST_PID || i == LIST_SUPERSLABS)
			cell = render_size(number, RENDER_SIZE_EXACT, text);
		else if (i == LIST_AGE)
			cell = render_age((double)number / 1000, text);
		else if (i == LIST_BUDGET && number == 0)
			cell = "-";
		/* Numbers that contradict each other are a broken or a hostile program's; for a
		 * program that reads the table they stay numbers. */
		else if (!row->is_plausible && i != LIST_RESIDENT && i != LIST_BUDGET)
			cell = how == RENDER_SIZE_EXACT ? render_size(number, how, text) : "?";
		else
			cell = render_size(number, how, text);
		render_table_put(table, i, cell);
	}
}

/* Daemons before that had nothing to say. */
static void print_reclaim(const json_t *status, enum render_size how)
{
	const json_t *reclaim = json_object_get(status, "remote_reclaim");
	const char *state = json_string_value(json_object_get(reclaim, "state"));
	const char *why = json_string_value(json_object_get(reclaim, "why"));
	char text[RENDER_NUMBER_BYTES];
	char *safe;

	if (state == NULL || why == NULL)
		return;
	if (strcmp(state, "ready") == 0) {
		printf("Remote reclaim: ready, %s taken so far\n",
		       render_size(json_integer_value(json_object_get(reclaim, "advised_bytes")),
				   how, text));
		return;
	}
	safe = render_safe(why[0] != '\0' ? why : "the advisor has not answered yet");
	printf("Remote reclaim: %s, %s\n", strcmp(state, "off") == 0 ? "off" : "not available",
	       safe);
	free(safe);
}

/* Of all processes together, where there is one. */
static void print_host_budget(const json_t *policy, enum render_size how)
{
	int64_t budget_bytes = json_integer_value(json_object_get(policy, "host_budget_bytes"));
	int64_t held_bytes = json_integer_value(json_object_get(policy, "host_held_bytes"));
	bool is_exceeded = json_integer_value(json_object_get(policy, "host_purge_level")) != 0;
	char budget[RENDER_NUMBER_BYTES], held[RENDER_NUMBER_BYTES];

	if (budget_bytes != 0)
		printf("Host budget %s, %s: %s held\n", render_size(budget_bytes, how, budget),
		       is_exceeded ? "exceeded" : "kept", render_size(held_bytes, how, held));
}

static void print_daemon(const json_t *status, const json_t *policy, struct answer *answer,
			 enum render_size how)
{
	char *version = render_safe(answer_text(answer, status, "version"));
	char *started = render_safe(answer_text(answer, status, "started"));
	int64_t client_count = answer_integer(answer, status, "client_count");
	int64_t group_count = answer_integer(answer, status, "group_count");
	int64_t soft_bytes = answer_integer(answer, policy, "soft_budget_bytes");
	int64_t hard_bytes = answer_integer(answer, policy, "hard_budget_bytes");
	int64_t pid = answer_integer(answer, status, "pid");
	char text[RENDER_NUMBER_BYTES];

	if (answer_is_good(answer)) {
		printf("hakd %s: %lld client%s in %lld group%s, soft budget %s", version,
		       (long long)client_count, client_count == 1 ? "" : "s",
		       (long long)group_count, group_count == 1 ? "" : "s",
		       soft_bytes == 0 ? "none" : render_size(soft_bytes, how, text));
		if (hard_bytes != 0)
			printf(", hard budget %s", render_size(hard_bytes, how, text));
		printf(" (pid %lld, since %s)\n", (long long)pid, started);
		print_host_budget(policy, how);
		print_reclaim(status, how);
	}
	if (json_is_false(json_object_get(json_object_get(status, "config"), "good"))) {
		const char *why = json_string_value(
			json_object_get(json_object_get(status, "config"), "error"));
		char *safe = render_safe(why != NULL ? why : "");

		printf("Its configuration has errors, and what was before holds: %s\n", safe);
		free(safe);
	}
	free(version);
	free(started);
}

void list_print(struct answer *answer, const json_t *status, const json_t *clients,
		enum list_column sorted_by, enum render_size how, bool has_legend)
{
	const json_t *policy = answer_object(answer, status, "policy");
	const json_t *list = answer_array(answer, clients, "clients");
	size_t row_count = json_array_size(list);
	struct row *rows = arguments_must(calloc(row_count + 1, sizeof *rows));
	struct render_table *table = render_table_new(columns, LIST_COLUMN_COUNT, has_legend);

	for (size_t i = 0; i < row_count; i++)
		rows[i] = read_row(answer, json_array_get(list, i), i);
	if (answer_is_good(answer) && has_legend) {
		enum render_size in_words = how == RENDER_SIZE_EXACT ? how : RENDER_SIZE_WORDS;

		print_daemon(status, policy, answer, in_words);
		recent_print_pressure(answer, status, in_words);
	}
	if (answer_is_good(answer)) {
		qsort_r(rows, row_count, sizeof *rows, compare, &sorted_by);
		for (size_t i = 0; i < row_count; i++)
			put_row(table, &rows[i], how);
		if (row_count > 0)
			render_table_print(table);
		else if (has_legend)
			printf("No process has come yet. Run one on libhak: "
			       "LD_PRELOAD=libhak.so PROGRAM\n");
	}
	render_table_free(table);
	free(rows);
}
