#include "calls/secure.h"

#include "base/forward.h"
#include "base/misuse.h"
#include "base/names.h"
#include "base/os.h"
#include "base/random.h"
#include "base/size_class.h"
#include "calls/extent.h"
#include "calls/malloc.h"
#include "calls/sized.h"
#include "heap/quarantine.h"
#include "heap/run.h"
#include "heap/thread.h"

#include <errno.h>
#include <string.h>

/* A tag: 48 bits of size below 16 that are always the same, all of it under the block's mask. */
#define TAG_BYTES sizeof(uint64_t)
#define TAG_SIGN ((uint64_t)0xa5c3 << 48)
#define TAG_SIZE_MASK (((uint64_t)1 << 48) - 1)

/* Freed runs from here on are cleared by the kernel, which is no slower and gives them back. */
#define RETURN_BYTES_MIN ((size_t)64 << 10)

/* Steele, Lea, Flood 2014: the mixing step of SplitMix64, keyed. */
static uint64_t mask_of(const void *block)
{
	uint64_t mask = hak_random_secret() ^ (uint64_t)(uintptr_t)block;

	mask = (mask ^ mask >> 30) * 0xbf58476d1ce4e5b9ull;
	mask = (mask ^ mask >> 27) * 0x94d049bb133111ebull;
	return mask ^ mask >> 31;
}

static _Atomic uint64_t *tag_of(const void *block, size_t room)
{
	return (_Atomic uint64_t *)((uintptr_t)block + room - TAG_BYTES);
}

static uint8_t canary_at(uint64_t mask, size_t offset)
{
	return (uint8_t)(mask >> offset % 8 * 8);
}

/* What is asked of the lower half. */
static size_t room_for(size_t size)
{
	return size > PTRDIFF_MAX ? SIZE_MAX : size + TAG_BYTES;
}

/* Puts the end on a block. */
static void seal(void *block, size_t size, size_t room)
{
	uint64_t mask = mask_of(block);

	for (size_t i = size; i < room - TAG_BYTES; i++)
		((uint8_t *)block)[i] = canary_at(mask, i);
	atomic_store_explicit(tag_of(block, room), (TAG_SIGN | size) ^ mask, memory_order_relaxed);
}

static void report(enum hak_misuse_kind kind, const void *block, const struct hak_extent *extent,
		   const char *call)
{
	bool is_small = extent->kind == HAK_EXTENT_SMALL;

	hak_misuse_report(&(struct hak_misuse){
		.kind = kind,
		.call = call,
		.address = block,
		.class_idx = is_small ? hak_size_class_of(extent->bytes) : 0,
		.bytes = extent->bytes,
	});
}

/* Reads a block's end: its size, or what is wrong with it, reported. */
static bool is_whole(const void *block, const struct hak_extent *extent, uint64_t tag,
		     const char *call, size_t *size)
{
	uint64_t mask = mask_of(block);
	size_t room = extent->bytes;

	*size = (tag ^ mask) & TAG_SIZE_MASK;
	if (tag == 0) {
		report(HAK_MISUSE_DOUBLE_FREE, block, extent, call);
		return false;
	}
	bool whole = ((tag ^ mask) & ~TAG_SIZE_MASK) == TAG_SIGN && *size <= room - TAG_BYTES;

	for (size_t i = *size; whole && i < room - TAG_BYTES; i++)
		whole = ((const uint8_t *)block)[i] == canary_at(mask, i);
	if (!whole)
		report(HAK_MISUSE_OVERRUN, block, extent, call);
	return whole;
}

static bool is_zero(const void *block, size_t bytes)
{
	const uint64_t *words = block;
	uint64_t any = 0;

	for (size_t i = 0; i < bytes / sizeof *words; i++)
		any |= words[i];
	return any == 0;
}

/* Makes a block of the lower half the program's. False: it was written to since its free, and is
 * leaked. A huge block's memory is always fresh. */
static bool enter(void *block, size_t size)
{
	struct hak_extent extent;

	if (hak_unlikely(hak_forward.is_on))
		return true;
	extent = hak_extent_of(block, "malloc");
	if (extent.kind != HAK_EXTENT_HUGE && !is_zero(block, extent.bytes)) {
		report(HAK_MISUSE_WRITTEN, block, &extent, "malloc");
		return false;
	}
	seal(block, size, extent.bytes);
	return true;
}

