#include "calls/sized.h"

#include "base/misuse.h"
#include "base/names.h"
#include "base/os.h"
#include "base/size_class.h"
#include "calls/aligned.h"
#include "calls/extent.h"
#include "calls/malloc.h"
#include "heap/region.h"
#include "heap/run.h"

#include <hak/hak.h>

static void report_size(const void *block, const struct hak_extent *extent, size_t alignment,
			size_t size, const char *call)
{
	bool is_small = extent->kind == HAK_EXTENT_SMALL;

	hak_misuse_report(&(struct hak_misuse){
		.kind = HAK_MISUSE_SIZE,
		.call = call,
		.address = block,
		.class_idx = is_small ? hak_size_class_of(extent->bytes) : 0,
		.bytes = extent->bytes,
		.said_bytes = size,
		.said_alignment = alignment,
	});
}

/* Runs and mappings are exactly as long as their sizes ask for, resized or not. */
static bool large_fits(const struct hak_extent *extent, size_t size)
{
	size_t page_bytes = hak_os_page_bytes();

	if (size > extent->bytes)
		return false;
	if (extent->kind == HAK_EXTENT_RUN)
		return (size_t)hak_run_units(size) << HAK_UNIT_SHIFT == extent->bytes;
	return extent->bytes - size < page_bytes || (size == 0 && extent->bytes == page_bytes);
}

/* A small block may have been made smaller by realloc, which leaves it where it is down to half its
 * size. */
static bool fits(const struct hak_extent *extent, size_t size)
{
	if (hak_unlikely(hak_realloc_has_kept()) && size <= extent->bytes)
		return true;
	switch (extent->kind) {
	case HAK_EXTENT_SMALL:
		return size <= extent->bytes &&
		       (size >= extent->bytes / 2 || extent->bytes == HAK_GRAIN_BYTES);
	case HAK_EXTENT_RUN:
	case HAK_EXTENT_HUGE:
		return large_fits(extent, size);
	case HAK_EXTENT_FORWARDED:
	case HAK_EXTENT_MISUSED:
		break;
	}
	return true;
}

static bool aligned_fits(const void *block, const struct hak_extent *extent, size_t alignment,
			 size_t size)
{
	if (alignment == 0 || (uintptr_t)block % alignment != 0)
		return false;
	if (extent->kind != HAK_EXTENT_SMALL)
		return fits(extent, size);
	return size <= HAK_SMALL_BYTES_MAX && alignment <= HAK_UNIT_BYTES &&
	       hak_size_classes[hak_aligned_class(size, alignment)].block_bytes == extent->bytes;
}

static HAK_NOINLINE void free_slowly(void *block, size_t size, const char *call)
{
	struct hak_extent extent;

	if (block == NULL)
		return;
	extent = hak_extent_of(block, call);
	if (extent.kind == HAK_EXTENT_MISUSED)
		return;
	if (fits(&extent, size))
		hak_free(block);
	else
		report_size(block, &extent, 1, size, call);
}

void hak_sized_free(void *block, size_t size, const char *call)
{
	size_t grain = hak_region_grain(block);

	if (hak_likely(hak_region_has_grain(grain) && size <= HAK_SMALL_BYTES_MAX &&
		       hak_region_class_of_grain(grain) == hak_size_class_of(size)))
		hak_free(block);
	else
		free_slowly(block, size, call);
}

void hak_sized_free_aligned(void *block, size_t alignment, size_t size, const char *call)
{
	struct hak_extent extent;

	if (alignment <= HAK_GRAIN_BYTES) {
		hak_sized_free(block, size, call);
		return;
	}
	if (block == NULL)
		return;
	extent = hak_extent_of(block, call);
	if (extent.kind == HAK_EXTENT_MISUSED)
		return;
	if (aligned_fits(block, &extent, alignment, size))
		hak_free(block);
	else
		report_size(block, &extent, alignment, size, call);
}

HAK_EXPORT void hak_free_sized(void *block, size_t size)
{
	hak_sized_free(block, size, "free_sized");
}

HAK_EXPORT void hak_free_aligned_sized(void *block, size_t alignment, size_t size)
{
	hak_sized_free_aligned(block, alignment, size, "free_aligned_sized");
}

HAK_NAME(free_sized, hak_free_sized);
HAK_NAME(free_aligned_sized, hak_free_aligned_sized);
