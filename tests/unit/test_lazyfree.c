/* Goal: what is freed in large amounts is marked MADV_FREE, by a program that does nothing but
 * free; what hak_stats_get() says of each state is what the kernel says; a mark never costs
 * content; small breaths of a heap are marked each time, large ones as far as they are paid for;
 * memory shared with a fork's other side and memory that is locked are left alone.
 * Method: 192 MiB of blocks of mixed sizes, of which all or 95 % are freed in random order.
 * Resident and marked bytes of the region are those of /proc/self/smaps; ours may differ by 5 %.
 */
#include "resident.h"
#include "unit.h"

#include "base/os.h"
#include "base/settings.h"
#include "govern/credit.h"
#include "govern/purge.h"
#include "heap/pool.h"
#include "heap/region.h"

#include <errno.h>
#include <hak/hak.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)
#define BLOCKS 98304
#define BYTES_MAX 4096

static unsigned char *blocks[BLOCKS];
static uint32_t order[BLOCKS];
static size_t block_count = BLOCKS; /* the first of these are in use */

static size_t size_of(size_t i)
{
	return 16 + (i * 2654435761u >> 8) % (BYTES_MAX - 15);
}

static void shuffle(void)
{
	uint32_t random = 42;

	for (uint32_t i = 0; i < BLOCKS; i++) {
		random = random * 1664525 + 1013904223;
		uint32_t j = (uint32_t)((uint64_t)random * (i + 1) >> 32);

		order[i] = order[j];
		order[j] = i;
	}
}

static void take(void)
{
	for (size_t i = 0; i < block_count; i++) {
		if (blocks[i] != NULL)
			continue;
		blocks[i] = hak_malloc(size_of(i));
		assert_non_null(blocks[i]);
		memset(blocks[i], (int)(i % 251), size_of(i));
	}
}

static void check(void)
{
	for (size_t i = 0; i < BLOCKS; i++) {
		for (size_t at = 0; blocks[i] != NULL && at < size_of(i); at += 64)
			assert_int_equal(blocks[i][at], i % 251);
	}
}

static void give(unsigned percent)
{
	for (size_t i = 0; i < BLOCKS; i++) {
		uint32_t which = order[i];

		if (i * 100 >= (size_t)percent * BLOCKS)
			return;
		hak_free(blocks[which]);
		blocks[which] = NULL;
	}
}

static void trim(void)
{
	(void)hak_trim(SIZE_MAX);
}

static size_t kernel_bytes(const char *line_name)
{
	return smaps_bytes(line_name, hak_region.base,
			   hak_region.base +
				   (uintptr_t)hak_region.superslab_count_max * HAK_SUPERSLAB_BYTES);
}

static void assert_near(uint64_t ours, uint64_t kernels, uint64_t of_bytes)
{
	uint64_t difference = ours > kernels ? ours - kernels : kernels - ours;

	if (difference > of_bytes / 20)
		fail_msg("%llu KiB by our count, %llu KiB by the kernel's",
			 (unsigned long long)ours >> 10, (unsigned long long)kernels >> 10);
}

/* What stats say is what smaps says, each within 5 % of what is resident. */
static struct hak_stats assert_true_to_smaps(const char *when)
{
	struct hak_stats stats;
	size_t resident = kernel_bytes("Rss:"), lazy = kernel_bytes("LazyFree:");

	assert_int_equal(hak_stats_get(&stats, sizeof stats), 0);
	print_message("%s: resident %zu MiB, marked %zu; live %llu, cached %llu, free %llu, "
		      "lazyfree %llu, holes %llu\n",
		      when, resident / MIB, lazy / MIB, (unsigned long long)stats.live_bytes / MIB,
		      (unsigned long long)stats.cached_bytes / MIB,
		      (unsigned long long)stats.free_bytes / MIB,
		      (unsigned long long)stats.lazyfree_bytes / MIB,
		      (unsigned long long)stats.hole_bytes / MIB);
	assert_near(stats.live_bytes - stats.huge_bytes + stats.cached_bytes -
			    stats.huge_cached_bytes + stats.free_bytes + stats.lazyfree_bytes,
		    resident, resident + MIB * 8);
	assert_near(stats.lazyfree_bytes, lazy, resident + MIB * 8);
	assert_true(hak_pool_is_valid());
	return stats;
}

