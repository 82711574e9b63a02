/* Goal: above a hard budget allocation fails with ENOMEM, for every kind of block, and not before
 * all that is cached has gone back and the program was asked; above a soft one free memory goes
 * back by itself. Method: heaps filled to a budget with blocks of one kind, then measured by what
 * the budget is about; callbacks that free. */
#include "unit.h"

#include "base/os.h"
#include "base/policy.h"
#include "govern/attach.h"
#include "govern/limit.h"
#include "base/size_class.h"
#include "heap/budget.h"
#include "heap/depot.h"
#include "heap/thread.h"
#include "proto/mailbox.h"
#include "proto/page.h"

#include <errno.h>
#include <hak/hak.h>
#include <pthread.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)
#define BUDGET (64 * MIB)
#define BLOCKS_MAX 700000

static void *blocks[BLOCKS_MAX];
static size_t block_count;

static void free_all(void)
{
	while (block_count != 0)
		hak_free(blocks[--block_count]);
	hak_trim(SIZE_MAX);
}

/* Takes blocks until there are none; the last failure is a plain ENOMEM. */
static void fill(size_t size)
{
	void *block;

	errno = 0;
	while ((block = hak_malloc(size)) != NULL) {
		assert_true(block_count < BLOCKS_MAX);
		blocks[block_count++] = block;
		assert_int_equal(errno, 0);
	}
	assert_int_equal(errno, ENOMEM);
}

static void every_kind_of_block_ends_at_the_budget(void **state)
{
	static const size_t sizes[] = {100, 3000, 30000, 100000, 900000, 3000000};

	(void)state;
	for (size_t i = 0; i < UNIT_COUNT(sizes); i++) {
		assert_int_equal(hak_set_budget(0, BUDGET), 0);
		fill(sizes[i]);
		assert_true(hak_limit_used() <= BUDGET);
		/* Not refused before it had to be: by less than a block and a batch of them. */
		assert_true(hak_limit_used() + sizes[i] + sizes[i] / 4 + 128 * 1024 > BUDGET);
		/* A smaller one still fits where there is room, and nothing breaks where not. */
		hak_free(hak_malloc(16));
		hak_free(blocks[--block_count]);
		assert_non_null(blocks[block_count++] = hak_malloc(sizes[i]));
		assert_int_equal(hak_set_budget(0, 0), 0);
		assert_non_null(blocks[block_count++] = hak_malloc(sizes[i]));
		free_all();
	}
}

static void a_block_that_cannot_grow_stays_as_it_was(void **state)
{
	char *block, *grown;

	(void)state;
	assert_int_equal(hak_set_budget(0, BUDGET), 0);
	block = hak_malloc(BUDGET / 2);
	memset(block, 7, BUDGET / 2);
	errno = 0;
	assert_null(hak_realloc(block, BUDGET + MIB));
	assert_int_equal(errno, ENOMEM);
	assert_int_equal(block[BUDGET / 2 - 1], 7);
	/* By moving its pages and not by a second block beside the first. */
	grown = hak_realloc(block, BUDGET - 4 * MIB);
	assert_non_null(grown);
	assert_int_equal(grown[BUDGET / 2 - 1], 7);
	hak_free(grown);
	hak_set_budget(0, 0);
	free_all();
}

/* From one kind to the next, with no memory for another block. */
static void a_block_can_always_shrink(void **state)
{
	static const size_t sizes[][2] = {
		{8000000, 500000}, {3000000, 100}, {900000, 20000}, {500000, 100}, {30000, 4000}};

	(void)state;
	for (size_t i = 0; i < UNIT_COUNT(sizes); i++) {
		char *block = hak_malloc(sizes[i][0]);
		size_t size = sizes[i][1];

		memset(block, 7, sizes[i][0]);
		assert_int_equal(hak_set_budget(0, BUDGET), 0);
		fill(size);
		errno = 77;
		assert_ptr_equal(hak_realloc(block, size), block);
		assert_int_equal(errno, 77);
		assert_true(hak_malloc_usable_size(block) >= size);
		if (sizes[i][0] > HAK_SMALL_BYTES_MAX)
			assert_true(hak_malloc_usable_size(block) < size + HAK_UNIT_BYTES);
		assert_true(block[0] == 7 && block[size - 1] == 7);
		hak_free_sized(block, size);
		hak_set_budget(0, 0);
		free_all();
	}
}

