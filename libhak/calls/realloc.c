/* realloc, reallocarray and malloc_usable_size: what a pointer says of its block. */
#include "calls/malloc.h"
#include "calls/names.h"

#include "base/report.h"
#include "base/size_class.h"
#include "heap/huge.h"
#include "heap/region.h"
#include "heap/run.h"
#include "heap/slab.h"
#include "heap/thread.h"

#include <errno.h>
#include <string.h>

/* Three kinds of block, as config.h has them. */
enum kind {
	KIND_SMALL,
	KIND_RUN,
	KIND_HUGE,
};

struct extent {
	enum kind kind;
	size_t bytes;
};

/* The block that begins at this address; aborts with a sentence about `call` where none does. */
static struct extent extent_of(const void *block, const char *call)
{
	struct extent extent = {.kind = KIND_HUGE, .bytes = 0};

	if (hak_region_has_grain(hak_region_grain(block))) {
		unsigned class_idx = hak_region_class(hak_region_unit(block));

		if (class_idx == HAK_CLASS_RUN_TAIL)
			hak_run_report_interior(block, call);
		if (class_idx == HAK_CLASS_NONE || class_idx == HAK_CLASS_RUN_HEAD) {
			extent.kind = KIND_RUN;
			extent.bytes = hak_run_bytes(block, call);
		} else {
			hak_slab_check_block(class_idx, block, call);
			extent.kind = KIND_SMALL;
			extent.bytes = hak_size_classes[class_idx].block_bytes;
		}
		return extent;
	}
	if ((uintptr_t)block % HAK_GRAIN_BYTES != 0)
		hak_report_misuse(HAK_MISUSE_MISALIGNED, call, block, 0);
	struct hak_thread *thread = hak_thread_enter_to_give();
	bool found = hak_huge_bytes(block, &extent.bytes);

	hak_thread_leave(thread);
	if (!found)
		hak_report_misuse(HAK_MISUSE_FOREIGN, call, block, 0);
	return extent;
}

HAK_EXPORT size_t hak_malloc_usable_size(const void *block)
{
	return block == NULL ? 0 : extent_of(block, "malloc_usable_size").bytes;
}

/* Lengthens or shortens a block where it lies, or by moving its pages: NULL where it must be copied
 * instead. */
static void *resize(void *block, struct extent extent, size_t size)
{
	void *resized = NULL;

	switch (extent.kind) {
	case KIND_SMALL:
		/* Down to half its size a block stays: copying costs more than the rest is
		 * worth. */
		if (size <= extent.bytes && size >= extent.bytes / 2)
			resized = block;
		break;
	case KIND_RUN:
		if (size <= extent.bytes && size > HAK_SMALL_BYTES_MAX) {
			struct hak_thread *thread = hak_thread_enter();

			hak_run_shrink(block, size);
			hak_thread_leave(thread);
			resized = block;
		}
		break;
	case KIND_HUGE:
		if (size > HAK_RUN_BYTES_MAX && size <= PTRDIFF_MAX) {
			struct hak_thread *thread = hak_thread_enter();

			resized = hak_huge_resize(block, size);
			hak_thread_leave(thread);
		}
		break;
	}
	return resized;
}

HAK_EXPORT void *hak_realloc(void *block, size_t size)
{
	void *moved;

	if (block == NULL)
		return hak_malloc(size);
	struct extent extent = extent_of(block, "realloc");

	moved = resize(block, extent, size);
	if (moved != NULL)
		return moved;
	moved = hak_malloc(size);
	if (moved == NULL)
		return NULL;
	memcpy(moved, block, size < extent.bytes ? size : extent.bytes);
	hak_free(block);
	return moved;
}

HAK_EXPORT void *hak_reallocarray(void *block, size_t count, size_t size)
{
	return hak_realloc(block, hak_malloc_product(count, size));
}

HAK_NAME(realloc, hak_realloc);
HAK_NAME(reallocarray, hak_reallocarray);
HAK_NAME(malloc_usable_size, hak_malloc_usable_size);
