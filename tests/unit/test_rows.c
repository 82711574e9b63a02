/* Goal: batches hold what a table marks, whole rows of it, nothing beyond the region and nothing
 * twice; what was advised counts as returned until its row changes; a table that lies, that is torn
 * or full of noise ends a scan in time.
 * Method: a memfd that the test writes as a client may. */
#include "unit.h"

#include "fleet/rows.h"
#include "proto/superslab.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SUPERSLABS 64

static struct rows rows;
static struct rows_batch batch;

static void write_row(uint32_t superslab, const struct hak_superslab_row *row)
{
	uint8_t bytes[HAK_SUPERSLAB_ROW_BYTES];
	off_t offset = HAK_PAGE_SUPERSLABS + (off_t)superslab * HAK_PAGE_SUPERSLAB_ROW;

	hak_superslab_row_encode(row, bytes);
	assert_int_equal(pwrite(rows.memfd, bytes, sizeof bytes, offset), sizeof bytes);
}

/* So many pages from the first on. */
static void mark(uint32_t superslab, uint64_t sequence, uint32_t first, uint32_t count)
{
	struct hak_superslab_row row = {.sequence = sequence};

	for (uint32_t page = first; page < first + count; page++)
		row.lazyfree[page / 64] |= (uint64_t)1 << page % 64;
	write_row(superslab, &row);
}

static int set_up(void **state)
{
	int memfd = memfd_create("hak", MFD_CLOEXEC);

	(void)state;
	if (memfd < 0 || ftruncate(memfd, (off_t)hak_page_bytes(SUPERSLABS)) != 0)
		return -1;
	rows_init(&rows, memfd, SUPERSLABS);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	assert_true(rows_is_valid(&rows));
	close(rows.memfd);
	rows_deinit(&rows);
	return 0;
}

static bool collect(uint32_t *next)
{
	bool more = rows_collect(&rows, next, &batch);
	uint32_t end = 0, sum = 0;

	for (uint32_t i = 0; i < batch.range_count; i++) {
		assert_true(batch.ranges[i].page_count > 0 && batch.ranges[i].first_page >= end);
		end = batch.ranges[i].first_page + batch.ranges[i].page_count;
		sum += batch.ranges[i].page_count;
	}
	assert_true(end <= rows.superslab_count * 512 && sum <= HAK_RECLAIM_PAGES_MAX);
	assert_int_equal(sum, batch.page_count);
	return more;
}

static void an_empty_table_has_nothing(void **state)
{
	uint32_t next = 0;

	(void)state;
	assert_false(collect(&next));
	assert_int_equal(batch.range_count, 0);
}

static void ranges_are_rows_of_marks(void **state)
{
	struct hak_superslab_row row = {.sequence = 2, .lazyfree = {0xf0, 1, 0, 0, 0, 0, 0, 0}};
	uint32_t next = 0;

	(void)state;
	row.lazyfree[0] |= (uint64_t)1 << 63; /* goes on in the next word */
	row.lazyfree[7] = (uint64_t)1 << 63;
	write_row(0, &row);
	mark(1, 2, 0, 3);
	assert_false(collect(&next));
	assert_int_equal(batch.range_count, 4);
	assert_int_equal(batch.ranges[0].first_page, 4);
	assert_int_equal(batch.ranges[0].page_count, 4);
	assert_int_equal(batch.ranges[1].first_page, 63);
	assert_int_equal(batch.ranges[1].page_count, 2);
	assert_int_equal(batch.ranges[2].first_page, 511);
	assert_int_equal(batch.ranges[3].first_page, 512);
	assert_int_equal(batch.ranges[3].page_count, 3);
}

/* Of a table in which everything is marked, two SuperSlabs are 4 MiB. */
static void batches_are_whole_rows(void **state)
{
	uint32_t next = 0, batch_count = 1;

	(void)state;
	for (uint32_t i = 0; i < SUPERSLABS; i++)
		mark(i, 2, 0, i % 2 == 0 ? 512 : 400);
	for (; collect(&next); batch_count++) {
		assert_int_equal(batch.memo_count, 2);
		assert_true(rows_note(&rows, &batch, true));
	}
	assert_true(rows_note(&rows, &batch, true));
	assert_int_equal(batch_count, SUPERSLABS / 2);
	assert_int_equal(rows.returned_bytes, (uint64_t)SUPERSLABS / 2 * 912 * 4096);
	next = 0;
	assert_false(collect(&next));
	assert_int_equal(batch.range_count, 0); /* nothing twice */
}

static void every_second_page_fits(void **state)
{
	struct hak_superslab_row row = {.sequence = 2};
	uint32_t next = 0;

	(void)state;
	memset(row.lazyfree, 0x55, sizeof row.lazyfree);
	for (uint32_t i = 0; i < 10; i++)
		write_row(i, &row);
	assert_true(collect(&next));
	assert_int_equal(batch.range_count, 1024);
	assert_int_equal(next, 4);
}

