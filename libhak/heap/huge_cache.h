/* huge_cache.h - mappings for huge blocks, and those of freed ones, kept for the next.
 *
 * Freed mappings are kept, resident: up to HAK_HUGE_CACHE_SLOTS of them and as many bytes as
 * HAK_HUGE_CACHE allows, the oldest go first, and none older than the decay once purge.c has
 * looked. Meanwhile they may be marked MADV_FREE (govern/lazyfree.h); they count as cached, and a
 * daemon cannot take them from outside. One that is too long for a block is cut in two, one that is
 * too short is grown, and where there are several they are gathered (mapping.h). They are the last
 * reserve as well: before a call fails for want of memory all of them go.
 *
 * Threads    any; inside the fork gate. Locks: CACHE, and no other with it.
 * Errors     NULL: no memory.
 */
#ifndef HAK_HEAP_HUGE_CACHE_H
#define HAK_HEAP_HUGE_CACHE_H

#include "heap/mapping.h"

/* At least so many bytes, whole pages, at a multiple of a power of two. *zeroed: it reads as 0. */
struct hak_mapping *hak_huge_cache_take(size_t bytes, size_t alignment, bool *zeroed);
void hak_huge_cache_give(struct hak_mapping *mapping);

/* Finds out how much may be kept, which reads files: else the first free of a huge block does. */
void hak_huge_cache_size(void);

/* True while there are any: purge.c has something to look at. */
bool hak_huge_cache_has_any(void);
size_t hak_huge_cache_bytes(void);

/* Begins the age of what was freed since the last call, and has core dumps leave it out. */
void hak_huge_cache_stamp(uint64_t now_ns);

/* What was given since somebody last said to have heard of it, in bytes. */
size_t hak_huge_cache_news(void);
void hak_huge_cache_heard(void);

/* What has no mark yet, and marks for all of that. Returns bytes: fewer where one was refused. */
size_t hak_huge_cache_unmarked_bytes(void);
size_t hak_huge_cache_mark(void);

/* Unmaps what has been here since `before_ns` or longer. Returns its bytes. */
size_t hak_huge_cache_purge(uint64_t before_ns);

/* The last reserve: unmaps all, and waits for what other threads are unmapping. It is worth one
 * more try even where there was nothing: another thread may just have ended. */
void hak_huge_cache_make_room(void);

/* It keeps its bounds. For tests and debuggers. */
bool hak_huge_cache_is_valid(void);

#endif
