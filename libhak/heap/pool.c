#include "heap/pool.h"

#include "base/bitmap.h"
#include "base/lock.h"
#include "base/os.h"
#include "base/probe.h"
#include "base/report.h"
#include "heap/dump.h"
#include "heap/meta.h"
#include "heap/region.h"
#include "heap/shared.h"

/* Shelves: 1..16 for that longest row, three wider ones, and two for SuperSlabs with nothing in
 * use. 0 is "on no shelf". */
enum shelf {
	SHELF_NONE = 0,
	SHELF_17 = HAK_SLAB_UNITS_MAX + 1,
	SHELF_32,
	SHELF_64,
	SHELF_EMPTY,
	SHELF_RETURNED,
	SHELF_COUNT,
};
static_assert(SHELF_COUNT <= 32, "a set of shelves is a 32-bit mask");

struct superslab {
	uint64_t free[HAK_SUPERSLAB_WORDS];
	uint64_t untouched[HAK_SUPERSLAB_WORDS]; /* never written since it read as zero */
	uint64_t lazy[HAK_SUPERSLAB_WORDS];	 /* free, and marked MADV_FREE */
	uint64_t shared[HAK_SUPERSLAB_WORDS];	 /* touched before a fork, and not taken since */
	uint64_t empty_since_ns;
	uint32_t fork_count; /* of which `shared` knows */
	uint8_t advised_at;  /* when units were last advised: a stamp of advice.h */
	uint8_t shelf;
	uint8_t longest; /* the longest row of free units, 0..64 */
};

/* Which SuperSlabs are on a shelf: a bit each, and over 64 of these words a bit "word not 0". With
 * each word goes a row of descriptors, which come from meta.h when the first of them is opened. */
#define ROW_SUPERSLABS HAK_WORD_BITS
#define GROUP_SUPERSLABS (ROW_SUPERSLABS * HAK_WORD_BITS)
#define SUPERSLABS_MAX (HAK_REGION_BYTES_HIGH / HAK_SUPERSLAB_BYTES)
#define GROUPS_MAX (SUPERSLABS_MAX / GROUP_SUPERSLABS)

static HAK_EARLY struct {
	struct hak_pool_counts counts;
	_Atomic uint32_t unmarked_count;
	uint32_t away_count;		/* claims that have not been put back yet, and the like */
	uint32_t row_count;		/* rows in use */
	_Atomic uint32_t stocked;	/* a bit for each shelf that has any */
	uint32_t on_shelf[SHELF_COUNT]; /* SuperSlabs on each */
} pool;

/* Aligned: what a small heap uses of the first is in one page. */
static _Alignas(1024) struct group {
	uint64_t summary[SHELF_COUNT];
	struct superslab *row[HAK_WORD_BITS];
	uint64_t word[HAK_WORD_BITS][SHELF_COUNT];
} groups[GROUPS_MAX];

/* Guards all of these, and every SuperSlab's descriptor; atomics are read without it as well. */
static struct hak_lock pool_lock = HAK_LOCK_OF(HAK_LOCK_POOL);

/* All units of a word that may ever be free: the last is a guard in the secure build. */
#define WORD_FREE (UINT64_MAX >> HAK_GUARD_UNITS)

static struct group *group_of(uint32_t index)
{
	return &groups[index / GROUP_SUPERSLABS];
}

static struct superslab **row_of(uint32_t index)
{
	return &group_of(index)->row[index / ROW_SUPERSLABS % HAK_WORD_BITS];
}

static struct superslab *superslab_at(uint32_t index)
{
	return &(*row_of(index))[index % ROW_SUPERSLABS];
}

static char *address_of(uint32_t index)
{
	return hak_region_address(index * (uint32_t)HAK_SUPERSLAB_UNITS);
}

/* A shelf's word with the bit of this SuperSlab; its bit number is index % HAK_WORD_BITS. */
static uint64_t *shelf_word(unsigned shelf, uint32_t index)
{
	return &group_of(index)->word[index / HAK_WORD_BITS % HAK_WORD_BITS][shelf];
}