static void what_is_cached_goes_first(void **state)
{
	void *huge;

	(void)state;
	assert_int_equal(hak_set_budget(0, BUDGET), 0);
	/* 48 of 64 MiB wait as a cached mapping for a huge block: small ones may have it. */
	hak_free(hak_malloc(48 * MIB));
	assert_true(hak_limit_used() >= 48 * MIB);
	fill(1000);
	assert_true(hak_limit_used() > BUDGET - MIB);
	assert_true(block_count * 1000 > BUDGET * 3 / 4);
	free_all();
	/* And the other way about: what lies in magazines and depots. */
	huge = hak_malloc(BUDGET - 256 * 1024);
	assert_non_null(huge);
	hak_free(huge);
	hak_set_budget(0, 0);
	free_all();
}

static void *fill_depots(void *arg)
{
	static void *some[2000];

	(void)arg;
	for (size_t i = 0; i < UNIT_COUNT(some); i++)
		some[i] = hak_malloc(16 * (1 + i % 150));
	for (size_t i = 0; i < UNIT_COUNT(some); i++)
		hak_free(some[i]);
	return NULL;
}

static void what_lies_in_depots_goes_too(void **state)
{
	pthread_t thread;
	uint64_t cached;
	void *block;

	(void)state;
	free_all();
	/* Which drains depots where much is freed. */
	hak_settings.lazyfree = false;
	assert_int_equal(pthread_create(&thread, NULL, fill_depots, NULL), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	hak_settings.lazyfree = true;
	cached = hak_limit_used();
	assert_true(cached > MIB / 2);
	/* Nothing else is in use: a run fits once the depots are empty. */
	hak_set_budget(0, cached + 1024);
	block = hak_malloc(MIB / 2);
	assert_non_null(block);
	hak_free(block);
	hak_set_budget(0, 0);
}

static void lowering_it_takes_nothing_away(void **state)
{
	char *block = hak_malloc(2 * BUDGET);

	(void)state;
	memset(block, 1, 2 * BUDGET);
	assert_int_equal(hak_set_budget(0, BUDGET), 0);
	assert_null(hak_malloc(5000000));
	assert_int_equal(block[2 * BUDGET - 1], 1);
	hak_free(block);
	block = hak_malloc(5000000);
	assert_non_null(block);
	hak_free(block);
	errno = 0;
	assert_int_equal(hak_set_budget(2, 1), -1);
	assert_int_equal(errno, EINVAL);
	hak_set_budget(0, 0);
}

static unsigned call_count;
static size_t asked_bytes;

static int free_half(size_t bytes, void *context)
{
	size_t *count = context;

	call_count++;
	asked_bytes = bytes;
	/* It may allocate, in vain, and is not called for that again. */
	assert_null(hak_malloc(2 * BUDGET));
	if (*count == 0)
		return 0;
	for (size_t half = *count / 2; *count > half; --*count)
		hak_free(blocks[*count - 1]);
	return 1;
}

static void the_program_is_asked(void **state)
{
	void *block;

	(void)state;
	assert_int_equal(hak_set_budget(0, BUDGET), 0);
	fill(4000);
	hak_set_budget_callback(free_half, &block_count);
	block = hak_malloc(20 * MIB);
	assert_non_null(block);
	assert_int_equal(call_count, 1);
	assert_int_equal(asked_bytes, 20 * MIB);
	hak_free(block);
	/* Asked again, it has nothing; saying so it is not asked twice. */
	while (block_count != 0)
		hak_free(blocks[--block_count]);
	call_count = 0;
	assert_null(hak_malloc(BUDGET + 1));
	assert_int_equal(call_count, 1);
	hak_set_budget_callback(NULL, NULL);
	assert_null(hak_malloc(BUDGET + 1));
	assert_int_equal(call_count, 1);
	hak_set_budget(0, 0);
	free_all();
}

static pthread_barrier_t asked, answered;

/* In the parent it takes its time. */
static int wait_in_parent(size_t bytes, void *parent)
{
	(void)bytes;
	call_count++;
	if (getpid() == *(pid_t *)parent) {
		pthread_barrier_wait(&asked);
		pthread_barrier_wait(&answered);
	}
	return 0;
}

static void *take_too_much(void *block)
{
	*(void **)block = hak_malloc(BUDGET + 1);
	return NULL;
}

static void a_child_asks_while_its_parent_was_asking(void **state)
{
	pid_t parent = getpid(), child;
	void *block = &block;
	pthread_t thread;
	int status;

	(void)state;
	pthread_barrier_init(&asked, NULL, 2);
	pthread_barrier_init(&answered, NULL, 2);
	assert_int_equal(hak_set_budget(0, BUDGET), 0);
	hak_set_budget_callback(wait_in_parent, &parent);
	assert_int_equal(pthread_create(&thread, NULL, take_too_much, &block), 0);
	pthread_barrier_wait(&asked);
	child = fork();
	if (child == 0) {
		call_count = 0;
		_exit(hak_malloc(BUDGET + 1) != NULL || call_count != 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	pthread_barrier_wait(&answered);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_null(block);
	hak_set_budget_callback(NULL, NULL);
	hak_set_budget(0, 0);
}

static pthread_barrier_t all_are_full;

static void *take_and_free(void *arg)
{
	void *mine[200];
	size_t *failure_count = arg;

	for (int round = 0; round < 100; round++) {
		for (size_t i = 0; i < UNIT_COUNT(mine); i++) {
			mine[i] = hak_malloc(20 + i * 97 % 30000);
			if (mine[i] == NULL)
				++*failure_count;
			else
				memset(mine[i], (int)i, 20);
		}
		pthread_barrier_wait(&all_are_full);
		for (size_t i = 0; i < UNIT_COUNT(mine); i++)
			hak_free(mine[i]);
	}
	return NULL;
}

static void threads_share_it(void **state)
{
	pthread_t threads[4];
	size_t failures[4] = {0}, all = 0;

	(void)state;
	assert_int_equal(pthread_barrier_init(&all_are_full, NULL, 4), 0);
	assert_int_equal(hak_set_budget(0, 4 * MIB), 0);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, take_and_free, &failures[i]), 0);
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(pthread_join(threads[i], NULL), 0);
		all += failures[i];
	}
	/* Four sets of 2 MB do not fit into 4 MiB; one does, so nobody failed always. */
	assert_in_range(all, 1, 4 * 100 * 200 - 1);
	hak_set_budget(0, 0);
	free_all();
}

