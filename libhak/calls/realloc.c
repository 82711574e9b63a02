/* realloc, reallocarray and malloc_usable_size. */
#include "base/forward.h"
#include "base/names.h"
#include "calls/extent.h"
#include "calls/malloc.h"
#include "heap/huge.h"
#include "heap/run.h"
#include "heap/thread.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

HAK_EXPORT size_t hak_malloc_usable_size(const void *block)
{
	struct hak_extent extent;

	if (block == NULL)
		return 0;
	extent = hak_extent_of(block, "malloc_usable_size");
	return extent.kind == HAK_EXTENT_FORWARDED ? hak_forward.malloc_usable_size(block)
						   : extent.bytes;
}

/* Lengthens or shortens a block where it lies, or by moving its pages: NULL where it must be copied
 * instead. */
static void *resize(void *block, struct hak_extent extent, size_t size)
{
	void *resized = NULL;

	/* What malloc_usable_size() says is the block's already, aligned ones as well. */
	if (size == extent.bytes)
		return block;
	switch (extent.kind) {
	case HAK_EXTENT_SMALL:
		/* Down to half its size a block stays: copying costs more than the rest is
		 * worth. */
		if (size <= extent.bytes &&
		    (size >= extent.bytes / 2 || extent.bytes == HAK_GRAIN_BYTES))
			resized = block;
		break;
	case HAK_EXTENT_RUN:
		if (size <= extent.bytes && size > HAK_SMALL_BYTES_MAX) {
			struct hak_thread *thread = hak_thread_enter();

			hak_run_shrink(block, size);
			hak_thread_leave(thread);
			resized = block;
		}
		break;
	case HAK_EXTENT_HUGE:
		if (size > HAK_RUN_BYTES_MAX && size <= PTRDIFF_MAX) {
			struct hak_thread *thread = hak_thread_enter();

			resized = hak_huge_resize(block, size);
			hak_thread_leave(thread);
		}
		break;
	case HAK_EXTENT_FORWARDED:
	case HAK_EXTENT_MISUSED:
		break;
	}
	return resized;
}

/* Rare: a small block was left where it is, longer than its size asks for. */
static _Atomic bool kept_any;

bool hak_realloc_has_kept(void)
{
	return atomic_load_explicit(&kept_any, memory_order_relaxed);
}

/* Where there is no memory for a smaller block, the old one serves: who shrinks expects no failure,
 * as glibc has none there. Runs and mappings give back what they can. */
static void *keep(void *block, struct hak_extent extent, size_t size)
{
	struct hak_thread *thread = hak_thread_enter();
	bool shrunk = false;

	if (extent.kind == HAK_EXTENT_RUN) {
		hak_run_shrink(block, size);
		shrunk = true;
	} else if (extent.kind == HAK_EXTENT_HUGE) {
		shrunk = hak_huge_resize(block, size == 0 ? 1 : size) != NULL;
	}
	hak_thread_leave(thread);
	if (!shrunk)
		atomic_store_explicit(&kept_any, true, memory_order_relaxed);
	return block;
}

HAK_EXPORT void *hak_realloc(void *block, size_t size)
{
	void *moved;
	int saved_errno;

	if (block == NULL)
		return hak_malloc(size);
	struct hak_extent extent = hak_extent_of(block, "realloc");

	if (hak_unlikely(extent.kind == HAK_EXTENT_FORWARDED))
		return hak_forward.realloc(block, size);
	if (hak_unlikely(extent.kind == HAK_EXTENT_MISUSED)) {
		errno = ENOMEM; /* nothing can be said of its content, so nothing is moved */
		return NULL;
	}
	moved = resize(block, extent, size);
	if (moved != NULL)
		return moved;
	saved_errno = errno;
	moved = hak_malloc(size);
	if (hak_unlikely(moved == NULL) && size < extent.bytes) {
		errno = saved_errno;
		return keep(block, extent, size);
	}
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
HAK_NAME(__libc_realloc, hak_realloc);
HAK_NAME(reallocarray, hak_reallocarray);
HAK_NAME(malloc_usable_size, hak_malloc_usable_size);
