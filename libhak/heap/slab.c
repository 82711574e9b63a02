#include "heap/slab.h"

#include "base/bitmap.h"
#include "base/lock.h"
#include "base/os.h"
#include "base/misuse.h"
#include "base/random.h"
#include "base/probe.h"
#include "base/report.h"
#include "base/size_class.h"
#include "heap/advice.h"
#include "heap/region.h"
#include "heap/tally.h"

#include <string.h>

/* Partly free slabs of a class that nobody leases. The lock guards first_unit and the links and
 * LISTED bits of the slabs on the list; the list is short-lived work, taken from its head. */
struct list {
	struct hak_lock lock;
	uint32_t first_unit; /* unit + 1, so that zeroed memory is an empty list */
};

static struct list lists[HAK_CLASS_COUNT + 1] = {
	[0 ... HAK_CLASS_COUNT] = {.lock = HAK_LOCK_OF(HAK_LOCK_CLASS)}};

static void link_locked(struct list *list, uint32_t unit)
{
	struct hak_slab *slab = hak_control_slab(unit);

	HAK_ASSERT(hak_lock_is_mine(&list->lock));
	slab->previous_unit = 0;
	slab->next_unit = list->first_unit;
	if (list->first_unit != 0)
		hak_control_slab(list->first_unit - 1)->previous_unit = unit + 1;
	list->first_unit = unit + 1;
}

static void unlink_locked(struct list *list, uint32_t unit)
{
	struct hak_slab *slab = hak_control_slab(unit);

	HAK_ASSERT(hak_lock_is_mine(&list->lock));
	if (slab->previous_unit != 0)
		hak_control_slab(slab->previous_unit - 1)->next_unit = slab->next_unit;
	else
		list->first_unit = slab->next_unit;
	if (slab->next_unit != 0)
		hak_control_slab(slab->next_unit - 1)->previous_unit = slab->previous_unit;
}

static bool is_slab_of(uint64_t control, uint32_t generation)
{
	return (control & HAK_CONTROL_SLAB) != 0 && hak_control_generation(control) == generation;
}

/* The units of a slab that is EMPTY, and so ours alone, go back to the pool. `last` is the word
 * before it became so. */
static void retire(uint32_t unit, uint64_t last)
{
	struct hak_slab *slab = hak_control_slab(unit);
	unsigned class_idx = hak_control_class(last);
	unsigned unit_count = hak_size_classes[class_idx].unit_count;
	struct hak_advice_units advised = hak_advice_of_units(slab, unit_count);

	HAK_PROBE(slab_give, class_idx, hak_region_address(unit));
	hak_tally_add_slabs(class_idx, -1);
	hak_tally_add_touched(class_idx, -(int64_t)hak_control_high_water(slab));
	hak_advice_forget(slab);
	if ((last & HAK_CONTROL_LISTED) != 0) {
		struct list *list = &lists[class_idx];

		hak_lock_take(&list->lock);
		unlink_locked(list, unit);
		hak_lock_give(&list->lock);
	}
	hak_region_mark(unit, unit_count, HAK_CLASS_NONE, HAK_CLASS_NONE);
	for (unsigned i = 0;
	     i < HAK_SLAB_WORDS && atomic_load_explicit(&slab->free[i], memory_order_relaxed); i++)
		atomic_store_explicit(&slab->free[i], 0, memory_order_relaxed);
	/* release: the next owner of the units finds all of the above done */
	atomic_store_explicit(&slab->control, hak_control_next(last, 0, 0, 0),
			      memory_order_release);
	hak_pool_give(unit, unit_count, advised);
}

/* Puts the slab on its class's list where `seen` still stands; else reads `seen` anew. */
static bool try_list(uint32_t unit, uint64_t *seen)
{
	struct hak_slab *slab = hak_control_slab(unit);
	struct list *list = &lists[hak_control_class(*seen)];
	bool listed;

	/* LISTED is set under the lock and together with the link: who retires the slab meanwhile
	 * either makes this CAS fail, or sees LISTED and waits for the lock to unlink it. */
	hak_lock_take(&list->lock);
	listed = atomic_compare_exchange_strong_explicit(&slab->control, seen,
							 *seen | HAK_CONTROL_LISTED,
							 memory_order_acq_rel,
							 memory_order_acquire);
	if (listed)
		link_locked(list, unit);
	hak_lock_give(&list->lock);
	return listed;
}

