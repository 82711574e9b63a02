/* malloc.h - what the calls share: the ways to memory that malloc, calloc, realloc and the aligned
 * calls go alike. The calls themselves are declared, with their contracts, in hak/hak.h.
 */
#ifndef HAK_CALLS_MALLOC_H
#define HAK_CALLS_MALLOC_H

#include "base/config.h"
#include "heap/magazine.h"

#include <hak/hak.h>

/* A look at the clock before this block, which is not NULL, is handed out. */
void *hak_malloc_look(void *block) __attribute__((returns_nonnull));

/* The fast path of all calls: the newest block of the thread's magazine, or NULL. */
HAK_INLINE void *hak_malloc_hit(size_t class_idx)
{
	void *block = hak_magazine_pop(class_idx);

	if (hak_likely(block != NULL) && hak_unlikely(hak_magazine_is_to_look()))
		return hak_malloc_look(block);
	return block;
}

/* A block over HAK_SMALL_BYTES_MAX, or aligned to more than a small block can be: a run, or a
 * mapping of its own. NULL with errno ENOMEM. *zeroed: it reads as zero. */
void *hak_malloc_large(size_t size, size_t alignment, bool *zeroed);

/* A block of one class for so many bytes, from the magazine or by refilling it. NULL with errno
 * ENOMEM. */
void *hak_malloc_class(unsigned class_idx, size_t size);

/* Upward: makes room for so many bytes where it is the hard budget that has refused them. False: it
 * is not, or there is none to be made. Outside the gate. init.c says who that is. */
extern HAK_HIDDEN bool (*const hak_malloc_relieve)(size_t size);

/* Upward: the errand of heap/thread.h. */
extern HAK_HIDDEN void (*const hak_malloc_run_errand)(void);

/* True once realloc has left a small block longer than its size asks for. */
bool hak_realloc_has_kept(void);

/* A product of sizes; SIZE_MAX, which no allocation grants, where it overflows. */
size_t hak_malloc_product(size_t count, size_t size);

#endif
