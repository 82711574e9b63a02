/* hak.h - the public face of libhak, a malloc whose free memory a host can govern.
 *
 * A program needs none of this: libhak is preloaded (LD_PRELOAD=libhak.so) or linked, and malloc,
 * free and the C++ operators are served by it. The hak_ twins below are the same calls under names
 * that nothing else can take, for programs that want libhak for one part of their memory only, and
 * for tests; hak_stats_get() reads the heap.
 *
 * Threads    every call may be made from any thread at any time after fork or thread start; none
 *            may be made from a signal handler. A block may be freed by any thread.
 * Errors     as malloc(3): NULL with errno ENOMEM, or EINVAL where it says so; errno is untouched
 *            on success and always by hak_free. Misuse that is found (a double, interior,
 *            misaligned or foreign free) prints one sentence to file descriptor 2 and aborts.
 * Units      every size is in bytes unless its name says otherwise.
 * Alignment  every block is aligned to 16 bytes at least.
 * Source     malloc(3), posix_memalign(3), malloc_usable_size(3); ISO C11 7.22.3.
 */
#ifndef HAK_HAK_H
#define HAK_HAK_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HAK_VERSION_MAJOR 0
#define HAK_VERSION_MINOR 1
#define HAK_VERSION_PATCH 0

/* The version of the library at run time, "MAJOR.MINOR.PATCH"; a constant string. */
const char *hak_version(void);

/* malloc(3). size 0 gives a unique block; more than PTRDIFF_MAX is ENOMEM. */
void *hak_malloc(size_t size);

/* calloc(3). The block is zeroed; a product that overflows is ENOMEM. */
void *hak_calloc(size_t count, size_t size);

/* realloc(3). On failure the old block is as it was. hak_realloc(p, 0) gives a unique block of the
 * smallest size in place of p, never NULL without ENOMEM, so that no caller takes it for a failure
 * and frees p again; hak_realloc(NULL, n) is hak_malloc(n). */
void *hak_realloc(void *block, size_t size);

/* reallocarray(3). A product that overflows is ENOMEM and leaves the block alone. */
void *hak_reallocarray(void *block, size_t count, size_t size);

/* free(3). NULL is ignored; errno is kept. */
void hak_free(void *block);

/* free_sized() and free_aligned_sized() of ISO C23 (7.24.3.4, 7.24.3.5): size, and alignment, are
 * what the block was allocated with, last. A block that was not is misuse, found at once. */
void hak_free_sized(void *block, size_t size);
void hak_free_aligned_sized(void *block, size_t alignment, size_t size);

/* posix_memalign(3). Returns 0, EINVAL (alignment not a power of two, or not a multiple of
 * sizeof(void *)) or ENOMEM; *block is written on success only and errno is untouched. */
int hak_posix_memalign(void **block, size_t alignment, size_t size);

/* aligned_alloc(3), memalign(3). An alignment that is not a power of two is EINVAL for the first,
 * and made one by the second, as glibc does. size need not be a multiple of the alignment. */
void *hak_aligned_alloc(size_t alignment, size_t size);
void *hak_memalign(size_t alignment, size_t size);

/* valloc(3) and pvalloc(3): aligned to a page; hak_pvalloc rounds size up to whole pages. */
void *hak_valloc(size_t size);
void *hak_pvalloc(size_t size);

/* malloc_usable_size(3): how many bytes of the block may be used, at least the size asked for and
 * the same for the whole life of the block; 0 for NULL. */
size_t hak_malloc_usable_size(const void *block);

/* What the heap holds. Additions go to the end and raise HAK_STATS_VERSION.
 *
 *   live      in the program's hands, rounded up to size classes, units and mappings
 *   cached    in the magazines of threads and in depots, and freed huge mappings that are kept
 *   free      in slabs and in SuperSlabs that are open, touched before and so resident
 *   lazyfree  the same, but marked MADV_FREE: the kernel takes it when it needs some, and may have
 *   metadata  the allocator's own, never in the region
 *   huge      that part of live which lies in mappings of its own, over 1 MiB a block
 *
 * The numbers are read while other threads go on: each is true for some moment of the call, their
 * sum only when the program stands still. A slab is a run of units cut into blocks of one class. */
#define HAK_STATS_VERSION 3
#define HAK_STATS_CLASS_COUNT_MAX 64

