#include "heap/meta.h"

#include "base/lock.h"
#include "base/report.h"
#include "heap/region.h"

/* Guards all of meta, and hak_region.meta_open_bytes. */
static struct hak_lock meta_lock = HAK_LOCK_OF(HAK_LOCK_META);

static HAK_EARLY struct {
	_Atomic size_t used_bytes;
	void **spare[HAK_META_LOG2_MAX + 1]; /* arrays given back; word 0 links to the next */
} meta;

#define ALIGNMENT ((size_t)64)

static void *take_locked(size_t bytes)
{
	size_t used = atomic_load_explicit(&meta.used_bytes, memory_order_relaxed);
	size_t end = used + ((bytes + ALIGNMENT - 1) & ~(ALIGNMENT - 1));

	HAK_ASSERT(hak_lock_is_mine(&meta_lock));
	if (end > hak_region.meta_bytes)
		return NULL;
	if (end > hak_region.meta_open_bytes) {
		size_t open = (end + HAK_META_STEP_BYTES - 1) & ~(HAK_META_STEP_BYTES - 1);

		if (!hak_region_open_meta(open))
			return NULL;
	}
	atomic_store_explicit(&meta.used_bytes, end, memory_order_relaxed);
	return hak_region.meta_end - end;
}

void *hak_meta_take(size_t bytes)
{
	void *memory;

	hak_lock_take(&meta_lock);
	memory = take_locked(bytes);
	hak_lock_give(&meta_lock);
	return memory;
}

void **hak_meta_take_array(unsigned log2)
{
	void **array;

	HAK_CHECK(log2 >= 3 && log2 <= HAK_META_LOG2_MAX);
	hak_lock_take(&meta_lock);
	array = meta.spare[log2];
	if (array != NULL)
		meta.spare[log2] = array[0];
	else
		array = take_locked(sizeof(void *) << log2);
	hak_lock_give(&meta_lock);
	return array;
}

void hak_meta_give_array(void **array, unsigned log2)
{
	HAK_CHECK(log2 >= 3 && log2 <= HAK_META_LOG2_MAX);
	hak_lock_take(&meta_lock);
	array[0] = meta.spare[log2];
	meta.spare[log2] = array;
	hak_lock_give(&meta_lock);
}

size_t hak_meta_bytes(void)
{
	return atomic_load_explicit(&meta.used_bytes, memory_order_relaxed);
}
