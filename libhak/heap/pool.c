#include "heap/pool.h"

#include "base/bitmap.h"
#include "base/lock.h"
#include "base/os.h"
#include "base/probe.h"
#include "base/report.h"
#include "heap/dump.h"
#include "heap/region.h"
#include "heap/shared.h"
#include "heap/superslab.h"

static HAK_EARLY struct {
	struct hak_pool_counts counts;
	_Atomic uint32_t unmarked_count;
	uint32_t away_count; /* claims that have not been put back yet, and the like */
} pool;

/* Guards this and all that superslab.h has; atomics are read without it as well. */
static struct hak_lock pool_lock = HAK_LOCK_OF(HAK_LOCK_POOL);

static char *address_of(uint32_t index)
{
	return hak_region_address(index * (uint32_t)HAK_SUPERSLAB_UNITS);
}

static void publish_locked(uint32_t index, bool is_new)
{
	unsigned char *page = hak_shared_page();

	if (hak_likely(page == NULL))
		return;
	const struct hak_superslab *superslab = hak_superslab_at(index);
	struct hak_shared_units units = {superslab->free, superslab->untouched, superslab->lazy};

	HAK_ASSERT(hak_lock_is_mine(&pool_lock));
	/* A daemon that reads half of it knows nothing: govern/attach.c tries again. */
	if (!hak_shared_write_superslab(page, index, &units, is_new))
		atomic_store_explicit(&hak_shared_get()->page, NULL, memory_order_seq_cst);
}

/* Each SuperSlab hears of a fork when it is next looked at: the handlers of fork(2) take no lock
 * that the forking thread may have. */
static void hear_of_forks(struct hak_superslab *superslab)
{
	uint32_t count = hak_advice_fork_count();

	if (hak_likely(superslab->fork_count == count))
		return;
	superslab->fork_count = count;
	for (unsigned i = 0; i < HAK_SUPERSLAB_WORDS; i++)
		superslab->shared[i] = ~superslab->untouched[i];
}

/* Puts a SuperSlab where it belongs after its free units changed, and tells of the change. */
static void reshelve(struct hak_superslab *superslab, uint32_t index)
{
	unsigned low = hak_bitmap_longest_run(superslab->free[0]);
	unsigned high = hak_bitmap_longest_run(superslab->free[1]);

	atomic_store_explicit(
		&pool.unmarked_count,
		(uint32_t)(pool.counts.free_touched_unit_count - pool.counts.lazy_unit_count),
		memory_order_relaxed);
	publish_locked(index, false);
	superslab->longest = (uint8_t)(low > high ? low : high);
	unsigned shelf = hak_shelf_of(superslab);

	if (shelf == superslab->shelf)
		return;
	if (superslab->shelf != HAK_SHELF_NONE)
		hak_shelf_remove(superslab->shelf, index);
	if (shelf != HAK_SHELF_NONE)
		hak_shelf_add(shelf, index);
	if (shelf == HAK_SHELF_EMPTY)
		superslab->empty_since_ns = hak_os_now_ns();
	superslab->shelf = (uint8_t)shelf;
}

/* Takes the marks off units that are taken or returned. */
static unsigned unmark(struct hak_superslab *superslab, unsigned word, uint64_t units)
{
	unsigned count = (unsigned)__builtin_popcountl(superslab->lazy[word] & units);

	superslab->lazy[word] &= ~units;
	pool.counts.lazy_unit_count -= count;
	return count;
}

/* Where in a word a row may begin: where it would if nothing were away. Moved up by units that are
 * away for a moment, a slab would lie between two gaps for as long as it lives, and as many blocks
 * of its size as were freed there might not be had again. HAK_WORD_BITS: nowhere. */