/* Of the words of a magazine's first array. */
#define LOG2_FIRST 3

/* How long a magazine gets by work that misses it again and again. */
static unsigned log2_after_churn(size_t size)
{
	static void *some[500];
	struct hak_thread *thread;
	unsigned log2;

	for (int round = 0; round < 50; round++) {
		for (size_t i = 0; i < UNIT_COUNT(some); i++)
			some[i] = hak_malloc(size);
		for (size_t i = 0; i < UNIT_COUNT(some); i++)
			hak_free(some[i]);
	}
	thread = hak_thread_enter();
	log2 = thread->magazines.log2[hak_size_class_of(size)];
	hak_thread_leave(thread);
	return log2;
}

static void above_a_soft_budget_free_memory_goes_back(void **state)
{
	struct hak_stats stats;
	uint64_t until_ns = hak_os_now_ns() + 5000000000ull;

	(void)state;
	assert_true(log2_after_churn(880) > LOG2_FIRST); /* and without a budget */
	for (block_count = 0; block_count < 40000; block_count++)
		memset(blocks[block_count] = hak_malloc(2000), 1, 2000);
	/* Less than what will be live, so that it is frugal for as long as the budget stands. */
	hak_set_budget(4 * MIB, 0);
	/* Nine of ten are freed: page holes, which nobody gives back without a reason. */
	for (size_t i = 0; i < block_count; i++)
		if (i / 10 % 10 != 0) {
			hak_free(blocks[i]);
			blocks[i] = NULL;
		}
	do {
		hak_free(hak_malloc(300000)); /* light work: a slow path now and then */
		assert_int_equal(hak_stats_get(&stats, sizeof stats), 0);
	} while (stats.free_bytes > 30 * MIB && hak_os_now_ns() < until_ns);
	assert_true(stats.free_bytes <= 30 * MIB);
	/* Nothing is kept for later while it is frugal. */
	assert_true(hak_budget_is_frugal());
	assert_int_equal(stats.huge_cached_bytes, 0);
	hak_free(hak_malloc(5000000));
	assert_int_equal(hak_stats_get(&stats, sizeof stats), 0);
	assert_int_equal(stats.huge_cached_bytes, 0);
	assert_false(hak_depot_put(1, &blocks[0], 1));
	assert_int_equal(log2_after_churn(720), LOG2_FIRST);
	hak_set_budget(0, 0);
	until_ns = hak_os_now_ns() + 5000000000ull;
	while (hak_budget_is_frugal() && hak_os_now_ns() < until_ns)
		hak_free(hak_malloc(300000));
	assert_false(hak_budget_is_frugal());
	free_all();
}

