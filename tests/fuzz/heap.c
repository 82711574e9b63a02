/* Goal: no sequence of calls, however odd, breaks a promise of the heap or the heap itself.
 *
 * Method: the bytes are a program. Each operation allocates by one of the calls, reallocates, frees
 * by one of three, lets a thread be born or die, gives memory back (a trim, a purge of what has
 * aged on a clock that the program turns, a thread's magazines), or sets a budget. It runs in one
 * of four threads, one after the other, so the same bytes do the same again; frees meet the blocks
 * of any thread. After each the heap is compared with a shadow that it knows nothing of: alignment,
 * usable sizes, waste, overlap (shadow_map.h), contents (stress.h), zeroes, errno, the numbers of
 * hak_stats_get(). After some, and at the end, by the structures' own x_is_valid(), and by which
 * blocks a walk over the heap shows. Then all is freed and all that was cached goes back.
 *
 *	fuzz_heap [libFuzzer's options] [FILE or CORPUS]...
 */
#include "../stress/shadow_map.h"
#include "../stress/stress.h"
#include "../stress/structures.h"
#include "crew.h"
#include "input.h"
#include "judge.h"

#include "base/os.h"
#include "base/settings.h"
#include "base/size_class.h"
#include "govern/purge.h"
#include "heap/region.h"
#include "heap/thread.h"

#include <errno.h>
#include <hak/hak.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS 512
#define OPERATIONS_MAX 1000
#define LIVE_BYTES_MAX ((size_t)48 << 20)
/* Operations between two looks at every structure, and at every block: as long as one such look
 * takes as long as the operations themselves. After each operation the numbers are looked at. */
#define STRUCTURES_EVERY 8
#define WALK_EVERY 16

struct block {
	struct stress_block content; /* address NULL: the slot is empty */
	size_t usable;
	size_t alignment; /* that it was allocated with; 16 where it has none */
	bool is_sized;	  /* its size and alignment are still those of its allocation */
};

static struct block blocks[SLOTS];
static size_t block_count, live_bytes;
static uint64_t hard_budget;
static uint64_t clock_ns; /* runs ahead of the real one, so that only the program purges */
static struct fuzz_input input;

/* ---- what the bytes choose ---- */

/* Sizes of every road and around its edges; a few that nobody can have. */
static size_t choose_size(void)
{
	static const size_t absurd[] = {PTRDIFF_MAX, (size_t)PTRDIFF_MAX + 1, SIZE_MAX,
					SIZE_MAX - 4095};
	unsigned word = fuzz_input_take(&input, 2), number = word >> 3;

	switch (word & 7) {
	case 3:
		return 1024 + (size_t)number * 4;
	case 4:
		return HAK_SMALL_BYTES_MAX + (size_t)number * 128;
	case 5:
		return HAK_RUN_BYTES_MAX + (size_t)number * 256;
	case 6:
		return hak_size_classes[1 + number % HAK_CLASS_COUNT].block_bytes +
		       number / HAK_CLASS_COUNT % 3 - 1;
	case 7:
		return number < 4 ? absurd[number]
				  : (number % 65 + 1) * HAK_UNIT_BYTES + number / 65 % 3 - 1;
	default:
		return number % 1025;
	}
}

static size_t choose_alignment(void)
{
	return (size_t)16 << fuzz_input_take(&input, 1) % 23;
}

/* The next slot from one on that is empty, or that is not. NULL: there is none. */
static struct block *choose_slot(bool empty)
{
	unsigned first = fuzz_input_take(&input, 2);

	for (unsigned i = 0; i < SLOTS; i++) {
		struct block *block = &blocks[(first + i) % SLOTS];

		if ((block->content.address == NULL) == empty)
			return block;
	}
	return NULL;
}

/* ---- the shadow ---- */

