/* Goal: no two blocks in use ever overlap, and nobody but its owner changes a block.
 *
 * Method: threads allocate, reallocate, look at, hand over and free blocks of all kinds of sizes
 * in a random order. A shadow map of the address space, of which the allocator knows nothing,
 * refuses a block of which a part is in use (shadow_map.h); each block is filled with what only it
 * can hold and is checked whenever it changes hands (stress.h). What goes through a mailbox is
 * freed by another thread than the one that allocated it. At the end all is freed and nothing is
 * live.
 *
 * A race goes by the clock, in rounds of 1 to 8 threads, and disturbs them: at any moment one of
 * them trims, empties its magazines, has the heap walked or counted, changes the soft budget, or
 * forks; nothing that is free is left to age, so that every slow path may give memory back. A child
 * verifies what its thread held, goes on with it by the same shadow, and judges the whole heap, in
 * which it is alone. So is the parent between two rounds.
 *
 *	stress_shadow [--plant overlap|content|zero] [--sizes MIN END] [THREADS [OPERATIONS [SEED]]]
 *	stress_shadow --race SECONDS|long [SEED]
 *
 * long is $HAK_LONG_SECONDS, or 600. --sizes keeps to sizes from MIN to below END, so that all
 * threads meet in a few classes. --plant breaks the allocator's promise on purpose, and passes if
 * that is found. A failure prints its seed; with one thread the same seed gives the same operations
 * again.
 */
#include "shadow_map.h"
#include "stress.h"
#include "structures.h"

#include <hak/hak.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define THREADS_MAX 64
#define SLOTS 1024 /* of one thread */
#define MAILBOXES 256
#define LIVE_BYTES_MAX ((size_t)128 << 20)
#define PLANT_FROM_OPERATION 1000

#define RACE_THREADS_MAX 8
#define ROUND_NS_MAX 5000000000u
#define DISTURB_EVERY 512 /* operations */
#define CHILD_OPERATIONS 200
#define CHILD_SECONDS 100 /* a sanitizer on a busy machine needs some */
#define LONG_SECONDS 600

struct block {
	struct stress_block content; /* address NULL: the slot is empty */
	size_t usable;
};

enum plant { PLANT_NOTHING, PLANT_OVERLAP, PLANT_CONTENT, PLANT_ZERO };

static unsigned thread_count;
static uint64_t operation_count;
static uint64_t seed;
static enum plant plant;
static size_t size_min, size_end; /* both 0: all kinds of sizes */
static bool is_racing;
static uint64_t round_end_ns;
static _Atomic uint64_t operations_done, forks_done, trims_done;

static struct block slots[THREADS_MAX][SLOTS];
static struct block spare[MAILBOXES];
static _Atomic(struct block *) mailboxes[MAILBOXES];
static _Atomic size_t live_bytes;
static __thread struct block *own[SLOTS];

static bool plant_now(enum plant which)
{
	return plant == which && stress_position.operation >= PLANT_FROM_OPERATION;
}

/* Tiny sizes for classes and magazines, then slabs, runs and huge blocks, ever rarer. */
static size_t random_size(void)
{
	uint64_t kind = stress_random_below(1000);

	if (size_end != 0)
		return size_min + stress_random_below(size_end - size_min);
	if (kind < 300)
		return stress_random_below(129);
	if (kind < 700)
		return 16 + stress_random_below(1009);
	if (kind < 950)
		return stress_random_size((size_t)32 << 10);
	if (kind < 997)
		return ((size_t)32 << 10) + stress_random_size((size_t)992 << 10);
	return ((size_t)1 << 20) + stress_random_below((size_t)7 << 20);
}

/* Counts what is live and keeps it bounded: false where the size would be too much. */
static bool reserve(size_t size)
{
	size_t before = atomic_fetch_add_explicit(&live_bytes, size, memory_order_relaxed);

	if (before + size <= LIVE_BYTES_MAX)
		return true;
	atomic_fetch_sub_explicit(&live_bytes, size, memory_order_relaxed);
	return false;
}

static void unreserve(size_t size)
{
	atomic_fetch_sub_explicit(&live_bytes, size, memory_order_relaxed);
}