/* A daemon's counter, seen to have moved so long ago. */
static void hear_of_daemon(uint64_t ago_ns)
{
	static uint64_t words[HAK_PAGE_TELEMETRY / sizeof(uint64_t)];

	words[HAK_MAILBOX_DAEMON_SEEN / sizeof(uint64_t)]++;
	assert_false(hak_attach_is_orphan((unsigned char *)words, hak_os_now_ns() - ago_ns));
}

static void set_policy(uint64_t hard_bytes, bool refuses)
{
	const struct hak_policy_values values = {.hard_bytes = hard_bytes, .refuses = refuses};

	hak_policy_set(&values);
	hak_budget_measure_anew();
}

static void a_daemons_budget_and_ones_own(void **state)
{
	uint64_t failure_count = hak_budget_failure_count();

	(void)state;
	hear_of_daemon(0);
	set_policy(BUDGET, true);
	fill(100000);
	assert_in_range(hak_limit_used(), BUDGET - 2 * MIB, BUDGET);
	assert_true(hak_budget_failure_count() > failure_count);
	free_all();
	/* The stricter of both holds, whichever it is. */
	hak_set_budget(0, BUDGET / 2);
	fill(3000);
	assert_in_range(hak_limit_used(), BUDGET / 2 - 2 * MIB, BUDGET / 2);
	free_all();
	hak_set_budget(0, 2 * BUDGET);
	fill(3000);
	assert_in_range(hak_limit_used(), BUDGET - 2 * MIB, BUDGET);
	free_all();
	hak_set_budget(0, 0);
	hak_policy_forget();
}

static void one_that_only_counts(void **state)
{
	uint64_t exceeded_count = hak_limit_exceeded_count();
	uint64_t failure_count = hak_budget_failure_count(), now_ns = hak_os_now_ns();
	void *block;

	(void)state;
	hear_of_daemon(0);
	set_policy(BUDGET, false);
	block = hak_malloc(2 * BUDGET);
	assert_non_null(block);
	for (int i = 1; i < 5; i++)
		hak_limit_look(now_ns + (uint64_t)i * 1000000000);
	assert_int_equal(hak_limit_exceeded_count(), exceeded_count + 1);
	assert_true(hak_budget_is_frugal());
	assert_int_equal(hak_budget_failure_count(), failure_count);
	hak_free(block);
	hak_limit_look(now_ns + 6000000000);
	assert_false(hak_budget_is_frugal());
	hak_policy_forget();
}

static void one_of_a_daemon_that_is_gone(void **state)
{
	void *block;

	(void)state;
	hear_of_daemon(HAK_POLICY_TTL_NS - 20000000000);
	set_policy(BUDGET, true);
	assert_null(hak_malloc(2 * BUDGET));
	hear_of_daemon(HAK_POLICY_TTL_NS + 1);
	set_policy(BUDGET, true);
	block = hak_malloc(2 * BUDGET);
	assert_non_null(block);
	hak_free(block);
	assert_int_equal(hak_setting(&hak_policy.refusing_bytes), 0);
}

