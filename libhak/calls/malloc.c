/* The story of a malloc: class, magazine, and only then the slow ways. */
#include "calls/malloc.h"
#include "base/names.h"

#include "base/forward.h"
#include "base/probe.h"
#include "base/size_class.h"
#include "heap/budget.h"
#include "heap/huge.h"
#include "heap/huge_cache.h"
#include "heap/magazine.h"
#include "heap/region.h"
#include "heap/run.h"
#include "heap/thread.h"

#include <errno.h>
#include <string.h>

static HAK_NOINLINE void *fail(size_t size)
{
	HAK_PROBE(out_of_memory, size);
	hak_budget_note_failure();
	errno = ENOMEM;
	return NULL;
}

/* The last ways to a block: the mappings of freed huge blocks back to the system; and where it was
 * the budget that refused, what else makes room under that. */
static void *refill_from_reserve(unsigned class_idx, size_t size)
{
	struct hak_thread *thread = hak_thread_enter();
	void *block;

	hak_huge_cache_make_room();
	hak_thread_leave(thread);
	hak_budget_measure_anew();
	block = hak_thread_take(class_idx);
	while (block == NULL && hak_malloc_relieve(size))
		block = hak_thread_take(class_idx);
	return block != NULL ? block : fail(size);
}

static HAK_NOINLINE void *run_errand(void *block)
{
	if (atomic_exchange_explicit(&hak_thread_has_errand, false, memory_order_relaxed))
		hak_malloc_run_errand();
	return block;
}

HAK_INLINE void *hand_out(void *block)
{
	return hak_likely(!atomic_load_explicit(&hak_thread_has_errand, memory_order_relaxed))
		       ? block
		       : run_errand(block);
}

/* Out of line, so that the fast path needs no stack frame. */
static HAK_NOINLINE void *refill(unsigned class_idx, size_t size)
{
	void *block;

	if (hak_unlikely(hak_forward.is_on))
		return hak_forward.malloc(size);
	block = hak_thread_take(class_idx);
	return hak_likely(block != NULL) ? hand_out(block) : refill_from_reserve(class_idx, size);
}

HAK_NOINLINE void *hak_malloc_look(void *block)
{
	hak_thread_look();
	return hand_out(block);
}

void *hak_malloc_class(unsigned class_idx, size_t size)
{
	void *block = hak_malloc_hit(class_idx);

	return hak_likely(block != NULL) ? block : refill(class_idx, size);
}

/* A run; where the region is full, a mapping of its own as for a huge block. */
static void *take_large(size_t size, size_t alignment, bool *zeroed)
{
	void *block = NULL;

	if (!hak_region_is_born())
		return NULL; /* no address space for a heap at all */
	if (size <= HAK_RUN_BYTES_MAX && alignment <= HAK_RUN_BYTES_MAX)
		block = hak_run_take(size, alignment, zeroed);
	return block != NULL ? block : hak_huge_take(size, alignment, zeroed);
}

void *hak_malloc_large(size_t size, size_t alignment, bool *zeroed)
{
	struct hak_thread *thread;
	void *block = NULL;

	*zeroed = false;
	if (hak_unlikely(hak_forward.is_on))
		return alignment <= HAK_GRAIN_BYTES ? hak_forward.malloc(size)
						    : hak_forward.memalign(alignment, size);
	if (hak_likely(size <= PTRDIFF_MAX)) {
		do {
			thread = hak_thread_enter();
			block = take_large(size, alignment, zeroed);
			hak_thread_leave(thread);
		} while (hak_unlikely(block == NULL) && hak_malloc_relieve(size));
	}
	return hak_likely(block != NULL) ? hand_out(block) : fail(size);
}

static HAK_NOINLINE void *malloc_larger(size_t size)
{
	bool zeroed;

	if (size <= HAK_SMALL_BYTES_MAX)
		return hak_malloc_class(hak_size_class_of_larger(size), size);
	return hak_malloc_large(size, 1, &zeroed);
}

/* By the size alone, so that the fast path needs to keep nothing else. */
static HAK_NOINLINE void *refill_tiny(size_t size)
{
	return refill(hak_size_class_of_tiny(size), size);
}

HAK_EXPORT HAK_HOT void *hak_malloc(size_t size)
{
	void *block;

	if (hak_unlikely(size > HAK_TABLE_BYTES_MAX))
		return malloc_larger(size);
	block = hak_malloc_hit(hak_size_class_of_tiny(size));
	return hak_likely(block != NULL) ? block : refill_tiny(size);
}

size_t hak_malloc_product(size_t count, size_t size)
{
	size_t bytes;

	return __builtin_mul_overflow(count, size, &bytes) ? SIZE_MAX : bytes;
}

HAK_EXPORT void *hak_calloc(size_t count, size_t size)
{
	size_t bytes = hak_malloc_product(count, size);
	bool zeroed = false;
	void *block;

	if (hak_likely(bytes <= HAK_SMALL_BYTES_MAX))
		block = hak_malloc_class(hak_size_class_of(bytes), bytes);
	else
		block = hak_malloc_large(bytes, 1, &zeroed);
	if (hak_likely(block != NULL) && !zeroed)
		memset(block, 0, bytes);
	return block;
}

HAK_NAME(malloc, hak_malloc);
HAK_NAME(calloc, hak_calloc);
HAK_NAME(__libc_malloc, hak_malloc);
HAK_NAME(__libc_calloc, hak_calloc);
