#include "heap/quarantine.h"

#include "base/lock.h"
#include "base/random.h"
#include "base/size_class.h"

#include <stdatomic.h>

/* The lock guards all of it; count is read by others for statistics. */
static struct quarantine {
	struct hak_lock lock;
	_Atomic uint32_t count;
	void *blocks[HAK_QUARANTINE_SLOTS_MAX];
} quarantines[HAK_CLASS_COUNT + 1] = {
	[0 ... HAK_CLASS_COUNT] = {.lock = HAK_LOCK_OF(HAK_LOCK_QUARANTINE)}};

static unsigned slots_of(unsigned class_idx)
{
	size_t slots = HAK_QUARANTINE_BYTES_MAX / hak_size_classes[class_idx].block_bytes;

	return (unsigned)(slots < HAK_QUARANTINE_SLOTS_MAX ? slots : HAK_QUARANTINE_SLOTS_MAX);
}

void *hak_quarantine_swap(unsigned class_idx, void *block)
{
	struct quarantine *quarantine = &quarantines[class_idx];
	unsigned slots = slots_of(class_idx);
	unsigned at = (unsigned)(hak_random_next() % slots);
	void *leaving = NULL;

	hak_lock_take(&quarantine->lock);
	uint32_t count = atomic_load_explicit(&quarantine->count, memory_order_relaxed);

	if (count < slots) {
		quarantine->blocks[count] = block;
		atomic_store_explicit(&quarantine->count, count + 1, memory_order_relaxed);
	} else {
		leaving = quarantine->blocks[at];
		quarantine->blocks[at] = block;
	}
	hak_lock_give(&quarantine->lock);
	return leaving;
}

unsigned hak_quarantine_count(unsigned class_idx)
{
	return atomic_load_explicit(&quarantines[class_idx].count, memory_order_relaxed);
}

void hak_quarantine_visit(void (*visitor)(void *context, void *const *blocks, unsigned count),
			  void *context)
{
	for (unsigned i = 1; i <= HAK_CLASS_COUNT; i++) {
		hak_lock_take(&quarantines[i].lock);
		visitor(context, quarantines[i].blocks, hak_quarantine_count(i));
		hak_lock_give(&quarantines[i].lock);
	}
}
