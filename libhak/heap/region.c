#include "heap/region.h"

#include "base/lock.h"
#include "base/os.h"
#include "base/sandbox.h"
#include "base/report.h"

HAK_EARLY struct hak_region hak_region;

/* Guards the birth: everything in hak_region but open_grains and superslab_count. */
static HAK_EARLY struct hak_lock birth_lock = HAK_LOCK_OF(HAK_LOCK_BIRTH);

/* Tables open for this many SuperSlabs at once: a page of 4 KiB of class bytes, the narrowest
 * table. Where pages are larger, open_row() rounds. */
#define ROW_SUPERSLABS 32

static_assert(HAK_SUPERSLAB_UNITS * ROW_SUPERSLABS % 4096 == 0, "class bytes of a row: pages");
static_assert(HAK_REGION_BYTES_MIN >= HAK_SUPERSLAB_BYTES, "one SuperSlab at least");

/* Bytes that each table needs for one SuperSlab. */
#define CLASS_BYTES (HAK_SUPERSLAB_UNITS)
#define SLAB_BYTES ((size_t)HAK_SUPERSLAB_UNITS * HAK_SLAB_DESCRIPTOR_BYTES)

/* meta.h's share of the reservation: magazines, depots and huge entries, not proportional to the
 * heap. A sixteenth of the region is far more than they can fill. */
#define META_SHARE 16

static_assert(HAK_REGION_BYTES_MIN / META_SHARE >= 2 * HAK_META_STEP_BYTES, "room to open ahead");

static size_t round_up(size_t bytes, size_t grain)
{
	return (bytes + grain - 1) & ~(grain - 1);
}

/* Lays the parts out for a region of so many SuperSlabs, where the system has room for them. */
static void reserve(uint32_t superslab_count)
{
	size_t region_bytes = (size_t)superslab_count * HAK_SUPERSLAB_BYTES;
	size_t table_count = round_up(superslab_count, ROW_SUPERSLABS); /* they open by rows */
	size_t slab_bytes = round_up(table_count * SLAB_BYTES, 65536);
	size_t class_bytes = round_up(table_count * CLASS_BYTES, 65536);
	size_t table_bytes = round_up(region_bytes / META_SHARE + slab_bytes + class_bytes,
				      HAK_SUPERSLAB_BYTES);
	char *start = hak_os_reserve(table_bytes + region_bytes, HAK_SUPERSLAB_BYTES);

	if (start == NULL)
		return;
	char *base = start + table_bytes;

	hak_region.base = (uintptr_t)base;
	hak_region.class_of_unit = (_Atomic uint8_t *)(base - class_bytes);
	hak_region.slab_descriptors = base - class_bytes - slab_bytes;
	hak_region.meta_end = hak_region.slab_descriptors;
	hak_region.meta_bytes = (size_t)(hak_region.meta_end - start);
	hak_region.superslab_count_max = superslab_count;
}

/* The mapping's other end than `start`. */
static char *region_end(void)
{
	return (char *)hak_region.base +
	       (size_t)hak_region.superslab_count_max * HAK_SUPERSLAB_BYTES;
}

static size_t wanted_bytes(void)
{
	size_t bytes = hak_os_ram_bytes() * HAK_REGION_RAM_FACTOR;
	/* Under a filter nobody is asked: what does not fit is halved then until it does. */
	size_t left = hak_sandbox_is_noted() ? SIZE_MAX : hak_os_address_space_bytes();

	if (bytes < HAK_REGION_BYTES_LOW)
		bytes = HAK_REGION_BYTES_LOW;
	if (bytes > HAK_REGION_BYTES_HIGH)
		bytes = HAK_REGION_BYTES_HIGH;
	/* Half of what a limit leaves: the rest is for huge blocks, stacks and libraries. */
	if (bytes > left / 2)
		bytes = left / 2;
	return bytes;
}

/* gcore reads every mapping that it is not told to leave out, without access or not, and would
 * write all that is reserved as zeroes. Where the kernel refuses, it does. */
static void leave_out(void *from, void *to)
{
	(void)hak_os_dump(from, (size_t)((char *)to - (char *)from), false);
}

/* Once a part has grown, core dumps have what is open of it, and the step behind that. So a step
 * that opens moves two borders between mappings, and needs no mapping more at any moment: a process
 * may be at its vm.max_map_count. Where the kernel refuses, memory that dumps lack is memory
 * still. */
static void dump_ahead(void *from, void *to)
{
	if (to > from)
		(void)hak_os_dump(from, (size_t)((char *)to - (char *)from), true);
}

static char *least(char *a, char *b)
{
	return a < b ? a : b;
}

/* One of the two tables: where it begins and ends, and its bytes for one SuperSlab. */
struct table {
	char *start;
	char *end;
	size_t bytes_each;
};

static struct table slab_table(void)
{
	return (struct table){.start = hak_region.slab_descriptors,
			      .end = (char *)(uintptr_t)hak_region.class_of_unit,
			      .bytes_each = SLAB_BYTES};
}

static struct table class_table(void)
{
	return (struct table){.start = (char *)(uintptr_t)hak_region.class_of_unit,
			      .end = (char *)hak_region.base,
			      .bytes_each = CLASS_BYTES};
}

/* Where the row of SuperSlabs that begins at `first` ends in a table. With pages of 64 KiB a row of
 * class bytes is part of a page: rounded up, the next row begins before it. */