static void what_was_advised_is_returned_until_its_row_changes(void **state)
{
	uint32_t next = 0;

	(void)state;
	mark(0, 2, 0, 100);
	mark(1, 4, 0, 50);
	mark(2, 6, 0, 25);
	assert_false(collect(&next));
	assert_true(rows_note(&rows, &batch, true));
	rows_review(&rows);
	assert_int_equal(rows.returned_bytes, 175 * 4096);
	mark(1, 6, 0, 50);
	rows_review(&rows);
	assert_int_equal(rows.returned_bytes, 125 * 4096);
	next = 0;
	assert_false(collect(&next));
	assert_int_equal(batch.page_count, 50);
	assert_true(rows_note(&rows, &batch, false)); /* the kernel did not take all */
	assert_int_equal(rows.returned_bytes, 125 * 4096);
	next = 0;
	assert_false(collect(&next));
	assert_int_equal(batch.page_count, 0); /* nor is it asked again */
	mark(0, 3, 0, 100);		       /* being written */
	rows_review(&rows);
	assert_int_equal(rows.returned_bytes, 25 * 4096);
}

static void a_row_that_is_written_is_left_alone(void **state)
{
	uint32_t next = 0;

	(void)state;
	mark(0, 3, 0, 100);
	mark(1, 2, 0, 7);
	assert_false(collect(&next));
	assert_int_equal(batch.page_count, 7);
}

/* A region of a tebibyte that claims all: a scan comes by in parts, and memory has an end. */
static void the_largest_liar_costs_little(void **state)
{
	const uint32_t count = HAK_PAGE_SUPERSLABS_MAX;
	uint32_t next = 0, parts = 0;

	(void)state;
	assert_int_equal(ftruncate(rows.memfd, (off_t)hak_page_bytes(count)), 0);
	rows.superslab_count = count;
	for (uint32_t i = 0; i < count; i++)
		mark(i, 2, i % 512, i < ROWS_MEMOS_MAX + 8 ? 1 : 0);
	for (bool more = true; more; parts++) {
		uint32_t before = next;

		more = collect(&next);
		assert_true(next - before <= ROWS_LOOKS_MAX);
		if (!rows_note(&rows, &batch, true))
			break;
	}
	assert_int_equal(rows.memo_count, ROWS_MEMOS_MAX);
	assert_true(parts < 100);
}

static void noise_does_no_harm(void **state)
{
	(void)state;
	srandom(1);
	for (int i = 0; i < 2000; i++) {
		uint8_t noise[HAK_SUPERSLAB_ROW_BYTES];
		uint32_t next = 0, at = (uint32_t)random() % SUPERSLABS;

		for (size_t j = 0; j < sizeof noise; j++)
			noise[j] = (uint8_t)random();
		assert_int_equal(pwrite(rows.memfd, noise, sizeof noise,
					HAK_PAGE_SUPERSLABS + (off_t)at * (off_t)sizeof noise),
				 sizeof noise);
		while (collect(&next))
			assert_true(rows_note(&rows, &batch, i % 3 != 0));
		rows_review(&rows);
		assert_true(rows_is_valid(&rows));
	}
}

#define GREEDY 16

/* Twice as many as there is room for take all that they get: who comes last has some as well. */
static void nobody_takes_all_memos(void **state)
{
	static struct rows others[GREEDY];
	size_t owned = 0;

	(void)state;
	for (size_t i = 0; i < GREEDY; i++) {
		struct rows_memo memo = {.sequence = 2, .bytes = 4096};

		rows_init(&others[i], -1, HAK_PAGE_SUPERSLABS_MAX);
		/* The first half are of one user. */
		others[i].owned = i < GREEDY / 2 ? &owned : NULL;
		while (rows_remember(&others[i], &memo))
			memo.superslab++;
		assert_true(others[i].memo_count <= ROWS_MEMOS_MAX);
	}
	print_message("one user has %zu, the last %zu\n", owned, others[GREEDY - 1].memo_count);
	assert_true(owned <= ROWS_MEMOS_TOTAL / 4);
	assert_int_equal(others[GREEDY / 2].memo_count, ROWS_MEMOS_MAX);
	assert_true(others[GREEDY - 1].memo_count >= 1024);
	for (size_t i = 0; i < GREEDY; i++) {
		assert_true(rows_is_valid(&others[i]));
		rows_deinit(&others[i]);
	}
	assert_int_equal(owned, 0);
}

#define WITH_A_TABLE(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_A_TABLE(an_empty_table_has_nothing),
		WITH_A_TABLE(ranges_are_rows_of_marks),
		WITH_A_TABLE(batches_are_whole_rows),
		WITH_A_TABLE(every_second_page_fits),
		WITH_A_TABLE(what_was_advised_is_returned_until_its_row_changes),
		WITH_A_TABLE(a_row_that_is_written_is_left_alone),
		WITH_A_TABLE(the_largest_liar_costs_little),
		WITH_A_TABLE(noise_does_no_harm),
		cmocka_unit_test(nobody_takes_all_memos),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