/* Where libhak stands aside, blocks have no end. */
static size_t asked(size_t size)
{
	return hak_unlikely(hak_forward.is_on) ? size : room_for(size);
}

HAK_EXPORT void *hak_malloc(size_t size)
{
	void *block;

	do
		block = hak_plain_malloc(asked(size));
	while (block != NULL && !enter(block, size));
	return block;
}

/* What is free is zero. */
HAK_EXPORT void *hak_calloc(size_t count, size_t size)
{
	size_t bytes = hak_malloc_product(count, size);
	void *block = hak_malloc(bytes);

	if (block != NULL && hak_unlikely(hak_forward.is_on))
		memset(block, 0, bytes);
	return block;
}

static void give_small(void *block, size_t room)
{
	struct hak_thread *thread = hak_thread_enter_to_give();

	block = hak_quarantine_swap(hak_size_class_of(room), block);
	hak_thread_leave(thread);
	if (block != NULL)
		hak_plain_free(block);
}

static void clear(void *block, size_t room)
{
	if (room < RETURN_BYTES_MIN || !hak_os_return(block, room))
		memset(block, 0, room);
}

/* The end of a block that is whole: said_size is what the caller says of it, SIZE_MAX for nothing.
 * The exchange of the tag decides between two threads that free the same block. */
static void leave(void *block, size_t alignment, size_t said_size, const char *call)
{
	struct hak_extent extent = hak_extent_of(block, call);
	size_t size;

	if (extent.kind == HAK_EXTENT_FORWARDED)
		hak_plain_free(block);
	if (extent.kind == HAK_EXTENT_FORWARDED || extent.kind == HAK_EXTENT_MISUSED)
		return;
	uint64_t tag = atomic_exchange_explicit(tag_of(block, extent.bytes), 0,
						memory_order_acq_rel);

	if (!is_whole(block, &extent, tag, call, &size))
		return;
	if (said_size != SIZE_MAX &&
	    (said_size != size || alignment == 0 || (uintptr_t)block % alignment != 0)) {
		hak_misuse_report(&(struct hak_misuse){
			.kind = HAK_MISUSE_SIZE,
			.call = call,
			.address = block,
			.class_idx = extent.kind == HAK_EXTENT_SMALL
					     ? hak_size_class_of(extent.bytes)
					     : 0,
			.bytes = extent.bytes,
			.said_bytes = said_size,
			.said_alignment = alignment,
		});
		return;
	}
	if (extent.kind != HAK_EXTENT_HUGE)
		clear(block, extent.bytes);
	if (extent.kind == HAK_EXTENT_SMALL)
		give_small(block, extent.bytes);
	else
		hak_plain_free(block);
}

HAK_EXPORT void hak_free(void *block)
{
	int saved_errno = errno;

	if (block != NULL)
		leave(block, 1, SIZE_MAX, "free");
	errno = saved_errno;
}

void hak_sized_free(void *block, size_t size, const char *call)
{
	if (block != NULL)
		leave(block, 1, size, call);
}

void hak_sized_free_aligned(void *block, size_t alignment, size_t size, const char *call)
{
	if (block != NULL)
		leave(block, alignment, size, call);
}

HAK_EXPORT void hak_free_sized(void *block, size_t size)
{
	hak_sized_free(block, size, "free_sized");
}

HAK_EXPORT void hak_free_aligned_sized(void *block, size_t alignment, size_t size)
{
	hak_sized_free_aligned(block, alignment, size, "free_aligned_sized");
}

/* The size of a block in use, looked at but not ended. */
static bool look(const void *block, struct hak_extent *extent, const char *call, size_t *size)
{
	*extent = hak_extent_of(block, call);
	if (extent->kind == HAK_EXTENT_FORWARDED || extent->kind == HAK_EXTENT_MISUSED)
		return false;
	return is_whole(block, extent,
			atomic_load_explicit(tag_of(block, extent->bytes), memory_order_relaxed),
			call, size);
}

HAK_EXPORT size_t hak_malloc_usable_size(const void *block)
{
	struct hak_extent extent;
	size_t size;

	if (block == NULL)
		return 0;
	if (look(block, &extent, "malloc_usable_size", &size))
		return size;
	return extent.kind == HAK_EXTENT_FORWARDED ? hak_forward.malloc_usable_size(block) : 0;
}