static void what_is_freed_is_marked_and_taken_again(void **state)
{
	struct hak_stats stats;

	(void)state;
	trim();
	take();
	stats = assert_true_to_smaps("full");
	assert_true(stats.lazyfree_bytes < 8 * MIB);
	give(95);
	stats = assert_true_to_smaps("95 % freed");
	/* Most holes of a unit's length come with the last blocks that are freed. */
	assert_true(stats.lazyfree_bytes > stats.free_bytes / 2);
	check();
	take();
	stats = assert_true_to_smaps("full again");
	assert_true(stats.lazyfree_bytes < 24 * MIB);
	check();
	give(100);
	trim();
	stats = assert_true_to_smaps("trimmed");
	assert_int_equal(stats.lazyfree_bytes, 0);
}

/* What is marked goes back as well once it has been idle, or on request, and then reads as zero. */
static void marked_holes_go_back(void **state)
{
	struct hak_stats stats;

	(void)state;
	take();
	give(95);
	trim();
	stats = assert_true_to_smaps("95 % freed and trimmed");
	assert_int_equal(stats.lazyfree_bytes, 0);
	assert_true(stats.hole_bytes > 32 * MIB);
	check();
	take();
	check();
	give(100);
	trim();
}

/* What a program leaves that frees all it had and stands still: bytes without a mark. */
static uint64_t unmarked_after(unsigned percent)
{
	struct hak_stats stats;

	give(percent);
	assert_int_equal(hak_stats_get(&stats, sizeof stats), 0);
	return stats.free_bytes + stats.cached_bytes;
}

/* With no call after the last free. */
static void burst_and_leave_little(void)
{
	uint64_t unmarked;

	take();
	unmarked = unmarked_after(100);
	print_message("%llu KiB without a mark\n", (unsigned long long)unmarked >> 10);
	assert_true(unmarked < 8 * MIB);
}

/* Without what is kept at hand being let go, a block in a magazine or depot keeps each slab from
 * the pool. */
static void the_last_frees_leave_little(void **state)
{
	(void)state;
	trim();
	burst_and_leave_little();
	trim();
}

/* A heap that has its burst anew after a pause does not breathe: its memory was given away in
 * between. */
static void a_pause_is_no_breath(void **state)
{
	(void)state;
	trim();
	for (int i = 0; i < 3; i++) {
		burst_and_leave_little();
		usleep(1100000);
	}
	trim();
}

static uint64_t advice_count(void)
{
	struct hak_stats stats;

	assert_int_equal(hak_stats_get(&stats, sizeof stats), 0);
	return stats.advice_count;
}

/* Any of them may be the last, after which it stands still. */
static void a_small_breath_is_marked_each_time(void **state)
{
	(void)state;
	block_count = BLOCKS / 8;
	for (int i = 0; i < 2; i++)
		burst_and_leave_little();
	block_count = BLOCKS;
	trim();
}

/* For a large one, of which each mark is a page or two, there is no time. */
static void large_breaths_are_marked_when_they_are_paid_for(void **state)
{
	uint64_t before, first, calls, began_ns, affordable;

	(void)state;
	trim();
	before = advice_count();
	began_ns = hak_os_now_ns();
	take();
	give(100);
	first = advice_count() - before;
	for (int i = 0; i < 12; i++) {
		take();
		give(100);
	}
	calls = advice_count() - before;
	affordable = (HAK_CREDIT_NS_FIRST + (hak_os_now_ns() - began_ns) / HAK_CREDIT_SHARE) /
		     HAK_CREDIT_CALL_NS;
	print_message("%llu calls for the first breath, %llu for 13; %llu can be afforded\n",
		      (unsigned long long)first, (unsigned long long)calls,
		      (unsigned long long)affordable);
	/* The first owes nothing yet, and what has begun is brought to its end. */
	assert_in_range(calls, first, affordable + 3 * first);
	assert_true(calls < 13 * first);
	trim();
}

static size_t marked_in(const char *block, size_t bytes)
{
	return smaps_bytes("LazyFree:", (uintptr_t)block, (uintptr_t)block + bytes);
}