static void check_waste(size_t size, size_t alignment, size_t usable)
{
	size_t rounded = (size + alignment - 1) / alignment * alignment;

	if (rounded == 0)
		rounded = alignment;
	if (rounded <= HAK_SMALL_BYTES_MAX)
		rounded += rounded / 4;
	else if (rounded <= HAK_RUN_BYTES_MAX)
		rounded += HAK_UNIT_BYTES;
	else
		rounded += hak_os_page_bytes();
	if (usable > rounded)
		stress_fail("%zu bytes for %zu, aligned to %zu", usable, size, alignment);
}

/* What cannot be had: more than there may ever be, or, under a budget, anything. */
static bool may_fail(size_t size)
{
	return hard_budget != 0 || size > LIVE_BYTES_MAX;
}

/* Takes possession of what a call gave. False: NULL, rightly so. */
static bool accept(struct block *block, void *address, size_t size, size_t alignment)
{
	if (address == NULL) {
		if (!may_fail(size))
			stress_fail("NULL for %zu bytes", size);
		if (errno != ENOMEM)
			stress_fail("errno is %d after NULL for %zu bytes", errno, size);
		return false;
	}
	if (errno != 0)
		stress_fail("errno is %d after %zu bytes", errno, size);
	if (size > LIVE_BYTES_MAX)
		stress_fail("%p for %zu bytes", address, size);
	if ((uintptr_t)address % alignment != 0)
		stress_fail("%p (%zu bytes) is not aligned to %zu", address, size, alignment);
	*block = (struct block){
		.content = {.address = address, .size = size},
		.usable = hak_malloc_usable_size(address),
		.alignment = alignment,
		.is_sized = true,
	};
	if (block->usable < size)
		stress_fail("%p: %zu bytes are usable of %zu", address, block->usable, size);
	if (!shadow_map_mark(address, block->usable))
		stress_fail("%p (%zu bytes) overlaps another block", address, block->usable);
	block_count++;
	live_bytes += block->usable;
	return true;
}

/* The shadow forgets a block, which the allocator hears of only then. */
static void leave(struct block *block)
{
	stress_verify(&block->content);
	if (!shadow_map_clear(block->content.address, block->usable))
		stress_fail("%p (%zu bytes) was not wholly marked", (void *)block->content.address,
			    block->usable);
	block_count--;
	live_bytes -= block->usable;
}

static void check_zeroes(const struct block *block)
{
	for (size_t i = 0; i < block->content.size; i++)
		if (block->content.address[i] != 0)
			stress_fail("calloc gave a byte that is not zero: %zu of %zu", i,
				    block->content.size);
}

/* ---- operations, each in whichever thread ---- */

static void allocate_plain(void)
{
	struct block *block = choose_slot(true);
	size_t size = choose_size();

	stress_position.name = "malloc";
	if (block == NULL || (size < LIVE_BYTES_MAX && live_bytes + size > LIVE_BYTES_MAX))
		return;
	errno = 0;
	if (accept(block, hak_malloc(size), size, 16)) {
		check_waste(size, 16, block->usable);
		stress_fill(&block->content);
	}
}

static void allocate_zeroed(void)
{
	struct block *block = choose_slot(true);
	size_t count = 1 + fuzz_input_take(&input, 1) % 32, size = choose_size() / count;

	stress_position.name = "calloc";
	if (block == NULL || (size < LIVE_BYTES_MAX && live_bytes + size > LIVE_BYTES_MAX))
		return;
	errno = 0;
	if (accept(block, hak_calloc(count, size), count * size, 16)) {
		check_waste(count * size, 16, block->usable);
		check_zeroes(block);
		stress_fill(&block->content);
	}
}

static void *call_aligned(size_t *alignment, size_t *size)
{
	size_t page_bytes = hak_os_page_bytes();
	void *address = NULL;

	switch (fuzz_input_take(&input, 1) % 5) {
	case 0:
		if (hak_posix_memalign(&address, *alignment, *size) == ENOMEM)
			errno = ENOMEM; /* which it leaves alone */
		return address;
	case 1:
		return hak_aligned_alloc(*alignment, *size);
	case 2:
		return hak_memalign(*alignment - 7, *size);
	case 3:
		*alignment = page_bytes;
		return hak_valloc(*size);
	default:
		*alignment = page_bytes;
		address = hak_pvalloc(*size);
		if (address != NULL)
			*size = *size == 0 ? page_bytes : (*size + page_bytes - 1) & -page_bytes;
		return address;
	}
}