/* After this thread changed the word to `seen`: retires the slab if all is free, lists it if some
 * is, where that is nobody else's duty. Every thread that adds or unleases asks, so the last one
 * sees the final state. */
static void settle(uint32_t unit, uint64_t seen)
{
	struct hak_slab *slab = hak_control_slab(unit);
	uint32_t generation = hak_control_generation(seen);

	while (is_slab_of(seen, generation) && (seen & HAK_CONTROL_LEASED) == 0) {
		unsigned count = hak_control_count(seen);

		if (count == hak_size_classes[hak_control_class(seen)].block_count) {
			/* acquire: pairs with the releases of all who gave */
			if (atomic_compare_exchange_strong_explicit(
				    &slab->control, &seen, seen & ~HAK_CONTROL_SLAB,
				    memory_order_acq_rel, memory_order_acquire)) {
				retire(unit, seen);
				return;
			}
		} else if (count == 0 || (seen & HAK_CONTROL_LISTED) != 0 ||
			   try_list(unit, &seen)) {
			return;
		}
	}
}

static uint32_t lease_listed(unsigned class_idx)
{
	struct list *list = &lists[class_idx];
	uint32_t unit = HAK_POOL_NONE;

	hak_lock_take(&list->lock);
	for (uint32_t next = list->first_unit; next != 0 && unit == HAK_POOL_NONE;) {
		struct hak_slab *slab = hak_control_slab(next - 1);
		uint64_t seen = atomic_load_explicit(&slab->control, memory_order_relaxed);

		/* A slab that is EMPTY already waits for this lock to be unlinked: pass it by. */
		while (unit == HAK_POOL_NONE && (seen & HAK_CONTROL_SLAB) != 0) {
			uint64_t leased = (seen & ~HAK_CONTROL_LISTED) | HAK_CONTROL_LEASED;

			/* acquire: pairs with the adds of those who gave */
			if (atomic_compare_exchange_weak_explicit(&slab->control, &seen, leased,
								  memory_order_acq_rel,
								  memory_order_relaxed))
				unit = next - 1;
		}
		next = slab->next_unit;
	}
	if (unit != HAK_POOL_NONE)
		unlink_locked(list, unit);
	hak_lock_give(&list->lock);
	return unit;
}

/* Cuts units from the pool into a slab of the class, leased to the caller. */
static uint32_t lease_new(unsigned class_idx)
{
	const struct hak_size_class *size_class = &hak_size_classes[class_idx];
	bool zeroed;
	uint32_t unit = hak_pool_take(size_class->unit_count, 1, &zeroed);
	unsigned left = size_class->block_count;

	if (unit == HAK_POOL_NONE)
		return HAK_POOL_NONE;
	/* A descriptor's page may be fresh: written first, it is faulted in once and not twice. */
	for (unsigned i = 0; i < size_class->unit_count; i++)
		hak_control_slab(unit + i)->head_distance = (uint8_t)i;
	struct hak_slab *slab = hak_control_slab(unit);
	uint64_t last = atomic_load_explicit(&slab->control, memory_order_relaxed);

	HAK_CHECK((last & (HAK_CONTROL_SLAB | HAK_CONTROL_RUN)) == 0);
	for (unsigned i = 0; left != 0; i++) {
		unsigned here = left < HAK_WORD_BITS ? left : HAK_WORD_BITS;

		atomic_store_explicit(&slab->free[i], hak_bitmap_mask(0, here),
				      memory_order_relaxed);
		left -= here;
	}
	unsigned touched = zeroed ? 0 : size_class->block_count;

	atomic_store_explicit(&slab->high_water, touched, memory_order_relaxed);
	hak_advice_begin(slab);
	hak_tally_add_slabs(class_idx, 1);
	hak_tally_add_touched(class_idx, touched);
	hak_region_mark(unit, size_class->unit_count, class_idx, class_idx);
	/* release: pairs with the acquire of whoever meets this slab by its word */
	atomic_store_explicit(&slab->control,
			      hak_control_next(last, HAK_CONTROL_SLAB | HAK_CONTROL_LEASED,
					       class_idx, size_class->block_count),
			      memory_order_release);
	HAK_PROBE(slab_take, class_idx, hak_region_address(unit));
	return unit;
}