static uint32_t stocked_shelves(void)
{
	return atomic_load_explicit(&pool.stocked, memory_order_relaxed);
}

static void change_stocked(unsigned shelf)
{
	atomic_store_explicit(&pool.stocked, stocked_shelves() ^ (uint32_t)1 << shelf,
			      memory_order_relaxed);
}

static void shelf_add(unsigned shelf, uint32_t index)
{
	unsigned word_number = index / HAK_WORD_BITS % HAK_WORD_BITS;

	*shelf_word(shelf, index) |= (uint64_t)1 << index % HAK_WORD_BITS;
	group_of(index)->summary[shelf] |= (uint64_t)1 << word_number;
	if (pool.on_shelf[shelf]++ == 0)
		change_stocked(shelf);
}

static void shelf_remove(unsigned shelf, uint32_t index)
{
	unsigned word_number = index / HAK_WORD_BITS % HAK_WORD_BITS;

	*shelf_word(shelf, index) &= ~((uint64_t)1 << index % HAK_WORD_BITS);
	if (*shelf_word(shelf, index) == 0)
		group_of(index)->summary[shelf] &= ~((uint64_t)1 << word_number);
	if (--pool.on_shelf[shelf] == 0)
		change_stocked(shelf);
}

/* The SuperSlab of lowest address on a shelf, from `from` on; HAK_POOL_NONE where there is none. */
static uint32_t shelf_first(unsigned shelf, uint32_t from)
{
	uint32_t word = from / HAK_WORD_BITS;
	uint64_t bits;

	if (from >= hak_region.superslab_count)
		return HAK_POOL_NONE;
	bits = *shelf_word(shelf, from) >> from % HAK_WORD_BITS;
	if (bits != 0)
		return from + (uint32_t)__builtin_ctzl(bits);
	word++;
	for (uint32_t i = word / HAK_WORD_BITS; i * HAK_WORD_BITS < pool.row_count; i++) {
		const struct group *group = &groups[i];
		uint64_t summary = group->summary[shelf];

		if (i == word / HAK_WORD_BITS)
			summary &= ~(uint64_t)0 << word % HAK_WORD_BITS;
		if (summary == 0)
			continue;
		word = (uint32_t)__builtin_ctzl(summary);
		return (i * HAK_WORD_BITS + word) * HAK_WORD_BITS +
		       (uint32_t)__builtin_ctzl(group->word[word][shelf]);
	}
	return HAK_POOL_NONE;
}

/* The shelf of this longest row, and the one that a search for such a row begins at. */
static unsigned shelf_for(unsigned unit_count)
{
	if (unit_count <= HAK_SLAB_UNITS_MAX)
		return unit_count;
	return unit_count < 32 ? SHELF_17 : unit_count < HAK_WORD_BITS ? SHELF_32 : SHELF_64;
}

static unsigned shelf_of(const struct superslab *superslab)
{
	bool is_empty = superslab->free[0] == WORD_FREE && superslab->free[1] == WORD_FREE;

	return is_empty ? SHELF_EMPTY : shelf_for(superslab->longest);
}

static void publish_locked(uint32_t index, bool is_new)
{
	unsigned char *page = hak_shared_page();

	if (hak_likely(page == NULL))
		return;
	const struct superslab *superslab = superslab_at(index);
	struct hak_shared_units units = {superslab->free, superslab->untouched, superslab->lazy};

	HAK_ASSERT(hak_lock_is_mine(&pool_lock));
	hak_shared_write_superslab(page, index, &units, is_new);
}

/* Each SuperSlab hears of a fork when it is next looked at: the handlers of fork(2) take no lock
 * that the forking thread may have. */
static void hear_of_forks(struct superslab *superslab)
{
	uint32_t count = hak_advice_fork_count();

	if (hak_likely(superslab->fork_count == count))
		return;
	superslab->fork_count = count;
	for (unsigned i = 0; i < HAK_SUPERSLAB_WORDS; i++)
		superslab->shared[i] = ~superslab->untouched[i];
}

