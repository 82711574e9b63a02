/* walk.c - hak_heap_walk(): every block that the program holds.
 *
 * Two steps. A picture is taken with the fork gate closed, when nobody is in a slow path: a bit for
 * each block in use, the class bytes, the huge blocks. Then the visitor is called from the picture,
 * with the gate open, so that it may allocate, free and take its time.
 *
 * In use is what has left its slab and lies in no magazine and no depot. The others go on pushing
 * and popping while the picture is taken: a block that changes hands then may be in it or not.
 */
#include "base/os.h"
#include "base/size_class.h"
#include "heap/control.h"
#include "heap/depot.h"
#include "heap/huge.h"
#include "heap/quarantine.h"
#include "heap/region.h"
#include "heap/thread.h"

#include <errno.h>
#include <hak/hak.h>
#include <string.h>

#define GRAINS_A_UNIT (HAK_UNIT_BYTES / HAK_GRAIN_BYTES)
#define WORDS_A_UNIT (GRAINS_A_UNIT / HAK_WORD_BITS)

/* One mapping: the bits, then the class bytes, then the huge blocks. */
struct picture {
	size_t bytes;
	uint32_t unit_count;
	size_t huge_count;
	uint64_t *used; /* a bit for each grain at which a block in use begins */
	uint8_t *classes;
	struct hak_huge_block *huge;
};

static uint64_t *word_of(const struct picture *picture, size_t grain)
{
	return &picture->used[grain / HAK_WORD_BITS];
}

/* False: no memory. Room for some more huge blocks than there are now. */
static bool make(struct picture *picture, size_t huge_room)
{
	size_t page_bytes = hak_os_page_bytes();
	size_t used_bytes, huge_bytes = huge_room * sizeof *picture->huge;
	char *start;

	picture->unit_count = (uint32_t)(hak_region_open_bytes() >> HAK_UNIT_SHIFT);
	used_bytes = picture->unit_count * WORDS_A_UNIT * sizeof(uint64_t);
	picture->bytes = (used_bytes + huge_bytes + picture->unit_count + page_bytes) &
			 ~(page_bytes - 1);
	start = hak_os_map(picture->bytes);
	if (start == NULL)
		return false;
	picture->used = (uint64_t *)(void *)start;
	picture->huge = (struct hak_huge_block *)(void *)(start + used_bytes);
	picture->classes = (uint8_t *)(start + used_bytes + huge_bytes);
	return true;
}

/* The blocks of a slab that have left it. Returns its units. */
static uint32_t draw_slab(struct picture *picture, uint32_t unit, unsigned class_idx)
{
	const struct hak_size_class *size_class = &hak_size_classes[class_idx];
	const struct hak_slab *slab = hak_control_slab(unit);
	size_t first = unit * GRAINS_A_UNIT;
	size_t step = size_class->block_bytes / HAK_GRAIN_BYTES;

	for (unsigned i = 0; i < size_class->block_count; i++) {
		uint64_t free = atomic_load_explicit(&slab->free[i / HAK_WORD_BITS],
						     memory_order_relaxed);
		size_t grain = first + i * step;

		if ((free >> i % HAK_WORD_BITS & 1) == 0)
			*word_of(picture, grain) |= (uint64_t)1 << grain % HAK_WORD_BITS;
	}
	return size_class->unit_count;
}

static void draw_units(struct picture *picture)
{
	uint32_t unit = 0;

	for (uint32_t i = 0; i < picture->unit_count; i++)
		picture->classes[i] = (uint8_t)hak_region_class(i);
	while (unit < picture->unit_count) {
		unsigned class_idx = picture->classes[unit];
		size_t grain = unit * GRAINS_A_UNIT;

		if (class_idx == HAK_CLASS_RUN_HEAD)
			*word_of(picture, grain) |= 1;
		unit += class_idx >= 1 && class_idx <= HAK_CLASS_COUNT
				? draw_slab(picture, unit, class_idx)
				: 1;
	}
}

/* Takes out what lies in magazines and depots. */
static void erase(void *context, void *const *blocks, unsigned count)
{
	struct picture *picture = context;

	for (unsigned i = 0; i < count; i++) {
		size_t grain = hak_region_offset(blocks[i]) >> HAK_GRAIN_SHIFT;

		if (grain / GRAINS_A_UNIT < picture->unit_count)
			*word_of(picture, grain) &= ~((uint64_t)1 << grain % HAK_WORD_BITS);
	}
}

static bool take(struct picture *picture)
{
	struct hak_huge_counts huge;
	bool made;

	hak_thread_fork_prepare();
	hak_huge_count(&huge);
	made = make(picture, huge.block_count);
	if (made) {
		draw_units(picture);
		hak_thread_visit_cached(erase, picture);
		hak_depot_visit(erase, picture);
		if (HAK_SECURE)
			hak_quarantine_visit(erase, picture);
		picture->huge_count = hak_huge_copy(picture->huge, huge.block_count);
	}
	hak_thread_fork_parent();
	return made;
}

static size_t run_bytes(const struct picture *picture, uint32_t unit)
{
	uint32_t end = unit + 1;

	while (end < picture->unit_count && picture->classes[end] == HAK_CLASS_RUN_TAIL)
		end++;
	/* The secure build's last unit has no access. */
	return (end - unit - HAK_GUARD_UNITS) << HAK_UNIT_SHIFT;
}

static int show_unit(const struct picture *picture, uint32_t unit, hak_heap_visitor visitor,
		     void *context)
{
	unsigned class_idx = picture->classes[unit];
	int answer = 0;

	if (class_idx == HAK_CLASS_NONE || class_idx == HAK_CLASS_RUN_TAIL)
		return 0;
	for (size_t i = 0; i < WORDS_A_UNIT; i++)
		for (uint64_t bits = picture->used[unit * WORDS_A_UNIT + i];
		     bits != 0 && answer == 0; bits &= bits - 1) {
			size_t grain = i * HAK_WORD_BITS + (size_t)__builtin_ctzl(bits);
			struct hak_heap_block block = {
				.address = hak_region_address(unit) + grain * HAK_GRAIN_BYTES,
				.bytes = class_idx == HAK_CLASS_RUN_HEAD
						 ? run_bytes(picture, unit)
						 : hak_size_classes[class_idx].block_bytes,
			};

			answer = visitor(&block, context);
		}
	return answer;
}

static int show(const struct picture *picture, hak_heap_visitor visitor, void *context)
{
	int answer = 0;

	for (uint32_t unit = 0; unit < picture->unit_count && answer == 0; unit++)
		answer = show_unit(picture, unit, visitor, context);
	for (size_t i = 0; i < picture->huge_count && answer == 0; i++) {
		struct hak_heap_block block = {
			.address = picture->huge[i].start,
			.bytes = picture->huge[i].bytes,
		};

		answer = visitor(&block, context);
	}
	return answer;
}

HAK_EXPORT int hak_heap_walk(hak_heap_visitor visitor, void *context)
{
	struct picture picture = {.bytes = 0};
	int answer;

	if (!hak_region_is_born())
		return 0;
	if (!take(&picture)) {
		errno = ENOMEM;
		return -1;
	}
	answer = show(&picture, visitor, context);
	hak_os_unmap(picture.used, picture.bytes);
	return answer;
}
