#include "heap/advice.h"

#include "base/bitmap.h"
#include "base/os.h"
#include "base/size_class.h"
#include "heap/shared.h"
#include "heap/tally.h"

static HAK_EARLY _Atomic uint32_t fork_count;

uint32_t hak_advice_fork_count(void)
{
	return atomic_load_explicit(&fork_count, memory_order_relaxed);
}

void hak_advice_note_fork(void)
{
	atomic_fetch_add_explicit(&fork_count, 1, memory_order_relaxed);
}

#define STAMP_NS ((uint64_t)2000000000)
#define STAMP_COUNT 255
#define REFAULT_STAMPS 5
#define REFAULT_NS (REFAULT_STAMPS * STAMP_NS)

static uint8_t stamp_at(uint64_t now_ns)
{
	return (uint8_t)(now_ns / STAMP_NS % STAMP_COUNT + 1);
}

uint8_t hak_advice_stamp(void)
{
	return stamp_at(hak_os_now_ns());
}

/* Stamps that have gone by since that one. */
static unsigned age_of(uint8_t stamp, uint64_t now_ns)
{
	return (unsigned)(stamp_at(now_ns) + STAMP_COUNT - stamp) % STAMP_COUNT;
}

bool hak_advice_is_soon(uint8_t stamp)
{
	return stamp != 0 && age_of(stamp, hak_os_now_ns()) <= REFAULT_STAMPS;
}

/* Whether a daemon has taken marked pages within this time. Ours is the coarse clock, some
 * milliseconds behind the daemon's. */
static bool was_reclaimed_within(uint64_t within_ns, uint64_t reclaimed_ns, uint64_t now_ns)
{
	return reclaimed_ns != 0 && now_ns + STAMP_NS >= reclaimed_ns &&
	       now_ns < reclaimed_ns + within_ns;
}

uint8_t hak_advice_reclaimed_at(uint8_t marked_at)
{
	uint64_t reclaimed_ns = hak_shared_reclaimed_ns();

	if (marked_at == 0 || reclaimed_ns == 0)
		return 0;
	uint64_t now_ns = hak_os_now_ns();
	uint8_t stamp = stamp_at(reclaimed_ns);

	/* For as long as stamps tell times apart. */
	if (!was_reclaimed_within((STAMP_COUNT - 2) * STAMP_NS, reclaimed_ns, now_ns))
		return 0;
	return age_of(marked_at, now_ns) >= age_of(stamp, now_ns) ? stamp : 0;
}

/* Most memory never went anywhere, and costs no look at the clock. */
static void note_refault(uint8_t returned_at, int64_t returned_bytes, uint8_t marked_at,
			 int64_t lazy_bytes)
{
	if (returned_bytes != 0 && hak_advice_is_soon(returned_at))
		hak_tally_add_refaulted(returned_bytes);
	if (lazy_bytes != 0 && hak_advice_reclaimed_at(marked_at) != 0 &&
	    was_reclaimed_within(REFAULT_NS, hak_shared_reclaimed_ns(), hak_os_now_ns()))
		hak_tally_add_refaulted(lazy_bytes);
}

void hak_advice_note_units(uint8_t returned_at, uint8_t marked_at, unsigned lazy_count,
			   uint64_t zero_units)
{
	int64_t lazy_bytes = (int64_t)lazy_count << HAK_UNIT_SHIFT;

	hak_tally_add_reused(lazy_bytes);
	note_refault(returned_at, (int64_t)__builtin_popcountl(zero_units) << HAK_UNIT_SHIFT,
		     marked_at, lazy_bytes);
}

void hak_advice_begin(struct hak_slab *slab)
{
	atomic_store_explicit(&slab->shared_pages, 0, memory_order_relaxed);
	atomic_store_explicit(&slab->returned_at, 0, memory_order_relaxed);
	atomic_store_explicit(&slab->marked_at, 0, memory_order_relaxed);
	atomic_store_explicit(&slab->fork_count, (uint16_t)hak_advice_fork_count(),
			      memory_order_relaxed);
}

static uint64_t pages_in(const _Atomic uint64_t *word)
{
	return atomic_load_explicit(word, memory_order_relaxed);
}

static int64_t bytes_of(uint64_t pages)
{
	return (int64_t)__builtin_popcountl(pages) * (int64_t)hak_os_page_bytes();
}

/* Two threads may hear of a fork at once: at the worst the later one takes pages for shared that
 * have gone back meanwhile. */
