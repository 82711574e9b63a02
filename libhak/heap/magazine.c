#include "heap/magazine.h"

#include "base/policy.h"
#include "base/random.h"
#include "base/probe.h"
#include "base/report.h"
#include "base/size_class.h"
#include "heap/budget.h"
#include "heap/depot.h"
#include "heap/meta.h"
#include "heap/slab.h"

#include <string.h>

/* The magazine of a thread that has none: nothing to pop, no room to push. */
static HAK_EARLY void *nothing[1];
#define NOTHING (&nothing[1])

__thread struct hak_magazine_heads hak_magazine_heads = {
	.top = {[0 ... HAK_CLASS_BYTES - 1] = NOTHING},
	.limit = {[0 ... HAK_CLASS_BYTES - 1] = NOTHING},
};

/* An array's words are a power of two: the NULL at the bottom and the slots. */
#define LOG2_FIRST 3
#define LOG2_LAST 8

static_assert((1 << LOG2_LAST) - 1 == HAK_MAGAZINE_SLOTS_MAX, "the largest array");
static_assert(LOG2_LAST <= HAK_META_LOG2_MAX, "meta has such arrays");

static void **top_of(const struct hak_magazines *magazines, unsigned class_idx)
{
	return __atomic_load_n(&magazines->heads->top[class_idx], __ATOMIC_RELAXED);
}

static void **bottom_of(const struct hak_magazines *magazines, unsigned class_idx)
{
	return atomic_load_explicit(&magazines->bottom[class_idx], memory_order_relaxed);
}

static void set_bottom(struct hak_magazines *magazines, unsigned class_idx, void **bottom)
{
	atomic_store_explicit(&magazines->bottom[class_idx], bottom, memory_order_relaxed);
}

static void set_top(struct hak_magazines *magazines, unsigned class_idx, void **top)
{
	__atomic_store_n(&magazines->heads->top[class_idx], top, __ATOMIC_RELAXED);
}

/* The most slots that a class may have: two at least, so that half of it is a block. */
static size_t slots_max(unsigned class_idx)
{
	size_t slots = hak_size_class_index(class_idx, HAK_MAGAZINE_BYTES_MAX);

	if (slots > HAK_MAGAZINE_SLOTS_MAX)
		return HAK_MAGAZINE_SLOTS_MAX;
	return slots < 2 ? 2 : slots;
}

static size_t least(size_t one, size_t other)
{
	return one < other ? one : other;
}

/* What the daemon's policy lets it grow to, two slots at least. */
static size_t slots_allowed(unsigned class_idx)
{
	size_t bytes = hak_setting(&hak_policy.magazine_bytes_max);
	size_t slots = slots_max(class_idx);

	if (hak_likely(bytes == 0))
		return slots;
	bytes = hak_size_class_index(class_idx, bytes);
	return least(slots, bytes < 2 ? 2 : bytes);
}

static size_t slots_at(unsigned class_idx, unsigned log2)
{
	return least(((size_t)1 << log2) - 1, slots_max(class_idx));
}

/* Young: in the array that it began with. Many threads use a class once or twice, and what they
 * keep of it they keep for as long as they live. Not so the first of a process, which most have
 * alone. */
static bool is_young(const struct hak_magazines *magazines, unsigned class_idx)
{
	return magazines->log2[class_idx] <= LOG2_FIRST && !magazines->is_first;
}

/* Slots that a magazine begins with. */
static size_t slots_young(unsigned class_idx)
{
	size_t slots = hak_size_class_index(class_idx, HAK_MAGAZINE_BYTES_YOUNG);

	return slots == 0 ? 1 : least(slots, slots_at(class_idx, LOG2_FIRST));
}

static bool is_open(const struct hak_magazines *magazines, unsigned class_idx)
{
	uint64_t open = atomic_load_explicit(&magazines->open_classes, memory_order_relaxed);

	return (open >> class_idx & 1) != 0;
}

void hak_magazine_birth(struct hak_magazines *magazines)
{
	magazines->heads = &hak_magazine_heads;
	HAK_CHECK(magazines->open_classes == 0);
}

