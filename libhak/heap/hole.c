#include "heap/hole.h"

#include "base/bitmap.h"
#include "base/os.h"
#include "base/size_class.h"
#include "heap/advice.h"
#include "heap/control.h"
#include "heap/region.h"
#include "heap/slab.h"

static bool all_set(const uint64_t bits[HAK_SLAB_WORDS], unsigned first, unsigned last)
{
	for (unsigned i = first; i <= last; i = (i / HAK_WORD_BITS + 1) * HAK_WORD_BITS) {
		unsigned from = i % HAK_WORD_BITS, rest = HAK_WORD_BITS - from;
		unsigned count = last - i + 1 < rest ? last - i + 1 : rest;
		uint64_t mask = hak_bitmap_mask(from, count);

		if ((bits[i / HAK_WORD_BITS] & mask) != mask)
			return false;
	}
	return true;
}

/* The pages that hold nothing but these blocks, and were touched. */
static uint64_t holes_of(const struct hak_slab *slab, unsigned class_idx,
			 const uint64_t claimed[HAK_SLAB_WORDS])
{
	const struct hak_size_class *size_class = &hak_size_classes[class_idx];
	size_t page_bytes = hak_os_page_bytes();
	size_t page_count = ((size_t)size_class->unit_count << HAK_UNIT_SHIFT) / page_bytes;
	unsigned high_water = atomic_load_explicit(&slab->high_water, memory_order_relaxed);
	uint64_t holes = 0;

	for (unsigned page = 0; page < page_count; page++) {
		unsigned first = (unsigned)(page * page_bytes / size_class->block_bytes);
		unsigned last = (unsigned)(((page + 1) * page_bytes - 1) / size_class->block_bytes);

		if (last >= size_class->block_count)
			last = size_class->block_count - 1u;
		if (first <= last && first < high_water && all_set(claimed, first, last))
			holes |= (uint64_t)1 << page;
	}
	return holes;
}

/* Advises rows of pages, as far as the kernel takes it. Returns those that it did. */
static uint64_t advise(char *start, uint64_t pages, bool (*advice)(void *address, size_t bytes))
{
	size_t page_bytes = hak_os_page_bytes();
	uint64_t advised = 0;

	while (pages != 0) {
		unsigned first = (unsigned)__builtin_ctzl(pages);
		uint64_t behind = ~(pages >> first);
		unsigned count = behind == 0 ? HAK_WORD_BITS : (unsigned)__builtin_ctzl(behind);
		uint64_t row = hak_bitmap_mask(first, count);

		if (advice(start + first * page_bytes, count * page_bytes))
			advised |= row;
		pages &= ~row;
	}
	return advised;
}

/* The pages are ours while all of their blocks are: whoever takes one of these afterwards finds
 * what is noted here (slab.c). */
static size_t return_holes(struct hak_slab *slab, uint32_t unit, uint64_t holes)
{
	uint64_t wanted = holes & ~hak_advice_returned(slab);
	uint64_t pages = advise(hak_region_address(unit), wanted, hak_os_return);

	return hak_advice_note_returned(slab, pages);
}

/* Rows of so many pages and more. */
static uint64_t long_rows(uint64_t pages, unsigned least)
{
	uint64_t starts = hak_bitmap_run_starts(pages, least), rows = 0;

	for (unsigned i = 0; i < least; i++)
		rows |= starts << i;
	return rows;
}

static size_t mark_holes(struct hak_slab *slab, uint32_t unit, uint64_t holes, unsigned pages_min)
{
	uint64_t wanted = long_rows(holes & ~hak_advice_settled(slab), pages_min);
	uint64_t pages = advise(hak_region_address(unit), wanted, hak_os_mark_lazy);

	return hak_advice_note_lazy(slab, pages);
}

/* Where marks would find little: slabs in use, those that a fork's other side may hold as well, and
 * those whose free blocks are few or marked already. */
static bool is_worth_marking(struct hak_slab *slab, uint64_t control, unsigned pages_min)
{
	size_t least_bytes = pages_min * hak_os_page_bytes();
	const struct hak_size_class *size_class = &hak_size_classes[hak_control_class(control)];
	size_t free_bytes = hak_control_count(control) * (size_t)size_class->block_bytes;
	size_t slab_bytes = (size_t)size_class->unit_count << HAK_UNIT_SHIFT;
	unsigned page_count = (unsigned)(slab_bytes / hak_os_page_bytes());
	uint64_t settled = hak_advice_settled(slab) & hak_bitmap_mask(0, page_count);
	size_t settled_bytes = (size_t)__builtin_popcountl(settled) * hak_os_page_bytes();

	return (control & HAK_CONTROL_LEASED) == 0 && free_bytes >= least_bytes + settled_bytes;
}

/* Claims what is free in the slab at *unit, returns its holes, or marks those of pages_min pages
 * and more where that is not 0, gives the blocks back and moves *unit behind it; past one unit
 * where no slab begins there. */
static size_t visit(uint32_t *unit, unsigned pages_min)
{
	bool returns = pages_min == 0;
	uint32_t first = *unit;
	struct hak_slab *slab = hak_control_slab(first);
	uint64_t control = atomic_load_explicit(&slab->control, memory_order_acquire);
	unsigned class_idx = hak_control_class(control), count;
	uint64_t claimed[HAK_SLAB_WORDS], holes;
	size_t bytes;

	if (hak_region_class(first) != class_idx || (control & HAK_CONTROL_SLAB) == 0 ||
	    hak_os_page_bytes() > HAK_UNIT_BYTES) {
		++*unit;
		return 0;
	}
	*unit += hak_size_classes[class_idx].unit_count;
	if (!returns && !is_worth_marking(slab, control, pages_min))
		return 0;
	count = hak_slab_claim_free(first, hak_control_generation(control), claimed);
	if (count == 0)
		return 0;
	holes = holes_of(slab, class_idx, claimed);
	bytes = returns ? return_holes(slab, first, holes)
			: mark_holes(slab, first, holes, pages_min);
	hak_slab_unclaim(first, claimed, count);
	return bytes;
}

size_t hak_hole_return(uint32_t *unit)
{
	return visit(unit, 0);
}

size_t hak_hole_mark(uint32_t *unit, unsigned pages_min)
{
	return visit(unit, pages_min);
}
