/* Goal: huge blocks are known by their address alone, keep their bytes when resized, and freed
 * mappings are used again, within bounds, until they are purged.
 * Method: a few hundred blocks at once, bytes checked, counts compared on the way. */
#include "unit.h"

#include "base/os.h"
#include "heap/huge.h"
#include "heap/huge_cache.h"
#include "heap/region.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define MIB ((size_t)1 << 20)

static int start(void **state)
{
	(void)state;
	return hak_region_init() ? 0 : -1;
}

static struct hak_huge_counts counted(void)
{
	struct hak_huge_counts counts;

	hak_huge_count(&counts);
	return counts;
}

static void blocks_are_found_by_address(void **state)
{
	static char *blocks[300];
	size_t bytes;

	(void)state;
	for (size_t i = 0; i < 300; i++) {
		bool zeroed;

		blocks[i] = hak_huge_take(MIB + i * 5000, 1, &zeroed);
		assert_non_null(blocks[i]);
		assert_true(zeroed);
		blocks[i][MIB + i * 5000 - 1] = (char)i;
	}
	assert_int_equal(counted().block_count, 300);
	assert_true(hak_huge_is_valid());
	for (size_t i = 0; i < 300; i++) {
		assert_true(hak_huge_bytes(blocks[i], &bytes));
		assert_in_range(bytes, MIB + i * 5000, MIB + i * 5000 + hak_os_page_bytes() - 1);
		assert_false(hak_huge_bytes(blocks[i] + hak_os_page_bytes(), &bytes));
		assert_int_equal(blocks[i][MIB + i * 5000 - 1], (char)i);
	}
	for (size_t i = 0; i < 300; i++) {
		assert_true(hak_huge_give(blocks[i]));
		assert_false(hak_huge_give(blocks[i]));
	}
	assert_int_equal(counted().block_count, 0);
	assert_int_equal(counted().live_bytes, 0);
	assert_true(counted().cached_bytes <= (64 * MIB));
	hak_huge_cache_purge(UINT64_MAX);
	assert_int_equal(counted().cached_bytes, 0);
}

static void freed_mappings_serve_again(void **state)
{
	bool zeroed;
	char *first = hak_huge_take(8 * MIB, 1, &zeroed);
	char *again, *longer, *shorter;
	size_t bytes;

	(void)state;
	memset(first, 1, 8 * MIB);
	assert_true(hak_huge_give(first));
	assert_int_equal(counted().cached_bytes, 8 * MIB);
	assert_true(hak_huge_is_valid());
	hak_huge_cache_purge(0); /* not that old: it stays */
	assert_int_equal(counted().cached_bytes, 8 * MIB);
	/* A little less fits as it is; what it holds is not zero. */
	again = hak_huge_take(8 * MIB - 3 * 4096, 1, &zeroed);
	assert_ptr_equal(again, first);
	assert_false(zeroed);
	assert_true(hak_huge_bytes(again, &bytes));
	assert_in_range(bytes, 8 * MIB - 3 * 4096, 8 * MIB - 2 * 4096);
	assert_true(hak_huge_give(again));
	/* Much less: the tail is one of its own, unless it is shorter than huge blocks are. */
	shorter = hak_huge_take(3 * MIB, 1, &zeroed);
	assert_ptr_equal(shorter, first);
	assert_int_equal(counted().cached_bytes, 5 * MIB);
	again = hak_huge_take(4 * MIB + MIB / 2, 1, &zeroed);
	assert_ptr_equal(again, first + 3 * MIB);
	assert_int_equal(counted().cached_bytes, 0);
	assert_int_equal(again[4 * MIB], 1);
	assert_true(hak_huge_is_valid());
	assert_true(hak_huge_give(again));
	hak_huge_cache_purge(UINT64_MAX);
	/* More: the mapping grows. */
	assert_true(hak_huge_give(shorter));
	assert_int_equal(counted().cached_bytes, 3 * MIB);
	longer = hak_huge_take(5 * MIB, 1, &zeroed);
	assert_int_equal(counted().cached_bytes, 0);
	assert_int_equal(longer[3 * MIB - 1], 1);
	longer[5 * MIB - 1] = 1;
	assert_true(hak_huge_give(longer));
	hak_huge_cache_purge(UINT64_MAX);
	assert_int_equal(counted().cached_bytes, 0);
}

/* One that is longer than all that the cache may hold goes back at once and pushes nothing out. */
static void a_mapping_too_long_to_keep_goes_back(void **state)
{
	unsigned char resident;
	bool zeroed;
	char *kept = hak_huge_take(8 * MIB, 1, &zeroed);
	char *longest = hak_huge_take((64 * MIB), 1, &zeroed);
	char *too_long = hak_huge_take((64 * MIB) + 1, 1, &zeroed);

	(void)state;
	assert_true(hak_huge_give(kept));
	assert_int_equal(counted().cached_bytes, 8 * MIB);
	assert_int_equal(mincore(too_long, 1, &resident), 0);
	assert_true(hak_huge_give(too_long));
	assert_int_equal(counted().cached_bytes, 8 * MIB);
	errno = 0;
	assert_int_equal(mincore(too_long, 1, &resident), -1);
	assert_int_equal(errno, ENOMEM);
	/* The longest that it may hold is held, alone. */
	assert_true(hak_huge_give(longest));
	assert_int_equal(counted().cached_bytes, (64 * MIB));
	assert_true(hak_huge_is_valid());
	hak_huge_cache_purge(UINT64_MAX);
	assert_int_equal(counted().cached_bytes, 0);
}

