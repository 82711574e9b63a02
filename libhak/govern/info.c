/* info.c - what glibc's malloc tells of itself, and is told: mallinfo(3), malloc_info(3),
 * malloc_stats(3), malloc_trim(3), mallopt(3).
 *
 * The words of that interface are those of another allocator. Each is given the number of ours that
 * a reader of the manual page would take it for:
 *
 *   arena, system    memory held for small blocks and runs: in use, cached and free
 *   hblks, hblkhd    huge blocks: how many, how many bytes
 *   fsmblks, fast    cached in magazines and depots
 *   uordblks         in use, in slabs and runs
 *   fordblks, rest   not in use: cached and free
 *   keepcost         what malloc_trim() could give back of whole units
 */
#include "base/forward.h"
#include "base/names.h"
#include "govern/purge.h"
#include "govern/stats.h"
#include "heap/magazine.h"
#include "heap/region.h"
#include "heap/thread.h"

#include <errno.h>
#include <hak/hak.h>
#include <limits.h>
#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

/* Under these names for tests alone: hak/hak.h has better ones of its own. */
struct mallinfo2 hak_mallinfo2(void);
struct mallinfo hak_mallinfo(void);
int hak_malloc_info(int options, FILE *stream);
void hak_malloc_stats(void);
int hak_malloc_trim(size_t pad);
int hak_mallopt(int parameter, int value);

struct mallinfo2 hak_mallinfo2(void)
{
	struct mallinfo2 info = {0};
	struct hak_stats stats;
	uint64_t free_count = 0;

	if (hak_forward.is_on)
		return hak_forward.mallinfo2();
	(void)hak_stats_get(&stats, sizeof stats);
	info.hblks = stats.huge_count;
	info.hblkhd = stats.huge_bytes;
	info.fsmblks = stats.cached_bytes - stats.huge_cached_bytes;
	info.uordblks = stats.live_bytes - stats.huge_bytes;
	info.fordblks = info.fsmblks + stats.free_bytes + stats.lazyfree_bytes;
	info.arena = info.uordblks + info.fordblks;
	for (unsigned i = 1; i < stats.class_count; i++)
		free_count += stats.free_count_by_class[i] + stats.cached_count_by_class[i];
	info.ordblks = free_count;
	info.keepcost = stats.free_unit_bytes;
	return info;
}

/* The old call has no room for more: what does not fit is the most that there is room for. */
static int clipped(size_t number)
{
	return number > INT_MAX ? INT_MAX : (int)number;
}

struct mallinfo hak_mallinfo(void)
{
	struct mallinfo2 info = hak_mallinfo2();

	return (struct mallinfo){
		.arena = clipped(info.arena),
		.ordblks = clipped(info.ordblks),
		.hblks = clipped(info.hblks),
		.hblkhd = clipped(info.hblkhd),
		.fsmblks = clipped(info.fsmblks),
		.uordblks = clipped(info.uordblks),
		.fordblks = clipped(info.fordblks),
		.keepcost = clipped(info.keepcost),
	};
}

/* The rows of one number that is kept by class. Returns the blocks of all of them. */
static size_t put_sizes(FILE *stream, const struct hak_stats *stats, const uint64_t *counts)
{
	size_t all = 0;

	for (unsigned i = 1; i < stats->class_count; i++) {
		size_t least = i == 1 ? 0 : stats->block_bytes_by_class[i - 1] + 1;

		if (counts[i] == 0)
			continue;
		all += counts[i];
		fprintf(stream, "  <size from=\"%zu\" to=\"%zu\" total=\"%zu\" count=\"%zu\"/>\n",
			least, (size_t)stats->block_bytes_by_class[i],
			(size_t)(counts[i] * stats->block_bytes_by_class[i]), (size_t)counts[i]);
	}
	return all;
}

static void put_total(FILE *stream, const char *type, size_t count, size_t bytes)
{
	fprintf(stream, "<total type=\"%s\" count=\"%zu\" size=\"%zu\"/>\n", type, count, bytes);
}

