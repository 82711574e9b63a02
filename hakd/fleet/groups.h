/* groups.h - clients under one name: what Prometheus sees instead of processes.
 *
 * A group is made by its first member. What its departed members had counted stays with it, so
 * that counters never fall; GROUPS_LINGER_NS after the last member has gone the group goes too, and
 * its series simply end. There are at most GROUPS_MAX: a further one takes the place of the one
 * that has been empty for longest, and where none is empty its members are in "other". So it is
 * with the GROUPS_OF_USER_MAX that processes of one user but root have made, among themselves.
 *
 *   count of a group's counter = sum over members' `counted` + departed
 */
#ifndef HAKD_FLEET_GROUPS_H
#define HAKD_FLEET_GROUPS_H

#include "base/clock.h"
#include "fleet/share.h"
#include "proto/telemetry.h"

#include <stddef.h>
#include <sys/types.h>

#include <uthash.h>

#define GROUPS_MAX 200
#define GROUPS_OF_USER_MAX 64
#define GROUPS_LINGER_NS (3600 * CLOCK_SECOND_NS)
#define GROUP_OTHER "other"

/* 0: none. */
struct group_budget {
	uint64_t soft_bytes;
	uint64_t hard_bytes;
	bool fails; /* at the hard one; else it is only counted */
};

/* What allot.h keeps of a group. */
struct group_ledger {
	struct group_budget budget; /* of all members together */
	struct group_budget rules;  /* the strictest that members' rules give the group */
	bool says_on_limit;	    /* of budget.fails; else each member's rule decides for it */
	struct share soft, hard;    /* as they are dealt out */
	uint64_t member_count;	    /* those that take part */
	unsigned __int128 live_bytes;
	uint64_t used_bytes; /* live and cached */
	uint64_t exceeded_ns;
	bool has_member_over;
	bool is_over; /* a member, or all together */
};

struct group {
	UT_hash_handle hh; /* by name */
	char name[128];
	uid_t maker; /* whose process was the first of it; 0: root's, or it was restored */
	size_t process_count;
	uint64_t empty_since_ns;
	uint64_t departed[HAK_METRIC_COUNT]; /* of counters; 0 for gauges */
	uint64_t sum[HAK_METRIC_COUNT];	     /* as table_sum left it */
	struct group_budget members;	     /* the sums of their own budgets, likewise */
	struct group_ledger ledger;
	uint64_t released_bytes; /* that hakd's advisor took of its members */
};

struct groups {
	struct group *by_name;
	size_t count;
};

void groups_deinit(struct groups *groups);

/* The group of that name, or "other", with one member more, of this user. NULL: no memory. */
struct group *groups_join(struct groups *groups, const char *name, uid_t uid);

/* The same without a member, where an earlier hakd had it; empty from now on. */
struct group *groups_restore(struct groups *groups, const char *name, uint64_t now_ns);

/* NULL: there is none of that name. */
struct group *groups_find(struct groups *groups, const char *name);

/* One member less; what it had counted stays. */
void group_leave(struct group *group, const uint64_t counted[HAK_METRIC_COUNT], uint64_t now_ns);

/* Only its counters: the process stays, with a heap that begins anew. */
void group_fold(struct group *group, const uint64_t counted[HAK_METRIC_COUNT]);

/* Takes back what was folded, or a part of it: a process's heap goes on after all. */
void group_unfold(struct group *group, const uint64_t counted[HAK_METRIC_COUNT]);

/* Drops groups that have been empty for long. */
void groups_expire(struct groups *groups, uint64_t now_ns);

/* By name, in the byte order: the order in which everything lists them. */
void groups_sort(struct groups *groups);

bool group_metric_is_counter(enum hak_metric metric);

/* Numbers of clients may be anything: sums stop at the largest number instead of turning over. */
static inline uint64_t group_add(uint64_t a, uint64_t b)
{
	return a + b < a ? UINT64_MAX : a + b;
}

#endif