/* Puts a SuperSlab where it belongs after its free units changed, and tells of the change. */
static void reshelve(struct superslab *superslab, uint32_t index)
{
	unsigned low = hak_bitmap_longest_run(superslab->free[0]);
	unsigned high = hak_bitmap_longest_run(superslab->free[1]);

	atomic_store_explicit(
		&pool.unmarked_count,
		(uint32_t)(pool.counts.free_touched_unit_count - pool.counts.lazy_unit_count),
		memory_order_relaxed);
	publish_locked(index, false);
	superslab->longest = (uint8_t)(low > high ? low : high);
	unsigned shelf = shelf_of(superslab);

	if (shelf == superslab->shelf)
		return;
	if (superslab->shelf != SHELF_NONE)
		shelf_remove(superslab->shelf, index);
	if (shelf != SHELF_NONE)
		shelf_add(shelf, index);
	if (shelf == SHELF_EMPTY)
		superslab->empty_since_ns = hak_os_now_ns();
	superslab->shelf = (uint8_t)shelf;
}

/* Takes the marks off units that are taken or returned. */
static unsigned unmark(struct superslab *superslab, unsigned word, uint64_t units)
{
	unsigned count = (unsigned)__builtin_popcountl(superslab->lazy[word] & units);

	superslab->lazy[word] &= ~units;
	pool.counts.lazy_unit_count -= count;
	return count;
}

