#include "calls/extent.h"

#include "base/forward.h"
#include "base/misuse.h"
#include "base/size_class.h"
#include "heap/huge.h"
#include "heap/region.h"
#include "heap/run.h"
#include "heap/slab.h"
#include "heap/thread.h"

static void report(enum hak_misuse_kind kind, const void *block, const char *call)
{
	hak_misuse_report(&(struct hak_misuse){.kind = kind, .call = call, .address = block});
}

static struct hak_extent extent_in_region(const void *block, const char *call)
{
	unsigned class_idx = hak_region_class(hak_region_unit(block));
	struct hak_extent extent = {.kind = HAK_EXTENT_MISUSED, .bytes = 0};

	if (class_idx == HAK_CLASS_RUN_TAIL) {
		hak_run_report_interior(block, call);
	} else if (class_idx == HAK_CLASS_NONE || class_idx == HAK_CLASS_RUN_HEAD) {
		extent.bytes = hak_run_bytes(block, call);
		if (extent.bytes != 0)
			extent.kind = HAK_EXTENT_RUN;
	} else if (hak_slab_check_block(class_idx, block, call)) {
		extent.kind = HAK_EXTENT_SMALL;
		extent.bytes = hak_size_classes[class_idx].block_bytes;
	}
	return extent;
}

struct hak_extent hak_extent_of_other(const void *block, const char *call)
{
	struct hak_extent extent = {.kind = HAK_EXTENT_MISUSED, .bytes = 0};
	struct hak_thread *thread;
	bool found;

	if (hak_region_has_grain(hak_region_grain(block)))
		return extent_in_region(block, call);
	if ((uintptr_t)block % HAK_GRAIN_BYTES != 0) {
		report(HAK_MISUSE_MISALIGNED, block, call);
		return extent;
	}
	thread = hak_thread_enter_to_give();
	found = hak_huge_bytes(block, &extent.bytes);
	hak_thread_leave(thread);
	if (found)
		extent.kind = HAK_EXTENT_HUGE;
	else if (hak_forward.is_on)
		extent.kind = HAK_EXTENT_FORWARDED;
	else
		report(HAK_MISUSE_FOREIGN, block, call);
	return extent;
}
