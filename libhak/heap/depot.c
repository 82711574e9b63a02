#include "heap/depot.h"

#include "base/lock.h"
#include "base/report.h"
#include "base/size_class.h"
#include "heap/budget.h"
#include "heap/meta.h"
#include "heap/slab.h"

#include <string.h>

/* The lock guards all fields; count is read by others for statistics. */
struct depot {
	struct hak_lock lock;
	_Atomic uint32_t count;
	uint32_t slot_count; /* 0 until the first batch comes */
	void **slots;
};

static struct depot depots[HAK_CLASS_COUNT + 1] = {
	[0 ... HAK_CLASS_COUNT] = {.lock = HAK_LOCK_OF(HAK_LOCK_DEPOT)}};

static unsigned slots_of(unsigned class_idx)
{
	return (unsigned)(HAK_DEPOT_BYTES_MAX / hak_size_classes[class_idx].block_bytes);
}

/* Made at first use: a program that never flushes a class pays nothing for it. */
static bool has_slots_locked(struct depot *depot, unsigned class_idx)
{
	HAK_ASSERT(hak_lock_is_mine(&depot->lock));
	if (depot->slots == NULL) {
		unsigned slot_count = slots_of(class_idx);

		depot->slots = hak_meta_take(slot_count * sizeof(void *));
		if (depot->slots != NULL)
			depot->slot_count = slot_count;
	}
	return depot->slots != NULL;
}

bool hak_depot_put(unsigned class_idx, void *const *blocks, unsigned count)
{
	struct depot *depot = &depots[class_idx];
	bool fits;

	if (hak_budget_is_frugal())
		return false;
	hak_lock_take(&depot->lock);
	uint32_t have = atomic_load_explicit(&depot->count, memory_order_relaxed);

	fits = has_slots_locked(depot, class_idx) && have + count <= depot->slot_count;
	if (fits) {
		memcpy(depot->slots + have, blocks, count * sizeof *blocks);
		atomic_store_explicit(&depot->count, have + count, memory_order_relaxed);
	}
	hak_lock_give(&depot->lock);
	return fits;
}

unsigned hak_depot_take(unsigned class_idx, unsigned count, void **blocks)
{
	struct depot *depot = &depots[class_idx];

	/* An empty depot is the common case of a heap that grows: no lock for that. */
	if (atomic_load_explicit(&depot->count, memory_order_relaxed) == 0)
		return 0;
	hak_lock_take(&depot->lock);
	uint32_t have = atomic_load_explicit(&depot->count, memory_order_relaxed);

	if (count > have)
		count = have;
	have -= count;
	memcpy(blocks, depot->slots + have, count * sizeof *blocks);
	atomic_store_explicit(&depot->count, have, memory_order_relaxed);
	hak_lock_give(&depot->lock);
	return count;
}

/* What leaves at a time: the lock is held for a copy of so many. */
#define DRAIN_BATCH 64

void hak_depot_drain(void)
{
	void *blocks[DRAIN_BATCH];
	unsigned count;

	for (unsigned class_idx = 1; class_idx <= HAK_CLASS_COUNT; class_idx++)
		while ((count = hak_depot_take(class_idx, DRAIN_BATCH, blocks)) != 0)
			hak_slab_give(class_idx, blocks, count);
}

void hak_depot_visit(void (*visitor)(void *context, void *const *blocks, unsigned count),
		     void *context)
{
	for (unsigned class_idx = 1; class_idx <= HAK_CLASS_COUNT; class_idx++) {
		struct depot *depot = &depots[class_idx];

		hak_lock_take(&depot->lock);
		visitor(context, depot->slots,
			atomic_load_explicit(&depot->count, memory_order_relaxed));
		hak_lock_give(&depot->lock);
	}
}

unsigned hak_depot_count(unsigned class_idx)
{
	return atomic_load_explicit(&depots[class_idx].count, memory_order_relaxed);
}

bool hak_depot_is_valid(unsigned class_idx)
{
	struct depot *depot = &depots[class_idx];
	bool valid;

	hak_lock_take(&depot->lock);
	uint32_t count = atomic_load_explicit(&depot->count, memory_order_relaxed);

	valid = count <= depot->slot_count && depot->slot_count <= HAK_DEPOT_SLOTS_MAX;
	for (uint32_t i = 0; valid && i < count; i++)
		valid = depot->slots[i] != NULL;
	hak_lock_give(&depot->lock);
	return valid;
}
