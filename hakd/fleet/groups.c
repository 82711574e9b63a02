#include "fleet/groups.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GAUGE, COUNTER };

static const char kinds[HAK_METRIC_COUNT] = {
#define METRIC(kind, field, family, labels, help) kind,
#include "proto/metrics.def"
#undef METRIC
};

bool group_metric_is_counter(enum hak_metric metric)
{
	return kinds[metric] == COUNTER;
}

static void drop(struct groups *groups, struct group *group)
{
	HASH_DEL(groups->by_name, group);
	groups->count--;
	free(group);
}

void groups_deinit(struct groups *groups)
{
	struct group *group, *next;

	HASH_ITER(hh, groups->by_name, group, next)
	{
		drop(groups, group);
	}
}

struct group *groups_find(struct groups *groups, const char *name)
{
	struct group *group;

	HASH_FIND_STR(groups->by_name, name, group);
	return group;
}

static size_t named_count(struct groups *groups)
{
	return groups->count - (groups_find(groups, GROUP_OTHER) != NULL);
}

static bool has_as_many_as_one_may(const struct groups *groups, uid_t uid)
{
	size_t count = 0;

	for (const struct group *group = groups->by_name; group != NULL; group = group->hh.next)
		count += group->maker == uid;
	return uid != 0 && count >= GROUPS_OF_USER_MAX;
}

/* The one that has been empty for longest gives its place up, where it may be replaced: one of the
 * user's own where he has enough. */
static bool make_room(struct groups *groups, uid_t uid, bool may_replace)
{
	bool has_enough = has_as_many_as_one_may(groups, uid);
	struct group *group, *oldest = NULL;

	if (named_count(groups) < GROUPS_MAX - 1 && !has_enough)
		return true;
	for (group = groups->by_name; may_replace && group != NULL; group = group->hh.next)
		if (group->process_count == 0 && strcmp(group->name, GROUP_OTHER) != 0 &&
		    (!has_enough || group->maker == uid) &&
		    (oldest == NULL || group->empty_since_ns < oldest->empty_since_ns))
			oldest = group;
	if (oldest != NULL)
		drop(groups, oldest);
	return oldest != NULL;
}

static struct group *find_or_make(struct groups *groups, const char *name, uid_t uid,
				  bool may_replace)
{
	struct group *group = groups_find(groups, name);

	/* One place is kept for "other", whether it is there yet or not. */
	if (group == NULL && strcmp(name, GROUP_OTHER) != 0 &&
	    !make_room(groups, uid, may_replace)) {
		name = GROUP_OTHER;
		group = groups_find(groups, name);
	}
	if (group == NULL) {
		group = calloc(1, sizeof *group);
		if (group == NULL)
			return NULL;
		snprintf(group->name, sizeof group->name, "%s", name);
		group->maker = strcmp(name, GROUP_OTHER) != 0 ? uid : 0;
		HASH_ADD_STR(groups->by_name, name, group);
		groups->count++;
	}
	return group;
}

struct group *groups_join(struct groups *groups, const char *name, uid_t uid)
{
	struct group *group = find_or_make(groups, name, uid, true);

	if (group != NULL)
		group->process_count++;
	return group;
}

struct group *groups_restore(struct groups *groups, const char *name, uint64_t now_ns)
{
	/* Of the others, that are empty yet, the members have not come back. */
	struct group *group = find_or_make(groups, name, 0, false);

	if (group != NULL && group->process_count == 0)
		group->empty_since_ns = now_ns;
	return group;
}

void group_fold(struct group *group, const uint64_t counted[HAK_METRIC_COUNT])
{
	for (enum hak_metric i = 0; i < HAK_METRIC_COUNT; i++)
		if (group_metric_is_counter(i))
			group->departed[i] = group_add(group->departed[i], counted[i]);
}

void group_unfold(struct group *group, const uint64_t counted[HAK_METRIC_COUNT])
{
	for (enum hak_metric i = 0; i < HAK_METRIC_COUNT; i++)
		if (group_metric_is_counter(i))
			group->departed[i] -= counted[i] < group->departed[i] ? counted[i]
									      : group->departed[i];
}

void group_leave(struct group *group, const uint64_t counted[HAK_METRIC_COUNT], uint64_t now_ns)
{
	group_fold(group, counted);
	if (--group->process_count == 0)
		group->empty_since_ns = now_ns;
}

void groups_expire(struct groups *groups, uint64_t now_ns)
{
	struct group *group, *next;

	HASH_ITER(hh, groups->by_name, group, next)
	{
		if (group->process_count == 0 && now_ns - group->empty_since_ns > GROUPS_LINGER_NS)
			drop(groups, group);
	}
}

static int by_name(const struct group *a, const struct group *b)
{
	return strcmp(a->name, b->name);
}

void groups_sort(struct groups *groups)
{
	HASH_SORT(groups->by_name, by_name);
}
