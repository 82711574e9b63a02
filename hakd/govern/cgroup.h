/* cgroup.h - the control groups of a process, where the kernel tells of their memory.
 *
 * Version 2 tells of stalls (memory.pressure) in each group, and of limits where it has the memory
 * controller; beside it, or alone, version 1 may have that. So a process has two folders here,
 * which may be the same one:
 *
 *   stalls   of version 2, or "": not mounted, or the root, whose stalls are the system's
 *   limits   where memory.max and memory.high, or memory.limit_in_bytes, are; or ""
 *
 * A limit of a folder above counts as well: all folders from `limits` up to the mount point are
 * looked at, CGROUP_LIMITS_MAX with a limit at most, the innermost first.
 *
 * Reads files of /proc and of cgroupfs, which answer at once. One thread; no allocation.
 */
#ifndef HAKD_GOVERN_CGROUP_H
#define HAKD_GOVERN_CGROUP_H

#include "govern/level.h"

#include <stddef.h>
#include <sys/types.h>

#define CGROUP_PATH_BYTES 512 /* a group whose folder has a longer name is none here */
#define CGROUP_LIMITS_MAX 4

/* Where a hierarchy is mounted, and which of its groups is the mount point; "" for none. */
struct cgroup_mount {
	char folder[128];
	char root[256];
};

struct cgroup_mounts {
	struct cgroup_mount version2;
	struct cgroup_mount memory; /* of version 1 */
};

struct cgroup_place {
	char stalls[CGROUP_PATH_BYTES];
	char limits[CGROUP_PATH_BYTES];
	size_t limits_base; /* bytes of `limits` that are its mount point */
	bool is_version2;   /* of limits */
};

/* How much of `limits` is the name of a folder that has a limit. */
struct cgroup_limits {
	size_t count;
	size_t lengths[CGROUP_LIMITS_MAX];
};

/* Of a text like /proc/self/mountinfo. */
void cgroup_parse_mounts(const char *mountinfo, struct cgroup_mounts *mounts);

/* Of a text like /proc/PID/cgroup. False: in no group but the root. */
bool cgroup_parse_place(const struct cgroup_mounts *mounts, const char *text,
			struct cgroup_place *place);

void cgroup_read_mounts(struct cgroup_mounts *mounts);
bool cgroup_read_place(const struct cgroup_mounts *mounts, pid_t pid, struct cgroup_place *place);

/* Which folders have a limit now. */
void cgroup_find_limits(const struct cgroup_place *place, struct cgroup_limits *limits);

/* The fullest of them; a limit of 0 bytes where there is none, or none can be read. */
void cgroup_read_room(const struct cgroup_place *place, const struct cgroup_limits *limits,
		      struct level_room *room);

/* Reads a file as a string, cut off at the size; its length, or a negative errno. */
ssize_t cgroup_read_file(const char *folder, const char *name, char *to, size_t size);

#endif