/* A bound for who asks in vain beside a thread that trims without end. */
#define TRIES_MAX 100

static uint64_t away_total(void)
{
	struct hak_pool_counts counts;

	hak_pool_count(&counts);
	return counts.away_total;
}

/* Slabs whose free blocks a trim had claimed are back on the list when lease_new() says that there
 * is no memory: it waits for that. Unless another one has begun meanwhile. */
static HAK_NOINLINE uint32_t lease_at_last(unsigned class_idx)
{
	uint32_t unit = HAK_POOL_NONE;

	for (unsigned i = 0; i < TRIES_MAX && unit == HAK_POOL_NONE; i++) {
		uint64_t before = away_total();

		unit = lease_new(class_idx);
		if (unit == HAK_POOL_NONE)
			unit = lease_listed(class_idx);
		if (away_total() == before)
			break;
	}
	return unit;
}

uint32_t hak_slab_lease(unsigned class_idx)
{
	uint32_t unit = lease_listed(class_idx);

	if (unit == HAK_POOL_NONE)
		unit = lease_new(class_idx);
	return unit != HAK_POOL_NONE ? unit : lease_at_last(class_idx);
}

void hak_slab_unlease(uint32_t unit)
{
	struct hak_slab *slab = hak_control_slab(unit);
	/* release: pairs with the acquire of the next lessee, who claims by what we left */
	uint64_t seen = atomic_fetch_and_explicit(&slab->control, ~HAK_CONTROL_LEASED,
						  memory_order_acq_rel);

	HAK_CHECK((seen & HAK_CONTROL_LEASED) != 0);
	settle(unit, seen & ~HAK_CONTROL_LEASED);
}

/* Lowers the count by up to `wanted` and returns by how much: so many bits are now ours to
 * claim. */
static unsigned reserve(struct hak_slab *slab, unsigned wanted)
{
	uint64_t seen = atomic_load_explicit(&slab->control, memory_order_relaxed);
	unsigned count;

	do {
		count = hak_control_count(seen);
		if (count > wanted)
			count = wanted;
		if (count == 0)
			return 0;
		/* acquire: pairs with the release of the adds, so the bits counted are seen */
	} while (!hak_solo_exchange(&slab->control, &seen, seen - count, memory_order_acquire));
	return count;
}

/* Words that a slab's blocks have bits in. */
static unsigned word_count(unsigned class_idx)
{
	return (hak_size_classes[class_idx].block_count + HAK_WORD_BITS - 1u) / HAK_WORD_BITS;
}

/* Writes the blocks of these bits of one word, which are some, downwards from *end. */
static void write_blocks(char *word_start, size_t block_bytes, uint64_t bits, void ***end)
{
	char *block = word_start + (size_t)__builtin_ctzl(bits) * block_bytes;
	char *stop = word_start + (HAK_WORD_BITS - (size_t)__builtin_clzl(bits)) * block_bytes;
	void **at = *end;

	/* Neighbours, as a fresh slab gives them, need no product each. */
	if ((bits & (bits + (bits & -bits))) == 0) {
		for (; block != stop; block += block_bytes)
			*--at = block;
	} else {
		for (; bits != 0; bits &= bits - 1)
			*--at = word_start + (size_t)__builtin_ctzl(bits) * block_bytes;
	}
	*end = at;
}