static void alignments_are_kept(void **state)
{
	(void)state;
	for (size_t alignment = MIB; alignment <= 256 * MIB; alignment *= 4) {
		bool zeroed;
		char *block = hak_huge_take(MIB + 1, alignment, &zeroed);

		assert_non_null(block);
		assert_int_equal((uintptr_t)block % alignment, 0);
		block[0] = block[MIB] = 1;
		assert_true(hak_huge_give(block));
	}
	hak_huge_cache_purge(UINT64_MAX);
}

/* Of its own kind, and whatever needs less. */
static void an_aligned_mapping_serves_again(void **state)
{
	bool zeroed;
	char *first = hak_huge_take(8 * MIB, 4 * MIB, &zeroed), *other;

	(void)state;
	first[0] = 1;
	assert_true(hak_huge_give(first));
	assert_ptr_equal(hak_huge_take(8 * MIB, 2 * MIB, &zeroed), first);
	assert_false(zeroed);
	assert_true(hak_huge_give(first));
	/* One that is much longer is not cut for it. */
	other = hak_huge_take(3 * MIB, 2 * MIB, &zeroed);
	assert_ptr_not_equal(other, first);
	assert_true(zeroed);
	assert_int_equal(counted().cached_bytes, 8 * MIB);
	assert_true(hak_huge_give(other));
	assert_ptr_equal(hak_huge_take(8 * MIB, 1, &zeroed), first);
	assert_true(hak_huge_give(first));
	assert_true(hak_huge_is_valid());
	hak_huge_cache_purge(UINT64_MAX);
}

static void resized_blocks_keep_their_bytes(void **state)
{
	bool zeroed;
	char *block = hak_huge_take(2 * MIB, 1, &zeroed);
	size_t bytes;

	(void)state;
	for (size_t i = 0; i < 2 * MIB; i += 4096)
		block[i] = (char)(i >> 12);
	block = hak_huge_resize(block, 64 * MIB);
	assert_non_null(block);
	assert_true(hak_huge_is_valid());
	block[64 * MIB - 1] = 1;
	block = hak_huge_resize(block, 2 * MIB);
	assert_non_null(block);
	assert_true(hak_huge_bytes(block, &bytes));
	assert_int_equal(bytes, 2 * MIB);
	for (size_t i = 0; i < 2 * MIB; i += 4096)
		assert_int_equal(block[i], (char)(i >> 12));
	/* More than there is: the block stays as it was. */
	assert_null(hak_huge_resize(block, PTRDIFF_MAX / 2));
	assert_true(hak_huge_bytes(block, &bytes));
	assert_int_equal(bytes, 2 * MIB);
	assert_true(hak_huge_give(block));
	assert_null(hak_huge_resize(block, 3 * MIB));
	hak_huge_cache_purge(UINT64_MAX);
	assert_true(hak_huge_is_valid());
}

/* Every page of a block tells whose it is. */
static void mark_pages(char *block, size_t bytes, uint64_t mark)
{
	for (size_t i = 0; i < bytes; i += hak_os_page_bytes())
		memcpy(block + i, &mark, sizeof mark);
}

static bool has_marks(const char *block, size_t bytes, uint64_t mark)
{
	for (size_t i = 0; i < bytes; i += hak_os_page_bytes())
		if (memcmp(block + i, &mark, sizeof mark) != 0)
			return false;
	return true;
}

static void give_touched(size_t count, const size_t *mib)
{
	char *blocks[4];
	bool zeroed;

	for (size_t i = 0; i < count; i++) {
		blocks[i] = hak_huge_take(mib[i] * MIB, 1, &zeroed);
		mark_pages(blocks[i], mib[i] * MIB, i);
	}
	for (size_t i = 0; i < count; i++)
		assert_true(hak_huge_give(blocks[i]));
}

/* Bytes of a block that have memory. */
static size_t resident_bytes(char *block, size_t bytes)
{
	static unsigned char pages[32 * MIB / 4096];
	size_t page_bytes = hak_os_page_bytes(), count = 0;

	assert_int_equal(mincore(block, bytes, pages), 0);
	for (size_t i = 0; i < bytes / page_bytes; i++)
		count += pages[i] & 1;
	return count * page_bytes;
}