/* Checks what the allocator gave, and takes possession of it. */
static void accept(struct block *block, void *address, size_t size, size_t alignment)
{
	if (address == NULL)
		stress_fail("NULL for %zu bytes", size);
	if ((uintptr_t)address % alignment != 0)
		stress_fail("%p (%zu bytes) is not aligned to %zu", address, size, alignment);
	block->content.address = address;
	block->content.size = size;
	block->usable = hak_malloc_usable_size(address);
	if (block->usable < size)
		stress_fail("%p: %zu bytes are usable of %zu", address, block->usable, size);
	if (!shadow_map_mark(address, block->usable))
		stress_fail("%p (%zu bytes) overlaps another block", address, block->usable);
}

static void inspect(struct block *block)
{
	struct stress_block *content = &block->content;

	if (plant_now(PLANT_CONTENT) && content->size != 0)
		content->address[content->size - 1] ^= 1;
	if (hak_malloc_usable_size(content->address) != block->usable)
		stress_fail("usable size of %p is no longer %zu", (void *)content->address,
			    block->usable);
	stress_verify(content);
}

/* The shadow is cleared before the allocator hears of it: afterwards somebody else may own it. */
static void leave(const struct block *block)
{
	if (!shadow_map_clear(block->content.address, block->usable))
		stress_fail("%p (%zu bytes) was not wholly marked", (void *)block->content.address,
			    block->usable);
}

static void allocate_zeroed(struct block *block, size_t size)
{
	size_t count = 1 + stress_random_below(8);
	unsigned char *address = hak_calloc(count, size / count);

	size = size / count * count;
	accept(block, address, size, 16);
	if (plant_now(PLANT_ZERO) && size != 0)
		address[stress_random_below(size)] = 1;
	for (size_t i = 0; i < size; i++)
		if (address[i] != 0)
			stress_fail("calloc gave a byte that is not zero: %zu of %zu", i, size);
}

static void allocate_aligned(struct block *block, size_t size)
{
	size_t alignment = (size_t)16 << stress_random_below(13);
	size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
	void *address = NULL;

	switch (stress_random_below(5)) {
	case 0:
		if (hak_posix_memalign(&address, alignment, size) != 0)
			stress_fail("posix_memalign to %zu of %zu bytes failed", alignment, size);
		break;
	case 1:
		address = hak_aligned_alloc(alignment, size);
		break;
	case 2:
		address = hak_memalign(alignment, size);
		break;
	case 3:
		alignment = page_bytes;
		address = hak_valloc(size);
		break;
	default:
		alignment = page_bytes;
		address = hak_pvalloc(size);
		break;
	}
	accept(block, address, size, alignment);
}

/* The planted allocator gives out a block that is in use. */
static void *allocate_plain(struct block *block, size_t size)
{
	for (unsigned i = 0; plant_now(PLANT_OVERLAP) && i < SLOTS; i++)
		if (own[i] != block && own[i]->content.address != NULL &&
		    own[i]->content.size >= size)
			return own[i]->content.address;
	return hak_malloc(size);
}

static void allocate(struct block *block)
{
	size_t size = random_size();
	uint64_t kind = stress_random_below(10);

	if (!reserve(size))
		return;
	if (kind < 6) {
		stress_position.name = "malloc";
		accept(block, allocate_plain(block, size), size, 16);
	} else if (kind < 8) {
		stress_position.name = "calloc";
		allocate_zeroed(block, size);
		unreserve(size - block->content.size);
	} else {
		stress_position.name = "aligned";
		allocate_aligned(block, size);
	}
	stress_fill(&block->content);
}

static void release(struct block *block)
{
	stress_position.name = "free";
	inspect(block);
	leave(block);
	errno = EDOM;
	hak_free(block->content.address);
	if (errno != EDOM)
		stress_fail("free changed errno");
	unreserve(block->content.size);
	block->content.address = NULL;
}

static void reallocate(struct block *block)
{
	struct block old = *block;
	size_t size = random_size();

	stress_position.name = "realloc";
	if (!reserve(size))
		return;
	inspect(block);
	leave(block);
	accept(block, hak_realloc(old.content.address, size), size, 16);
	stress_verify_moved(&old.content, block->content.address, size);
	unreserve(old.content.size);
	stress_fill(&block->content);
}

/* Puts the block into a mailbox, and takes what was there: another thread's, or nothing. */
static void hand_over(struct block **slot)
{
	unsigned to = (unsigned)stress_random_below(MAILBOXES);

	stress_position.name = "hand over";
	inspect(*slot);
	/* acq_rel: what is in the block goes with it */
	*slot = atomic_exchange_explicit(&mailboxes[to], *slot, memory_order_acq_rel);
	if ((*slot)->content.address != NULL)
		inspect(*slot);
}