/* The same elements as glibc's, with one heap; the rows of sizes are of free blocks. By stdio,
 * which may allocate: outside the gate. */
int hak_malloc_info(int options, FILE *stream)
{
	struct mallinfo2 info;
	struct hak_stats stats;
	size_t cached = 0, count;

	if (hak_forward.is_on)
		return hak_forward.malloc_info(options, stream);
	if (options != 0) {
		errno = EINVAL;
		return EINVAL; /* as glibc does; the manual page says -1 */
	}
	(void)hak_stats_get(&stats, sizeof stats);
	info = hak_mallinfo2();
	for (unsigned i = 1; i < stats.class_count; i++)
		cached += stats.cached_count_by_class[i];
	fputs("<malloc version=\"1\">\n<heap nr=\"0\">\n<sizes>\n", stream);
	count = put_sizes(stream, &stats, stats.free_count_by_class);
	fputs("</sizes>\n", stream);
	put_total(stream, "fast", cached, info.fsmblks);
	put_total(stream, "rest", count, stats.free_bytes);
	fprintf(stream, "<system type=\"current\" size=\"%zu\"/>\n", (size_t)info.arena);
	fputs("</heap>\n", stream);
	put_total(stream, "fast", cached, info.fsmblks);
	put_total(stream, "rest", count, stats.free_bytes);
	put_total(stream, "mmap", stats.huge_count, stats.huge_bytes);
	fprintf(stream, "<system type=\"current\" size=\"%zu\"/>\n",
		(size_t)(info.arena + stats.huge_bytes + stats.huge_cached_bytes));
	fputs("</malloc>\n", stream);
	return 0;
}

void hak_malloc_stats(void)
{
	if (hak_forward.is_on)
		hak_forward.malloc_stats();
	else
		hak_stats_print_to(STDERR_FILENO);
}

HAK_EXPORT size_t hak_trim(size_t target)
{
	struct hak_purge_trim trim = {.level = HAK_PURGE_ALL, .target_bytes = target};
	bool more = true;

	/* A step at a time: a fork, or anybody else, need not wait for all of it. */
	while (more) {
		struct hak_thread *thread = hak_thread_enter();

		more = hak_region_is_born() && hak_purge_trim(&trim);
		hak_thread_leave(thread);
	}
	return trim.released_bytes;
}

/* pad is room that glibc would leave at the top of its heap, which ours has not. */
int hak_malloc_trim(size_t pad)
{
	if (hak_forward.is_on)
		return hak_forward.malloc_trim(pad);
	return hak_trim(SIZE_MAX) != 0;
}

HAK_EXPORT void hak_purge_thread(void)
{
	struct hak_thread *thread = hak_thread_enter();

	if (thread != NULL)
		hak_magazine_shed(&thread->magazines);
	hak_thread_leave(thread);
}

/* All that glibc takes is taken, with its answers, and means nothing here: there is no top to trim,
 * every block over 1 MiB is a mapping, threads share no arenas. The bound is glibc 2.36's. */
#define MXFAST_MAX (80 * (int)sizeof(size_t) / 4)

int hak_mallopt(int parameter, int value)
{
	if (hak_forward.is_on)
		return hak_forward.mallopt(parameter, value);
	return parameter != M_MXFAST || (value >= 0 && value <= MXFAST_MAX);
}

HAK_NAME(mallinfo, hak_mallinfo);
HAK_NAME(mallinfo2, hak_mallinfo2);
HAK_NAME(malloc_info, hak_malloc_info);
HAK_NAME(malloc_stats, hak_malloc_stats);
HAK_NAME(malloc_trim, hak_malloc_trim);
HAK_NAME(mallopt, hak_mallopt);
HAK_NAME(__libc_mallinfo, hak_mallinfo);
HAK_NAME(__libc_mallopt, hak_mallopt);