/* Marks units as taken where a SuperSlab has such a row; *bit is its place in the SuperSlab. */
static bool carve(struct superslab *superslab, unsigned unit_count, unsigned unit_alignment,
		  unsigned *bit, bool *zeroed)
{
	/* A bit at each multiple of the alignment: all ones over a group's ones. */
	uint64_t aligned = UINT64_MAX / hak_bitmap_mask(0, unit_alignment);

	for (unsigned i = 0; i < HAK_SUPERSLAB_WORDS; i++) {
		uint64_t free = superslab->free[i];
		uint64_t starts = hak_bitmap_run_starts(free, unit_count) & aligned;

		if (starts == 0)
			continue;
		unsigned first = (unsigned)__builtin_ctzl(starts);
		uint64_t mask = hak_bitmap_mask(first, unit_count);
		uint64_t zero = superslab->untouched[i] & mask;

		superslab->free[i] = free & ~mask;
		superslab->untouched[i] &= ~mask;
		pool.counts.free_touched_unit_count -= (unsigned)__builtin_popcountl(mask & ~zero);
		hear_of_forks(superslab);
		superslab->shared[i] &= ~mask;
		hak_advice_use_units(superslab->advised_at, unmark(superslab, i, mask), zero);
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

/* Takes from what is on the shelves. Rows of 1..16 at any place are found at the first look; longer
 * or aligned ones may look at SuperSlabs in vain, so many on each shelf and no more. */
#define LOOKS_MAX 32

static uint32_t take_shelved(unsigned unit_count, unsigned unit_alignment, bool *zeroed)
{
	uint32_t shelves = stocked_shelves() & UINT32_MAX << shelf_for(unit_count);
	unsigned bit;

	for (; shelves != 0; shelves &= shelves - 1) {
		unsigned shelf = (unsigned)__builtin_ctz(shelves);
		uint32_t index = shelf_first(shelf, 0);

		for (unsigned look = 0; index != HAK_POOL_NONE && look < LOOKS_MAX; look++) {
			struct superslab *superslab = superslab_at(index);

			if (superslab->longest >= unit_count &&
			    carve(superslab, unit_count, unit_alignment, &bit, zeroed)) {
				if (shelf == SHELF_RETURNED)
					count_opened(index);
				hak_dump_note_used(index, shelf == SHELF_RETURNED);
				reshelve(superslab, index);
				return index * (uint32_t)HAK_SUPERSLAB_UNITS + bit;
			}
			index = shelf_first(shelf, index + 1);
		}
	}
	return HAK_POOL_NONE;
}

static void guard_word(uint32_t index, unsigned word)
{
	uint32_t end = index * (uint32_t)HAK_SUPERSLAB_UNITS + (word + 1) * HAK_WORD_BITS;

	hak_os_guard(hak_region_address(end - (uint32_t)HAK_GUARD_UNITS),
		     HAK_GUARD_UNITS * HAK_UNIT_BYTES);
}

/* Opens one more SuperSlab, empty and untouched, onto its shelf. Out of line, since a thread that
 * does little has little stack left on its page. */
static HAK_NOINLINE bool open_superslab(void)
{
	uint32_t index = hak_region.superslab_count;

	if (index == SUPERSLABS_MAX)
		return false;
	/* By a count: what is read before it is written costs a page fault more. */
	if (index / ROW_SUPERSLABS == pool.row_count) {
		*row_of(index) = hak_meta_take(ROW_SUPERSLABS * sizeof(struct superslab));
		if (*row_of(index) == NULL)
			return false;
		pool.row_count++;
	}
	if (!hak_region_open_next(&index))
		return false;
	struct superslab *superslab = superslab_at(index);

	for (unsigned i = 0; i < HAK_SUPERSLAB_WORDS; i++) {
		superslab->free[i] = WORD_FREE;
		superslab->untouched[i] = UINT64_MAX;
		if (HAK_GUARD_UNITS != 0)
			guard_word(index, i);
	}
	/* Empty for no longer than until it is taken from: nobody asks since when. */
	superslab->longest = HAK_WORD_BITS - HAK_GUARD_UNITS;
	superslab->shelf = SHELF_EMPTY;
	shelf_add(SHELF_EMPTY, index);
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
	struct superslab *superslab = superslab_at(index);
	unsigned word = bit / HAK_WORD_BITS;
	uint64_t returned = advised.returned << bit % HAK_WORD_BITS;
	uint64_t lazy = advised.lazy << bit % HAK_WORD_BITS;

	hak_lock_take(&pool_lock);
	HAK_CHECK((superslab->free[word] & mask) == 0);
	superslab->free[word] |= mask;
	superslab->untouched[word] |= returned;
	superslab->lazy[word] |= lazy;
	pool.counts.free_touched_unit_count += (uint64_t)__builtin_popcountl(mask & ~returned);
	pool.counts.lazy_unit_count += (uint64_t)__builtin_popcountl(lazy);
	reshelve(superslab, index);
	if (superslab->shelf == SHELF_EMPTY)
		hak_dump_note_empty(index, superslab->empty_since_ns);
	hak_lock_give(&pool_lock);
}

bool hak_pool_has_empty(void)
{
	return (stocked_shelves() >> SHELF_EMPTY & 1) != 0;
}

/* The free units of a word whose pages may go to the system, since nobody holds a part of them and
 * not all of it is settled already. */
static uint64_t returnable(uint64_t free, uint64_t settled)
{
	unsigned page_units = (unsigned)(hak_os_page_bytes() >> HAK_UNIT_SHIFT);
	uint64_t pages = hak_bitmap_groups(free, page_units);

	return pages & ~hak_bitmap_groups(pages & settled, page_units);
}

static uint64_t touched_count(const struct superslab *superslab, uint64_t units, unsigned word)
{
	return (uint64_t)__builtin_popcountl(units & ~superslab->untouched[word]);
}

/* Takes the free units that may hold memory, or those that are worth a mark; says which. */
static bool claim_locked(uint32_t index, bool unmarked, struct hak_pool_claim *claim)
{
	struct superslab *superslab = superslab_at(index);
	bool any = false;

	HAK_ASSERT(hak_lock_is_mine(&pool_lock));
	hear_of_forks(superslab);
	claim->superslab = index;
	for (unsigned i = 0; i < HAK_SUPERSLAB_WORDS; i++) {
		uint64_t settled = superslab->untouched[i];

		if (unmarked)
			settled |= superslab->lazy[i] | superslab->shared[i];
		claim->units[i] = returnable(superslab->free[i], settled);
		superslab->free[i] &= ~claim->units[i];
		(void)unmark(superslab, i, claim->units[i]);
		pool.counts.free_touched_unit_count -= touched_count(superslab, claim->units[i], i);
		any = any || claim->units[i] != 0;
	}
	if (any) {
		pool.away_count++;
		reshelve(superslab, index);
	}
	return any;
}

/* A SuperSlab that holds no memory at all any more: from the one shelf to the other. */
static void note_returned(struct superslab *superslab, uint32_t index)
{
	if (superslab->shelf != SHELF_EMPTY)
		return;
	for (unsigned i = 0; i < HAK_SUPERSLAB_WORDS; i++)
		if (superslab->untouched[i] != UINT64_MAX)
			return;
	shelf_remove(SHELF_EMPTY, index);
	shelf_add(SHELF_RETURNED, index);
	superslab->shelf = SHELF_RETURNED;
	pool.counts.open_count--;
	hak_dump_note_returned(index);
	HAK_PROBE(superslab_return, address_of(index));
}

bool hak_pool_claim_empty(uint64_t before_ns, struct hak_pool_claim *claim)
{
	bool claimed = false;
	uint32_t index;

	hak_lock_take(&pool_lock);
	index = shelf_first(SHELF_EMPTY, 0);
	while (index != HAK_POOL_NONE && !claimed) {
		uint32_t next = shelf_first(SHELF_EMPTY, index + 1);

		if (superslab_at(index)->empty_since_ns <= before_ns) {
			claimed = claim_locked(index, false, claim);
			if (!claimed)
				note_returned(superslab_at(index), index);
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

static void note_outcome(struct superslab *superslab, const struct hak_pool_claim *claim,
			 unsigned word, enum hak_pool_outcome outcome)
{
	uint64_t units = claim->units[word];

	if (outcome != HAK_POOL_KEPT && units != 0)
		superslab->advised_at = hak_advice_stamp();
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
	struct superslab *superslab = superslab_at(claim->superslab);

	hak_lock_take(&pool_lock);
	HAK_CHECK(pool.away_count != 0);
	pool.away_count--;
	for (unsigned i = 0; i < HAK_SUPERSLAB_WORDS; i++) {
		HAK_CHECK((superslab->free[i] & claim->units[i]) == 0);
		superslab->free[i] |= claim->units[i];
		note_outcome(superslab, claim, i, outcome);
	}
	reshelve(superslab, claim->superslab);
	if (outcome == HAK_POOL_RETURNED)
		note_returned(superslab, claim->superslab);
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
	struct hak_shared *shared = atomic_load_explicit(&hak_shared, memory_order_relaxed);

	/* seq_cst: a release that pairs with the acquire in hak_shared_page(); and shared.h */
	atomic_store_explicit(&shared->page, page, memory_order_seq_cst);
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

static bool superslab_is_valid(const struct superslab *superslab, uint32_t index)
{
	unsigned shelf = superslab->shelf;

	for (unsigned i = 1; i < SHELF_COUNT; i++)
		if ((*shelf_word(i, index) >> index % HAK_WORD_BITS & 1) != (i == shelf))
			return false;
	return shelf_of(superslab) == (shelf == SHELF_RETURNED ? SHELF_EMPTY : shelf);
}

bool hak_pool_is_valid(void)
{
	uint64_t touched = 0, lazy = 0;
	bool valid = true;

	hak_lock_take(&pool_lock);
	for (uint32_t index = 0; index < hak_region.superslab_count; index++) {
		const struct superslab *superslab = superslab_at(index);

		valid = valid && superslab_is_valid(superslab, index);
		for (unsigned i = 0; i < HAK_SUPERSLAB_WORDS; i++) {
			uint64_t holding = superslab->free[i] & ~superslab->untouched[i];

			valid = valid && (superslab->lazy[i] & ~holding) == 0;
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