/* Of several that are too short one is made, and its pages are there. It is resized like any. */
static void short_mappings_are_gathered(void **state)
{
	static const size_t mib[] = {4, 5, 6};
	bool zeroed;
	size_t bytes;
	char *block, *rest;

	(void)state;
	give_touched(3, mib);
	block = hak_huge_take(14 * MIB, 1, &zeroed);
	assert_false(zeroed);
	assert_int_equal(counted().cached_bytes, 0); /* the last MiB is too short to be kept */
	assert_true(hak_huge_is_valid());
	assert_int_equal(resident_bytes(block, 14 * MIB), 14 * MIB);
	mark_pages(block, 14 * MIB, 7);
	block = hak_huge_resize(block, 20 * MIB);
	assert_true(has_marks(block, 14 * MIB, 7));
	mark_pages(block, 20 * MIB, 8);
	assert_true(hak_huge_give(block));
	hak_huge_cache_purge(UINT64_MAX);

	/* Shortened where it lies, and then cut in two, each with its pieces. */
	give_touched(3, mib);
	block = hak_huge_take(15 * MIB, 1, &zeroed);
	mark_pages(block, 15 * MIB, 9);
	assert_ptr_equal(hak_huge_resize(block, 12 * MIB), block);
	assert_true(has_marks(block, 12 * MIB, 9));
	assert_true(hak_huge_is_valid());
	assert_true(hak_huge_give(block));
	block = hak_huge_take(5 * MIB, 1, &zeroed);
	rest = hak_huge_take(7 * MIB, 1, &zeroed);
	assert_ptr_equal(rest, block + 5 * MIB);
	assert_true(hak_huge_is_valid());
	assert_true(hak_huge_bytes(rest, &bytes));
	assert_true(has_marks(rest, bytes, 9));
	assert_true(hak_huge_give(block));
	assert_true(hak_huge_give(rest));
	hak_huge_cache_purge(UINT64_MAX);
}

/* Whatever is cut, gathered and resized: no page has two owners. */
static void no_page_has_two_owners(void **state)
{
	static struct {
		char *start;
		size_t bytes;
	} blocks[8];
	uint64_t random = 1;
	bool zeroed;

	(void)state;
	for (uint64_t i = 1; i <= 800; i++) {
		random = random * 6364136223846793005ull + 1442695040888963407ull;
		size_t slot = (random >> 60) & 7;
		size_t bytes = (2 + (random >> 40) % 24) * (MIB / 2) + MIB;
		char *start = blocks[slot].start;

		if (start != NULL) {
			assert_true(has_marks(start, blocks[slot].bytes, slot));
			if (random >> 63 == 0) {
				assert_true(hak_huge_give(start));
				start = hak_huge_take(bytes, 1, &zeroed);
			} else {
				start = hak_huge_resize(start, bytes);
				assert_true(has_marks(
					start,
					bytes < blocks[slot].bytes ? bytes : blocks[slot].bytes,
					slot));
			}
		} else {
			start = hak_huge_take(bytes, 1, &zeroed);
		}
		assert_non_null(start);
		mark_pages(start, bytes, slot);
		blocks[slot].start = start;
		blocks[slot].bytes = bytes;
		if (i % 50 == 0)
			assert_true(hak_huge_is_valid());
	}
	for (size_t slot = 0; slot < 8; slot++)
		if (blocks[slot].start != NULL)
			assert_true(hak_huge_give(blocks[slot].start));
	hak_huge_cache_purge(UINT64_MAX);
	assert_int_equal(counted().live_bytes, 0);
	assert_int_equal(counted().cached_bytes, 0);
}

/* From now on the kernel refuses to move a mapping to a given place. */
static void refuse_moves(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mremap, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[3])),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, MREMAP_FIXED, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOMEM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = sizeof filter / sizeof *filter, .filter = filter};

	assert_int_equal(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	assert_int_equal(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

/* What cannot be gathered is mapped anew, and nothing is counted twice. The last test: the filter
 * stays. */
static void a_refused_move_costs_the_cache_alone(void **state)
{
	static const size_t mib[] = {4, 5, 6};
	bool zeroed;
	char *block;

	(void)state;
	give_touched(3, mib);
	refuse_moves();
	block = hak_huge_take(14 * MIB, 1, &zeroed);
	assert_non_null(block);
	assert_true(zeroed);
	assert_true(has_marks(block, 14 * MIB, 0));
	assert_int_equal(counted().cached_bytes, 0);
	assert_int_equal(counted().block_count, 1);
	assert_true(hak_huge_is_valid());
	assert_true(hak_huge_give(block));
	hak_huge_cache_purge(UINT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(blocks_are_found_by_address),
		cmocka_unit_test(freed_mappings_serve_again),
		cmocka_unit_test(a_mapping_too_long_to_keep_goes_back),
		cmocka_unit_test(alignments_are_kept),
		cmocka_unit_test(an_aligned_mapping_serves_again),
		cmocka_unit_test(resized_blocks_keep_their_bytes),
		cmocka_unit_test(short_mappings_are_gathered),
		cmocka_unit_test(no_page_has_two_owners),
		cmocka_unit_test(a_refused_move_costs_the_cache_alone),
	};

	return cmocka_run_group_tests(tests, start, NULL);
}