static char *row_end(const struct table *table, uint32_t first)
{
	size_t bytes = round_up((first + ROW_SUPERSLABS) * table->bytes_each, hak_os_page_bytes());

	return least(table->start + bytes, table->end);
}

static bool open_row(struct table table, uint32_t first)
{
	char *end = row_end(&table, first);
	char *from = first == 0 ? table.start : row_end(&table, first - ROW_SUPERSLABS);

	if (first != 0)
		dump_ahead(first == ROW_SUPERSLABS ? from : end,
			   row_end(&table, first + ROW_SUPERSLABS));
	return from == end || hak_os_open(from, (size_t)(end - from));
}

/* What was opened before a failure stays open: opening again is harmless. */
static bool open_tables(uint32_t first)
{
	return open_row(slab_table(), first) && open_row(class_table(), first);
}

/* What the first malloc of any process needs: one call for two neighbours. All but that, and the
 * first SuperSlab, which comes next, is left out of dumps; afterwards, since each call is the
 * cheaper the fewer mappings it makes. */
static bool open_first(void)
{
	struct table slabs = slab_table(), classes = class_table();
	char *base = (char *)hak_region.base;
	char *start = hak_region.meta_end - HAK_META_STEP_BYTES;

	if (!hak_os_open(start, (size_t)(row_end(&slabs, 0) - start)) || !open_row(classes, 0))
		return false;
	leave_out(hak_region.meta_end - hak_region.meta_bytes, start);
	leave_out(row_end(&slabs, 0), classes.start);
	leave_out(row_end(&classes, 0), base);
	leave_out(base + HAK_SUPERSLAB_BYTES, region_end());
	hak_region.meta_open_bytes = HAK_META_STEP_BYTES;
	return true;
}

bool hak_region_open_meta(size_t bytes)
{
	char *start = hak_region.meta_end - bytes;
	size_t ahead_bytes = HAK_META_STEP_BYTES;

	if (bytes + ahead_bytes > hak_region.meta_bytes)
		ahead_bytes = hak_region.meta_bytes - bytes;
	dump_ahead(start - ahead_bytes, hak_region.meta_end - hak_region.meta_open_bytes);
	if (!hak_os_open(start, bytes - hak_region.meta_open_bytes))
		return false;
	hak_region.meta_open_bytes = bytes;
	return true;
}

bool hak_region_init(void)
{
	if (hak_likely(hak_region_is_born()))
		return true;
	hak_lock_take(&birth_lock);
	bool born = atomic_load_explicit(&hak_region.born, memory_order_relaxed);

	if (!born) {
		/* A reservation that stands, but could not be opened, is tried again as it is. */
		size_t bytes = hak_region.base != 0 ? 0 : wanted_bytes();

		for (; hak_region.base == 0 && bytes >= HAK_REGION_BYTES_MIN; bytes /= 2)
			reserve((uint32_t)(bytes / HAK_SUPERSLAB_BYTES));
		born = hak_region.base != 0 && open_first();
		/* release: pairs with the acquire in hak_region_is_born() */
		atomic_store_explicit(&hak_region.born, born, memory_order_release);
	}
	hak_lock_give(&birth_lock);
	return born;
}

bool hak_region_open_next(uint32_t *index)
{
	uint32_t next = hak_region.superslab_count;

	if (next == hak_region.superslab_count_max)
		return false;
	/* The first row was opened at birth. */
	if (next != 0 && next % ROW_SUPERSLABS == 0 && !open_tables(next))
		return false;
	char *start = (char *)hak_region.base + (size_t)next * HAK_SUPERSLAB_BYTES;
	char *end = start + HAK_SUPERSLAB_BYTES;

	if (next != 0)
		dump_ahead(next == 1 ? start : end, least(end + HAK_SUPERSLAB_BYTES, region_end()));
	if (!hak_os_open(start, HAK_SUPERSLAB_BYTES))
		return false;
	hak_region.superslab_count = next + 1;
	/* relaxed: mprotect(2) has opened the memory for all threads before; who holds a block from
	 * there got it in order, and a wild pointer finds tables that read as zero */
	atomic_store_explicit(&hak_region.open_grains,
			      (size_t)(next + 1) * (HAK_SUPERSLAB_BYTES / HAK_GRAIN_BYTES),
			      memory_order_relaxed);
	*index = next;
	return true;
}

size_t hak_region_table_bytes(void)
{
	size_t count = round_up(hak_region_open_bytes() >> HAK_SUPERSLAB_SHIFT, ROW_SUPERSLABS);

	return count * (SLAB_BYTES + CLASS_BYTES);
}

void hak_region_mark(uint32_t unit, unsigned unit_count, unsigned first, unsigned rest)
{
	/* release: pairs with the acquire in hak_region_class() */
	for (unsigned i = unit_count; i-- > 1;)
		atomic_store_explicit(&hak_region.class_of_unit[unit + i], (uint8_t)rest,
				      memory_order_release);
	atomic_store_explicit(&hak_region.class_of_unit[unit], (uint8_t)first,
			      memory_order_release);
}

uint32_t hak_region_run_head(uint32_t unit)
{
	uint32_t head = unit;

	/* A run never crosses a word of units, so the way back is short whatever is there. */
	while (hak_region_class(head) == HAK_CLASS_RUN_TAIL && head % HAK_WORD_BITS != 0)
		head--;
	return head;
}
