/* Goal: the rows that a daemon reads say which pages are marked MADV_FREE: whole free units and
 * holes between live blocks alike, as many as the heap's own numbers have; no bit stands for a page
 * that the program holds; a page that is given away later has all of them.
 * Method: a page in memory, as a daemon would map it. 96 MiB of blocks are freed in random order,
 * 95 % of them, all that is free is marked (more than the library would by itself, which learns
 * from a heap that breathes), and taken again, by one thread and by four, with trims. The rows are
 * compared with hak_stats_get() and with what is held.
 */
#include "resident.h"
#include "unit.h"

#include "base/os.h"
#include "govern/purge.h"
#include "heap/hole.h"
#include "heap/pool.h"
#include "heap/region.h"
#include "heap/shared.h"
#include "heap/thread.h"
#include "proto/page.h"
#include "proto/superslab.h"

#include <hak/hak.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)
#define BLOCKS 49152
#define BYTES_MAX 4096
#define THREADS 4
#if defined(__SANITIZE_THREAD__)
#define ROUNDS 3 /* each takes seconds there */
#else
#define ROUNDS 12
#endif

static unsigned char *blocks[BLOCKS];
static struct hak_shared shared;
static unsigned char *page;

static size_t size_of(size_t i)
{
	return 16 + (i * 2654435761u >> 8) % (BYTES_MAX - 15);
}

static uint32_t draw(uint32_t *random)
{
	*random = *random * 1664525 + 1013904223;
	return *random >> 8;
}

static void take(size_t from, size_t to)
{
	for (size_t i = from; i < to; i++) {
		if (blocks[i] != NULL)
			continue;
		blocks[i] = hak_malloc(size_of(i));
		assert_non_null(blocks[i]);
		memset(blocks[i], (int)(i % 251), size_of(i));
	}
}

static void give(size_t from, size_t to, unsigned percent, uint32_t *random)
{
	for (size_t i = from; i < to; i++) {
		if (draw(random) % 100 >= percent)
			continue;
		hak_free(blocks[i]);
		blocks[i] = NULL;
	}
}

static void mark_all(void)
{
	struct hak_thread *thread = hak_thread_enter();
	uint32_t superslab = UINT32_MAX,
		 end = (uint32_t)(hak_region_open_bytes() >> HAK_UNIT_SHIFT);
	struct hak_pool_claim claim;

	while (superslab != 0)
		if (hak_pool_claim_unmarked(&superslab, &claim))
			(void)hak_purge_claim(&claim, HAK_POOL_LAZY);
	hak_pool_note_away(true);
	for (uint32_t unit = 0; unit < end;)
		(void)hak_hole_mark(&unit, 4);
	hak_pool_note_away(false);
	hak_thread_leave(thread);
}

/* Word by word, as others write it. */
static struct hak_superslab_row row_of(uint32_t superslab)
{
	_Atomic uint64_t *words = hak_shared_word(page, HAK_PAGE_SUPERSLABS +
								superslab * HAK_PAGE_SUPERSLAB_ROW);
	uint8_t copy[HAK_SUPERSLAB_ROW_BYTES];
	struct hak_superslab_row row;

	for (size_t i = 0; i < sizeof copy / sizeof(uint64_t); i++) {
		uint64_t word = atomic_load_explicit(&words[i], memory_order_relaxed);

		memcpy(copy + i * sizeof word, &word, sizeof word);
	}

	hak_superslab_row_decode(copy, &row);
	return row;
}

static bool is_marked(const void *address)
{
	size_t page_number = hak_region_offset(address) >> 12;
	struct hak_superslab_row row = row_of((uint32_t)(page_number / 512));

	return (row.lazyfree[page_number % 512 / 64] >> page_number % 64 & 1) != 0;
}

static size_t marked_bytes(void)
{
	size_t pages = 0;

	for (uint32_t i = 0; i < hak_region.superslab_count; i++) {
		struct hak_superslab_row row = row_of(i);

		assert_int_equal(row.sequence % 2, 0);
		for (unsigned j = 0; j < 8; j++)
			pages += (size_t)__builtin_popcountl(row.lazyfree[j]);
	}
	return pages << 12;
}

/* Of live blocks; only the caller's own may be looked at while others go on. */
static void assert_none_is_marked(size_t from, size_t to)
{
	for (size_t i = from; i < to; i++) {
		if (blocks[i] == NULL)
			continue;
		assert_false(is_marked(blocks[i]));
		assert_false(is_marked(blocks[i] + size_of(i) - 1));
	}
}

static void assert_rows_agree(void)
{
	/* First, since the call may mark more once it has counted. */
	size_t in_rows = marked_bytes();
	struct hak_stats stats;

	assert_int_equal(hak_stats_get(&stats, sizeof stats), 0);
	print_message("%zu KiB marked in rows, %llu by the heap's numbers\n", in_rows >> 10,
		      (unsigned long long)stats.lazyfree_bytes >> 10);
	assert_int_equal(in_rows, stats.lazyfree_bytes);
	assert_none_is_marked(0, BLOCKS);
	assert_true(hak_pool_is_valid());
}

static void attach(void)
{
	if (page == NULL)
		page = mmap(NULL, hak_page_bytes(hak_region.superslab_count_max),
			    PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
			    0);
	assert_true(page != MAP_FAILED);
	atomic_store(&hak_shared, &shared);
	hak_pool_publish(page);
}