static void allocate_aligned(void)
{
	struct block *block = choose_slot(true);
	size_t size = choose_size(), alignment = choose_alignment();
	void *address;

	stress_position.name = "aligned";
	if (block == NULL ||
	    (size < LIVE_BYTES_MAX && live_bytes + size + alignment > LIVE_BYTES_MAX))
		return;
	errno = 0;
	address = call_aligned(&alignment, &size);
	if (accept(block, address, size, alignment)) {
		check_waste(size, alignment, block->usable);
		stress_fill(&block->content);
	}
}

static void reallocate(void)
{
	struct block *block = choose_slot(false), old;
	size_t size = choose_size(), count = fuzz_input_take(&input, 1) % 4;
	void *address;

	stress_position.name = "realloc";
	if (block == NULL || (size < LIVE_BYTES_MAX && live_bytes + size > LIVE_BYTES_MAX))
		return;
	old = *block;
	if (count == 3) /* no more than is usable: it must stay where it is */
		size = old.usable;
	leave(block);
	errno = 0;
	if (count == 1 || count == 2) {
		size /= count;
		address = hak_reallocarray(old.content.address, count, size);
		size *= count;
	} else {
		address = hak_realloc(old.content.address, size);
	}
	if (count == 3 && address != old.content.address)
		stress_fail("%p moved to %p for its usable size", (void *)old.content.address,
			    address);
	if (accept(block, address, size, 16)) {
		stress_verify_moved(&old.content, block->content.address, size);
		stress_fill(&block->content);
	} else {
		/* As it was. */
		*block = old;
		if (!shadow_map_mark(old.content.address, old.usable) ||
		    hak_malloc_usable_size(old.content.address) != old.usable)
			stress_fail("%p changed by a realloc that failed",
				    (void *)old.content.address);
		block_count++;
		live_bytes += old.usable;
	}
}

static void free_block(struct block *block, unsigned how)
{
	stress_position.name = "free";
	leave(block);
	errno = EDOM;
	if (how % 4 == 1 && block->is_sized && block->alignment == 16)
		hak_free_sized(block->content.address, block->content.size);
	else if (how % 4 == 2 && block->is_sized)
		hak_free_aligned_sized(block->content.address, block->alignment,
				       block->content.size);
	else
		hak_free(block->content.address);
	if (errno != EDOM)
		stress_fail("free changed errno");
	block->content.address = NULL;
}

static void release(void)
{
	unsigned how = fuzz_input_take(&input, 1);
	struct block *block = choose_slot(false);

	if (block != NULL)
		free_block(block, how);
}

/* Many of one size: magazines grow and overflow, slabs fill and empty. */
static void fill_row(void)
{
	unsigned count = 1 + fuzz_input_take(&input, 1) % 128;
	size_t size = choose_size();

	stress_position.name = "malloc in a row";
	for (unsigned i = 0; i < SLOTS && count != 0 && live_bytes + size <= LIVE_BYTES_MAX; i++) {
		struct block *block = &blocks[i];

		if (block->content.address != NULL)
			continue;
		errno = 0;
		if (!accept(block, hak_malloc(size), size, 16))
			break;
		stress_fill(&block->content);
		count--;
	}
}

static void free_row(void)
{
	unsigned first = fuzz_input_take(&input, 2) % SLOTS;
	unsigned step = 1 + fuzz_input_take(&input, 1) % 8;

	for (unsigned i = first; i < SLOTS; i += step)
		if (blocks[i].content.address != NULL)
			free_block(&blocks[i], 0);
}

/* Returns what was counted as given back so far. */
static uint64_t returned_bytes(void)
{
	struct hak_stats stats;

	STRESS_CHECK(hak_stats_get(&stats, sizeof stats) == 0);
	return stats.returned_bytes;
}