unsigned hak_slab_take(uint32_t unit, unsigned count, void **blocks)
{
	struct hak_slab *slab = hak_control_slab(unit);
	unsigned reserved = reserve(slab, count);
	unsigned class_idx = hak_control_class(
		atomic_load_explicit(&slab->control, memory_order_relaxed));
	size_t block_bytes = hak_size_classes[class_idx].block_bytes;
	char *start = hak_region_address(unit);
	void **end = blocks + reserved;
	unsigned last = 0;
	uint64_t random = HAK_SECURE ? hak_random_next() : 0;
	unsigned first = (unsigned)(random / HAK_WORD_BITS % word_count(class_idx));

	/* The bits are there: popcount >= count held before the reservation. One pass finds them
	 * unless others give behind it and take before it, so the scan begins anew at the end. */
	for (unsigned i = first; end != blocks; i = (i + 1) % HAK_SLAB_WORDS) {
		unsigned left = (unsigned)(end - blocks);
		uint64_t bits = HAK_SECURE ? hak_bitmap_take_from(&slab->free[i], left,
								  random % HAK_WORD_BITS)
					   : hak_bitmap_take(&slab->free[i], left);

		if (bits == 0)
			continue;
		unsigned highest = i * HAK_WORD_BITS + 63u - (unsigned)__builtin_clzl(bits);

		last = highest > last ? highest : last;
		write_blocks(start + i * HAK_WORD_BITS * block_bytes, block_bytes, bits, &end);
	}
	if (reserved != 0 && last >= hak_control_high_water(slab)) {
		hak_tally_add_touched(class_idx, last + 1 - hak_control_high_water(slab));
		atomic_store_explicit(&slab->high_water, last + 1, memory_order_relaxed);
	}
	/* relaxed: who gave these bits back had noted the pages before (hole.c) */
	if (hak_unlikely(atomic_load_explicit(&slab->advised_pages, memory_order_relaxed) != 0))
		hak_advice_use(slab, class_idx, start, blocks, reserved);
	hak_tally_add_taken(class_idx, reserved);
	return reserved;
}

static void report(enum hak_misuse_kind kind, unsigned class_idx, const void *block,
		   const char *call)
{
	hak_misuse_report(&(struct hak_misuse){
		.kind = kind,
		.call = call,
		.address = block,
		.class_idx = class_idx,
		.bytes = hak_size_classes[class_idx].block_bytes,
	});
}

static HAK_NOINLINE void report_no_start(unsigned class_idx, const void *block, const char *call)
{
	uint32_t unit = hak_region_unit(block);
	enum hak_misuse_kind kind = HAK_MISUSE_NOT_IN_USE;

	/* What is left over behind a slab's last block is in nobody's use. */
	if (hak_region_class(unit) == class_idx) {
		const char *start = hak_region_address(hak_control_head(unit));
		size_t offset = (size_t)((const char *)block - start);

		if (offset % hak_size_classes[class_idx].block_bytes != 0)
			kind = HAK_MISUSE_INTERIOR;
	}
	report(kind, class_idx, block, call);
}

/* The first unit of a block's slab; HAK_POOL_NONE, and a report, for misuse: not a block's first
 * byte, or a unit that is no slab of this class. */
HAK_INLINE uint32_t find(unsigned class_idx, const void *block, const char *call)
{
	uint32_t unit = hak_region_unit(block);

	if (hak_likely(hak_region_class(unit) == class_idx)) {
		unit = hak_control_head(unit);
		if (hak_likely(hak_slab_has_start(class_idx, unit, block)))
			return unit;
	}
	report_no_start(class_idx, block, call);
	return HAK_POOL_NONE;
}

bool hak_slab_check_block(unsigned class_idx, const void *block, const char *call)
{
	return find(class_idx, block, call) != HAK_POOL_NONE;
}

void hak_slab_report_double_free(unsigned class_idx, const void *block)
{
	if (hak_slab_check_block(class_idx, block, "free"))
		report(HAK_MISUSE_DOUBLE_FREE, class_idx, block, "free");
}

