/* The story of a free: one comparison, one class byte, one push; and then what is not so common. */
#include "calls/malloc.h"
#include "base/names.h"

#include "base/forward.h"
#include "base/misuse.h"
#include "heap/huge.h"
#include "heap/magazine.h"
#include "heap/region.h"
#include "heap/run.h"
#include "heap/slab.h"
#include "heap/thread.h"

static void report(enum hak_misuse_kind kind, const void *block)
{
	hak_misuse_report(&(struct hak_misuse){.kind = kind, .call = "free", .address = block});
}

/* Not in the region, or not aligned: NULL, a huge block, or not ours. */
static HAK_NOINLINE void free_elsewhere(void *block)
{
	struct hak_thread *thread;
	bool given;

	if (block == NULL)
		return;
	if ((uintptr_t)block % HAK_GRAIN_BYTES != 0) {
		report(HAK_MISUSE_MISALIGNED, block);
		return;
	}
	thread = hak_thread_enter_to_give();
	given = hak_huge_give(block);
	hak_thread_leave(thread);
	if (given)
		return;
	if (hak_forward.is_on)
		hak_forward.free(block);
	else
		report(HAK_MISUSE_FOREIGN, block);
}

static void free_run(void *block)
{
	struct hak_thread *thread = hak_thread_enter_to_give();

	hak_run_give(block);
	hak_thread_leave(thread);
}

/* The push said no: a full magazine, a run, a block freed twice in a row, or a unit in no use. */
static HAK_NOINLINE void free_slowly(void *block)
{
	unsigned class_idx = hak_region_class(hak_region_unit(block));

	if (class_idx == HAK_CLASS_NONE)
		report(HAK_MISUSE_NOT_IN_USE, block);
	else if (class_idx == HAK_CLASS_RUN_TAIL)
		hak_run_report_interior(block, "free");
	else if (class_idx == HAK_CLASS_RUN_HEAD)
		free_run(block);
	else if (hak_magazine_is_newest(class_idx, block))
		hak_slab_report_double_free(class_idx, block);
	else
		hak_thread_give(class_idx, block);
}

HAK_EXPORT HAK_HOT void hak_free(void *block)
{
	size_t grain = hak_region_grain(block);

	if (hak_unlikely(!hak_region_has_grain(grain))) {
		free_elsewhere(block);
		return;
	}
	size_t class_idx = hak_region_class_of_grain(grain);

	if (hak_unlikely(!hak_magazine_push(class_idx, block)))
		free_slowly(block);
}

HAK_NAME(free, hak_free);
HAK_NAME(cfree, hak_free);
HAK_NAME(__libc_free, hak_free);
