/* Goal: groups are bounded, keep what departed members counted, and go an hour after the last.
 * Method: members that join and leave, at times that the test names. */
#include "unit.h"

#include "fleet/groups.h"

#include <stdio.h>
#include <string.h>

static void counters_stay_and_gauges_go(void **state)
{
	uint64_t counted[HAK_METRIC_COUNT] = {
		[HAK_METRIC_live_bytes] = 7,
		[HAK_METRIC_trim_total] = 3,
	};
	struct groups groups = {.by_name = NULL};
	struct group *group = groups_join(&groups, "a", 0);

	(void)state;
	assert_ptr_equal(groups_join(&groups, "a", 0), group);
	group_leave(group, counted, 1);
	group_leave(group, counted, 2);
	assert_int_equal(group->departed[HAK_METRIC_live_bytes], 0);
	assert_int_equal(group->departed[HAK_METRIC_trim_total], 6);
	/* A sum stops where it would turn over. */
	counted[HAK_METRIC_trim_total] = UINT64_MAX;
	group_fold(group, counted);
	assert_int_equal(group->departed[HAK_METRIC_trim_total], UINT64_MAX);
	groups_deinit(&groups);
	assert_int_equal(groups.count, 0);
}

static void empty_groups_go_after_an_hour(void **state)
{
	const uint64_t counted[HAK_METRIC_COUNT] = {0}, hour = GROUPS_LINGER_NS;
	struct groups groups = {.by_name = NULL};
	struct group *empty = groups_join(&groups, "empty", 0);

	(void)state;
	groups_join(&groups, "used", 0);
	group_leave(empty, counted, 1000);
	groups_expire(&groups, 1000 + hour);
	assert_int_equal(groups.count, 2);
	/* Who comes back in time takes up where it left. */
	assert_ptr_equal(groups_join(&groups, "empty", 0), empty);
	groups_expire(&groups, 1000 + 2 * hour);
	assert_int_equal(groups.count, 2);
	group_leave(empty, counted, 2000 + hour);
	groups_expire(&groups, 2001 + 2 * hour);
	assert_int_equal(groups.count, 1);
	assert_string_equal(groups.by_name->name, "used");
	groups_deinit(&groups);
}

static void the_last_place_is_for_others(void **state)
{
	struct groups groups = {.by_name = NULL};
	struct group *other;
	char name[200];

	(void)state;
	for (int i = 0; i < GROUPS_MAX - 1; i++) {
		snprintf(name, sizeof name, "%d", i);
		assert_string_equal(groups_join(&groups, name, 0)->name, name);
	}
	other = groups_join(&groups, "one more", 0);
	assert_string_equal(other->name, "other");
	assert_ptr_equal(groups_join(&groups, "and another", 0), other);
	assert_int_equal(other->process_count, 2);
	assert_int_equal(groups.count, GROUPS_MAX);
	assert_string_equal(groups_join(&groups, "7", 0)->name, "7");
	groups_deinit(&groups);
	/* Nor is it anybody's where "other" was there first, as it may be among those restored. */
	other = groups_restore(&groups, "other", 1);
	for (int i = 0; i < GROUPS_MAX - 1; i++) {
		snprintf(name, sizeof name, "%d", i);
		assert_string_equal(groups_restore(&groups, name, 1)->name, name);
	}
	assert_ptr_equal(groups_restore(&groups, "one more", 1), other);
	assert_int_equal(groups.count, GROUPS_MAX);
	groups_deinit(&groups);
}

static void the_one_that_is_empty_for_longest_gives_way(void **state)
{
	static const uint64_t nothing[HAK_METRIC_COUNT];
	struct groups groups = {.by_name = NULL};
	char name[16];

	(void)state;
	for (int i = 0; i < GROUPS_MAX - 1; i++) {
		snprintf(name, sizeof name, "%d", i);
		assert_non_null(groups_join(&groups, name, 0));
	}
	group_leave(groups_find(&groups, "5"), nothing, 20);
	group_leave(groups_find(&groups, "7"), nothing, 10);
	assert_string_equal(groups_join(&groups, "new", 0)->name, "new");
	assert_null(groups_find(&groups, "7"));
	assert_non_null(groups_find(&groups, "5"));
	assert_string_equal(groups_join(&groups, "newer", 0)->name, "newer");
	assert_string_equal(groups_join(&groups, "newest", 0)->name, "other");
	groups_deinit(&groups);
}

/* Who has made as many as one may replaces his own, and nobody else's. */
static void a_user_has_so_many(void **state)
{
	static const uint64_t nothing[HAK_METRIC_COUNT];
	struct groups groups = {.by_name = NULL};
	char name[16];

	(void)state;
	groups_join(&groups, "service", 0);
	group_leave(groups_find(&groups, "service"), nothing, 1);
	for (int i = 0; i < GROUPS_OF_USER_MAX; i++) {
		snprintf(name, sizeof name, "%d", i);
		assert_string_equal(groups_join(&groups, name, 1000)->name, name);
	}
	assert_string_equal(groups_join(&groups, "more", 1000)->name, "other");
	assert_string_equal(groups_join(&groups, "service", 1000)->name, "service");
	assert_string_equal(groups_join(&groups, "another's", 1001)->name, "another's");
	group_leave(groups_find(&groups, "service"), nothing, 2);
	group_leave(groups_find(&groups, "3"), nothing, 3);
	assert_string_equal(groups_join(&groups, "more", 1000)->name, "more");
	assert_null(groups_find(&groups, "3"));
	assert_non_null(groups_find(&groups, "service"));
	groups_deinit(&groups);
}

static void groups_are_listed_by_name(void **state)
{
	struct groups groups = {.by_name = NULL};

	(void)state;
	groups_join(&groups, "b", 0);
	groups_join(&groups, "c", 0);
	groups_join(&groups, "a", 0);
	groups_sort(&groups);
	assert_string_equal(groups.by_name->name, "a");
	groups_deinit(&groups);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counters_stay_and_gauges_go),
		cmocka_unit_test(empty_groups_go_after_an_hour),
		cmocka_unit_test(the_last_place_is_for_others),
		cmocka_unit_test(the_one_that_is_empty_for_longest_gives_way),
		cmocka_unit_test(a_user_has_so_many),
		cmocka_unit_test(groups_are_listed_by_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