/* A mapping that is kept for the next huge block stays for as long as its program stands still. */
static void a_cached_mapping_is_marked(void **state)
{
	const size_t bytes = 32 * MIB;
	char *block = hak_malloc(bytes), *again;

	(void)state;
	assert_non_null(block);
	memset(block, 1, bytes);
	hak_free(block);
	print_message("%zu KiB are marked\n", marked_in(block, bytes) >> 10);
	assert_true(marked_in(block, bytes) > 31 * MIB);
	again = hak_malloc(bytes);
	assert_ptr_equal(again, block);
	memset(again, 2, bytes);
	assert_int_equal(marked_in(again, bytes), 0);
	for (size_t i = 0; i < bytes; i += 512)
		assert_int_equal(again[i], 2);
	hak_free(again);
}

static int run_in_child(void (*test)(void))
{
	pid_t child = fork();
	int status = 0;

	assert_true(child >= 0);
	if (child == 0) {
		test();
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

static void free_shared(void)
{
	struct hak_stats stats;

	give(95);
	stats = assert_true_to_smaps("95 % freed, shared with the parent");
	/* Slabs and units that came after the fork may be marked. */
	assert_true(stats.lazyfree_bytes < 8 * MIB);
	trim();
	stats = assert_true_to_smaps("and trimmed");
	assert_true(stats.free_bytes < 16 * MIB); /* beside live blocks */
	check();
	/* What is taken now is the child's own. */
	take();
	give(95);
	stats = assert_true_to_smaps("taken anew and freed");
	assert_true(stats.lazyfree_bytes > stats.free_bytes / 2);
	check();
}

static void what_a_fork_shares_is_not_marked(void **state)
{
	(void)state;
	take();
	assert_int_equal(run_in_child(free_shared), 0);
	check();
	give(95);
	assert_true_to_smaps("the parent, 95 % freed");
	check();
	give(100);
	trim();
}

static void free_locked(void)
{
	struct hak_stats before, after;

	/* By syscall(2): sanitizers make mlock(2) do nothing. */
	if (syscall(SYS_mlock, hak_region.base, hak_region_open_bytes()) != 0)
		_exit(77); /* RLIMIT_MEMLOCK */
	give(50);
	hak_stats_get(&before, sizeof before);
	give(95);
	hak_stats_get(&after, sizeof after);
	assert_true(after.lazyfree_bytes < MIB);
	assert_true(after.advice_count - before.advice_count < 100);
	check();
}

static void take_and_free_locked(void)
{
	trim();
	take();
	free_locked();
}

static void locked_memory_is_free_memory(void **state)
{
	int status;

	(void)state;
	give(100);
	trim();
	status = run_in_child(take_and_free_locked);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(status, 0);
}

static void free_without(void)
{
	struct hak_stats stats;

	hak_settings.lazyfree = false;
	take();
	give(100);
	hak_stats_get(&stats, sizeof stats);
	assert_int_equal(stats.lazyfree_bytes, 0);
}

static void the_setting_turns_it_off(void **state)
{
	(void)state;
	give(100);
	trim();
	assert_int_equal(run_in_child(free_without), 0);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(what_is_freed_is_marked_and_taken_again),
	cmocka_unit_test(marked_holes_go_back),
	cmocka_unit_test(what_a_fork_shares_is_not_marked),
	cmocka_unit_test(locked_memory_is_free_memory),
	cmocka_unit_test(the_setting_turns_it_off),
	cmocka_unit_test(the_last_frees_leave_little),
	cmocka_unit_test(a_pause_is_no_breath),
	cmocka_unit_test(a_cached_mapping_is_marked),
	cmocka_unit_test(a_small_breath_is_marked_each_time),
	cmocka_unit_test(large_breaths_are_marked_when_they_are_paid_for),
};

/* Each in a process of its own that was never forked: what a heap has learnt stays with it. */
static int run_each(const char *program)
{
	int failed = 0;

	for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++) {
		pid_t child = fork();
		int status = 1;

		if (child == 0) {
			execl(program, program, tests[i].name, (char *)NULL);
			_exit(1);
		}
		failed += child < 0 || waitpid(child, &status, 0) != child || status != 0;
	}
	return failed;
}

int main(int argc, char **argv)
{
	if (argc == 1)
		return run_each(argv[0]);
	shuffle();
	cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
