/* The C library's names. Names only: each is a jump to its twin. */
#include "base/config.h"

#include <hak/hak.h>
#include <malloc.h>
#include <stdlib.h>

HAK_EXPORT void *malloc(size_t size)
{
	return hak_malloc(size);
}

HAK_EXPORT void free(void *block)
{
	hak_free(block);
}

HAK_EXPORT void cfree(void *block);
HAK_EXPORT void cfree(void *block)
{
	hak_free(block);
}

HAK_EXPORT void *calloc(size_t count, size_t size)
{
	return hak_calloc(count, size);
}

HAK_EXPORT void *realloc(void *block, size_t size)
{
	return hak_realloc(block, size);
}

HAK_EXPORT void *reallocarray(void *block, size_t count, size_t size)
{
	return hak_reallocarray(block, count, size);
}

HAK_EXPORT int posix_memalign(void **block, size_t alignment, size_t size)
{
	return hak_posix_memalign(block, alignment, size);
}

HAK_EXPORT void *aligned_alloc(size_t alignment, size_t size)
{
	return hak_aligned_alloc(alignment, size);
}

HAK_EXPORT void *memalign(size_t alignment, size_t size)
{
	return hak_memalign(alignment, size);
}

HAK_EXPORT void *valloc(size_t size)
{
	return hak_valloc(size);
}

HAK_EXPORT void *pvalloc(size_t size)
{
	return hak_pvalloc(size);
}

HAK_EXPORT size_t malloc_usable_size(void *block)
{
	return hak_malloc_usable_size(block);
}
