/* rows.h - the SuperSlab table of a client, as hakd reads it: which pages the kernel may be told to
 * take, and which it has taken since without the client's knowledge.
 *
 * Every byte is the client's to write, at any moment. A row is believed where two copies of it, one
 * after the other, are the same and its sequence is even and not 0; it names pages of the client's
 * own region alone, whatever it says. A row that lies costs its own client time.
 *
 * What was advised is remembered by the row's sequence: while that stands, the client has touched
 * nothing of it, and what its numbers call lazyfree is "returned". The SuperSlabs of a region open
 * from the first on, so a row whose sequence is 0 is the end.
 *
 * Limits: ROWS_LOOKS_MAX rows in one call; ROWS_MEMOS_MAX memos of one client and ROWS_MEMOS_TOTAL
 * of all, of what is left of which no user has more than the part ROWS_MEMOS_SHARE: so there is
 * always something left for the next (Choudhury and Hahne, "Dynamic queue length thresholds for
 * shared-memory packet switches", 1998). What cannot be remembered is not advised. One thread.
 */
#ifndef HAKD_FLEET_ROWS_H
#define HAKD_FLEET_ROWS_H

#include "proto/reclaim.h"

#define ROWS_LOOKS_MAX 4096
#define ROWS_MEMOS_MAX 32768
#define ROWS_MEMOS_TOTAL 262144
#define ROWS_MEMOS_SHARE 4

struct rows_memo {
	uint64_t sequence;
	uint32_t superslab;
	uint32_t bytes; /* returned; 0 where the kernel did not take all */
};

struct rows {
	int memfd; /* the client's */
	uint32_t superslab_count;
	struct rows_memo *memos; /* by superslab */
	size_t memo_count;
	size_t memo_size;
	uint64_t returned_bytes; /* the sum of the memos */
	size_t *owned;		 /* memos of all that the same user has; NULL: he has no others */
};

/* Pages to be advised together: one request. */
struct rows_batch {
	struct hak_reclaim_range ranges[HAK_RECLAIM_RANGES_MAX];
	uint32_t range_count;
	uint32_t page_count;
	struct rows_memo memos[HAK_RECLAIM_PAGES_MAX]; /* of each row that is in it */
	size_t memo_count;
};

void rows_init(struct rows *rows, int memfd, uint32_t superslab_count);
void rows_deinit(struct rows *rows);

/* Fills a batch with what is marked and not advised yet, from row *next on, and moves *next behind
 * it. Whole rows, so that a memo is of all of its marks. True: there may be more. */
bool rows_collect(const struct rows *rows, uint32_t *next, struct rows_batch *batch);

/* Remembers that a batch was advised; `all` of it, or not. False: there is no room to. */
bool rows_note(struct rows *rows, const struct rows_batch *batch, bool all);

/* Remembers one row, in place of what was remembered of it. False: there is no room to. */
bool rows_remember(struct rows *rows, const struct rows_memo *memo);

/* Forgets what the client has touched since. */
void rows_review(struct rows *rows);

bool rows_is_valid(const struct rows *rows);

#endif
