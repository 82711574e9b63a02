/* memory.h - how much memory this process may hope for.
 *
 * Threads    any. errno is kept.
 * Source     cgroups(7), Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst.
 */
#ifndef HAK_BASE_MEMORY_H
#define HAK_BASE_MEMORY_H

#include "base/config.h"

/* The machine's memory, or the least of the limits of the process's control group and those above
 * it, v1 or v2, where that is less. Opens files: ask once, and not under a seccomp filter, where it
 * is the machine's. */
size_t hak_memory_bytes(void);

/* The least limit of one control group and those above it, SIZE_MAX where there is none.
 * membership: the text of /proc/PID/cgroup; root: where control groups are mounted. For tests. */
size_t hak_memory_limit(const char *membership, const char *root);

#endif