static void hear_of_forks(struct hak_slab *slab)
{
	uint16_t count = (uint16_t)hak_advice_fork_count();

	if (atomic_load_explicit(&slab->fork_count, memory_order_relaxed) == count)
		return;
	atomic_store_explicit(&slab->shared_pages, UINT64_MAX, memory_order_relaxed);
	atomic_store_explicit(&slab->fork_count, count, memory_order_relaxed);
}

uint64_t hak_advice_returned(const struct hak_slab *slab)
{
	return pages_in(&slab->advised_pages) & ~pages_in(&slab->lazy_pages);
}

uint64_t hak_advice_settled(struct hak_slab *slab)
{
	hear_of_forks(slab);
	return pages_in(&slab->advised_pages) | pages_in(&slab->shared_pages);
}

size_t hak_advice_note_returned(struct hak_slab *slab, uint64_t pages)
{
	uint64_t lazy = pages &
			atomic_fetch_and_explicit(&slab->lazy_pages, ~pages, memory_order_seq_cst);

	atomic_fetch_or_explicit(&slab->advised_pages, pages, memory_order_relaxed);
	hear_of_forks(slab);
	atomic_fetch_and_explicit(&slab->shared_pages, ~pages, memory_order_relaxed);
	if (pages != 0)
		atomic_store_explicit(&slab->returned_at, hak_advice_stamp(), memory_order_relaxed);
	if (lazy != 0)
		hak_shared_write_slab(slab);
	hak_tally_add_lazy(-bytes_of(lazy));
	hak_tally_add_returned(bytes_of(pages));
	return (size_t)bytes_of(pages);
}

size_t hak_advice_note_lazy(struct hak_slab *slab, uint64_t pages)
{
	atomic_fetch_or_explicit(&slab->lazy_pages, pages, memory_order_seq_cst);
	atomic_fetch_or_explicit(&slab->advised_pages, pages, memory_order_relaxed);
	if (pages != 0) {
		atomic_store_explicit(&slab->marked_at, hak_advice_stamp(), memory_order_relaxed);
		hak_shared_write_slab(slab);
	}
	hak_tally_add_lazy(bytes_of(pages));
	return (size_t)bytes_of(pages);
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
	return (struct hak_advice_units){
		.lazy = whole_units(pages_in(&slab->lazy_pages), unit_count),
		.returned = whole_units(hak_advice_returned(slab), unit_count),
	};
}

/* Returns bytes of those that were marked; *advised_bytes has those that had gone back as well. */
static int64_t forget(struct hak_slab *slab, uint64_t pages, int64_t *advised_bytes)
{
	uint64_t advised = pages & atomic_fetch_and_explicit(&slab->advised_pages, ~pages,
							     memory_order_relaxed);

	*advised_bytes = bytes_of(advised);
	if (advised == 0)
		return 0;
	uint64_t lazy = advised & atomic_fetch_and_explicit(&slab->lazy_pages, ~advised,
							    memory_order_seq_cst);

	/* Before one of their blocks is used: the daemon takes nothing that has lost its mark. */
	if (lazy != 0)
		hak_shared_write_slab(slab);

	hak_tally_add_lazy(-bytes_of(lazy));
	hak_tally_add_returned(-bytes_of(advised ^ lazy));
	return bytes_of(lazy);
}

void hak_advice_forget(struct hak_slab *slab)
{
	int64_t advised_bytes;

	(void)forget(slab, UINT64_MAX, &advised_bytes);
}

void hak_advice_use(struct hak_slab *slab, unsigned class_idx, const char *start,
		    void *const *blocks, unsigned count)
{
	size_t page_bytes = hak_os_page_bytes();
	uint64_t pages = 0;
	int64_t advised_bytes;

	for (unsigned i = 0; i < count; i++) {
		size_t offset = (size_t)((const char *)blocks[i] - start);
		size_t end = offset + hak_size_classes[class_idx].block_bytes;
		unsigned first = (unsigned)(offset / page_bytes);
		unsigned last = (unsigned)((end - 1) / page_bytes);

		pages |= hak_bitmap_mask(first, last - first + 1);
	}
	int64_t lazy_bytes = forget(slab, pages, &advised_bytes);

	hak_tally_add_reused(lazy_bytes);
	note_refault(atomic_load_explicit(&slab->returned_at, memory_order_relaxed),
		     advised_bytes - lazy_bytes,
		     atomic_load_explicit(&slab->marked_at, memory_order_relaxed), lazy_bytes);
}
