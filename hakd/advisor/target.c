#include "advisor/target.h"

#include "base/clock.h"
#include "base/privilege.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef MADV_COLLAPSE /* Linux 6.1 */
#define MADV_COLLAPSE 25
#endif

/* The kernel asks to come again: so often, then the range is dropped. */
#define RETRIES_MAX 8

pid_t target_pid(int pidfd)
{
	char path[64], line[256];
	pid_t pid = -1;
	FILE *file;

	snprintf(path, sizeof path, "/proc/self/fdinfo/%d", pidfd);
	file = fopen(path, "re");
	if (file == NULL)
		return -1;
	while (pid < 0 && fgets(line, sizeof line, file) != NULL)
		if (strncmp(line, "Pid:", 4) == 0)
			pid = (pid_t)strtol(line + 4, NULL, 10) > 0
				      ? (pid_t)strtol(line + 4, NULL, 10)
				      : 0;
	fclose(file);
	return pid;
}

enum process_maps target_maps_memfd(pid_t pid, const struct hak_reclaim_request *request)
{
	dev_t device = makedev(request->device_major, request->device_minor);

	return process_maps_memfd(pid, device, request->inode);
}

static int advice_of(const struct hak_reclaim_request *request)
{
	switch (request->advice) {
	case HAK_RECLAIM_COLD:
		return MADV_COLD;
	case HAK_RECLAIM_COLLAPSE:
		return MADV_COLLAPSE;
	default:
		return MADV_PAGEOUT;
	}
}

/* What is no multiple of the system's pages would advise its neighbours as well. */
static bool is_aligned(const struct hak_reclaim_range *range)
{
	uint64_t page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);

	return (((uint64_t)range->first_page | range->page_count) << HAK_RECLAIM_PAGE_SHIFT) %
		       page_bytes ==
	       0;
}

static void drop(struct hak_reclaim_answer *answer, int error)
{
	answer->dropped_count++;
	answer->error = (uint32_t)error;
}

static size_t collect(const struct hak_reclaim_request *request, struct iovec *parts,
		      struct hak_reclaim_answer *answer)
{
	size_t count = 0;

	for (uint32_t i = 0; i < request->range_count; i++) {
		const struct hak_reclaim_range *range = &request->ranges[i];
		uint64_t offset = (uint64_t)range->first_page << HAK_RECLAIM_PAGE_SHIFT;

		if (!is_aligned(range)) {
			drop(answer, EINVAL);
			continue;
		}
		/* Of another process: never followed here. */
		parts[count].iov_base = (void *)(uintptr_t)(request->region_base + offset);
		parts[count++].iov_len = (size_t)range->page_count << HAK_RECLAIM_PAGE_SHIFT;
	}
	return count;
}

/* Goes over the parts that `taken` bytes are; one that is taken in part is over as well. */
static size_t skip(const struct iovec *parts, size_t at, size_t count, uint64_t taken,
		   struct hak_reclaim_answer *answer)
{
	while (at < count && taken >= parts[at].iov_len)
		taken -= parts[at++].iov_len;
	if (at < count) {
		drop(answer, EAGAIN);
		at++;
	}
	return at;
}

/* False: there is no use in going on. */
static bool judge_error(int error, struct hak_reclaim_answer *answer)
{
	if (error == ESRCH)
		answer->result = HAK_RECLAIM_GONE;
	else if (error == EPERM || error == ENOSYS)
		answer->result = HAK_RECLAIM_UNABLE;
	else
		return true;
	answer->error = (uint32_t)error;
	return false;
}

static void advise(int pidfd, int advice, const struct iovec *parts, size_t count,
		   struct hak_reclaim_answer *answer)
{
	unsigned retries = 0;

	for (size_t at = 0; at < count;) {
		ssize_t taken = syscall(SYS_process_madvise, pidfd, parts + at, count - at, advice,
					0);

		if (taken >= 0) {
			answer->advised_bytes += (uint64_t)taken;
			at = skip(parts, at, count, (uint64_t)taken, answer);
			continue;
		}
		if ((errno == EINTR || errno == EAGAIN) && retries++ < RETRIES_MAX)
			continue;
		if (!judge_error(errno, answer))
			return;
		drop(answer, errno);
		at++;
	}
}

/* VmSwap of the process, where this system has swap at all. */
static uint64_t swapped_bytes(pid_t pid)
{
	struct sysinfo system;
	char path[64], line[256];
	uint64_t bytes = 0;
	FILE *file;

	if (sysinfo(&system) != 0 || system.totalswap == 0)
		return 0;
	snprintf(path, sizeof path, "/proc/%d/status", pid);
	file = fopen(path, "re");
	while (file != NULL && fgets(line, sizeof line, file) != NULL)
		if (strncmp(line, "VmSwap:", 7) == 0)
			bytes = strtoull(line + 7, NULL, 10) << 10;
	if (file != NULL)
		fclose(file);
	return bytes;
}

/* The process goes on meanwhile, and what it does itself is not ours. */
static uint64_t change(uint64_t from, uint64_t to, uint64_t most)
{
	uint64_t bytes = to > from ? to - from : 0;

	return bytes < most ? bytes : most;
}

void target_advise(int pidfd, pid_t pid, const struct hak_reclaim_request *request,
		   struct hak_reclaim_answer *answer)
{
	static struct iovec parts[HAK_RECLAIM_RANGES_MAX];
	uint64_t swapped_before = swapped_bytes(pid), begin_ns = clock_now_ns();
	struct process_memory before, after;
	size_t count;

	answer->result = HAK_RECLAIM_DONE;
	process_read_memory(pid, &before);
	count = collect(request, parts, answer);
	advise(pidfd, advice_of(request), parts, count, answer);
	process_read_memory(pid, &after);
	if (request->advice == HAK_RECLAIM_PAGEOUT && after.virtual_bytes != 0)
		answer->released_bytes = change(after.resident_bytes, before.resident_bytes,
						answer->advised_bytes);
	answer->swapped_bytes = change(swapped_before, swapped_bytes(pid), answer->advised_bytes);
	answer->duration_ns = clock_now_ns() - begin_ns;
}

int target_refusal(void)
{
	int self = (int)syscall(SYS_pidfd_open, getpid(), 0), error = 0;

	/* Nothing is advised so, but a kernel without the call says so. */
	if (self < 0 ||
	    (syscall(SYS_process_madvise, self, NULL, 0, MADV_PAGEOUT, 0) != 0 && errno == ENOSYS))
		error = ENOSYS;
	if (self >= 0)
		close(self);
	if (error == 0 && !privilege_has(PRIVILEGE_ADVICE))
		error = EPERM;
	return error;
}