static void disturb(void);

static void operate(struct block **slot)
{
	uint64_t kind = stress_random_below(100);

	if (is_racing && stress_random_below(DISTURB_EVERY) == 0)
		disturb();
	if ((*slot)->content.address == NULL) {
		allocate(*slot);
	} else if (kind < 45) {
		release(*slot);
	} else if (kind < 65) {
		reallocate(*slot);
	} else if (kind < 90) {
		hand_over(slot);
	} else {
		stress_position.name = "inspect";
		inspect(*slot);
	}
}

/* ---- the race ---- */

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static bool goes_on(uint64_t operation)
{
	if (!is_racing)
		return operation < operation_count;
	return operation % 64 != 0 || now_ns() < round_end_ns;
}

/* Alone in a copy of the heap, with what its thread held and what lies in the mailboxes. */
static _Noreturn void be_child(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	alarm(CHILD_SECONDS); /* a deadlock ends so */
	is_racing = false;
	for (unsigned i = 0; i < SLOTS; i++) {
		stress_position.name = "child";
		if (own[i]->content.address == NULL)
			continue;
		inspect(own[i]);
		if (i % 2 == 0)
			release(own[i]);
	}
	for (unsigned i = 0; i < CHILD_OPERATIONS; i++)
		operate(&own[stress_random_below(SLOTS)]);
	stress_position.name = "trim in a child";
	hak_trim(SIZE_MAX);
	structures_check();
	_exit(0);
}

static void fork_once(void)
{
	int status;
	pid_t pid;

	stress_position.name = "fork";
	pid = fork();
	STRESS_CHECK(pid >= 0);
	if (pid == 0)
		be_child();
	while (waitpid(pid, &status, 0) < 0)
		STRESS_CHECK(errno == EINTR);
	if (status != 0)
		stress_fail("wait status of a child is %#x", (unsigned)status);
	atomic_fetch_add_explicit(&forks_done, 1, memory_order_relaxed);
}

/* Blocks of others come and go meanwhile. What a walk shows may be gone, but was one. */
static int see_block(const struct hak_heap_block *block, void *context)
{
	size_t *count = context;

	if ((uintptr_t)block->address % 16 != 0 || block->bytes == 0)
		stress_fail("the walk shows %p of %zu bytes", block->address, block->bytes);
	return ++*count == 10000;
}

static void trim(void)
{
	stress_position.name = "trim";
	hak_trim(stress_random_below(2) == 0 ? SIZE_MAX : stress_random_size(LIVE_BYTES_MAX));
	atomic_fetch_add_explicit(&trims_done, 1, memory_order_relaxed);
}

static void disturb(void)
{
	struct hak_stats stats;
	size_t seen = 0;

	switch (stress_random_below(8)) {
	case 0:
		fork_once();
		break;
	case 1:
	case 2:
		trim();
		break;
	case 3:
		stress_position.name = "soft budget";
		STRESS_CHECK(hak_set_budget(stress_random_below(2) * LIVE_BYTES_MAX / 4, 0) == 0);
		break;
	case 4:
		stress_position.name = "walk";
		(void)hak_heap_walk(see_block, &seen);
		break;
	case 5:
		stress_position.name = "statistics";
		STRESS_CHECK(hak_stats_get(&stats, sizeof stats) == 0);
		break;
	default:
		stress_position.name = "purge of a thread";
		hak_purge_thread();
		break;
	}
}

static void *work(void *argument)
{
	unsigned self = (unsigned)(uintptr_t)argument;

	stress_begin_thread(self);
	for (unsigned i = 0; i < SLOTS; i++)
		own[i] = &slots[self][i];
	uint64_t done = 0;

	for (; goes_on(done); done++) {
		stress_position.operation = done;
		operate(&own[stress_random_below(SLOTS)]);
	}
	atomic_fetch_add_explicit(&operations_done, done, memory_order_relaxed);
	for (unsigned i = 0; i < SLOTS; i++)
		if (own[i]->content.address != NULL)
			release(own[i]);
	return NULL;
}

