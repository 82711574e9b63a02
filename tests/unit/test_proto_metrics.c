/* Goal: every row of metrics.def becomes lines that Prometheus takes without a complaint, and a
 * field that keeps its place for ever.
 * Method: the list is read as a table of strings, and each rule of its header is a loop over it;
 * what promtool(1) would say of names, units and help is here so that it need not be installed. */
#include "proto.h"

#include "proto/telemetry.h"

#include <ctype.h>
#include <stdbool.h>

struct row {
	const char *kind, *field, *family, *labels, *help;
	size_t offset;
};

static const struct row rows[] = {
#define METRIC(kind, field, family, labels, help)                                                  \
	{#kind, #field, family, labels, help, offsetof(struct hak_telemetry, field)},
#include "proto/metrics.def"
#undef METRIC
};

static bool ends_in(const char *text, const char *end)
{
	size_t length = strlen(text), end_length = strlen(end);

	return length > end_length && strcmp(text + length - end_length, end) == 0;
}

/* Lower case letters, digits and single underscores between them. */
static bool is_name(const char *text, size_t length)
{
	if (length == 0 || !islower((unsigned char)text[0]) || text[length - 1] == '_')
		return false;
	for (size_t i = 0; i < length; i++) {
		if (!islower((unsigned char)text[i]) && !isdigit((unsigned char)text[i]) &&
		    (text[i] != '_' || text[i - 1] == '_'))
			return false;
	}
	return true;
}

static bool is_counter(const struct row *row)
{
	return strcmp(row->kind, "COUNTER") == 0;
}

static bool begins_family(size_t i)
{
	return i == 0 || strcmp(rows[i].family, rows[i - 1].family) != 0;
}

static void names_are_legal(void **state)
{
	(void)state;
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		const struct row *row = &rows[i];

		assert_true(is_counter(row) || strcmp(row->kind, "GAUGE") == 0);
		assert_true(is_name(row->field, strlen(row->field)));
		assert_true(is_name(row->family, strlen(row->family)));
		assert_memory_equal(row->family, "hak_", 4);
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(row->field, rows[j].field);
	}
}

/* Counters end in _total and nothing else does; bytes are called bytes in both names. */
static void names_tell_kind_and_unit(void **state)
{
	(void)state;
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		const struct row *row = &rows[i];

		assert_int_equal(is_counter(row), ends_in(row->field, "_total"));
		assert_int_equal(is_counter(row), ends_in(row->family, "_total"));
		assert_int_equal(strstr(row->field, "_bytes") != NULL,
				 strstr(row->family, "_bytes") != NULL);
		/* Endings that belong to histograms and summaries, or to no unit at all. */
		assert_false(ends_in(row->family, "_count"));
		assert_false(ends_in(row->family, "_sum"));
		assert_false(ends_in(row->family, "_bucket"));
	}
}

static void families_stand_together(void **state)
{
	(void)state;
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		if (!begins_family(i)) {
			assert_string_equal(rows[i].kind, rows[i - 1].kind);
			continue;
		}
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(rows[i].family, rows[j].family);
	}
}

/* One sentence for each family, with no character that the text format would have to escape. */
static void families_have_help(void **state)
{
	(void)state;
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		const char *help = rows[i].help;

		if (!begins_family(i)) {
			assert_string_equal(help, "");
			continue;
		}
		assert_true(isupper((unsigned char)help[0]));
		assert_true(ends_in(help, "."));
		for (; *help != '\0'; help++)
			assert_true(isprint((unsigned char)*help) && *help != '\\');
	}
}

/* name="value", or nothing where a family has one row only. No value needs an escape, no label has
 * the name of one that the daemon adds, and all rows of a family have the same label. */
static void labels_tell_rows_apart(void **state)
{
	(void)state;
	for (size_t i = 0; i < UNIT_COUNT(rows); i++) {
		const char *labels = rows[i].labels, *value = strchr(labels, '=');
		bool alone = begins_family(i) &&
			     (i + 1 == UNIT_COUNT(rows) || begins_family(i + 1));
		size_t name_length;

		if (alone && labels[0] == '\0')
			continue;
		assert_non_null(value);
		name_length = (size_t)(value - labels);
		assert_true(is_name(labels, name_length));
		assert_false(name_length == 5 && memcmp(labels, "group", 5) == 0);
		assert_true(value[1] == '"' && ends_in(value, "\""));
		assert_true(is_name(value + 2, strlen(value) - 3));
		for (size_t j = i; !begins_family(j); j--) {
			assert_string_not_equal(labels, rows[j - 1].labels);
			assert_memory_equal(labels, rows[j - 1].labels, name_length + 1);
		}
	}
}

static void places_are_the_order_of_the_list(void **state)
{
	(void)state;
	assert_int_equal(UNIT_COUNT(rows), HAK_METRIC_COUNT);
	for (size_t i = 0; i < UNIT_COUNT(rows); i++)
		assert_int_equal(rows[i].offset, 128 + 8 * i);
	/* These are out in the world: a reader of version 1 finds them here. */
	assert_int_equal(HAK_METRIC_live_bytes, 0);
	assert_int_equal(HAK_METRIC_metadata_bytes, 4);
	assert_int_equal(HAK_METRIC_publication_total, 11);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_legal),
		cmocka_unit_test(names_tell_kind_and_unit),
		cmocka_unit_test(families_stand_together),
		cmocka_unit_test(families_have_help),
		cmocka_unit_test(labels_tell_rows_apart),
		cmocka_unit_test(places_are_the_order_of_the_list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
