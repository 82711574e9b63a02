/* target.h - what the advisor does to one process: look whether it is the client that is meant, and
 * advise its pages.
 *
 * The kernel takes exactly the pages that were marked MADV_FREE and not written since, whether the
 * process runs, is idle, stopped or frozen. A range that is wrong costs the process time at most: a
 * page that is in use stays, or is swapped out where there is swap.
 *
 * Between the look and the advice the process may become another program (exec). The advice then
 * meets that program's memory, at addresses of the old one: as harmless, and as rare.
 *
 * Threads    one. Waits for the kernel alone, some milliseconds.
 * Source     process_madvise(2), pidfd_open(2), proc_pid_fdinfo(5).
 */
#ifndef HAKD_ADVISOR_TARGET_H
#define HAKD_ADVISOR_TARGET_H

#include "fleet/process.h"
#include "proto/reclaim.h"

#include <sys/types.h>

/* The process of a pidfd, as this pid namespace counts; 0 where it has ended, or there is no such
 * process here; -1 where the descriptor is no pidfd. */
pid_t target_pid(int pidfd);

/* Whether this process maps the memfd that the request names. */
enum process_maps target_maps_memfd(pid_t pid, const struct hak_reclaim_request *request);

/* Advises all ranges: result, bytes, dropped ranges and error of the answer are written. */
void target_advise(int pidfd, pid_t pid, const struct hak_reclaim_request *request,
		   struct hak_reclaim_answer *answer);

/* 0, or why process_madvise(2) cannot work at all: ENOSYS, or EPERM without the capability. */
int target_refusal(void);

#endif