static unsigned first_start(const struct hak_superslab *superslab, unsigned word,
			    unsigned unit_count, uint64_t aligned)
{
	uint64_t free = superslab->free[word], rest = free | superslab->away[word];
	uint64_t starts;

	while ((starts = hak_bitmap_run_starts(rest, unit_count) & aligned) != 0) {
		unsigned first = (unsigned)__builtin_ctzl(starts);
		uint64_t mask = hak_bitmap_mask(first, unit_count);

		if (hak_likely((mask & ~free) == 0))
			return first;
		rest &= ~mask;
	}
	return HAK_WORD_BITS;
}

/* Marks units as taken where a SuperSlab has such a row; *bit is its place in the SuperSlab. */
static bool carve(struct hak_superslab *superslab, unsigned unit_count, unsigned unit_alignment,
		  unsigned *bit, bool *zeroed)
{
	/* A bit at each multiple of the alignment: all ones over a group's ones. */
	uint64_t aligned = UINT64_MAX / hak_bitmap_mask(0, unit_alignment);

	for (unsigned i = 0; i < HAK_SUPERSLAB_WORDS; i++) {
		unsigned first = first_start(superslab, i, unit_count, aligned);

		if (first == HAK_WORD_BITS)
			continue;
		uint64_t mask = hak_bitmap_mask(first, unit_count);
		uint64_t zero = superslab->untouched[i] & mask;

		superslab->free[i] &= ~mask;
		superslab->untouched[i] &= ~mask;
		pool.counts.free_touched_unit_count -= (unsigned)__builtin_popcountl(mask & ~zero);
		hear_of_forks(superslab);
		superslab->shared[i] &= ~mask;
		hak_advice_use_units(superslab->returned_at, superslab->marked_at,
				     unmark(superslab, i, mask), zero);
		*zeroed = zero == mask;
		*bit = i * HAK_WORD_BITS + first;
		return true;
	}
	return false;
}

static void count_opened(uint32_t index)
{
	HAK_PROBE(superslab_open, address_of(index));
	pool.counts.opened_total++;
	if (++pool.counts.open_count > pool.counts.peak_count)
		pool.counts.peak_count = pool.counts.open_count;
}

/* Takes from what is on the shelves. Rows of 1..16 at any place are found at the first look where
 * nothing is away; others may look at SuperSlabs in vain, so many on each shelf and no more. */
#define LOOKS_MAX 32

static uint32_t take_shelved(unsigned unit_count, unsigned unit_alignment, bool *zeroed)
{
	uint32_t shelves = hak_shelf_stocked() & UINT32_MAX << hak_shelf_for(unit_count);
	unsigned bit;

	for (; shelves != 0; shelves &= shelves - 1) {
		unsigned shelf = (unsigned)__builtin_ctz(shelves);
		uint32_t index = hak_shelf_first(shelf, 0);

		for (unsigned look = 0; index != HAK_SHELF_NO_SUPERSLAB && look < LOOKS_MAX;
		     look++) {
			struct hak_superslab *superslab = hak_superslab_at(index);

			if (superslab->longest >= unit_count &&
			    carve(superslab, unit_count, unit_alignment, &bit, zeroed)) {
				if (shelf == HAK_SHELF_RETURNED)
					count_opened(index);
				hak_dump_note_used(index, shelf == HAK_SHELF_RETURNED);
				reshelve(superslab, index);
				return index * (uint32_t)HAK_SUPERSLAB_UNITS + bit;
			}
			index = hak_shelf_first(shelf, index + 1);
		}
	}
	return HAK_POOL_NONE;
}

static void guard_word(uint32_t index, unsigned word)
{
	uint32_t end = index * (uint32_t)HAK_SUPERSLAB_UNITS + (word + 1) * HAK_WORD_BITS;

	if (end > HAK_GUARDS_MAX * HAK_WORD_BITS)
		return;
	hak_os_guard(hak_region_address(end - (uint32_t)HAK_GUARD_UNITS),
		     HAK_GUARD_UNITS * HAK_UNIT_BYTES);
}

/* Opens one more SuperSlab, empty and untouched, onto its shelf. Out of line, since a thread that
 * does little has little stack left on its page. */