/* A record that served a thread before keeps its arrays. */
static bool has_array(struct hak_magazines *magazines, unsigned class_idx)
{
	void **array;

	if (bottom_of(magazines, class_idx) != NULL)
		return true;
	array = hak_meta_take_array(LOG2_FIRST);
	if (array == NULL)
		return false;
	array[0] = NULL;
	magazines->log2[class_idx] = LOG2_FIRST;
	set_bottom(magazines, class_idx, array);
	return true;
}

/* One that is longer than policy allows by now goes back. */
static HAK_NOINLINE void give_long_array(struct hak_magazines *magazines, unsigned class_idx)
{
	unsigned log2 = magazines->log2[class_idx];

	if (log2 <= LOG2_FIRST || slots_at(class_idx, log2) <= slots_allowed(class_idx))
		return;
	hak_meta_give_array(bottom_of(magazines, class_idx), log2);
	set_bottom(magazines, class_idx, NULL);
	magazines->log2[class_idx] = 0;
}

/* The first refill or flush of a class: from here on its heads are a real magazine's. False: there
 * is no memory for one, and the next time is the first. */
static bool open_class(struct hak_magazines *magazines, unsigned class_idx)
{
	uint64_t open = atomic_load_explicit(&magazines->open_classes, memory_order_relaxed);

	bool is_capped = hak_setting(&hak_policy.magazine_bytes_max) != 0;

	if (hak_unlikely(is_capped))
		give_long_array(magazines, class_idx);
	if (!has_array(magazines, class_idx))
		return false;
	void **first = bottom_of(magazines, class_idx) + 1;

	size_t slots = is_young(magazines, class_idx)
			       ? slots_young(class_idx)
			       : slots_at(class_idx, magazines->log2[class_idx]);

	if (hak_unlikely(is_capped))
		slots = least(slots, slots_allowed(class_idx));
	magazines->heads->limit[class_idx] = first + slots;
	set_top(magazines, class_idx, first);
	/* release: pairs with the acquire in hak_magazine_count() */
	atomic_store_explicit(&magazines->open_classes, open | (uint64_t)1 << class_idx,
			      memory_order_release);
	return true;
}

static void empty_all(struct hak_magazines *magazines, bool by_depots)
{
	uint64_t open = atomic_load_explicit(&magazines->open_classes, memory_order_relaxed);

	for (uint64_t rest = open; rest != 0; rest &= rest - 1) {
		unsigned class_idx = (unsigned)__builtin_ctzl(rest);
		void **first = bottom_of(magazines, class_idx) + 1;
		unsigned count = (unsigned)(top_of(magazines, class_idx) - first);

		if (count != 0 && (!by_depots || !hak_depot_put(class_idx, first, count)))
			hak_slab_give(class_idx, first, count);
		if (magazines->lease[class_idx] != 0)
			hak_slab_unlease(magazines->lease[class_idx] - 1);
		magazines->lease[class_idx] = 0;
		magazines->heads->limit[class_idx] = NOTHING;
		set_top(magazines, class_idx, NOTHING);
	}
	atomic_store_explicit(&magazines->open_classes, 0, memory_order_relaxed);
}

void hak_magazine_death(struct hak_magazines *magazines)
{
	empty_all(magazines, true);
}

void hak_magazine_lose(struct hak_magazines *magazines)
{
	for (unsigned class_idx = 1; class_idx <= HAK_CLASS_COUNT; class_idx++) {
		if (magazines->lease[class_idx] != 0)
			hak_slab_unlease(magazines->lease[class_idx] - 1);
		magazines->lease[class_idx] = 0;
		/* An array that has grown would be filled, and lost, by the next such thread. */
		if (magazines->log2[class_idx] != 0)
			hak_meta_give_array(bottom_of(magazines, class_idx),
					    magazines->log2[class_idx]);
		set_bottom(magazines, class_idx, NULL);
		magazines->log2[class_idx] = 0;
		magazines->miss_count[class_idx] = 0;
	}
	atomic_store_explicit(&magazines->open_classes, 0, memory_order_relaxed);
}

void hak_magazine_shed(struct hak_magazines *magazines)
{
	empty_all(magazines, false);
}

/* What a thread has taken once it may only give back once: a flush of a young magazine counts less
 * than a refill. */
#define WEIGHT 4

/* Every few misses the magazine has twice the slots, where the bounds and memory allow: in its
 * first array, then in a larger one; its blocks move along. */