/* Adds to the count what was given by bits before, and settles what follows from it. */
static void add(uint32_t unit, unsigned count)
{
	/* release: pairs with the acquire in reserve() and of the one who retires the slab */
	uint64_t seen =
		hak_solo_add(&hak_control_slab(unit)->control, count, memory_order_acq_rel) + count;

	/* Most often it is others' duty, or done. */
	if ((seen & HAK_CONTROL_LEASED) != 0 ||
	    ((seen & HAK_CONTROL_LISTED) != 0 &&
	     hak_control_count(seen) != hak_size_classes[hak_control_class(seen)].block_count))
		return;
	settle(unit, seen);
}

/* Returns how many blocks of a word that is. */
static HAK_NOINLINE unsigned report_twice(unsigned class_idx, uint32_t unit, unsigned word,
					  uint64_t twice)
{
	unsigned count = 0;

	for (; twice != 0; twice &= twice - 1) {
		size_t index = word * HAK_WORD_BITS + (size_t)__builtin_ctzl(twice);
		size_t bytes = hak_size_classes[class_idx].block_bytes;

		report(HAK_MISUSE_DOUBLE_FREE, class_idx, hak_region_address(unit) + index * bytes,
		       "free");
		count++;
	}
	return count;
}

/* Sets the bits of one word, all of which must have been taken. Returns how many had not been. */
HAK_INLINE unsigned give_word(unsigned class_idx, uint32_t unit, unsigned word, uint64_t mask)
{
	uint64_t twice = hak_bitmap_give(&hak_control_slab(unit)->free[word], mask);

	return hak_likely(twice == 0) ? 0 : report_twice(class_idx, unit, word, twice);
}

/* How far ahead a batch fetches descriptors: far enough for one to come from memory. */
#define PREFETCH_AHEAD 8

static void prefetch(const void *block)
{
	/* For slabs of one unit, and so for most blocks, this is the slab's own descriptor. */
	__builtin_prefetch(hak_control_slab(hak_region_unit(block)), 1);
}

/* Where blocks of one slab lie, and a bit for each that is on its way back: those of one word go
 * with one operation, and all with one add. */
struct batch {
	uint32_t unit; /* the slab's first */
	char *start;
	size_t bytes; /* from there on that blocks begin at */
	uint64_t masks[HAK_SLAB_WORDS];
};

static bool is_in(const struct batch *batch, const void *block)
{
	return (size_t)((const char *)block - batch->start) < batch->bytes;
}

/* From here on the batch is of this block's slab. False: it is in none. */
static bool begin_slab(struct batch *batch, unsigned class_idx, const void *block)
{
	uint32_t unit = find(class_idx, block, "free");
	const struct hak_size_class *size_class = &hak_size_classes[class_idx];

	if (hak_unlikely(unit == HAK_POOL_NONE))
		return false;
	batch->unit = unit;
	batch->start = hak_region_address(unit);
	batch->bytes = (size_t)size_class->block_count * size_class->block_bytes;
	return true;
}

/* A block that comes alone of its slab, as in a heap that dies in random order. Returns how many
 * went back. */
static unsigned give_alone(const struct batch *batch, unsigned class_idx, const void *block)
{
	unsigned index = hak_size_class_index(class_idx,
					      (size_t)((const char *)block - batch->start));
	uint64_t bit = (uint64_t)1 << index % HAK_WORD_BITS;

	if (give_word(class_idx, batch->unit, index / HAK_WORD_BITS, bit) != 0)
		return 0;
	add(batch->unit, 1);
	return 1;
}

/* Gives what is in the masks, `count` blocks. Returns how many went back. */
static unsigned give_masks(struct batch *batch, unsigned class_idx, unsigned count)
{
	for (unsigned word = 0; word < word_count(class_idx); word++) {
		uint64_t mask = batch->masks[word];

		if (mask == 0)
			continue;
		count -= give_word(class_idx, batch->unit, word, mask);
		batch->masks[word] = 0;
	}
	if (count != 0)
		add(batch->unit, count);
	return count;
}

/* All blocks from the first on that are in the batch's slab. Returns how many that are, and adds to
 * *given how many of them went back. */