static HAK_NOINLINE bool open_superslab(void)
{
	uint32_t index = hak_region.superslab_count;

	if (!hak_superslab_has_room(index) || !hak_region_open_next(&index))
		return false;
	struct hak_superslab *superslab = hak_superslab_at(index);

	for (unsigned i = 0; i < HAK_SUPERSLAB_WORDS; i++) {
		superslab->free[i] = HAK_WORD_FREE;
		superslab->untouched[i] = UINT64_MAX;
		if (HAK_GUARD_UNITS != 0)
			guard_word(index, i);
	}
	/* Empty for no longer than until it is taken from: nobody asks since when. */
	superslab->longest = HAK_WORD_BITS - HAK_GUARD_UNITS;
	superslab->shelf = HAK_SHELF_EMPTY;
	hak_shelf_add(HAK_SHELF_EMPTY, index);
	publish_locked(index, false); /* whatever its row had, nothing is marked */
	count_opened(index);
	return true;
}

uint32_t hak_pool_take(unsigned unit_count, unsigned unit_alignment, bool *zeroed)
{
	uint32_t unit;
	bool come_again;

	HAK_CHECK(unit_count - 1 < HAK_WORD_BITS && unit_alignment - 1 < HAK_WORD_BITS);
	do {
		hak_lock_take(&pool_lock);
		unit = take_shelved(unit_count, unit_alignment, zeroed);
		if (unit == HAK_POOL_NONE && open_superslab())
			unit = take_shelved(unit_count, unit_alignment, zeroed);
		/* What is being purged comes back, empty, in the time of a system call. */
		come_again = unit == HAK_POOL_NONE && pool.away_count != 0;
		hak_lock_give(&pool_lock);
		if (come_again)
			hak_os_yield();
	} while (come_again);
	return unit;
}

void hak_pool_give(uint32_t unit, unsigned unit_count, struct hak_advice_units advised)
{
	uint32_t index = unit / (uint32_t)HAK_SUPERSLAB_UNITS;
	unsigned bit = unit % (uint32_t)HAK_SUPERSLAB_UNITS;
	uint64_t mask = hak_bitmap_mask(bit % HAK_WORD_BITS, unit_count);
	struct hak_superslab *superslab = hak_superslab_at(index);
	unsigned word = bit / HAK_WORD_BITS;
	uint64_t returned = advised.returned << bit % HAK_WORD_BITS;
	uint64_t lazy = advised.lazy << bit % HAK_WORD_BITS;

	hak_lock_take(&pool_lock);
	HAK_CHECK((superslab->free[word] & mask) == 0);
	superslab->free[word] |= mask;
	superslab->untouched[word] |= returned;
	superslab->lazy[word] |= lazy;
	if (lazy != 0)
		superslab->marked_at = hak_advice_stamp();
	pool.counts.free_touched_unit_count += (uint64_t)__builtin_popcountl(mask & ~returned);
	pool.counts.lazy_unit_count += (uint64_t)__builtin_popcountl(lazy);
	reshelve(superslab, index);
	if (superslab->shelf == HAK_SHELF_EMPTY)
		hak_dump_note_empty(index, superslab->empty_since_ns);
	hak_lock_give(&pool_lock);
}

bool hak_pool_has_empty(void)
{
	return (hak_shelf_stocked() >> HAK_SHELF_EMPTY & 1) != 0;
}

/* The free units of a word whose pages may go to the system, since nobody holds a part of them and
 * not all of it is settled already. */
static uint64_t returnable(uint64_t free, uint64_t settled)
{
	unsigned page_units = (unsigned)(hak_os_page_bytes() >> HAK_UNIT_SHIFT);
	uint64_t pages = hak_bitmap_groups(free, page_units);

	return pages & ~hak_bitmap_groups(pages & settled, page_units);
}

static uint64_t touched_count(const struct hak_superslab *superslab, uint64_t units, unsigned word)
{
	return (uint64_t)__builtin_popcountl(units & ~superslab->untouched[word]);
}

