/* mapping.h - what a huge block lies in.
 *
 * To the system a mapping may be several that lie side by side, pieces here: freed memory that was
 * moved together for a longer block, since a page fault costs more than all else that such a block
 * needs. Kernels before 6.17 neither move nor grow several at once, so a block of pieces that grows
 * is copied, once; and there are so many pieces at most, of the mappings that a process may have.
 *
 * Threads    a mapping is its holder's.
 * Errors     NULL or false: no memory, or the budget has no room.
 * Source     mmap(2), mremap(2), /proc/sys/vm/max_map_count in proc(5).
 */
#ifndef HAK_HEAP_MAPPING_H
#define HAK_HEAP_MAPPING_H

#include "heap/budget.h"

#define HAK_MAPPING_PIECES_MAX 16

struct hak_mapping {
	struct hak_mapping *next; /* whatever its holder links it into */
	char *start;
	size_t bytes;
	size_t block_bytes; /* <= bytes, whole pages: what the program may use */
	uint64_t freed_ns;  /* of the cache (huge_cache.c), as is the next */
	size_t held_bytes;  /* of the budget, while it is counted nowhere */
	bool is_undumped;   /* core dumps leave it out */
	bool is_marked;	    /* MADV_FREE; of the cache as well */
	uint8_t piece_count;
	uint32_t piece_pages[HAK_MAPPING_PIECES_MAX]; /* where there are several */
};

/* Fresh and zeroed, at a multiple of a power of two. */
struct hak_mapping *hak_mapping_make(size_t bytes, size_t alignment);
void hak_mapping_unmap(struct hak_mapping *mapping);

/* A mapping that neither the registry nor the cache counts is held in the budget (budget.h): leave
 * is called before it counts there no more, and arrive once it does. */
HAK_INLINE void hak_mapping_leave(struct hak_mapping *mapping)
{
	mapping->held_bytes = hak_budget_hold(mapping->bytes);
}

HAK_INLINE void hak_mapping_arrive(struct hak_mapping *mapping)
{
	if (hak_likely(mapping->held_bytes == 0))
		return;
	hak_budget_release(mapping->held_bytes);
	mapping->held_bytes = 0;
}

/* Makes it `bytes` long, which is less than it is. Returns the tail, a mapping of its own; NULL: it
 * is unmapped, being no longer than a run. */
struct hak_mapping *hak_mapping_cut(struct hak_mapping *mapping, size_t bytes);

/* At another length, and elsewhere if it must. False: it stays as it was. */
bool hak_mapping_resize(struct hak_mapping *mapping, size_t bytes);

/* Whether there may be one more mapping of several pieces. */
bool hak_mapping_may_gather(void);

/* Mappings, which hold nothing that is needed, as one, with fresh memory behind them where they are
 * too short. They have HAK_MAPPING_PIECES_MAX pieces at most, or one less where they are too short.
 * NULL: all are gone. */
struct hak_mapping *hak_mapping_gather(struct hak_mapping *const *mappings, unsigned count,
				       size_t bytes);

/* It is the sum of its pieces. For tests and debuggers. */
bool hak_mapping_is_valid(const struct hak_mapping *mapping);

#endif