static void what_a_daemon_says_is_clamped(void **state)
{
	const struct hak_policy_values absurd = {.soft_bytes = 1,
						 .hard_bytes = 1,
						 .refuses = true,
						 .purge_level = 99,
						 .decay_ns = UINT64_MAX,
						 .magazine_bytes_max = UINT64_MAX};

	(void)state;
	assert_int_equal(hak_policy_decay_ns(), hak_setting(&hak_settings.decay_ms) * 1000000);
	hak_policy_set(&absurd);
	assert_int_equal(hak_policy_soft_bytes(), HAK_POLICY_BUDGET_BYTES_MIN);
	assert_int_equal(hak_policy_hard_bytes(), HAK_POLICY_BUDGET_BYTES_MIN);
	assert_int_equal(hak_setting(&hak_policy.purge_level), HAK_POLICY_LEVEL_MAX);
	assert_int_equal(hak_policy_decay_ns(), HAK_POLICY_DECAY_NS_MAX);
	assert_int_equal(hak_setting(&hak_policy.magazine_bytes_max), HAK_MAGAZINE_BYTES_MAX);
	hak_policy_forget();
	assert_int_equal(hak_policy_hard_bytes() | hak_policy_soft_bytes(), 0);
	assert_int_equal(hak_policy_stricter(0, 0), 0);
	assert_int_equal(hak_policy_stricter(7, 0), 7);
	assert_int_equal(hak_policy_stricter(7, 8), 7);
	assert_int_equal(hak_policy_stricter(9, 8), 8);
}

/* Nothing is above a budget, and yet all that is free goes: what is cached at level 2 alone. */
static void a_level_that_is_asked_for(void **state)
{
	struct hak_policy_values values = {.purge_level = 1};
	uint64_t now_ns = hak_os_now_ns(), cached;

	(void)state;
	hak_limit_look(now_ns += 1000000000);
	hak_free(hak_malloc(20 * MIB));
	cached = hak_limit_used();
	assert_true(cached >= 20 * MIB);
	hear_of_daemon(0);
	hak_policy_set(&values);
	for (int i = 0; i < 20; i++)
		hak_limit_look(now_ns += 1100000000);
	assert_true(hak_budget_is_frugal());
	assert_true(hak_limit_used() >= 20 * MIB);
	values.purge_level = 2;
	hak_policy_set(&values);
	for (int i = 0; i < 20; i++)
		hak_limit_look(now_ns += 1100000000);
	assert_true(hak_limit_used() < cached - 19 * MIB);
	hak_policy_forget();
	hak_limit_look(now_ns += 1100000000);
	assert_false(hak_budget_is_frugal());
}

static void magazines_stay_below_a_cap(void **state)
{
	const struct hak_policy_values values = {.magazine_bytes_max = 4096};

	struct hak_thread *thread = hak_thread_enter();

	(void)state;
	hak_thread_shed();
	hak_thread_leave(thread);
	hear_of_daemon(0);
	hak_policy_set(&values);
	/* 6 of 640 bytes are 4,096 at most: fewer than the first array has. */
	assert_int_equal(log2_after_churn(640), LOG2_FIRST);
	/* 31 of 112 are less, 63 would be more. */
	assert_int_equal(log2_after_churn(112), LOG2_FIRST + 2);
	hak_policy_forget();
	assert_true(log2_after_churn(112) > LOG2_FIRST + 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_kind_of_block_ends_at_the_budget),
		cmocka_unit_test(a_block_that_cannot_grow_stays_as_it_was),
		cmocka_unit_test(a_block_can_always_shrink),
		cmocka_unit_test(what_is_cached_goes_first),
		cmocka_unit_test(what_lies_in_depots_goes_too),
		cmocka_unit_test(lowering_it_takes_nothing_away),
		cmocka_unit_test(the_program_is_asked),
		cmocka_unit_test(a_child_asks_while_its_parent_was_asking),
		cmocka_unit_test(threads_share_it),
		cmocka_unit_test(above_a_soft_budget_free_memory_goes_back),
		cmocka_unit_test(a_daemons_budget_and_ones_own),
		cmocka_unit_test(one_that_only_counts),
		cmocka_unit_test(one_of_a_daemon_that_is_gone),
		cmocka_unit_test(what_a_daemon_says_is_clamped),
		cmocka_unit_test(a_level_that_is_asked_for),
		cmocka_unit_test(magazines_stay_below_a_cap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
