/* credit.h - what marks in vain may cost: a share of the program's time, some of it saved up.
 *
 * A mark is in vain where its memory is soon taken again. What it has cost is owed then, and the
 * time that passes pays for it; as long as too much is owed nothing is marked (lazyfree.c). Costs
 * are counted in system calls and not in time, for which there is no exact clock at hand: of marks
 * that still stand the sum of what they cost is known, and those that are taken had the mean of it.
 *
 * Threads    one at a time.
 */
#ifndef HAK_GOVERN_CREDIT_H
#define HAK_GOVERN_CREDIT_H

#include "base/config.h"

/* The share is 1 / HAK_CREDIT_SHARE. So much may be saved up; a program begins with less, which is
 * not spent on everything. What is owed never takes more time than the last to be paid. */
#define HAK_CREDIT_SHARE 64
#define HAK_CREDIT_NS_MAX 250000000ull
#define HAK_CREDIT_NS_FIRST 10000000ull
#define HAK_CREDIT_PAUSE_NS_MAX 60000000000ull

/* About what a call of madvise(2) costs with what goes with it, and so many bytes of marked memory
 * once more. */
#define HAK_CREDIT_CALL_NS 2000
#define HAK_CREDIT_CALL_BYTES ((uint64_t)32 << 10)

struct hak_credit {
	uint64_t call_count; /* for marks that stand */
	uint64_t marked_bytes;
	uint64_t spent_ns; /* of HAK_CREDIT_NS_MAX, or more */
	uint64_t paid_until_ns;
};

/* The program began then. */
void hak_credit_begin(struct hak_credit *credit, uint64_t now_ns);

/* So much was marked, by so many calls or what is worth as many. */
void hak_credit_note_marks(struct hak_credit *credit, uint64_t calls, uint64_t bytes);

/* Marks are gone: those that were in vain are to be paid for. */
void hak_credit_drop(struct hak_credit *credit, uint64_t bytes);
void hak_credit_charge(struct hak_credit *credit, uint64_t bytes, uint64_t now_ns);

/* When so much of what may be saved up will be there: at the last charge or before, or later. */
uint64_t hak_credit_due_ns(const struct hak_credit *credit, uint64_t saved_ns);

#endif