/* True where the block serves the new size as it lies. */
static bool stays(const struct hak_extent *extent, size_t size)
{
	size_t room = room_for(size);

	if (extent->kind == HAK_EXTENT_SMALL)
		return room <= extent->bytes && room >= extent->bytes / 2;
	return extent->kind == HAK_EXTENT_RUN && room > HAK_SMALL_BYTES_MAX &&
	       room <= HAK_RUN_BYTES_MAX &&
	       (size_t)hak_run_units(room) << HAK_UNIT_SHIFT == extent->bytes;
}

/* Moves a block by malloc, copy and free. */
static void *move(void *block, size_t old_size, size_t size)
{
	void *moved = hak_malloc(size);

	if (moved == NULL)
		return NULL;
	memcpy(moved, block, size < old_size ? size : old_size);
	hak_free(block);
	return moved;
}

HAK_EXPORT void *hak_realloc(void *block, size_t size)
{
	struct hak_extent extent;
	size_t old_size;

	if (block == NULL)
		return hak_malloc(size);
	if (!look(block, &extent, "realloc", &old_size)) {
		if (extent.kind == HAK_EXTENT_FORWARDED)
			return hak_forward.realloc(block, size);
		errno = ENOMEM;
		return NULL;
	}
	if (size <= PTRDIFF_MAX && stays(&extent, size)) {
		seal(block, size, extent.bytes);
		return block;
	}
	if (extent.kind != HAK_EXTENT_HUGE || room_for(size) <= HAK_RUN_BYTES_MAX ||
	    size > PTRDIFF_MAX)
		return move(block, old_size, size);
	block = hak_plain_realloc(block, room_for(size));
	if (block == NULL)
		return NULL;
	seal(block, size, hak_plain_malloc_usable_size(block));
	return block;
}

HAK_EXPORT void *hak_reallocarray(void *block, size_t count, size_t size)
{
	return hak_realloc(block, hak_malloc_product(count, size));
}

HAK_EXPORT int hak_posix_memalign(void **block, size_t alignment, size_t size)
{
	void *taken;
	int error;

	do {
		error = hak_plain_posix_memalign(&taken, alignment, asked(size));
		if (error != 0)
			return error;
	} while (!enter(taken, size));
	*block = taken;
	return 0;
}

HAK_EXPORT void *hak_memalign(size_t alignment, size_t size)
{
	void *block;

	do
		block = hak_plain_memalign(alignment, asked(size));
	while (block != NULL && !enter(block, size));
	return block;
}

HAK_EXPORT void *hak_aligned_alloc(size_t alignment, size_t size)
{
	void *block;

	do
		block = hak_plain_aligned_alloc(alignment, asked(size));
	while (block != NULL && !enter(block, size));
	return block;
}

HAK_EXPORT void *hak_valloc(size_t size)
{
	return hak_memalign(hak_os_page_bytes(), size);
}

HAK_EXPORT void *hak_pvalloc(size_t size)
{
	size_t page_bytes = hak_os_page_bytes();

	if (size <= PTRDIFF_MAX)
		size = size == 0 ? page_bytes : (size + page_bytes - 1) & ~(page_bytes - 1);
	return hak_memalign(page_bytes, size);
}

HAK_NAME(malloc, hak_malloc);
HAK_NAME(calloc, hak_calloc);
HAK_NAME(realloc, hak_realloc);
HAK_NAME(reallocarray, hak_reallocarray);
HAK_NAME(free, hak_free);
HAK_NAME(cfree, hak_free);
HAK_NAME(free_sized, hak_free_sized);
HAK_NAME(free_aligned_sized, hak_free_aligned_sized);
HAK_NAME(posix_memalign, hak_posix_memalign);
HAK_NAME(aligned_alloc, hak_aligned_alloc);
HAK_NAME(memalign, hak_memalign);
HAK_NAME(valloc, hak_valloc);
HAK_NAME(pvalloc, hak_pvalloc);
HAK_NAME(malloc_usable_size, hak_malloc_usable_size);
HAK_NAME(__libc_malloc, hak_malloc);
HAK_NAME(__libc_free, hak_free);
HAK_NAME(__libc_calloc, hak_calloc);
HAK_NAME(__libc_realloc, hak_realloc);
HAK_NAME(__libc_memalign, hak_memalign);
HAK_NAME(__libc_valloc, hak_valloc);
HAK_NAME(__libc_pvalloc, hak_pvalloc);
