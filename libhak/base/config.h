/* config.h - every size and limit of libhak, and what must hold between them.
 *
 * Knows nothing of blocks. Constants only, so that `if (HAK_DEBUG)` is read by the compiler in
 * every build and no #if is needed inside a function.
 */
#ifndef HAK_BASE_CONFIG_H
#define HAK_BASE_CONFIG_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifndef HAK_DEBUG
#define HAK_DEBUG 0
#endif

#ifndef HAK_OVERRIDE
#define HAK_OVERRIDE 0
#endif

#ifndef HAK_SECURE
#define HAK_SECURE 0
#endif

/* What a shared library shows to the outside; everything else is hidden by the compiler's flag. */
#define HAK_EXPORT __attribute__((visibility("default")))

/* On declarations of our own variables: the compiler's flag covers definitions alone, and without
 * this each access goes through the global offset table. */
#define HAK_HIDDEN __attribute__((visibility("hidden")))

#define hak_likely(x) __builtin_expect(!!(x), 1)
#define hak_unlikely(x) __builtin_expect(!!(x), 0)
#define HAK_NOINLINE __attribute__((noinline))

/* On what every process writes as it starts, and has no first value: it then lies in one page with
 * what has one, and not in several of zeroes. */
#define HAK_EARLY __attribute__((section(".data.early")))

/* Begins on a cache line of its own: for the two functions that all programs live in. */
#define HAK_HOT __attribute__((aligned(64)))
#define HAK_INLINE static inline __attribute__((always_inline))

/* The grain of the pool. One class byte describes one unit. */
#define HAK_UNIT_SHIFT 14
#define HAK_UNIT_BYTES ((size_t)1 << HAK_UNIT_SHIFT)

/* The grain of the region: what is opened from and returned to the system. */
#define HAK_SUPERSLAB_SHIFT 21
#define HAK_SUPERSLAB_BYTES ((size_t)1 << HAK_SUPERSLAB_SHIFT)
#define HAK_SUPERSLAB_UNITS (HAK_SUPERSLAB_BYTES / HAK_UNIT_BYTES)

/* A SuperSlab's units are two words of 64 bits; neither a slab nor a run crosses a word. */
#define HAK_WORD_BITS 64
#define HAK_SUPERSLAB_WORDS (HAK_SUPERSLAB_UNITS / HAK_WORD_BITS)

/* Alignment and smallest size of every block. */
#define HAK_GRAIN_SHIFT 4
#define HAK_GRAIN_BYTES ((size_t)1 << HAK_GRAIN_SHIFT)

/* Three kinds of block by size: cut from slabs, runs of whole units, mappings of their own. */
#define HAK_SMALL_BYTES_MAX ((size_t)32 << 10)
#define HAK_RUN_BYTES_MAX ((HAK_WORD_BITS - 2 * HAK_GUARD_UNITS) * HAK_UNIT_BYTES)

/* The secure build: a unit without access at the end of each word, and one behind each run. */
#define HAK_GUARD_UNITS ((size_t)HAK_SECURE)

/* So many of either kind have no access, the first of them; each makes two mappings more, of which
 * a process has 65,530 by default (vm.max_map_count) and needs some for itself. */
#define HAK_GUARDS_MAX 8192

/* The secure build: freed blocks that wait before they are handed out again, of each class. */
#define HAK_QUARANTINE_SLOTS_MAX 256
#define HAK_QUARANTINE_BYTES_MAX ((size_t)256 << 10)

/* Sizes to here find their class in a byte table; larger ones by counting leading zeros. */
#define HAK_TABLE_BYTES_MAX ((size_t)1024)

#define HAK_SLAB_UNITS_MAX 16
#define HAK_SLAB_BLOCKS_MAX 1024
#define HAK_SLAB_WORDS (HAK_SLAB_BLOCKS_MAX / HAK_WORD_BITS)

/* A class byte: 0 none, 1..HAK_CLASS_COUNT a size class, then two marks for runs. */
#define HAK_CLASS_COUNT 56
#define HAK_CLASS_NONE 0
#define HAK_CLASS_RUN_HEAD (HAK_CLASS_COUNT + 1)
#define HAK_CLASS_RUN_TAIL (HAK_CLASS_COUNT + 2)
#define HAK_CLASS_BYTES (HAK_CLASS_COUNT + 3)

