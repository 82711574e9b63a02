#include "govern/stats.h"

#include "base/report.h"
#include "base/size_class.h"
#include "heap/depot.h"
#include "heap/huge.h"
#include "heap/meta.h"
#include "heap/pool.h"
#include "heap/region.h"
#include "heap/slab.h"
#include "heap/thread.h"

#include <errno.h>
#include <string.h>

static_assert(HAK_CLASS_COUNT < HAK_STATS_CLASS_COUNT_MAX, "the public arrays have a row each");

/* live = given out - in depots - in magazines. Blocks move between the three while we count, so a
 * difference below zero is a moment that never was: it counts as none. */
static void add_slabs(struct hak_stats *stats)
{
	struct hak_slab_counts slabs[HAK_CLASS_COUNT + 1] = {{0}};
	uint64_t cached[HAK_CLASS_COUNT + 1] = {0};
	uint64_t run_unit_count;

	hak_thread_count(cached);
	hak_slab_count(slabs, &run_unit_count);
	stats->live_bytes += run_unit_count << HAK_UNIT_SHIFT;
	for (unsigned i = 1; i <= HAK_CLASS_COUNT; i++) {
		uint64_t bytes = hak_size_classes[i].block_bytes;
		uint64_t taken = slabs[i].taken_block_count;

		cached[i] += hak_depot_count(i);
		if (cached[i] > taken)
			cached[i] = taken;
		stats->live_bytes += (taken - cached[i]) * bytes;
		stats->cached_bytes += cached[i] * bytes;
		stats->free_bytes += slabs[i].free_touched_block_count * bytes;
		stats->slab_count_by_class[i] = slabs[i].slab_count;
		stats->block_bytes_by_class[i] = bytes;
	}
}

static void collect(struct hak_stats *stats)
{
	struct hak_pool_counts pool;
	struct hak_huge_counts huge;
	struct hak_thread *thread = hak_thread_enter();

	memset(stats, 0, sizeof *stats);
	stats->version = HAK_STATS_VERSION;
	stats->class_count = HAK_CLASS_COUNT + 1;
	if (hak_region_is_born()) {
		add_slabs(stats);
		hak_pool_count(&pool);
		hak_huge_count(&huge);
		stats->free_bytes += pool.free_touched_unit_count << HAK_UNIT_SHIFT;
		stats->metadata_bytes = hak_meta_bytes() + hak_region_table_bytes();
		stats->live_bytes += huge.live_bytes;
		stats->huge_bytes = huge.live_bytes;
		stats->huge_count = huge.block_count;
		stats->huge_cached_bytes = huge.cached_bytes;
		stats->cached_bytes += huge.cached_bytes;
		stats->superslab_open_count = pool.open_count;
		stats->superslab_peak_count = pool.peak_count;
		stats->superslab_opened_total = pool.opened_total;
	}
	hak_thread_leave(thread);
}

HAK_EXPORT int hak_stats_get(struct hak_stats *stats, size_t stats_bytes)
{
	struct hak_stats now;

	if (stats == NULL || stats_bytes < sizeof stats->version) {
		errno = EINVAL;
		return -1;
	}
	collect(&now);
	memset(stats, 0, stats_bytes);
	memcpy(stats, &now, stats_bytes < sizeof now ? stats_bytes : sizeof now);
	return 0;
}

static void print_row(const char *name, uint64_t number, const char *unit)
{
	struct hak_line line = {.used = 0};

	hak_line_put(&line, "hak: ");
	hak_line_put(&line, name);
	hak_line_put(&line, " ");
	hak_line_put_number(&line, number);
	hak_line_put(&line, unit);
	hak_line_write(&line);
}

void hak_stats_print(void)
{
	struct hak_stats stats;

	collect(&stats);
	print_row("live", stats.live_bytes, " bytes");
	print_row("cached", stats.cached_bytes, " bytes");
	print_row("free", stats.free_bytes, " bytes");
	print_row("metadata", stats.metadata_bytes, " bytes at most");
	print_row("huge", stats.huge_bytes, " bytes");
	print_row("SuperSlabs open", stats.superslab_open_count, "");
	print_row("SuperSlabs at peak", stats.superslab_peak_count, "");
	print_row("SuperSlabs opened in total", stats.superslab_opened_total, "");
	for (unsigned i = 1; i < stats.class_count; i++) {
		struct hak_line line = {.used = 0};

		if (stats.slab_count_by_class[i] == 0)
			continue;
		hak_line_put(&line, "hak: slabs of ");
		hak_line_put_number(&line, stats.block_bytes_by_class[i]);
		hak_line_put(&line, " bytes ");
		hak_line_put_number(&line, stats.slab_count_by_class[i]);
		hak_line_write(&line);
	}
}