struct hak_stats {
	uint32_t version;     /* HAK_STATS_VERSION of the library that filled this in */
	uint32_t class_count; /* how many of the arrays' rows are used; row 0 stays empty */
	uint64_t live_bytes;
	uint64_t cached_bytes;
	uint64_t free_bytes;
	uint64_t metadata_bytes;
	uint64_t huge_bytes;
	uint64_t huge_count;	       /* huge blocks in the program's hands */
	uint64_t huge_cached_bytes;    /* freed huge mappings that are kept; part of cached_bytes */
	uint64_t superslab_open_count; /* SuperSlabs that hold memory now */
	uint64_t superslab_peak_count; /* the most that were ever open at once */
	uint64_t superslab_opened_total; /* how often one was opened, first time or again */
	uint64_t slab_count_by_class[HAK_STATS_CLASS_COUNT_MAX];
	uint64_t block_bytes_by_class
		[HAK_STATS_CLASS_COUNT_MAX]; /* the size of that class's block */
	/* version 2 */
	uint64_t free_unit_bytes; /* the part of free_bytes that is whole units, of no class */
	uint64_t returned_bytes;  /* given back to the system since the process began */
	uint64_t misuse_count;	  /* found and reported (HAK_MISUSE=report) */
	uint64_t live_count_by_class[HAK_STATS_CLASS_COUNT_MAX];   /* blocks in use */
	uint64_t cached_count_by_class[HAK_STATS_CLASS_COUNT_MAX]; /* in magazines and depots */
	uint64_t free_count_by_class[HAK_STATS_CLASS_COUNT_MAX];   /* free, touched before */
	/* version 3 */
	uint64_t lazyfree_bytes;
	uint64_t hole_bytes;	       /* pages of slabs that went back, and were not used since */
	uint64_t advice_count;	       /* calls of madvise(2) that gave memory back or marked it */
	uint64_t advice_refused_count; /* of them, refused: the memory is locked, say */
	uint64_t advice_ns; /* nanoseconds in them, of all threads; a sample, true for many */
};

/* Fills *stats, of which the caller knows stats_bytes (give sizeof *stats): an older program gets
 * the fields that it knows, a newer one zeroes for those that this library does not have. Returns
 * 0, or -1 with errno EINVAL where stats is NULL or stats_bytes too small for `version`. */
int hak_stats_get(struct hak_stats *stats, size_t stats_bytes);

/* The same as one JSON object (RFC 8259) in text, of text_bytes at most with its NUL. Returns its
 * length without the NUL: where that is not less than text_bytes, it was cut off, as by
 * snprintf(3). text may be NULL where text_bytes is 0. */
size_t hak_stats_json(char *text, size_t text_bytes);

/* Gives free memory back to the system, target bytes of it or all that there is (SIZE_MAX): cached
 * mappings, the calling thread's magazines and the depots, free units, pages in slabs that only
 * free blocks cover. Other threads' magazines follow when those next come to a slow path. Returns
 * how many bytes went back. Takes about a second for 10 GiB; other threads go on. */
size_t hak_trim(size_t target);

/* Empties the calling thread's magazines into the slabs: for a thread that will be idle for long.
 * */
void hak_purge_thread(void);

/* Every block in the program's hands, each once, lowest addresses first, huge blocks last. bytes is
 * what malloc_usable_size() says; in the secure build the block's end is counted, too. */
struct hak_heap_block {
	void *address;
	size_t bytes;
};

/* Returns 0 to go on; anything else ends the walk. It may allocate and free. */
typedef int (*hak_heap_visitor)(const struct hak_heap_block *block, void *context);

/* Shows a picture of the heap to the visitor, one block after the other. While the picture is taken
 * (about a second for 10 GiB of small blocks) other threads wait on their slow paths; a block that
 * they take or free meanwhile may be in it or not. Needs 1/128 of the heap as memory. Returns what
 * the visitor returned last, 0 for an empty heap, or -1 with errno ENOMEM. */
int hak_heap_walk(hak_heap_visitor visitor, void *context);

/* Budgets in bytes for what is in use and cached, huge blocks included; 0 for none. Above soft,
 * free memory goes back as it comes and caches stay small. An allocation that would go above hard
 * gives back all that is free first, then asks the callback, and fails with ENOMEM. What is in use
 * stays so, however low the budget is set. Looked at where memory is taken from the pool or the
 * system: by some 2 MiB and the threads' magazines a heap may be above. Returns 0, or -1 with errno
 * EINVAL where soft is above hard. */
int hak_set_budget(uint64_t soft_bytes, uint64_t hard_bytes);

/* Called in the thread whose allocation of so many bytes would go above the hard budget, outside
 * all locks: it may free, and allocate at its own risk. Not 0: the allocation is tried once more.
 * One thread at a time is in it; others fail meanwhile. NULL: none, as at the start. */
typedef int (*hak_budget_callback)(size_t bytes, void *context);
void hak_set_budget_callback(hak_budget_callback callback, void *context);

/* One setting (libhak(7)) by its name, such as "HAK_DECAY", while the program runs. Returns 0, or
 * -1 with errno ENOENT (there is none of that name), EPERM (only the environment sets it) or EINVAL
 * (the value is none for it, and the old one stays). */
int hak_set_setting(const char *name, const char *value);

#ifdef __cplusplus
}
#endif

#endif
