#include "heap/advice.h"

#include "base/bitmap.h"
#include "base/os.h"
#include "base/size_class.h"
#include "heap/tally.h"

static _Atomic uint32_t fork_count;

uint32_t hak_advice_fork_count(void)
{
	return atomic_load_explicit(&fork_count, memory_order_relaxed);
}

void hak_advice_note_fork(void)
{
	atomic_fetch_add_explicit(&fork_count, 1, memory_order_relaxed);
}

void hak_advice_begin(struct hak_slab *slab)
{
	atomic_store_explicit(&slab->shared_pages, 0, memory_order_relaxed);
	atomic_store_explicit(&slab->fork_count, (uint16_t)hak_advice_fork_count(),
			      memory_order_relaxed);
}

/* Two threads may hear of a fork at once: at the worst the later one takes pages for shared that
 * have gone back meanwhile. */
uint64_t hak_advice_shared(struct hak_slab *slab)
{
	uint16_t count = (uint16_t)hak_advice_fork_count();

	if (atomic_load_explicit(&slab->fork_count, memory_order_relaxed) != count) {
		atomic_store_explicit(&slab->shared_pages, UINT64_MAX, memory_order_relaxed);
		atomic_store_explicit(&slab->fork_count, count, memory_order_relaxed);
	}
	return atomic_load_explicit(&slab->shared_pages, memory_order_relaxed);
}

/* The units of a slab all of whose pages are among these. */
static uint64_t whole_units(uint64_t pages, unsigned unit_count)
{
	unsigned unit_pages = (unsigned)(HAK_UNIT_BYTES / hak_os_page_bytes());
	uint64_t groups, units = 0;

	if (pages == 0 || unit_pages == 0)
		return 0;
	groups = hak_bitmap_groups(pages, unit_pages);
	for (unsigned i = 0; i < unit_count; i++)
		units |= (groups >> i * unit_pages & 1) << i;
	return units;
}

struct hak_advice_units hak_advice_of_units(const struct hak_slab *slab, unsigned unit_count)
{
	uint64_t advised = atomic_load_explicit(&slab->advised_pages, memory_order_relaxed);
	uint64_t lazy = atomic_load_explicit(&slab->lazy_pages, memory_order_relaxed);

	return (struct hak_advice_units){
		.lazy = whole_units(lazy, unit_count),
		.returned = whole_units(advised & ~lazy, unit_count),
	};
}

/* Returns bytes of those that were marked. */
static int64_t forget(struct hak_slab *slab, uint64_t pages)
{
	uint64_t advised = pages & atomic_fetch_and_explicit(&slab->advised_pages, ~pages,
							     memory_order_relaxed);
	int64_t page_bytes = (int64_t)hak_os_page_bytes();

	if (advised == 0)
		return 0;
	uint64_t lazy = advised & atomic_fetch_and_explicit(&slab->lazy_pages, ~advised,
							    memory_order_relaxed);

	hak_tally_add_lazy(-__builtin_popcountl(lazy) * page_bytes);
	hak_tally_add_returned(-__builtin_popcountl(advised ^ lazy) * page_bytes);
	return __builtin_popcountl(lazy) * page_bytes;
}

void hak_advice_forget(struct hak_slab *slab)
{
	(void)forget(slab, UINT64_MAX);
}

void hak_advice_use(struct hak_slab *slab, unsigned class_idx, const char *start,
		    void *const *blocks, unsigned count)
{
	size_t page_bytes = hak_os_page_bytes();
	uint64_t pages = 0;

	for (unsigned i = 0; i < count; i++) {
		size_t offset = (size_t)((const char *)blocks[i] - start);
		size_t end = offset + hak_size_classes[class_idx].block_bytes;
		unsigned first = (unsigned)(offset / page_bytes);
		unsigned last = (unsigned)((end - 1) / page_bytes);

		pages |= hak_bitmap_mask(first, last - first + 1);
	}
	hak_tally_add_reused(forget(slab, pages));
}
