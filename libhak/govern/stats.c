#include "govern/stats.h"

#include "base/misuse.h"
#include "base/os.h"
#include "base/report.h"
#include "base/size_class.h"
#include "govern/purge.h"
#include "heap/depot.h"
#include "heap/huge.h"
#include "heap/meta.h"
#include "heap/pool.h"
#include "heap/quarantine.h"
#include "heap/region.h"
#include "heap/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static_assert(HAK_CLASS_COUNT < HAK_STATS_CLASS_COUNT_MAX, "the public arrays have a row each");

/* live = taken - in depots - in magazines; blocks move between the three while we count. */
static void add_slabs(struct hak_stats *stats, const struct hak_tally_sums *sums)
{
	uint64_t cached[HAK_CLASS_COUNT + 1] = {0};

	hak_thread_count(cached);
	stats->live_bytes += hak_tally_not_negative(sums->run_units) << HAK_UNIT_SHIFT;
	for (unsigned i = 1; i <= HAK_CLASS_COUNT; i++) {
		uint64_t bytes = hak_size_classes[i].block_bytes;
		uint64_t taken = hak_tally_not_negative(sums->taken[i]);

		cached[i] += hak_depot_count(i) + (HAK_SECURE ? hak_quarantine_count(i) : 0);
		if (cached[i] > taken)
			cached[i] = taken;
		stats->live_count_by_class[i] = taken - cached[i];
		stats->cached_count_by_class[i] = cached[i];
		stats->free_count_by_class[i] = hak_tally_not_negative(sums->touched[i] -
								       sums->taken[i]);
		stats->live_bytes += stats->live_count_by_class[i] * bytes;
		stats->cached_bytes += cached[i] * bytes;
		stats->slab_count_by_class[i] = hak_tally_not_negative(sums->slabs[i]);
		stats->block_bytes_by_class[i] = bytes;
	}
}

/* Memory that holds no block, so much of it marked. */
static void add_free(struct hak_stats *stats, uint64_t bytes, uint64_t lazy_bytes)
{
	if (lazy_bytes > bytes)
		lazy_bytes = bytes;
	stats->lazyfree_bytes += lazy_bytes;
	stats->free_bytes += bytes - lazy_bytes;
}

unsigned hak_stats_collect(struct hak_stats *stats, struct hak_tally_sums *sums)
{
	struct hak_pool_counts pool;
	struct hak_huge_counts huge;
	unsigned tally_count = hak_thread_tally(sums);

	memset(stats, 0, sizeof *stats);
	stats->version = HAK_STATS_VERSION;
	stats->class_count = HAK_CLASS_COUNT + 1;
	if (!hak_region_is_born())
		return tally_count;
	add_slabs(stats, sums);
	hak_pool_count(&pool);
	hak_huge_count(&huge);
	stats->hole_bytes = hak_tally_not_negative(sums->returned_bytes);
	add_free(stats, hak_tally_free_bytes(sums), hak_tally_not_negative(sums->lazy_bytes));
	stats->free_unit_bytes = (pool.free_touched_unit_count - pool.lazy_unit_count)
				 << HAK_UNIT_SHIFT;
	add_free(stats, pool.free_touched_unit_count << HAK_UNIT_SHIFT,
		 pool.lazy_unit_count << HAK_UNIT_SHIFT);
	stats->advice_count = atomic_load_explicit(&hak_os_advice.count, memory_order_relaxed);
	stats->advice_refused_count = atomic_load_explicit(&hak_os_advice.refused_count,
							   memory_order_relaxed);
	stats->advice_ns = atomic_load_explicit(&hak_os_advice.ns, memory_order_relaxed);
	stats->metadata_bytes = hak_meta_bytes() + hak_region_table_bytes();
	stats->live_bytes += huge.live_bytes;
	stats->huge_bytes = huge.live_bytes;
	stats->huge_count = huge.block_count;
	stats->huge_cached_bytes = huge.cached_bytes;
	stats->cached_bytes += huge.cached_bytes;
	stats->superslab_open_count = pool.open_count;
	stats->superslab_peak_count = pool.peak_count;
	stats->superslab_opened_total = pool.opened_total;
	stats->returned_bytes = hak_purge_returned_bytes();
	stats->misuse_count = hak_misuse_count();
	return tally_count;
}