/* The region: four times the machine's memory, held between these two, halved until it fits. */
#define HAK_REGION_BYTES_MIN ((size_t)4 << 20)
#define HAK_REGION_BYTES_LOW ((size_t)16 << 30)
#define HAK_REGION_BYTES_HIGH ((size_t)1 << 40)
#define HAK_REGION_RAM_FACTOR 4

/* Fixed here because the region lays out the table before the type is known. */
#define HAK_SLAB_DESCRIPTOR_BYTES 192

/* Magazines: bytes of blocks that one begins with, and the most it may grow to, in slots and in
 * bytes; and after how many misses, refills counted four times, it doubles. */
#define HAK_MAGAZINE_BYTES_YOUNG ((size_t)512)
#define HAK_MAGAZINE_SLOTS_MAX 255
#define HAK_MAGAZINE_BYTES_MAX ((size_t)64 << 10)
#define HAK_MAGAZINE_MISSES_TO_GROW 24

/* Depots: the most that one class keeps there, in bytes, and what that is of the smallest. */
#define HAK_DEPOT_BYTES_MAX ((size_t)64 << 10)
#define HAK_DEPOT_SLOTS_MAX (HAK_DEPOT_BYTES_MAX / HAK_GRAIN_BYTES)

/* Freed mappings that are kept for the next huge block: their number, and which part of the memory
 * that there is they may be at most (HAK_HUGE_CACHE). */
#define HAK_HUGE_CACHE_SLOTS 16
#define HAK_HUGE_CACHE_SHARE 32
#define HAK_HUGE_BUCKETS 1024
#define HAK_HUGE_SHARDS 16

/* How often a slow path looks for what has been empty for the decay (HAK_DECAY). */
#define HAK_PURGE_INTERVAL_NS 100000000ull

/* A thread that only frees gets magazines after so many blocks that went straight to their slabs.
 * Not before: the C library frees some of a thread's storage after the last destructor that could
 * tell us of its end. */
#define HAK_GIVES_TO_BIRTH 1024

/* Gaps in core dumps, each of which may cost two mappings of the 65,530 that a process may have. */
#define HAK_DUMP_GAPS_MAX 256

/* Static TLS of the library: glibc keeps 1,664 bytes for all libraries that come by dlopen. */
#define HAK_TLS_BYTES_MAX 1024

#ifndef HAK_LOCK_SPINS
#define HAK_LOCK_SPINS 64
#endif

static_assert(HAK_SUPERSLAB_UNITS == 128, "a SuperSlab is two words of units");
static_assert(HAK_SUPERSLAB_WORDS == 2, "a SuperSlab is two words of units");
static_assert(HAK_RUN_BYTES_MAX + 2 * HAK_GUARD_UNITS * HAK_UNIT_BYTES ==
		      HAK_WORD_BITS * HAK_UNIT_BYTES,
	      "a run with its guards fills a word at most");
static_assert(HAK_SLAB_UNITS_MAX <= HAK_WORD_BITS, "a slab fits into a word");
static_assert(HAK_UNIT_BYTES / HAK_GRAIN_BYTES <= HAK_SLAB_BLOCKS_MAX, "a unit of grains fits");
static_assert(HAK_SMALL_BYTES_MAX * 8 <= HAK_SLAB_UNITS_MAX * HAK_UNIT_BYTES,
	      "a slab of the largest class holds eight blocks");
static_assert(HAK_CLASS_BYTES <= 64, "a set of class bytes is one 64-bit mask");
static_assert(HAK_CLASS_BYTES * 2 * sizeof(void *) < HAK_TLS_BYTES_MAX, "heads fit into TLS");
static_assert(HAK_REGION_BYTES_LOW % HAK_SUPERSLAB_BYTES == 0, "whole SuperSlabs");
static_assert((HAK_HUGE_BUCKETS & (HAK_HUGE_BUCKETS - 1)) == 0, "a power of two");
static_assert(HAK_HUGE_BUCKETS % HAK_HUGE_SHARDS == 0, "shards share buckets evenly");

#endif
