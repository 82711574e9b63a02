/* huge.h - huge blocks: over 1 MiB, or aligned to more than that; a mapping of its own each.
 *
 * A registry by address knows them all: sharded, chained, the records taken from meta.h before the
 * mapping is made, so that noting a block cannot fail. A mapping leaves the registry before it is
 * moved or unmapped and comes back after, so no address is ever in it twice.
 *
 * Threads    any; inside the fork gate. Locks: a shard's HUGE, and no other with it.
 * Errors     NULL or false: no memory, or not a huge block of ours, as each call says.
 */
#ifndef HAK_HEAP_HUGE_H
#define HAK_HEAP_HUGE_H

#include "base/config.h"

struct hak_huge_counts {
	uint64_t block_count;
	uint64_t live_bytes; /* of the mappings: a block may lie in a somewhat longer one */
	uint64_t cached_bytes;
};

/* A block of size bytes, rounded up to pages, aligned to a power of two. *zeroed: it reads as 0. */
void *hak_huge_take(size_t size, size_t alignment, bool *zeroed);

/* The blocks in use, `room` of them at most. Returns how many. */
struct hak_huge_block {
	void *start;
	size_t bytes;
};
size_t hak_huge_copy(struct hak_huge_block *blocks, size_t room);

/* False: block is no huge block in use. */
bool hak_huge_give(void *block);
bool hak_huge_bytes(const void *block, size_t *bytes);

/* Makes a huge block longer or shorter, moving it where it must. NULL: no memory, or not one of
 * ours (ask hak_huge_bytes first); the block is as it was. */
void *hak_huge_resize(void *block, size_t size);

void hak_huge_count(struct hak_huge_counts *counts);

/* Mappings are in their buckets and add up to the counts, the cache keeps its bounds; exact where
 * no other thread is at work. For tests and debuggers. */
bool hak_huge_is_valid(void);

#endif