static void collect(struct hak_stats *stats)
{
	struct hak_tally_sums sums;
	struct hak_thread *thread = hak_thread_enter();

	hak_stats_collect(stats, &sums);
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

/* Where the summary goes: what fd 2 was when the program began. Programs close theirs before we
 * print (the coreutils do), and may open another file under its number. */
static struct {
	int fd;
	dev_t device;
	ino_t inode;
} output = {.fd = -1};

/* Far from the numbers that a program expects to get, or to close. */
#define OUTPUT_FD_MIN 100

void hak_stats_init(void)
{
	struct stat file;

	output.fd = (int)syscall(SYS_fcntl, STDERR_FILENO, F_DUPFD_CLOEXEC, OUTPUT_FD_MIN);
	if (output.fd < 0 || syscall(SYS_fstat, output.fd, &file) != 0) {
		output.fd = -1;
		return;
	}
	output.device = file.st_dev;
	output.inode = file.st_ino;
}

/* A program that closes all that is open may have our number, too. */
static bool output_is_ours(void)
{
	struct stat file;

	return output.fd >= 0 && syscall(SYS_fstat, output.fd, &file) == 0 &&
	       file.st_dev == output.device && file.st_ino == output.inode;
}

/* Numbers of bytes are read by people here: MiB with two decimals. */
static void put_mib(struct hak_line *line, const char *name, uint64_t bytes)
{
	uint64_t hundredths = (bytes * 100) >> 20;

	hak_line_put(line, name);
	hak_line_put_number(line, hundredths / 100);
	hak_line_put(line, hundredths % 100 < 10 ? ".0" : ".");
	hak_line_put_number(line, hundredths % 100);
}

static void print_bytes(const struct hak_stats *stats, int fd)
{
	struct hak_line line;

	hak_line_begin(&line);
	put_mib(&line, "MiB: live ", stats->live_bytes);
	put_mib(&line, " (huge ", stats->huge_bytes);
	put_mib(&line, "), cached ", stats->cached_bytes);
	put_mib(&line, " (huge ", stats->huge_cached_bytes);
	put_mib(&line, "), free ", stats->free_bytes);
	put_mib(&line, ", lazyfree ", stats->lazyfree_bytes);
	put_mib(&line, ", metadata at most ", stats->metadata_bytes);
	hak_line_write_to(&line, fd);
}

static void print_superslabs(const struct hak_stats *stats, int fd)
{
	struct hak_line line;

	hak_line_begin(&line);
	hak_line_put(&line, "SuperSlabs: open ");
	hak_line_put_number(&line, stats->superslab_open_count);
	hak_line_put(&line, ", at peak ");
	hak_line_put_number(&line, stats->superslab_peak_count);
	hak_line_put(&line, ", opened in total ");
	hak_line_put_number(&line, stats->superslab_opened_total);
	hak_line_write_to(&line, fd);
}

/* How many classes a line shows. */
#define CLASSES_A_LINE 8

static void print_slabs(const struct hak_stats *stats, int fd)
{
	struct hak_line line;
	unsigned shown = 0;

	for (unsigned i = 1; i < stats->class_count; i++) {
		if (stats->slab_count_by_class[i] == 0)
			continue;
		if (shown % CLASSES_A_LINE == 0) {
			hak_line_begin(&line);
			hak_line_put(&line, "slabs by block size: ");
		} else {
			hak_line_put(&line, ", ");
		}
		hak_line_put_number(&line, stats->block_bytes_by_class[i]);
		hak_line_put(&line, ": ");
		hak_line_put_number(&line, stats->slab_count_by_class[i]);
		if (++shown % CLASSES_A_LINE == 0)
			hak_line_write_to(&line, fd);
	}
	if (shown % CLASSES_A_LINE != 0)
		hak_line_write_to(&line, fd);
}

void hak_stats_print_to(int fd)
{
	struct hak_stats stats;

	collect(&stats);
	print_bytes(&stats, fd);
	print_superslabs(&stats, fd);
	print_slabs(&stats, fd);
}

void hak_stats_print(void)
{
	if (output_is_ours())
		hak_stats_print_to(output.fd);
}
