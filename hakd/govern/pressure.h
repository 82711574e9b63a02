/* pressure.h - who is short of memory: the system, and the control groups that clients are in.
 *
 * The kernel tells of stalls by triggers on its pressure files (PSI). It wakes poll(2) by EPOLLPRI,
 * which libevent cannot ask for; so all of them are in an epoll set of their own, `epoll`, which is
 * readable when one has fired. Whoever polls a trigger takes its event, and who waits for the set
 * polls all in it: so being woken is the event, and which one it was the counters of stalls say.
 * A window of 1 s takes CAP_SYS_RESOURCE; without it windows are of 2 s, and the kernel looks
 * every 2 s. A group's limit is told of at once where that is possible:
 * by memory.events in version 2, by a threshold of usage_in_bytes in version 1.
 *
 * Where a trigger is refused (an older kernel, no rights, no such file) the same files are read at
 * each tick instead, as far as they can be: `source` says which it is.
 *
 * Bounds: PRESSURE_GROUPS_MAX groups with 3 descriptors each. Clients of further groups have the
 * system's level alone, and `overflow_total` counts that. A group that no client has been seen in
 * from one sweep to the next is let go, and so is one that has vanished.
 *
 * Owns its descriptors. One thread. Errors are not fatal: without all of this there is no pressure.
 */
#ifndef HAKD_GOVERN_PRESSURE_H
#define HAKD_GOVERN_PRESSURE_H

#include "govern/cgroup.h"
#include "govern/level.h"

#define PRESSURE_GROUPS_MAX 64

/* Limits are looked for again each so many ticks. */
#define PRESSURE_LIMITS_TICKS 5

enum pressure_source {
	PRESSURE_SOURCE_NONE,	 /* nothing can be read */
	PRESSURE_SOURCE_POLLED,	 /* files, at each tick */
	PRESSURE_SOURCE_TRIGGER, /* the kernel tells */
};

enum pressure_scope { PRESSURE_SYSTEM, PRESSURE_CGROUP, PRESSURE_SCOPES };

enum pressure_event {
	PRESSURE_EVENT_SOME,
	PRESSURE_EVENT_FULL,
	PRESSURE_EVENT_LIMIT,
	PRESSURE_EVENTS
};

struct pressure_watch {
	uint64_t id; /* 0: a free place; never the same twice */
	struct cgroup_place place;
	struct cgroup_limits limits;
	int fds[PRESSURE_EVENTS];
	enum level told;
	struct level_stalls stalls; /* as last read */
	struct level_judge judge;
	struct level_room room; /* as last read */
	bool is_seen;		/* a client is in it, since the last sweep */
	bool is_gone;
};

struct pressure {
	int epoll;
	const char *stalls_folder; /* /proc/pressure, whose file is "memory" */
	struct cgroup_mounts mounts;
	struct pressure_watch system;
	struct pressure_watch groups[PRESSURE_GROUPS_MAX];
	size_t group_count;
	enum pressure_source source; /* of the system's stalls */
	int source_error;	     /* why it is not PRESSURE_SOURCE_TRIGGER: a positive errno */
	unsigned window_seconds;     /* of the system's triggers */
	unsigned tick_count;
	uint64_t last_id;
	uint64_t overflow_total;
	uint64_t event_totals[PRESSURE_SCOPES][LEVEL_COUNT]; /* how often a level was come up to */
};

/* "none", "polled", "triggers". */
const char *pressure_source_text(enum pressure_source source);

/* Sets the system's triggers, as far as the kernel allows. -EMFILE and the like: no epoll set. */
int pressure_init(struct pressure *pressure, const char *stalls_folder);
void pressure_deinit(struct pressure *pressure);

/* The id of the group that the process is in, whose watch begins now at the latest; 0 for none. */
uint64_t pressure_watch(struct pressure *pressure, pid_t pid, uint64_t now_ns);

/* A client is still in that group: false where the group is no longer watched. */
bool pressure_keep(struct pressure *pressure, uint64_t id);

/* Lets those groups go that nobody has kept since the last sweep. */
void pressure_sweep(struct pressure *pressure);

/* To be called when `epoll` is readable, or may have been: notes what has fired, samples all. */
void pressure_wake(struct pressure *pressure, uint64_t now_ns);

/* Every 2 s: samples all, and looks for limits now and then. */
void pressure_tick(struct pressure *pressure, uint64_t now_ns);

/* Samples all scopes that were pressing, to see whether they are still. */
void pressure_look(struct pressure *pressure, uint64_t now_ns);

/* NULL where that group is not watched. */
const struct pressure_watch *pressure_find(const struct pressure *pressure, uint64_t id);

/* The highest level of all scopes; whether any is pressing. */
enum level pressure_level(const struct pressure *pressure);
bool pressure_is_pressing(const struct pressure *pressure);

bool pressure_is_valid(const struct pressure *pressure);

#endif
