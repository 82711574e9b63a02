#include "cli/show.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Every number of a heap, as metrics.def lists them. */
static const struct metric {
	const char *field, *family;
} metrics_known[] = {
#define METRIC(kind, field, family, labels, help) {#field, family},
#include "proto/metrics.def"
#undef METRIC
};

#define METRIC_COUNT (sizeof metrics_known / sizeof metrics_known[0])

/* The rows of this family add up to the heap. */
#define STATE_FAMILY "hak_heap_bytes"

static bool is_state(const struct metric *metric)
{
	return strcmp(metric->family, STATE_FAMILY) == 0;
}

static bool is_bytes(const char *field)
{
	return strstr(field, "_bytes") != NULL;
}

static void print_fact(const char *name, const char *fact)
{
	char *safe = render_safe(fact[0] != '\0' ? fact : "-");

	printf("  %-12s %s\n", name, safe);
	free(safe);
}

static void print_budget(const char *name, int64_t budget_bytes, int64_t live_bytes,
			 enum render_size how)
{
	char budget[RENDER_NUMBER_BYTES], share[RENDER_NUMBER_BYTES];

	if (budget_bytes == 0)
		print_fact(name, "none");
	else
		printf("  %-12s %s, live is %s of it\n", name,
		       render_size(budget_bytes, how, budget),
		       render_share((double)live_bytes, (double)budget_bytes, share));
}

static void print_trim(struct answer *answer, const json_t *client, enum render_size how)
{
	const json_t *trim = answer_object(answer, client, "trim");
	int64_t request = answer_integer(answer, trim, "request");
	int64_t ack = answer_integer(answer, trim, "ack");
	int64_t before_bytes = answer_integer(answer, trim, "before_bytes");
	int64_t after_bytes = answer_integer(answer, trim, "after_bytes");
	int64_t released_bytes = answer_integer(answer, trim, "released_bytes");
	char before[RENDER_NUMBER_BYTES], after[RENDER_NUMBER_BYTES];
	char released[RENDER_NUMBER_BYTES];

	if (request == 0 && ack == 0)
		print_fact("last trim", "none was asked for");
	else if (ack > 0)
		printf("  %-12s cached and free %s before, %s after; %s released\n", "last trim",
		       render_size(before_bytes, how, before), render_size(after_bytes, how, after),
		       render_size(released_bytes, how, released));
	if (ack < request)
		print_fact("pending", "a trim waits until the program next needs memory");
}

/* A daemon that is older has no policies. */
static void print_policy(const json_t *client)
{
	const json_t *policy = json_object_get(client, "policy");
	const char *name = json_string_value(json_object_get(policy, "name"));

	if (json_is_object(policy))
		print_fact("policy", name != NULL ? name : "as by default");
}

/* What hakd took while the program did not run. Daemons before that had nothing to say. */
static void print_remote(const json_t *client, enum render_size how)
{
	const json_t *remote = json_object_get(client, "remote");
	int64_t returned_bytes = json_integer_value(json_object_get(remote, "returned_bytes"));
	char returned[RENDER_NUMBER_BYTES];

	if (returned_bytes > 0)
		printf("  %-12s %s of it, which the program does not know\n", "returned",
		       render_size(returned_bytes, how, returned));
}

static void print_facts(struct answer *answer, const json_t *client, int64_t live_bytes,
			enum render_size how)
{
	char *command = render_safe(answer_text(answer, client, "command"));
	char age[RENDER_NUMBER_BYTES];
	char user[256];

	printf("%lld %s\n", (long long)answer_integer(answer, client, "pid"), command);
	free(command);
	print_fact("program", answer_text(answer, client, "exe"));
	snprintf(user, sizeof user, "%s (%lld)", answer_text(answer, client, "user"),
		 (long long)answer_integer(answer, client, "uid"));
	print_fact("user", user);
	print_fact("unit", answer_text(answer, client, "unit"));
	print_fact("group", answer_text(answer, client, "group"));
	print_policy(client);
	print_fact("libhak", answer_text(answer, client, "library_version"));
	print_fact("registered", answer_text(answer, client, "registered"));
	printf("  %-12s %s old\n", "numbers",
	       render_age(answer_real(answer, client, "age_seconds"), age));
	print_budget("soft budget", answer_integer(answer, client, "soft_budget_bytes"), live_bytes,
		     how);
	print_budget("hard budget", answer_integer(answer, client, "hard_budget_bytes"), live_bytes,
		     how);
	print_trim(answer, client, how);
	print_remote(client, how);
	if (!answer_truth(answer, client, "plausible"))
		print_fact("doubt", "its numbers contradict each other, or the machine");
}

static void put_state(struct render_table *table, const char *name, int64_t bytes,
		      int64_t resident_bytes, enum render_size how)
{
	char text[RENDER_NUMBER_BYTES];

	render_table_add_line(table);
	render_table_put(table, 0, name);
	render_table_put(table, 1, render_size(bytes, how, text));
	render_table_put(table, 2, render_share((double)bytes, (double)resident_bytes, text));
	render_table_put(table, 3, render_bar((double)bytes, (double)resident_bytes, text));
}

