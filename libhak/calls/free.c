/* The story of a free: one comparison, one class byte, one push; and then what is not so common. */
#include "calls/malloc.h"
#include "calls/names.h"

#include "base/report.h"
#include "heap/huge.h"
#include "heap/magazine.h"
#include "heap/region.h"
#include "heap/run.h"
#include "heap/slab.h"
#include "heap/thread.h"

/* Not in the region, or not aligned: NULL, a huge block, or not ours. */
static HAK_NOINLINE void free_elsewhere(void *block)
{
	struct hak_thread *thread;
	bool given;

	if (block == NULL)
		return;
	if ((uintptr_t)block % HAK_GRAIN_BYTES != 0)
		hak_report_misuse(HAK_MISUSE_MISALIGNED, "free", block, 0);
	thread = hak_thread_enter_to_give();
	given = hak_huge_give(block);
	hak_thread_leave(thread);
	if (!given)
		hak_report_misuse(HAK_MISUSE_FOREIGN, "free", block, 0);
}

/* The push said no: a full magazine, a run, a block freed twice in a row, or a unit in no use. */
static HAK_NOINLINE void free_slowly(void *block)
{
	unsigned class_idx = hak_region_class(hak_region_unit(block));
	struct hak_thread *thread;

	if (class_idx == HAK_CLASS_NONE)
		hak_report_misuse(HAK_MISUSE_NOT_IN_USE, "free", block, 0);
	if (class_idx == HAK_CLASS_RUN_TAIL)
		hak_run_report_interior(block, "free");
	if (class_idx == HAK_CLASS_RUN_HEAD) {
		thread = hak_thread_enter_to_give();
		hak_run_give(block);
		hak_thread_leave(thread);
		return;
	}
	if (hak_magazine_is_newest(class_idx, block))
		hak_slab_report_double_free(class_idx, block);
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