static unsigned give_several(struct batch *batch, unsigned class_idx, void *const *blocks,
			     unsigned count, unsigned *given)
{
	size_t block_bytes = hak_size_classes[class_idx].block_bytes;
	const char *start = batch->start;
	size_t bytes = batch->bytes;
	unsigned misused = 0, i;

	for (i = 0; i < count; i++) {
		size_t offset = (size_t)((const char *)blocks[i] - start);

		if (offset >= bytes)
			break;
		unsigned index = hak_size_class_index(class_idx, offset);
		uint64_t bit = (uint64_t)1 << index % HAK_WORD_BITS;
		uint64_t mask = batch->masks[index / HAK_WORD_BITS];

		if (hak_likely(index * block_bytes == offset && (mask & bit) == 0)) {
			batch->masks[index / HAK_WORD_BITS] = mask | bit;
			continue;
		}
		report(index * block_bytes != offset ? HAK_MISUSE_INTERIOR : HAK_MISUSE_DOUBLE_FREE,
		       class_idx, blocks[i], "free");
		misused++;
	}
	*given += give_masks(batch, class_idx, i - misused);
	return i;
}

void hak_slab_give(unsigned class_idx, void *const *blocks, unsigned count)
{
	struct batch batch = {.bytes = 0};
	unsigned given = 0, i = 0;

	for (unsigned j = 0; j < count && j < PREFETCH_AHEAD; j++)
		prefetch(blocks[j]);
	hak_tally_add_taken(class_idx, -(int64_t)count);
	while (i < count) {
		if (hak_unlikely(!begin_slab(&batch, class_idx, blocks[i]))) {
			i++;
		} else if (i + 1 == count || !is_in(&batch, blocks[i + 1])) {
			given += give_alone(&batch, class_idx, blocks[i]);
			i++;
		} else {
			i += give_several(&batch, class_idx, blocks + i, count - i, &given);
		}
		if (i - 1 + PREFETCH_AHEAD < count)
			prefetch(blocks[i - 1 + PREFETCH_AHEAD]);
	}
	/* What was misuse is leaked, or was free already. */
	if (hak_unlikely(given != count))
		hak_tally_add_taken(class_idx, (int64_t)(count - given));
}

unsigned hak_slab_claim_free(uint32_t unit, uint32_t generation, uint64_t claimed[HAK_SLAB_WORDS])
{
	struct hak_slab *slab = hak_control_slab(unit);
	uint64_t seen = atomic_load_explicit(&slab->control, memory_order_relaxed);
	unsigned count, left;

	do {
		count = is_slab_of(seen, generation) ? hak_control_count(seen) : 0;
		if (count == 0)
			return 0;
		/* acquire: as in reserve() */
	} while (!atomic_compare_exchange_weak_explicit(
		&slab->control, &seen, seen - count, memory_order_acquire, memory_order_relaxed));
	left = count;
	memset(claimed, 0, HAK_SLAB_WORDS * sizeof *claimed);
	for (unsigned i = 0; left != 0; i = (i + 1) % HAK_SLAB_WORDS) {
		uint64_t bits = hak_bitmap_take(&slab->free[i], left);

		claimed[i] |= bits;
		left -= (unsigned)__builtin_popcountl(bits);
	}
	return count;
}

void hak_slab_unclaim(uint32_t unit, const uint64_t claimed[HAK_SLAB_WORDS], unsigned count)
{
	/* relaxed: what is claimed keeps the slab's class as it is */
	uint64_t control = atomic_load_explicit(&hak_control_slab(unit)->control,
						memory_order_relaxed);

	unsigned class_idx = hak_control_class(control), freed_twice = 0;

	for (unsigned i = 0; i < HAK_SLAB_WORDS; i++)
		if (claimed[i] != 0)
			freed_twice += give_word(class_idx, unit, i, claimed[i]);
	/* By somebody meanwhile, as if the block had been in use: it is counted already. */
	if (hak_unlikely(freed_twice != 0))
		hak_tally_add_taken(class_idx, (int64_t)freed_twice);
	if (count != freed_twice)
		add(unit, count - freed_twice);
}
