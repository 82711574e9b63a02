/* Goal: the text is what Prometheus takes: each family once, its samples together, labels escaped.
 * Method: a table that is filled by hand. What promtool says of a whole daemon: tests/daemon. */
#include "unit.h"

#include "serve/metrics.h"

#include <string.h>

static struct table table;
static struct text text;

static int set_up(void **state)
{
	(void)state;
	memset(&table, 0, sizeof table);
	TAILQ_INIT(&table.queue);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	groups_deinit(&table.groups);
	text_deinit(&text);
	return 0;
}

static const char *written(void)
{
	const struct metrics_daemon daemon = {.version = "1.2.3", .started = 1000};
	uint64_t sum[HAK_METRIC_COUNT];

	table_sum(&table, sum);
	metrics_write(&text, &table, &daemon);
	assert_false(text.failed);
	return text.bytes;
}

static size_t count_of(const char *whole, const char *part)
{
	size_t count = 0;

	for (; (whole = strstr(whole, part)) != NULL; whole += strlen(part))
		count++;
	return count;
}

static void an_empty_fleet(void **state)
{
	const char *whole = written();

	(void)state;
	assert_non_null(strstr(whole, "hak_build_info{version=\"1.2.3\"} 1\n"));
	assert_non_null(strstr(whole, "\nhak_clients 0\n"));
	assert_non_null(strstr(whole, "\nprocess_start_time_seconds 1000\n"));
	assert_null(strstr(whole, "group="));
	assert_null(strstr(whole, "\nhak_budget_bytes{"));
	assert_non_null(strstr(whole, "\nhak_config_last_reload_successful 0\n"));
	assert_int_equal(whole[strlen(whole) - 1], '\n');
}

static void groups_and_rows(void **state)
{
	struct group *plain = groups_join(&table.groups, "plain", 0);
	struct group *odd = groups_join(&table.groups, "o\"d\\d\n", 0);
	const char *whole;

	(void)state;
	plain->ledger.budget.soft_bytes = 99;
	odd->ledger.exceeded_ns = 1500000000;
	plain->departed[HAK_METRIC_trim_total] = 5;
	odd->departed[HAK_METRIC_trim_total] = UINT64_MAX;
	whole = written();
	assert_non_null(strstr(whole, "\nhak_trims_total{group=\"plain\"} 5\n"));
	assert_non_null(strstr(whole, "{group=\"o\\\"d\\\\d\\n\"} 18446744073709551615\n"));
	assert_non_null(strstr(whole, "hak_heap_bytes{group=\"plain\",state=\"free\"} 0\n"));
	assert_non_null(strstr(whole, "hak_budget_bytes{group=\"plain\",kind=\"soft\"} 99\n"));
	assert_null(strstr(whole, "kind=\"hard\""));
	assert_non_null(
		strstr(whole, "hak_budget_exceeded_seconds_total{group=\"plain\"} 0.000\n"));
	assert_non_null(strstr(whole, "_seconds_total{group=\"o\\\"d\\\\d\\n\"} 1.500\n"));
	assert_int_equal(count_of(whole, "# TYPE hak_heap_bytes gauge\n"), 1);
	assert_int_equal(count_of(whole, "# HELP hak_heap_bytes "), 1);
	assert_int_equal(count_of(whole, "# TYPE hak_trims_total counter\n"), 1);
	assert_int_equal(count_of(whole, "\nhak_heap_bytes{"), 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(an_empty_fleet, set_up, tear_down),
		cmocka_unit_test_setup_teardown(groups_and_rows, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
