/* huge.h - huge blocks: over 1 MiB, or aligned to more than that; a mapping of its own each.
 *
 * A registry by address knows them all: sharded, chained, its entries taken from meta.h before the
 * mapping is made, so that noting a block cannot fail. An entry leaves the registry before its
 * mapping is moved or unmapped and comes back after, so no address is ever in it twice.
 *
 * Freed mappings are kept, resident, for the next huge block: up to HAK_HUGE_CACHE_SLOTS of them
 * and as many bytes as HAK_HUGE_CACHE allows, the oldest go first, and none older than the decay
 * once purge.c has looked. A page fault costs more than all else that a huge block needs: so one
 * that is too long is cut in two, and one that is too short is grown. They are the last reserve as
 * well: before a call fails for want of memory all of them go.
 *
 * Threads    any; inside the fork gate. Locks: a shard's HUGE, the cache's CACHE, never both.
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

/* Finds out how much may be kept, which reads files: else the first free of a huge block does. */
void hak_huge_size_cache(void);

/* True while freed mappings are kept: purge.c has something to look at. */
bool hak_huge_has_cached(void);

/* Begins the age of what was freed since the last call, and has core dumps leave it out. */
void hak_huge_stamp(uint64_t now_ns);

/* Unmaps what has been cached since `before_ns` or longer. Returns its bytes. */
size_t hak_huge_purge(uint64_t before_ns);

/* The last reserve: unmaps all that is cached, and waits for what other threads are unmapping. It
 * is worth one more try even where there was nothing: another thread may just have ended. */
void hak_huge_make_room(void);

void hak_huge_count(struct hak_huge_counts *counts);

/* Entries are in their buckets and add up to the counts, the cache keeps its bounds; exact where no
 * other thread is at work. For tests and debuggers. */
bool hak_huge_is_valid(void);

#endif