static void note_miss(struct hak_magazines *magazines, unsigned class_idx, unsigned weight)
{
	unsigned log2 = magazines->log2[class_idx];
	void **bottom = bottom_of(magazines, class_idx);
	size_t slots, count, most;

	magazines->miss_count[class_idx] += (uint8_t)weight;
	if (hak_likely(magazines->miss_count[class_idx] < HAK_MAGAZINE_MISSES_TO_GROW))
		return;
	magazines->miss_count[class_idx] = 0;
	slots = (size_t)(magazines->heads->limit[class_idx] - bottom - 1);
	count = (size_t)(top_of(magazines, class_idx) - bottom - 1);
	most = slots_allowed(class_idx);
	if (slots >= most || hak_budget_is_frugal())
		return;
	if (slots < slots_at(class_idx, log2)) {
		magazines->heads->limit[class_idx] =
			bottom + 1 + least(least(2 * slots, most), slots_at(class_idx, log2));
		return;
	}
	/* An array is used whole, or not moved to. */
	if (slots_at(class_idx, log2 + 1) > most)
		return;
	void **array = hak_meta_take_array(log2 + 1);

	if (array == NULL)
		return;
	array[0] = NULL;
	memcpy(array + 1, bottom + 1, count * sizeof *array);
	set_bottom(magazines, class_idx, array);
	magazines->log2[class_idx] = (uint8_t)(log2 + 1);
	magazines->heads->limit[class_idx] = array + 1 + slots_at(class_idx, log2 + 1);
	set_top(magazines, class_idx, array + 1 + count);
	hak_meta_give_array(bottom, log2);
}

/* How many of the wanted blocks the budget has room for: all, one or none. */
static unsigned count_allowed(unsigned class_idx, unsigned wanted)
{
	size_t block_bytes = hak_size_classes[class_idx].block_bytes;

	if (hak_likely(hak_budget_allows(wanted * block_bytes)))
		return wanted;
	return wanted > 1 && hak_budget_allows(block_bytes) ? 1 : 0;
}

/* Up to `wanted` blocks from the leased slab, or from the next one where that is used up. The
 * lowest address comes last, which is on top: what is handed out next lies next to what was handed
 * out last. */
static unsigned take_from_slabs(struct hak_magazines *magazines, unsigned class_idx,
				unsigned wanted, void **blocks)
{
	uint32_t *lease = &magazines->lease[class_idx];
	unsigned taken = 0;

	wanted = count_allowed(class_idx, wanted);
	while (taken == 0 && wanted != 0) {
		if (*lease == 0) {
			uint32_t unit = hak_slab_lease(class_idx);

			if (unit == HAK_POOL_NONE)
				return 0;
			*lease = unit + 1;
		}
		taken = hak_slab_take(*lease - 1, wanted, blocks);
		/* A magazine that has not grown may never ask again: others have the rest. */
		if (taken < wanted || is_young(magazines, class_idx)) {
			hak_slab_unlease(*lease - 1);
			*lease = 0;
		}
	}
	return taken;
}

/* Fisher and Yates: what lies next to what is no more to be told from the order. */
static void shuffle(void **blocks, unsigned count)
{
	for (unsigned i = count - 1; i > 0; i--) {
		unsigned j = (unsigned)(hak_random_next() % (i + 1));
		void *block = blocks[i];

		blocks[i] = blocks[j];
		blocks[j] = block;
	}
}

void *hak_magazine_refill(struct hak_magazines *magazines, unsigned class_idx)
{
	if (!is_open(magazines, class_idx) && !open_class(magazines, class_idx))
		return hak_magazine_take_direct(class_idx);
	note_miss(magazines, class_idx, WEIGHT);
	void **first = bottom_of(magazines, class_idx) + 1;
	unsigned wanted = (unsigned)(magazines->heads->limit[class_idx] - first + 1) / 2;
	unsigned count;

	HAK_CHECK(top_of(magazines, class_idx) == first);
	count = hak_depot_take(class_idx, wanted, first);
	if (count == 0) {
		count = take_from_slabs(magazines, class_idx, wanted, first);
		if (count == 0)
			return NULL;
		if (HAK_SECURE)
			shuffle(first, count);
	}
	set_top(magazines, class_idx, first + count - 1);
	HAK_PROBE(refill, class_idx, count);
	return first[count - 1];
}

