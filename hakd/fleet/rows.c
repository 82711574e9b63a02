#include "fleet/rows.h"

#include "proto/superslab.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Rows that are read with one call. */
#define BLOCK_ROWS 32
#define BLOCK_BYTES ((size_t)BLOCK_ROWS * HAK_SUPERSLAB_ROW_BYTES)

#define ROW_PAGES ((uint32_t)(HAK_PAGE_SUPERSLAB_BYTES >> HAK_RECLAIM_PAGE_SHIFT))
#define ROW_WORDS (ROW_PAGES / 64)

static_assert(ROW_PAGES <= HAK_RECLAIM_PAGES_MAX && ROW_PAGES / 2 <= HAK_RECLAIM_RANGES_MAX,
	      "any row fits into a batch");

static size_t memo_total;

/* More memos, or fewer. */
static void count_memos(struct rows *rows, size_t more)
{
	memo_total += more;
	if (rows->owned != NULL)
		*rows->owned += more;
}

void rows_init(struct rows *rows, int memfd, uint32_t superslab_count)
{
	*rows = (struct rows){.memfd = memfd, .superslab_count = superslab_count};
}

void rows_deinit(struct rows *rows)
{
	count_memos(rows, -rows->memo_count);
	free(rows->memos);
	rows->memos = NULL;
	rows->memo_count = rows->memo_size = 0;
	rows->returned_bytes = 0;
}

struct block {
	uint8_t bytes[BLOCK_BYTES];
	uint8_t again[BLOCK_BYTES];
	uint32_t first;
	uint32_t count;
};

static bool read_block(const struct rows *rows, uint32_t first, struct block *block)
{
	off_t offset = (off_t)(HAK_PAGE_SUPERSLABS + (uint64_t)first * HAK_PAGE_SUPERSLAB_ROW);
	size_t bytes;

	block->first = first;
	block->count = rows->superslab_count - first;
	if (block->count > BLOCK_ROWS)
		block->count = BLOCK_ROWS;
	bytes = (size_t)block->count * HAK_SUPERSLAB_ROW_BYTES;
	return pread(rows->memfd, block->bytes, bytes, offset) == (ssize_t)bytes &&
	       pread(rows->memfd, block->again, bytes, offset) == (ssize_t)bytes;
}

/* False: it was being written. One that was never written is whole. */
static bool take_row(const struct block *block, uint32_t superslab, struct hak_superslab_row *row)
{
	size_t at = (size_t)(superslab - block->first) * HAK_SUPERSLAB_ROW_BYTES;

	if (memcmp(block->bytes + at, block->again + at, HAK_SUPERSLAB_ROW_BYTES) != 0)
		return false;
	hak_superslab_row_decode(block->bytes + at, row);
	return row->sequence % 2 == 0;
}

