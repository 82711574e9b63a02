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

/* posix_memalign(3). Returns 0, EINVAL (alignment not a power of two, or not a multiple of
 * sizeof(void *)) or ENOMEM; *block is written on success only and errno is untouched. */
int hak_posix_memalign(void **block, size_t alignment, size_t size);

/* aligned_alloc(3), memalign(3). An alignment that is not a power of two is EINVAL. size need not
 * be a multiple of the alignment. */
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
 *   metadata  the allocator's own, never in the region
 *   huge      that part of live which lies in mappings of its own, over 1 MiB a block
 *
 * The numbers are read while other threads go on: each is true for some moment of the call, their
 * sum only when the program stands still. A slab is a run of units cut into blocks of one class. */
#define HAK_STATS_VERSION 1
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
};

/* Fills *stats, of which the caller knows stats_bytes (give sizeof *stats): an older program gets
 * the fields that it knows, a newer one zeroes for those that this library does not have. Returns
 * 0, or -1 with errno EINVAL where stats is NULL or stats_bytes too small for `version`. */
int hak_stats_get(struct hak_stats *stats, size_t stats_bytes);

#ifdef __cplusplus
}
#endif

#endif