static void trim(void)
{
	unsigned target = fuzz_input_take(&input, 1);
	uint64_t before = returned_bytes();

	stress_position.name = "trim";
	size_t released = hak_trim(target == 255 ? SIZE_MAX : (size_t)target << 14);

	if (released != returned_bytes() - before)
		stress_fail("%zu bytes trimmed, %llu given back", released,
			    (unsigned long long)(returned_bytes() - before));
}

/* Some time passes, in steps of 10 ms, and a slow path looks at the clock. */
static void grow_old(void)
{
	struct hak_thread *thread;

	stress_position.name = "purge";
	clock_ns += (uint64_t)fuzz_input_take(&input, 1) * 10000000;
	thread = hak_thread_enter();
	hak_purge_if_due(clock_ns);
	hak_thread_leave(thread);
}

static void purge_thread(void)
{
	stress_position.name = "purge of a thread";
	hak_purge_thread();
}

/* 0: none. A low one refuses everything that magazines do not have. */
static void set_budget(void)
{
	stress_position.name = "budget";
	hard_budget = (uint64_t)(fuzz_input_take(&input, 1) % 64) << 19;
	STRESS_CHECK(hak_set_budget(0, hard_budget) == 0);
}

/* ---- the judge ---- */

/* What the shadow says of the numbers. */
static void count_blocks(struct hak_stats *expected)
{
	memset(expected, 0, sizeof *expected);
	for (unsigned i = 0; i < SLOTS; i++) {
		const struct block *block = &blocks[i];

		if (block->content.address == NULL)
			continue;
		if (!hak_region_has_grain(hak_region_grain(block->content.address))) {
			expected->huge_count++;
			expected->huge_bytes += block->usable;
			continue;
		}
		expected->live_bytes += block->usable;
		if (block->usable <= HAK_SMALL_BYTES_MAX &&
		    hak_region_class(hak_region_unit(block->content.address)) <= HAK_CLASS_COUNT)
			expected->live_count_by_class[hak_size_class_of(block->usable)]++;
	}
}

static void check_equations(const struct hak_stats *stats)
{
	uint64_t cached = stats->huge_cached_bytes, runs = stats->live_bytes - stats->huge_bytes;

	for (unsigned i = 1; i <= HAK_CLASS_COUNT; i++) {
		uint64_t bytes = stats->block_bytes_by_class[i];
		uint64_t known = stats->live_count_by_class[i] + stats->cached_count_by_class[i] +
				 stats->free_count_by_class[i];

		cached += stats->cached_count_by_class[i] * bytes;
		runs -= stats->live_count_by_class[i] * bytes;
		if (known > stats->slab_count_by_class[i] * hak_size_classes[i].block_count)
			stress_fail("class %u: %llu blocks in %llu slabs", i,
				    (unsigned long long)known,
				    (unsigned long long)stats->slab_count_by_class[i]);
	}
	STRESS_CHECK(cached == stats->cached_bytes);
	STRESS_CHECK(runs % HAK_UNIT_BYTES == 0);
	STRESS_CHECK(stats->free_unit_bytes <= stats->free_bytes);
	STRESS_CHECK(stats->superslab_open_count <= stats->superslab_peak_count);
	STRESS_CHECK(stats->superslab_peak_count <= stats->superslab_opened_total);
	STRESS_CHECK(stats->misuse_count == 0);
}

static void check_numbers(void)
{
	struct hak_stats stats, expected;

	STRESS_CHECK(hak_stats_get(&stats, sizeof stats) == 0);
	check_equations(&stats);
	count_blocks(&expected);
	STRESS_CHECK(stats.live_bytes - stats.huge_bytes == expected.live_bytes);
	STRESS_CHECK(stats.huge_count == expected.huge_count);
	/* A block may lie in a somewhat longer mapping. */
	STRESS_CHECK(stats.huge_bytes >= expected.huge_bytes);
	for (unsigned i = 1; i <= HAK_CLASS_COUNT; i++)
		if (stats.live_count_by_class[i] != expected.live_count_by_class[i])
			stress_fail("class %u: %llu blocks are live, %llu are ours", i,
				    (unsigned long long)stats.live_count_by_class[i],
				    (unsigned long long)expected.live_count_by_class[i]);
}