/* The first memo of this SuperSlab or a later one. */
static size_t find_memo(const struct rows *rows, uint32_t superslab)
{
	size_t low = 0, high = rows->memo_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (rows->memos[middle].superslab < superslab)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool is_advised(const struct rows *rows, uint32_t superslab, uint64_t sequence)
{
	size_t i = find_memo(rows, superslab);

	return i < rows->memo_count && rows->memos[i].superslab == superslab &&
	       rows->memos[i].sequence == sequence;
}

static uint32_t page_count(const struct hak_superslab_row *row)
{
	uint32_t count = 0;

	for (unsigned i = 0; i < ROW_WORDS; i++)
		count += (uint32_t)__builtin_popcountl(row->lazyfree[i]);
	return count;
}

static bool is_marked(const struct hak_superslab_row *row, uint32_t page)
{
	return (row->lazyfree[page / 64] >> page % 64 & 1) != 0;
}

static uint32_t range_count(const struct hak_superslab_row *row)
{
	uint32_t count = 0;
	uint64_t before = 0; /* the last page of the word before, as bit 0 */

	for (unsigned i = 0; i < ROW_WORDS; i++) {
		uint64_t word = row->lazyfree[i];

		count += (uint32_t)__builtin_popcountl(word & ~(word << 1 | before));
		before = word >> 63;
	}
	return count;
}

/* False: it does not fit any more. */
static bool add_row(struct rows_batch *batch, uint32_t superslab,
		    const struct hak_superslab_row *row)
{
	uint32_t pages = page_count(row), first = superslab * ROW_PAGES;

	if (pages > HAK_RECLAIM_PAGES_MAX - batch->page_count ||
	    range_count(row) > HAK_RECLAIM_RANGES_MAX - batch->range_count)
		return false;
	for (uint32_t page = 0; page < ROW_PAGES; page++) {
		uint32_t begin = page;

		while (page < ROW_PAGES && is_marked(row, page))
			page++;
		if (page != begin)
			batch->ranges[batch->range_count++] = (struct hak_reclaim_range){
				.first_page = first + begin, .page_count = page - begin};
	}
	batch->page_count += pages;
	batch->memos[batch->memo_count++] = (struct rows_memo){
		.sequence = row->sequence,
		.superslab = superslab,
		.bytes = pages << HAK_RECLAIM_PAGE_SHIFT,
	};
	return true;
}

bool rows_collect(const struct rows *rows, uint32_t *next, struct rows_batch *batch)
{
	uint32_t end = rows->superslab_count;
	struct hak_superslab_row row;
	struct block block;

	batch->range_count = batch->page_count = 0;
	batch->memo_count = 0;
	if (end - *next > ROWS_LOOKS_MAX)
		end = *next + ROWS_LOOKS_MAX;
	while (*next < end) {
		if (!read_block(rows, *next, &block))
			return false;
		for (; *next < block.first + block.count; ++*next) {
			if (!take_row(&block, *next, &row))
				continue;
			if (row.sequence == 0)
				return false;
			if (page_count(&row) != 0 && !is_advised(rows, *next, row.sequence) &&
			    !add_row(batch, *next, &row))
				return true;
		}
	}
	return *next < rows->superslab_count;
}

static bool make_room(struct rows *rows)
{
	size_t size = rows->memo_size == 0 ? 16 : 2 * rows->memo_size;
	size_t owned = rows->owned != NULL ? *rows->owned : rows->memo_count;
	struct rows_memo *memos;

	if (rows->memo_count >= ROWS_MEMOS_MAX ||
	    owned >= (ROWS_MEMOS_TOTAL - memo_total) / ROWS_MEMOS_SHARE)
		return false;
	if (rows->memo_count < rows->memo_size)
		return true;
	memos = realloc(rows->memos, size * sizeof *memos);
	if (memos == NULL)
		return false;
	rows->memos = memos;
	rows->memo_size = size;
	return true;
}

bool rows_remember(struct rows *rows, const struct rows_memo *memo)
{
	size_t at = find_memo(rows, memo->superslab);
	bool is_known = at < rows->memo_count && rows->memos[at].superslab == memo->superslab;

	if (is_known) {
		rows->returned_bytes -= rows->memos[at].bytes;
	} else if (make_room(rows)) {
		memmove(rows->memos + at + 1, rows->memos + at,
			(rows->memo_count - at) * sizeof *rows->memos);
		rows->memo_count++;
		count_memos(rows, 1);
	} else {
		return false;
	}
	rows->memos[at] = *memo;
	rows->returned_bytes += memo->bytes;
	return true;
}

bool rows_note(struct rows *rows, const struct rows_batch *batch, bool all)
{
	for (size_t i = 0; i < batch->memo_count; i++) {
		struct rows_memo memo = batch->memos[i];

		if (!all)
			memo.bytes = 0;
		if (!rows_remember(rows, &memo))
			return false;
	}
	return true;
}

void rows_review(struct rows *rows)
{
	struct block block = {.count = 0};
	size_t kept = 0;

	rows->returned_bytes = 0;
	for (size_t i = 0; i < rows->memo_count; i++) {
		struct rows_memo memo = rows->memos[i];
		struct hak_superslab_row row;

		if (memo.superslab - block.first >= block.count &&
		    !read_block(rows, memo.superslab, &block))
			block.count = 0;
		if (block.count == 0 || !take_row(&block, memo.superslab, &row) ||
		    row.sequence != memo.sequence)
			continue;
		rows->returned_bytes += memo.bytes;
		rows->memos[kept++] = memo;
	}
	count_memos(rows, kept - rows->memo_count);
	rows->memo_count = kept;
}

bool rows_is_valid(const struct rows *rows)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < rows->memo_count; i++) {
		sum += rows->memos[i].bytes;
		if (rows->memos[i].superslab >= rows->superslab_count ||
		    (i > 0 && rows->memos[i - 1].superslab >= rows->memos[i].superslab))
			return false;
	}
	return sum == rows->returned_bytes && rows->memo_count <= rows->memo_size;
}
