/* Goal: nothing assumes pages of 4 KiB. With pages of 16 KiB and of 64 KiB, which are larger than a
 * unit, the kernel is asked for whole pages only, and no block changes when memory goes back.
 *
 * Method: getpagesize, mmap, munmap, mprotect, madvise and mremap are this program's own. They play
 * a kernel with the pages that the test is told: mappings come at multiples of a page, and a range
 * that is not made of whole pages fails the test. (A real kernel would refuse its beginning, and
 * round its end up: what lies behind the range would be lost with it.) Blocks of all kinds are
 * made, resized, freed in part, trimmed in between, and checked by what they hold.
 *
 *	limits_page_size PAGE_BYTES
 */
#include "base/size_class.h"
#include "heap/huge.h"
#include "heap/pool.h"
#include "heap/region.h"
#include "heap/slab.h"
#include "stress.h"

#include <errno.h>
#include <hak/hak.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BLOCKS 800
#define ROUNDS 4
#define RUNS 60
#define BYTES_MAX ((size_t)3 << 20)

static size_t page_bytes;

static bool is_whole(const void *start, size_t bytes)
{
	return (((uintptr_t)start | bytes) & (page_bytes - 1)) == 0;
}

int getpagesize(void)
{
	return (int)page_bytes;
}

static void *mapped(void *start, size_t bytes, int protection, int flags, int fd, off_t offset)
{
	return (void *)syscall(SYS_mmap, start, bytes, protection, flags, fd, offset);
}

/* The kernel's own pages are smaller: map more, cut both ends off. */
void *mmap(void *start, size_t bytes, int protection, int flags, int fd, off_t offset)
{
	STRESS_CHECK(is_whole(start, bytes));
	if ((flags & MAP_FIXED) != 0)
		return mapped(start, bytes, protection, flags, fd, offset);
	char *larger = mapped(NULL, bytes + page_bytes, protection, flags, fd, offset);

	if (larger == MAP_FAILED)
		return larger;
	size_t before = (size_t)(-(uintptr_t)larger & (page_bytes - 1));

	if (before != 0)
		syscall(SYS_munmap, larger, before);
	syscall(SYS_munmap, larger + before + bytes, page_bytes - before);
	return larger + before;
}

int munmap(void *start, size_t bytes)
{
	STRESS_CHECK(is_whole(start, bytes));
	return (int)syscall(SYS_munmap, start, bytes);
}

int mprotect(void *start, size_t bytes, int protection)
{
	STRESS_CHECK(is_whole(start, bytes));
	return (int)syscall(SYS_mprotect, start, bytes, protection);
}

int madvise(void *start, size_t bytes, int advice)
{
	STRESS_CHECK(is_whole(start, bytes));
	return (int)syscall(SYS_madvise, start, bytes, advice);
}

/* To a place of our choice, where the caller has none: the kernel's would be aligned to its own
 * pages. */