static int by_address(const void *a, const void *b)
{
	const struct block *const *left = a, *const *right = b;

	return ((*left)->content.address > (*right)->content.address) -
	       ((*left)->content.address < (*right)->content.address);
}

struct expected_walk {
	const struct block *sorted[SLOTS];
	size_t shown_count;
};

static int see_block(const struct hak_heap_block *shown, void *context)
{
	struct expected_walk *walk = context;
	const struct block key = {.content = {.address = shown->address}}, *wanted = &key;
	const struct block **found = bsearch(&wanted, walk->sorted, block_count,
					     sizeof *walk->sorted, by_address);

	if (found == NULL || (*found)->usable != shown->bytes)
		stress_fail("the walk shows %p of %zu bytes, which is no block", shown->address,
			    shown->bytes);
	walk->shown_count++;
	return 0;
}

static void check_walk(void)
{
	struct expected_walk walk = {.shown_count = 0};
	size_t count = 0;

	for (unsigned i = 0; i < SLOTS; i++)
		if (blocks[i].content.address != NULL)
			walk.sorted[count++] = &blocks[i];
	STRESS_CHECK(count == block_count);
	qsort(walk.sorted, count, sizeof *walk.sorted, by_address);
	STRESS_CHECK(hak_heap_walk(see_block, &walk) == 0);
	if (walk.shown_count != count)
		stress_fail("the walk shows %zu blocks of %zu", walk.shown_count, count);
}

static void judge(unsigned operation)
{
	struct block *looked_at = &blocks[operation % SLOTS];

	stress_position.name = "judge";
	check_numbers();
	if (operation % STRUCTURES_EVERY == 0)
		structures_check();
	if (looked_at->content.address != NULL)
		stress_verify(&looked_at->content);
	if (operation % WALK_EVERY == 0)
		check_walk();
}

/* ---- a program ---- */

static void operate(void)
{
	static void (*const operations[])(void) = {
		allocate_plain, allocate_plain, allocate_zeroed, allocate_aligned, reallocate,
		release,	release,	reallocate,	 fill_row,	   free_row,
		trim,		grow_old,	purge_thread,	 set_budget,
	};
	unsigned choice = fuzz_input_take(&input, 1), who = choice >> 6;

	choice %= 16;
	if (choice < sizeof operations / sizeof *operations)
		crew_run(who, operations[choice]);
	else if (who != 0)
		crew_replace(who); /* dies; and, were it dead, is born */
}

static void finish(void)
{
	struct hak_stats stats;

	hard_budget = 0;
	STRESS_CHECK(hak_set_budget(0, 0) == 0);
	for (unsigned i = 0; i < SLOTS; i++)
		if (blocks[i].content.address != NULL)
			free_block(&blocks[i], i);
	crew_dismiss();
	STRESS_CHECK(shadow_map_count() == 0 && block_count == 0 && live_bytes == 0);
	hak_trim(SIZE_MAX);
	judge(0);
	STRESS_CHECK(hak_stats_get(&stats, sizeof stats) == 0);
	STRESS_CHECK(stats.live_bytes == 0 && stats.cached_bytes == 0 && stats.free_bytes == 0);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	hak_settings.registration = HAK_REGISTRATION_NEVER;
	clock_ns = hak_os_now_ns() + ((uint64_t)1 << 50);
	/* With something to purge, the next purge is due after the clock: slow paths, which look at
	 * the real one, do none. */
	void *volatile block = hak_malloc(HAK_RUN_BYTES_MAX + 1);

	hak_free(block);
	grow_old();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	input = (struct fuzz_input){.at = bytes, .left = count};
	for (unsigned i = 1; input.left != 0 && i <= OPERATIONS_MAX; i++) {
		stress_position.operation = i;
		operate();
		judge(i);
	}
	finish();
	return 0;
}
