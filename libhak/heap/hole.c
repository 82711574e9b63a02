#include "heap/hole.h"

#include "base/bitmap.h"
#include "base/os.h"
#include "base/size_class.h"
#include "heap/control.h"
#include "heap/region.h"
#include "heap/slab.h"
#include "heap/tally.h"

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
	return holes & ~atomic_load_explicit(&slab->returned_pages, memory_order_relaxed);
}

/* Gives rows of pages to the system, as far as it takes them. Returns those that it took. */
static uint64_t return_pages(char *start, uint64_t pages)
{
	size_t page_bytes = hak_os_page_bytes();
	uint64_t returned = 0;

	while (pages != 0) {
		unsigned first = (unsigned)__builtin_ctzl(pages);
		uint64_t behind = ~(pages >> first);
		unsigned count = behind == 0 ? HAK_WORD_BITS : (unsigned)__builtin_ctzl(behind);
		uint64_t row = hak_bitmap_mask(first, count);

		if (hak_os_return(start + first * page_bytes, count * page_bytes))
			returned |= row;
		pages &= ~row;
	}
	return returned;
}

static size_t return_holes(uint32_t unit, unsigned class_idx, uint32_t generation)
{
	struct hak_slab *slab = hak_control_slab(unit);
	uint64_t claimed[HAK_SLAB_WORDS], pages;
	unsigned count = hak_slab_claim_free(unit, generation, claimed);
	size_t bytes;

	if (count == 0)
		return 0;
	pages = return_pages(hak_region_address(unit), holes_of(slab, class_idx, claimed));
	/* Before the bits: who takes one of these blocks finds its page noted. */
	atomic_fetch_or_explicit(&slab->returned_pages, pages, memory_order_relaxed);
	bytes = (size_t)__builtin_popcountl(pages) * hak_os_page_bytes();
	hak_tally_add_returned((int64_t)bytes);
	hak_slab_unclaim(unit, claimed, count);
	return bytes;
}

size_t hak_hole_return(uint32_t *unit)
{
	struct hak_slab *slab = hak_control_slab(*unit);
	uint64_t control = atomic_load_explicit(&slab->control, memory_order_acquire);
	unsigned class_idx = hak_control_class(control);
	size_t bytes;

	if (hak_region_class(*unit) != class_idx || (control & HAK_CONTROL_SLAB) == 0 ||
	    hak_os_page_bytes() > HAK_UNIT_BYTES) {
		++*unit;
		return 0;
	}
	bytes = return_holes(*unit, class_idx, hak_control_generation(control));
	*unit += hak_size_classes[class_idx].unit_count;
	return bytes;
}