/* Takes the free units that may hold memory, or those that are worth a mark; says which. */
static bool claim_locked(uint32_t index, bool unmarked, struct hak_pool_claim *claim)
{
	struct hak_superslab *superslab = hak_superslab_at(index);
	bool any = false;

	HAK_ASSERT(hak_lock_is_mine(&pool_lock));
	hear_of_forks(superslab);
	claim->superslab = index;
	claim->holding_count = 0;
	claim->emptied_at = hak_advice_reclaimed_at(superslab->marked_at);
	for (unsigned i = 0; i < HAK_SUPERSLAB_WORDS; i++) {
		uint64_t settled = superslab->untouched[i];

		if (unmarked)
			settled |= superslab->lazy[i] | superslab->shared[i];
		claim->units[i] = returnable(superslab->free[i], settled);
		superslab->free[i] &= ~claim->units[i];
		superslab->away[i] |= claim->units[i];
		uint64_t touched = touched_count(superslab, claim->units[i], i);
		unsigned marked = unmark(superslab, i, claim->units[i]);

		claim->holding_count += (uint32_t)touched - (claim->emptied_at != 0 ? marked : 0);
		pool.counts.free_touched_unit_count -= touched;
		any = any || claim->units[i] != 0;
	}
	if (any) {
		pool.away_count++;
		reshelve(superslab, index);
	}
	return any;
}

/* A SuperSlab that holds no memory at all any more: from the one shelf to the other. */
static void note_returned(struct hak_superslab *superslab, uint32_t index)
{
	if (superslab->shelf != HAK_SHELF_EMPTY)
		return;
	for (unsigned i = 0; i < HAK_SUPERSLAB_WORDS; i++)
		if (superslab->untouched[i] != UINT64_MAX)
			return;
	hak_shelf_remove(HAK_SHELF_EMPTY, index);
	hak_shelf_add(HAK_SHELF_RETURNED, index);
	superslab->shelf = HAK_SHELF_RETURNED;
	pool.counts.open_count--;
	hak_dump_note_returned(index);
	HAK_PROBE(superslab_return, address_of(index));
}

bool hak_pool_claim_empty(uint64_t before_ns, struct hak_pool_claim *claim)
{
	bool claimed = false;
	uint32_t index;

	hak_lock_take(&pool_lock);
	index = hak_shelf_first(HAK_SHELF_EMPTY, 0);
	while (index != HAK_SHELF_NO_SUPERSLAB && !claimed) {
		uint32_t next = hak_shelf_first(HAK_SHELF_EMPTY, index + 1);

		if (hak_superslab_at(index)->empty_since_ns <= before_ns) {
			claimed = claim_locked(index, false, claim);
			if (!claimed)
				note_returned(hak_superslab_at(index), index);
		}
		index = next;
	}
	hak_lock_give(&pool_lock);
	return claimed;
}

bool hak_pool_claim_from(uint32_t *index, struct hak_pool_claim *claim)
{
	bool claimed = false;

	hak_lock_take(&pool_lock);
	for (; *index < hak_region.superslab_count && !claimed; ++*index)
		claimed = claim_locked(*index, false, claim);
	hak_lock_give(&pool_lock);
	return claimed;
}

/* SuperSlabs that are looked at while others wait for the lock. */
#define UNMARKED_LOOKS_MAX 512

bool hak_pool_claim_unmarked(uint32_t *index, struct hak_pool_claim *claim)
{
	bool claimed = false;

	hak_lock_take(&pool_lock);
	if (*index > hak_region.superslab_count)
		*index = hak_region.superslab_count;
	for (unsigned i = 0; i < UNMARKED_LOOKS_MAX && *index != 0 && !claimed; i++)
		claimed = claim_locked(--*index, true, claim);
	hak_lock_give(&pool_lock);
	return claimed;
}

uint32_t hak_pool_unmarked_count(void)
{
	return atomic_load_explicit(&pool.unmarked_count, memory_order_relaxed);
}