static void print_states(struct answer *answer, const json_t *client, const json_t *metrics,
			 enum render_size how, bool has_legend)
{
	static const struct render_column columns[] = {
		{.name = "STATE"},
		{.name = "SIZE", .is_number = true},
		{.name = "OF RESIDENT", .is_number = true},
		{.name = "", .hide_turn = 1},
	};
	struct render_table *table = render_table_new(columns, 4, has_legend);
	int64_t resident_bytes = answer_integer(answer, client, "resident_bytes");
	double rest_bytes = (double)resident_bytes;

	for (size_t i = 0; i < METRIC_COUNT; i++) {
		const char *field = metrics_known[i].field;
		int64_t bytes;
		char name[64];

		if (!is_state(&metrics_known[i]))
			continue;
		bytes = answer_integer(answer, metrics, field);
		snprintf(name, sizeof name, "%.*s", (int)(strlen(field) - strlen("_bytes")), field);
		put_state(table, name, bytes, resident_bytes, how);
		rest_bytes -= (double)bytes;
	}
	/* Code, stacks, files: what is no heap. Where states hold more than what is resident, as
	 * memory that was never touched does, there is no telling. */
	if (rest_bytes > 0)
		put_state(table, "other", (int64_t)rest_bytes, resident_bytes, how);
	put_state(table, "resident", resident_bytes, resident_bytes, how);
	render_table_print(table);
	render_table_free(table);
}

static void print_metrics(const json_t *metrics, enum render_size how, bool has_legend)
{
	static const struct render_column columns[] = {
		{.name = "METRIC"},
		{.name = "VALUE", .is_number = true},
	};
	struct render_table *table = render_table_new(columns, 2, has_legend);

	for (size_t i = 0; i < METRIC_COUNT; i++) {
		const char *field = metrics_known[i].field;
		const json_t *value = json_object_get(metrics, field);
		char text[RENDER_NUMBER_BYTES];

		if (is_state(&metrics_known[i]))
			continue;
		render_table_add_line(table);
		render_table_put(table, 0, field);
		/* A daemon that is older does not have the newest rows. */
		render_table_put(table, 1,
				 !json_is_integer(value)
					 ? "-"
					 : render_size(json_integer_value(value),
						       is_bytes(field) ? how : RENDER_SIZE_EXACT,
						       text));
	}
	render_table_print(table);
	render_table_free(table);
}

/* False: no slab is of this class. */
static bool put_class(struct render_table *table, struct answer *answer, const json_t *class,
		      enum render_size how)
{
	int64_t slab_count = answer_integer(answer, class, "slab_count");
	int64_t block_count = answer_integer(answer, class, "block_count");
	int64_t taken_count = answer_integer(answer, class, "taken_count");
	int64_t block_bytes = answer_integer(answer, class, "block_bytes");
	char text[RENDER_NUMBER_BYTES];

	if (slab_count == 0 && block_count == 0)
		return false;
	render_table_add_line(table);
	render_table_put(table, 0, render_size(block_bytes, how, text));
	render_table_put(table, 1, render_size(slab_count, RENDER_SIZE_EXACT, text));
	render_table_put(table, 2, render_size(taken_count, RENDER_SIZE_EXACT, text));
	render_table_put(table, 3, render_size(block_count, RENDER_SIZE_EXACT, text));
	render_table_put(table, 4, render_share((double)taken_count, (double)block_count, text));
	render_table_put(table, 5, render_bar((double)taken_count, (double)block_count, text));
	return true;
}

static void print_classes(struct answer *answer, const json_t *client, enum render_size how,
			  bool has_legend)
{
	static const struct render_column columns[] = {
		{.name = "CLASS", .is_number = true},	  {.name = "SLABS", .is_number = true},
		{.name = "TAKEN", .is_number = true},	  {.name = "CAPACITY", .is_number = true},
		{.name = "OCCUPANCY", .is_number = true}, {.name = "", .hide_turn = 1},
	};
	const json_t *classes = answer_array(answer, client, "classes");
	struct render_table *table = render_table_new(columns, 6, has_legend);
	bool has_rows = false;

	for (size_t i = 0; i < json_array_size(classes); i++)
		has_rows |= put_class(table, answer, json_array_get(classes, i), how);
	if (has_rows)
		putchar('\n');
	render_table_print(table);
	render_table_free(table);
}

void show_print(struct answer *answer, const json_t *client, enum render_size how, bool has_legend)
{
	const json_t *metrics = answer_object(answer, client, "metrics");
	int64_t live_bytes = answer_integer(answer, metrics, "live_bytes");
	enum render_size in_words = how == RENDER_SIZE_EXACT ? how : RENDER_SIZE_WORDS;

	if (!answer_is_good(answer))
		return;
	print_facts(answer, client, live_bytes, in_words);
	putchar('\n');
	print_states(answer, client, metrics, how, has_legend);
	putchar('\n');
	print_metrics(metrics, how, has_legend);
	print_classes(answer, client, how, has_legend);
}