void hak_magazine_flush(struct hak_magazines *magazines, unsigned class_idx, void *block)
{
	if (!is_open(magazines, class_idx)) {
		if (!open_class(magazines, class_idx)) {
			hak_magazine_give_direct(class_idx, block);
			return;
		}
	} else {
		note_miss(magazines, class_idx, is_young(magazines, class_idx) ? 1 : WEIGHT);
	}
	void **first = bottom_of(magazines, class_idx) + 1;
	void **top = top_of(magazines, class_idx);
	unsigned count = (unsigned)(top - first);

	if (top == magazines->heads->limit[class_idx]) {
		unsigned leaving = count - count / 2;

		if (!hak_depot_put(class_idx, first, leaving))
			hak_slab_give(class_idx, first, leaving);
		count -= leaving;
		memmove(first, first + leaving, count * sizeof *first);
		top = first + count;
		HAK_PROBE(flush, class_idx, leaving);
	}
	*top = block;
	set_top(magazines, class_idx, top + 1);
}

void *hak_magazine_take_direct(unsigned class_idx)
{
	void *block = NULL;
	uint32_t unit;

	if (hak_depot_take(class_idx, 1, &block) == 1)
		return block;
	if (count_allowed(class_idx, 1) == 0)
		return NULL;
	/* Nobody else takes from a leased slab, but a trim may have claimed what is free there. */
	while (block == NULL) {
		unit = hak_slab_lease(class_idx);
		if (unit == HAK_POOL_NONE)
			break;
		(void)hak_slab_take(unit, 1, &block);
		hak_slab_unlease(unit);
	}
	return block;
}

void hak_magazine_give_direct(unsigned class_idx, void *block)
{
	hak_slab_give(class_idx, &block, 1);
}

size_t hak_magazine_count(const struct hak_magazines *magazines, unsigned class_idx)
{
	/* acquire: pairs with the release in open_class() */
	uint64_t open = atomic_load_explicit(&magazines->open_classes, memory_order_acquire);
	ptrdiff_t count;

	if ((open >> class_idx & 1) == 0)
		return 0;
	count = top_of(magazines, class_idx) - bottom_of(magazines, class_idx) - 1;
	/* The array may be moving while we look: what cannot be is shown as nothing. */
	return count < 0 || (size_t)count > slots_max(class_idx) ? 0 : (size_t)count;
}

void hak_magazine_visit(const struct hak_magazines *magazines, hak_cached_visitor visitor,
			void *context)
{
	void *blocks[HAK_MAGAZINE_SLOTS_MAX];

	for (unsigned class_idx = 1; class_idx <= HAK_CLASS_COUNT; class_idx++) {
		size_t count = hak_magazine_count(magazines, class_idx);
		void **bottom = bottom_of(magazines, class_idx); /* NULL: never opened */

		/* A copy, since the owner writes slots meanwhile. */
		for (size_t i = 0; i < count; i++)
			blocks[i] = __atomic_load_n(&bottom[1 + i], __ATOMIC_RELAXED);
		visitor(context, blocks, (unsigned)count);
	}
}

bool hak_magazine_is_valid(const struct hak_magazines *magazines)
{
	for (unsigned class_idx = 1; class_idx <= HAK_CLASS_COUNT; class_idx++) {
		void **bottom = bottom_of(magazines, class_idx);
		void **top = top_of(magazines, class_idx);
		void **limit = magazines->heads->limit[class_idx];

		if (!is_open(magazines, class_idx)) {
			if (top != NOTHING || limit != NOTHING)
				return false;
			continue;
		}
		if (bottom[0] != NULL || top <= bottom || top > limit)
			return false;
		size_t slots = (size_t)(limit - bottom - 1);
		size_t most = slots_at(class_idx, magazines->log2[class_idx]);

		/* A first array may be used in part: while it is young, or by policy. */
		if (slots > most || (slots < most && magazines->log2[class_idx] > LOG2_FIRST))
			return false;
		for (void **slot = bottom + 1; slot < top; slot++)
			if (*slot == NULL)
				return false;
	}
	return true;
}