static void note_outcome(struct hak_superslab *superslab, const struct hak_pool_claim *claim,
			 unsigned word, enum hak_pool_outcome outcome)
{
	uint64_t units = claim->units[word];

	if (outcome == HAK_POOL_RETURNED) {
		superslab->untouched[word] |= units;
		superslab->shared[word] &= ~units;
		return;
	}
	pool.counts.free_touched_unit_count += touched_count(superslab, units, word);
	if (outcome == HAK_POOL_LAZY) {
		superslab->lazy[word] |= units & ~superslab->untouched[word];
		pool.counts.lazy_unit_count += touched_count(superslab, units, word);
	}
}

void hak_pool_put_back(const struct hak_pool_claim *claim, enum hak_pool_outcome outcome)
{
	struct hak_superslab *superslab = hak_superslab_at(claim->superslab);

	hak_lock_take(&pool_lock);
	HAK_CHECK(pool.away_count != 0);
	pool.away_count--;
	for (unsigned i = 0; i < HAK_SUPERSLAB_WORDS; i++) {
		HAK_CHECK((claim->units[i] & ~superslab->away[i]) == 0);
		superslab->away[i] &= ~claim->units[i];
		superslab->free[i] |= claim->units[i];
		note_outcome(superslab, claim, i, outcome);
	}
	reshelve(superslab, claim->superslab);
	if (outcome == HAK_POOL_LAZY)
		superslab->marked_at = hak_advice_stamp();
	if (outcome == HAK_POOL_RETURNED) {
		superslab->returned_at = claim->holding_count != 0 ? hak_advice_stamp()
								   : claim->emptied_at;
		note_returned(superslab, claim->superslab);
	}
	hak_lock_give(&pool_lock);
}

void hak_pool_note_away(bool begins)
{
	hak_lock_take(&pool_lock);
	HAK_CHECK(begins || pool.away_count != 0);
	pool.away_count += begins ? 1u : -1u;
	pool.counts.away_total += begins;
	hak_lock_give(&pool_lock);
}

void hak_pool_publish(unsigned char *page)
{
	struct hak_shared *shared = hak_shared_get();

	hak_lock_take(&pool_lock);
	hak_shared_begin_rows();
	/* seq_cst: a release that pairs with the acquire in hak_shared_page(); and shared.h */
	atomic_store_explicit(&shared->page, page, memory_order_seq_cst);
	hak_lock_give(&pool_lock);
	/* The lock is given up in between: rows are a walk over all descriptors. */
	for (uint32_t index = 0, count = 1; page != NULL && index < count; index++) {
		hak_lock_take(&pool_lock);
		count = hak_region.superslab_count;
		if (index < count)
			publish_locked(index, true);
		hak_lock_give(&pool_lock);
	}
}

void hak_pool_count(struct hak_pool_counts *counts)
{
	hak_lock_take(&pool_lock);
	*counts = pool.counts;
	hak_lock_give(&pool_lock);
}

bool hak_pool_is_valid(void)
{
	uint64_t touched = 0, lazy = 0;
	bool valid = true;

	hak_lock_take(&pool_lock);
	for (uint32_t index = 0; index < hak_region.superslab_count; index++) {
		const struct hak_superslab *superslab = hak_superslab_at(index);

		valid = valid && hak_superslab_is_valid(index);
		for (unsigned i = 0; i < HAK_SUPERSLAB_WORDS; i++) {
			uint64_t holding = superslab->free[i] & ~superslab->untouched[i];

			valid = valid && (superslab->lazy[i] & ~holding) == 0 &&
				(superslab->away[i] & superslab->free[i]) == 0;
			touched += (uint64_t)__builtin_popcountl(holding);
			lazy += (uint64_t)__builtin_popcountl(superslab->lazy[i]);
		}
	}
	valid = valid && hak_dump_is_valid() &&
		pool.counts.open_count <= hak_region.superslab_count &&
		pool.counts.free_touched_unit_count == touched &&
		pool.counts.lazy_unit_count == lazy;
	hak_lock_give(&pool_lock);
	return valid;
}
