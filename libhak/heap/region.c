#include "heap/region.h"

#include "base/lock.h"
#include "base/os.h"
#include "base/report.h"

struct hak_region hak_region;

/* Guards the birth: everything in hak_region but open_grains and superslab_count. */
static struct hak_lock birth_lock = HAK_LOCK_OF(HAK_LOCK_BIRTH);

/* Tables open for this many SuperSlabs at once, so that each part grows by whole pages even where
 * a page is 64 KiB: 128 class bytes a SuperSlab are the narrowest table, 64 B the next. */
#define ROW_SUPERSLABS 32

static_assert(HAK_SUPERSLAB_UNITS * ROW_SUPERSLABS % 4096 == 0, "class bytes of a row: pages");
static_assert(HAK_REGION_BYTES_MIN >= ROW_SUPERSLABS * HAK_SUPERSLAB_BYTES, "one row at least");
static_assert(HAK_WORD_BITS <= UINT8_MAX, "the distance to a slab's head fits into a byte");

/* Bytes that each part needs for one SuperSlab. */
#define CLASS_BYTES (HAK_SUPERSLAB_UNITS)
#define HEAD_BYTES (HAK_SUPERSLAB_UNITS)
#define SLAB_BYTES ((size_t)HAK_SUPERSLAB_UNITS * HAK_SLAB_DESCRIPTOR_BYTES)
#define SUPERSLAB_BYTES ((size_t)HAK_SUPERSLAB_DESCRIPTOR_BYTES)

/* meta.h's share of the reservation: magazines, depots and huge entries, not proportional to the
 * heap. A sixteenth of the region is far more than they can fill. */
#define META_SHARE 16

static size_t round_up(size_t bytes, size_t grain)
{
	return (bytes + grain - 1) & ~(grain - 1);
}

/* Lays the parts out for a region of so many SuperSlabs; false where the system has no room. */
static bool reserve(uint32_t superslab_count)
{
	size_t region_bytes = (size_t)superslab_count * HAK_SUPERSLAB_BYTES;
	size_t meta_bytes = region_bytes / META_SHARE;
	size_t superslab_bytes = round_up(superslab_count * SUPERSLAB_BYTES, 65536);
	size_t slab_bytes = round_up(superslab_count * SLAB_BYTES, 65536);
	size_t head_bytes = round_up(superslab_count * HEAD_BYTES, 65536);
	size_t class_bytes = round_up(superslab_count * CLASS_BYTES, 65536);
	size_t table_bytes = round_up(meta_bytes + superslab_bytes + slab_bytes + head_bytes +
					      class_bytes,
				      HAK_SUPERSLAB_BYTES);
	char *start = hak_os_reserve(table_bytes + region_bytes, HAK_SUPERSLAB_BYTES);

	if (start == NULL)
		return false;
	hak_region.meta = start;
	hak_region.meta_bytes = meta_bytes;
	hak_region.superslab_descriptors = start + meta_bytes;
	hak_region.slab_descriptors = hak_region.superslab_descriptors + superslab_bytes;
	hak_region.head_of_unit = (uint8_t *)(hak_region.slab_descriptors + slab_bytes);
	hak_region.class_of_unit = (_Atomic uint8_t *)(hak_region.head_of_unit + head_bytes);
	hak_region.base = (uintptr_t)(start + table_bytes);
	hak_region.superslab_count_max = superslab_count;
	return true;
}

static size_t wanted_bytes(void)
{
	size_t bytes = hak_os_ram_bytes() * HAK_REGION_RAM_FACTOR;
	size_t left = hak_os_address_space_bytes();

	if (bytes < HAK_REGION_BYTES_LOW)
		bytes = HAK_REGION_BYTES_LOW;
	if (bytes > HAK_REGION_BYTES_HIGH)
		bytes = HAK_REGION_BYTES_HIGH;
	/* Half of what a limit leaves: the rest is for huge blocks, stacks and libraries. */
	if (bytes > left / 2)
		bytes = left / 2;
	return bytes;
}

bool hak_region_init(void)
{
	if (hak_likely(hak_region_is_born()))
		return true;
	hak_lock_take(&birth_lock);
	bool born = atomic_load_explicit(&hak_region.born, memory_order_relaxed);

	if (!born) {
		size_t bytes = wanted_bytes();

		for (; !born && bytes >= HAK_REGION_BYTES_MIN; bytes /= 2) {
			uint32_t rows = (uint32_t)(bytes / HAK_SUPERSLAB_BYTES / ROW_SUPERSLABS);

			born = reserve(rows * ROW_SUPERSLABS);
		}
		atomic_store_explicit(&hak_region.born, born, memory_order_release);
	}
	hak_lock_give(&birth_lock);
	return born;
}

/* Opens the tables for the row of SuperSlabs that begins at `first`. What was opened before a
 * failure stays open: opening again is harmless. */
static bool open_row(uint32_t first)
{
	size_t count = ROW_SUPERSLABS;
	size_t page_bytes = hak_os_page_bytes();

	/* With pages of 64 KiB a row's narrow tables are parts of a page: round outwards. */
	struct {
		uintptr_t start;
		size_t bytes_each;
	} parts[] = {
		{(uintptr_t)hak_region.superslab_descriptors, SUPERSLAB_BYTES},
		{(uintptr_t)hak_region.slab_descriptors, SLAB_BYTES},
		{(uintptr_t)hak_region.head_of_unit, HEAD_BYTES},
		{(uintptr_t)hak_region.class_of_unit, CLASS_BYTES},
	};

	for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
		size_t from = first * parts[i].bytes_each & ~(page_bytes - 1);
		size_t to = round_up((first + count) * parts[i].bytes_each, page_bytes);

		if (!hak_os_open((void *)(parts[i].start + from), to - from))
			return false;
	}
	return true;
}

bool hak_region_open_next(uint32_t *index)
{
	uint32_t next = hak_region.superslab_count;

	if (next == hak_region.superslab_count_max)
		return false;
	if (next % ROW_SUPERSLABS == 0 && !open_row(next))
		return false;
	if (!hak_os_open((char *)hak_region.base + (size_t)next * HAK_SUPERSLAB_BYTES,
			 HAK_SUPERSLAB_BYTES))
		return false;
	hak_region.superslab_count = next + 1;
	/* release: a thread that reads the new end, for a wild pointer, finds the tables open */
	atomic_store_explicit(&hak_region.open_grains,
			      (size_t)(next + 1) * (HAK_SUPERSLAB_BYTES / HAK_GRAIN_BYTES),
			      memory_order_release);
	*index = next;
	return true;
}

size_t hak_region_table_bytes(void)
{
	size_t count = round_up(hak_region_open_bytes() >> HAK_SUPERSLAB_SHIFT, ROW_SUPERSLABS);

	return count * (SUPERSLAB_BYTES + SLAB_BYTES + HEAD_BYTES + CLASS_BYTES);
}

void hak_region_mark(uint32_t unit, unsigned unit_count, unsigned first, unsigned rest)
{
	for (unsigned i = 0; i < unit_count; i++)
		hak_region.head_of_unit[unit + i] = (uint8_t)i;
	/* release: pairs with the acquire in hak_region_class() */
	for (unsigned i = unit_count; i-- > 1;)
		atomic_store_explicit(&hak_region.class_of_unit[unit + i], (uint8_t)rest,
				      memory_order_release);
	atomic_store_explicit(&hak_region.class_of_unit[unit], (uint8_t)first,
			      memory_order_release);
}