static void run(void)
{
	pthread_t threads[THREADS_MAX];

	for (unsigned i = 0; i < MAILBOXES; i++)
		atomic_store_explicit(&mailboxes[i], &spare[i], memory_order_relaxed);
	for (unsigned i = 0; i < thread_count; i++)
		STRESS_CHECK(pthread_create(&threads[i], NULL, work, (void *)(uintptr_t)i) == 0);
	for (unsigned i = 0; i < thread_count; i++)
		STRESS_CHECK(pthread_join(threads[i], NULL) == 0);
	for (unsigned i = 0; i < MAILBOXES; i++) {
		struct block *last = atomic_load_explicit(&mailboxes[i], memory_order_relaxed);

		if (last->content.address != NULL)
			release(last);
	}
	STRESS_CHECK(shadow_map_count() == 0);
	stress_expect_nothing_live();
}

/* Of what is free nothing is kept where all is asked for and no other thread is left. */
static void expect_nothing_cached(void)
{
	struct hak_stats stats;

	hak_trim(SIZE_MAX);
	STRESS_CHECK(hak_stats_get(&stats, sizeof stats) == 0);
	if (stats.cached_bytes != 0 || stats.free_bytes != 0)
		stress_fail("%llu bytes are cached and %llu free after a trim",
			    (unsigned long long)stats.cached_bytes,
			    (unsigned long long)stats.free_bytes);
}

static void race(uint64_t seconds)
{
	struct rlimit core = {0, 0};
	uint64_t end_ns = now_ns() + seconds * 1000000000u;
	uint64_t round_ns = seconds * 1000000000u / RACE_THREADS_MAX;
	unsigned round_count = 0;

	setrlimit(RLIMIT_CORE, &core);
	if (round_ns > ROUND_NS_MAX)
		round_ns = ROUND_NS_MAX;
	STRESS_CHECK(hak_set_setting("HAK_DECAY", "0") == 0);
	is_racing = true;
	for (; round_count < RACE_THREADS_MAX || now_ns() < end_ns; round_count++) {
		thread_count = 1 + round_count % RACE_THREADS_MAX;
		round_end_ns = now_ns() + round_ns;
		run();
		expect_nothing_cached();
		structures_check();
	}
	STRESS_CHECK(atomic_load(&forks_done) != 0 && atomic_load(&trims_done) != 0);
	printf("summary: seed %llu, %u rounds, %llu operations, %llu forks, %llu trims in %llu s\n",
	       (unsigned long long)seed, round_count,
	       (unsigned long long)atomic_load(&operations_done),
	       (unsigned long long)atomic_load(&forks_done),
	       (unsigned long long)atomic_load(&trims_done), (unsigned long long)seconds);
}

static uint64_t race_seconds(int argc, char **argv)
{
	const char *text = getenv("HAK_LONG_SECONDS");

	if (strcmp(argv[2], "long") != 0)
		return stress_argument(argc, argv, 2, 0);
	return text != NULL ? strtoull(text, NULL, 10) : LONG_SECONDS;
}

static const struct {
	const char *name, *words;
} plants[] = {
	[PLANT_OVERLAP] = {"overlap", "overlaps another block"},
	[PLANT_CONTENT] = {"content", "has changed at byte"},
	[PLANT_ZERO] = {"zero", "calloc gave a byte that is not zero"},
};

static enum plant plant_called(const char *name)
{
	for (unsigned i = PLANT_OVERLAP; i <= PLANT_ZERO; i++)
		if (strcmp(name, plants[i].name) == 0)
			return i;
	fprintf(stderr, "%s: nothing called '%s' to plant\n", program_invocation_name, name);
	exit(2);
}

int main(int argc, char **argv)
{
	int at = 1;

	if (argc > 2 && strcmp(argv[1], "--race") == 0) {
		seed = stress_argument(argc, argv, 3, (uint64_t)time(NULL));
		stress_set_seed(seed);
		race(race_seconds(argc, argv));
		return 0;
	}
	if (at + 1 < argc && strcmp(argv[at], "--plant") == 0) {
		plant = plant_called(argv[at + 1]);
		at += 2;
	}
	if (at + 2 < argc && strcmp(argv[at], "--sizes") == 0) {
		size_min = stress_argument(argc, argv, at + 1, 0);
		size_end = stress_argument(argc, argv, at + 2, 0);
		STRESS_CHECK(size_min < size_end);
		at += 3;
	}
	thread_count = (unsigned)stress_argument(argc, argv, at, 4);
	operation_count = stress_argument(argc, argv, at + 1, 200000);
	seed = stress_argument(argc, argv, at + 2, 1);
	STRESS_CHECK(thread_count >= 1 && thread_count <= THREADS_MAX);
	stress_set_seed(seed);
	if (plant != PLANT_NOTHING)
		stress_expect_abort(run, plants[plant].words);
	run();
	return 0;
}