void *mremap(void *start, size_t old_bytes, size_t new_bytes, int flags, ...)
{
	void *place;
	va_list rest;

	STRESS_CHECK(is_whole(start, old_bytes) && is_whole(NULL, new_bytes));
	STRESS_CHECK((flags & ~MREMAP_FIXED) == MREMAP_MAYMOVE);
	if ((flags & MREMAP_FIXED) != 0) {
		va_start(rest, flags);
		place = va_arg(rest, void *);
		va_end(rest);
		STRESS_CHECK(is_whole(place, new_bytes));
	} else {
		place = (void *)syscall(SYS_mremap, start, old_bytes, new_bytes, 0);
		if (place != MAP_FAILED)
			return place;
		place = mmap(NULL, new_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		STRESS_CHECK(place != MAP_FAILED);
	}
	return (void *)syscall(SYS_mremap, start, old_bytes, new_bytes,
			       MREMAP_MAYMOVE | MREMAP_FIXED, place);
}

static void make_aligned(struct stress_block *block)
{
	size_t alignment = (size_t)16 << stress_random_below(18); /* to 2 MiB */

	block->size = stress_random_size(100000);
	block->address = hak_aligned_alloc(alignment, block->size);
	STRESS_CHECK(block->address != NULL);
	STRESS_CHECK(((uintptr_t)block->address & (alignment - 1)) == 0);
	stress_fill(block);
}

static void make_any(struct stress_block *block)
{
	switch (stress_random_below(8)) {
	case 0:
		make_aligned(block);
		break;
	case 1:
		/* One to eight units: what is freed of them is parts of pages. */
		stress_make(block, (1 + stress_random_below(8)) << HAK_UNIT_SHIFT);
		break;
	default:
		stress_make(block, stress_random_size(BYTES_MAX));
	}
}

static void resize(struct stress_block *block)
{
	struct stress_block old = *block;
	size_t size = stress_random_size(BYTES_MAX);

	block->address = hak_realloc(old.address, size);
	STRESS_CHECK(block->address != NULL);
	block->size = size;
	stress_verify_moved(&old, block->address, size < old.size ? size : old.size);
	stress_fill(block);
}

static void look_at_zeroes(void)
{
	for (size_t bytes = 1000; bytes < 5000000; bytes *= 3) {
		unsigned char *block = hak_calloc(1, bytes);

		STRESS_CHECK(block != NULL);
		for (size_t i = 0; i < bytes; i++)
			STRESS_CHECK(block[i] == 0);
		memset(block, 0xff, bytes);
		hak_free(block);
	}
}

static void *use_heap(void *argument)
{
	static __thread struct stress_block blocks[BLOCKS];

	(void)argument;
	for (unsigned round = 0; round < ROUNDS; round++) {
		stress_position.operation = round;
		for (unsigned i = 0; i < BLOCKS; i++)
			if (blocks[i].address == NULL)
				make_any(&blocks[i]);
		for (unsigned i = 0; i < BLOCKS; i += 5)
			resize(&blocks[i]);
		for (unsigned i = 0; i < BLOCKS; i++)
			if (stress_random_below(2) == 0) {
				stress_release(&blocks[i]);
				blocks[i].address = NULL;
			}
		hak_trim(SIZE_MAX);
		for (unsigned i = 0; i < BLOCKS; i++)
			if (blocks[i].address != NULL)
				stress_verify(&blocks[i]);
		look_at_zeroes();
	}
	for (unsigned i = 0; i < BLOCKS; i++)
		if (blocks[i].address != NULL)
			stress_release(&blocks[i]);
	return NULL;
}

/* Free rows of eight units between rows of three that are in use: a page of each row at least goes
 * back, though the row's ends share theirs with what is in use. */
static void return_parts(void)
{
	struct stress_block kept[RUNS], freed[RUNS];

	for (unsigned i = 0; i < RUNS; i++) {
		stress_make(&kept[i], 3 * HAK_UNIT_BYTES);
		stress_make(&freed[i], 8 * HAK_UNIT_BYTES);
	}
	for (unsigned i = 0; i < RUNS; i++)
		stress_release(&freed[i]);
	STRESS_CHECK(hak_trim(SIZE_MAX) >= RUNS * ((size_t)64 << 10));
	for (unsigned i = 0; i < RUNS; i++)
		stress_release(&kept[i]);
}

/* All that is free goes back still; in the secure build, but for pages that share a guard. */
static void return_all(void)
{
	struct hak_stats stats;

	hak_trim(SIZE_MAX);
	STRESS_CHECK(hak_stats_get(&stats, sizeof stats) == 0);
	STRESS_CHECK(stats.returned_bytes > BLOCKS * HAK_UNIT_BYTES);
	STRESS_CHECK(stats.free_unit_bytes == 0 || HAK_SECURE);
}

int main(int argc, char **argv)
{
	pthread_t thread;

	page_bytes = stress_argument(argc, argv, 1, 65536);
	stress_set_seed(1);
	return_parts();
	use_heap(NULL);
	STRESS_CHECK(pthread_create(&thread, NULL, use_heap, NULL) == 0);
	STRESS_CHECK(pthread_join(thread, NULL) == 0);
	stress_expect_nothing_live();
	return_all();
	STRESS_CHECK(hak_pool_is_valid() && hak_huge_is_valid());
	return 0;
}