static void detach(void)
{
	hak_pool_publish(NULL);
	memset(page, 0xff, HAK_PAGE_SUPERSLABS + HAK_PAGE_SUPERSLAB_ROW * 512);
}

static void give_all(void)
{
	uint32_t random = 1;

	give(0, BLOCKS, 100, &random);
	(void)hak_trim(SIZE_MAX);
}

static void holes_and_units_are_marked_alike(void **state)
{
	uint32_t random = 42;

	(void)state;
	take(0, BLOCKS);
	attach();
	for (int i = 0; i < 3; i++) {
		give(0, BLOCKS, 95, &random);
		mark_all();
		assert_true(marked_bytes() > 24 * MIB);
		assert_rows_agree();
		take(0, BLOCKS);
		assert_rows_agree();
	}
	give(0, BLOCKS, 95, &random);
	mark_all();
	(void)hak_trim(SIZE_MAX);
	assert_int_equal(marked_bytes(), 0);
	assert_rows_agree();
	give_all();
	assert_rows_agree();
	detach();
}

/* What was marked before anybody read is there at once; and nothing that lay on the page before. */
static void a_later_page_has_all(void **state)
{
	uint32_t random = 43;

	(void)state;
	take(0, BLOCKS);
	give(0, BLOCKS, 95, &random);
	mark_all();
	attach();
	assert_true(marked_bytes() > 24 * MIB);
	assert_rows_agree();
	detach();
	take(0, BLOCKS / 2);
	attach();
	assert_rows_agree();
	give_all();
	detach();
}

static _Atomic bool is_over;

static void *work(void *context)
{
	size_t number = (size_t)context, from = number * (BLOCKS / THREADS);
	uint32_t random = (uint32_t)number + 7;

	for (int i = 0; i < ROUNDS; i++) {
		take(from, from + BLOCKS / THREADS);
		assert_none_is_marked(from, from + BLOCKS / THREADS);
		give(from, from + BLOCKS / THREADS, i % 3 == 0 ? 100 : 95, &random);
		mark_all();
		assert_none_is_marked(from, from + BLOCKS / THREADS);
	}
	return NULL;
}

/* Registers again and again, which is more than any process does. */
static void *attach_anew(void *context)
{
	(void)context;
	while (!atomic_load(&is_over)) {
		hak_pool_publish(NULL);
		hak_pool_publish(page);
		usleep(5000); /* the others are to come by as well, on one processor too */
	}
	return NULL;
}

static void threads_lose_no_change(void **state)
{
	pthread_t threads[THREADS], other;
	uint32_t random = 9;

	(void)state;
	attach();
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, work, (void *)i), 0);
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_rows_agree();

	/* Bits may be missing while the page is new, and stand for live blocks in between; what
	 * counts is what is there in the end. */
	assert_int_equal(pthread_create(&other, NULL, attach_anew, NULL), 0);
	for (int i = 0; i < ROUNDS; i++) {
		take(0, BLOCKS);
		give(0, BLOCKS, 95, &random);
		mark_all();
	}
	take(0, BLOCKS / 2);
	mark_all();
	atomic_store(&is_over, true);
	pthread_join(other, NULL);
	assert_rows_agree();
	give_all();
	detach();
}

/* The mapping is of no child: it has no page, and what it does changes nothing in the parent's. */
static void a_fork_keeps_its_marks(void **state)
{
	uint32_t random = 44;
	size_t before;

	(void)state;
	take(0, BLOCKS);
	attach();
	give(0, BLOCKS, 95, &random);
	mark_all();
	before = marked_bytes();
	hak_advice_note_fork();
	assert_int_equal(marked_bytes(), before);
	take(0, BLOCKS);
	assert_rows_agree();
	give_all();
	assert_rows_agree();
	detach();
}

static int count_block(const struct hak_heap_block *block, void *context)
{
	(void)block;
	++*(size_t *)context;
	return 0;
}

static bool has_unmarked_units(void)
{
	struct hak_thread *thread = hak_thread_enter();
	uint32_t superslab = UINT32_MAX;
	struct hak_pool_claim claim;
	bool found = false;

	while (superslab != 0) {
		if (!hak_pool_claim_unmarked(&superslab, &claim))
			continue;
		hak_pool_put_back(&claim, HAK_POOL_KEPT);
		found = true;
	}
	hak_thread_leave(thread);
	return found;
}

/* It closes the gate as a fork does, after which nobody knows of marks; but it is none. */
static void a_walk_takes_no_mark_away(void **state)
{
	uint32_t random = 44;
	size_t count = 0;

	(void)state;
	take(0, BLOCKS);
	give(0, BLOCKS, 95, &random);
	mark_all();
	assert_false(has_unmarked_units());
	assert_int_equal(hak_heap_walk(count_block, &count), 0);
	assert_true(count > 0);
	assert_false(has_unmarked_units());
	give_all();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(holes_and_units_are_marked_alike),
		cmocka_unit_test(a_later_page_has_all),
		cmocka_unit_test(threads_lose_no_change),
		cmocka_unit_test(a_fork_keeps_its_marks),
		cmocka_unit_test(a_walk_takes_no_mark_away),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
