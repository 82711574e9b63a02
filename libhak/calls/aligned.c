/* The aligned calls. Blocks lie at multiples of their size from a unit's start, so a class whose
 * size is a multiple of the alignment is aligned as it is; beyond a unit runs are, beyond 1 MiB
 * mappings. */
#include "calls/aligned.h"

#include "base/forward.h"
#include "base/names.h"
#include "base/os.h"
#include "calls/malloc.h"
#include "base/probe.h"
#include "base/size_class.h"

#include <errno.h>

static bool is_power_of_two(size_t number)
{
	return number != 0 && (number & (number - 1)) == 0;
}

unsigned hak_aligned_class(size_t size, size_t alignment)
{
	/* A multiple of the alignment is nearly always the size of a class. */
	size_t multiple = (size + (size == 0) + alignment - 1) & ~(alignment - 1);
	unsigned class_idx = hak_size_class_of(multiple);

	while ((hak_size_classes[class_idx].block_bytes & (alignment - 1)) != 0)
		class_idx++;
	return class_idx;
}

/* alignment is a power of two. NULL with errno ENOMEM. */
static void *take_aligned(size_t alignment, size_t size)
{
	bool zeroed;

	if (alignment <= HAK_GRAIN_BYTES)
		return hak_malloc(size);
	if (hak_unlikely(hak_forward.is_on))
		return hak_forward.memalign(alignment, size);
	if (alignment <= HAK_UNIT_BYTES && size <= HAK_SMALL_BYTES_MAX)
		return hak_malloc_class(hak_aligned_class(size, alignment), size);
	return hak_malloc_large(size, alignment, &zeroed);
}

/* It says by what it returns what others say by errno, and leaves that alone. */
static HAK_NOINLINE int memalign_slowly(void **block, size_t alignment, size_t size)
{
	int saved_errno = errno;
	void *taken = take_aligned(alignment, size);

	if (hak_unlikely(taken == NULL)) {
		errno = saved_errno;
		return ENOMEM;
	}
	*block = taken;
	return 0;
}

/* As glibc's: the next power of two will do for any other alignment. */
HAK_EXPORT void *hak_memalign(size_t alignment, size_t size)
{
	size_t power = HAK_GRAIN_BYTES;

	if (alignment > SIZE_MAX / 2 + 1) {
		errno = EINVAL;
		return NULL;
	}
	while (power < alignment)
		power *= 2;
	return take_aligned(power, size);
}

/* ISO C23, 7.24.3.1: an alignment that is none is a failure. */
HAK_EXPORT void *hak_aligned_alloc(size_t alignment, size_t size)
{
	if (!is_power_of_two(alignment)) {
		errno = EINVAL;
		return NULL;
	}
	return take_aligned(alignment, size);
}

HAK_EXPORT void *hak_valloc(size_t size)
{
	return take_aligned(hak_os_page_bytes(), size);
}

HAK_EXPORT void *hak_pvalloc(size_t size)
{
	size_t page_bytes = hak_os_page_bytes();

	if (size > PTRDIFF_MAX) {
		HAK_PROBE(out_of_memory, size);
		errno = ENOMEM;
		return NULL;
	}
	/* No bytes at all are rounded up to a page as well: the block must be usable as one. */
	size = size == 0 ? page_bytes : (size + page_bytes - 1) & ~(page_bytes - 1);
	return take_aligned(page_bytes, size);
}

HAK_EXPORT int hak_posix_memalign(void **block, size_t alignment, size_t size)
{
	void *taken = NULL;

	if (hak_unlikely(!is_power_of_two(alignment) || alignment < sizeof(void *)))
		return EINVAL;
	if (hak_likely(alignment <= HAK_UNIT_BYTES && size <= HAK_SMALL_BYTES_MAX))
		taken = hak_malloc_hit(hak_aligned_class(size, alignment));
	if (hak_unlikely(taken == NULL))
		return memalign_slowly(block, alignment, size);
	*block = taken;
	return 0;
}

HAK_NAME(posix_memalign, hak_posix_memalign);
HAK_NAME(aligned_alloc, hak_aligned_alloc);
HAK_NAME(memalign, hak_memalign);
HAK_NAME(valloc, hak_valloc);
HAK_NAME(pvalloc, hak_pvalloc);
HAK_NAME(__libc_memalign, hak_memalign);
HAK_NAME(__libc_valloc, hak_valloc);
HAK_NAME(__libc_pvalloc, hak_pvalloc);
