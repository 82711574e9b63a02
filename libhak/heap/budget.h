/* budget.h - whether more memory may be taken, and whether to be frugal.
 *
 * What counts is what has left the free memory: blocks in use or cached, runs, huge blocks and
 * cached mappings. Without a hard budget every question costs one load. With one, a measurement
 * leaves credit, takings use it up, and only then is measured again: what is given back counts from
 * the next measurement on.
 *
 * A run or a mapping that is on its way, from the system to its holder or from one of them to
 * another, is counted nowhere; so its bytes are held meanwhile, and two threads never find the same
 * room. What magazines take is not: by a refill for each thread a heap may be above its budget.
 *
 * Threads    any; inside the fork gate, no lock held.
 */
#ifndef HAK_HEAP_BUDGET_H
#define HAK_HEAP_BUDGET_H

#include "base/policy.h"

/* True: so many bytes more may be taken from slabs. */
bool hak_budget_allows(size_t bytes);

/* True: so many bytes more may be taken from the pool or from the system, and *held of them, 0
 * where there is no hard budget, count until they are released: once they are counted where they
 * are. */
HAK_INLINE bool hak_budget_reserve(size_t bytes, size_t *held);

/* They are about to leave where they are counted. Returns what is to be released. */
HAK_INLINE size_t hak_budget_hold(size_t bytes);
HAK_INLINE void hak_budget_release(size_t held);

/* Waits, if not for long, until what is held by now is released. Returns what was ever held: it has
 * moved where that is more than before. */
uint64_t hak_budget_settle(void);

/* What the last answer to this thread refused, rounded up and said once; 0: nothing. */
size_t hak_budget_refused(void);

/* Measured now, credit aside: whether the hard budget stands against so many bytes more. */
bool hak_budget_refuses(size_t bytes);

/* Forgets the credit: the budget was changed, or much was given back. */
void hak_budget_measure_anew(void);

/* Allocations that were answered with ENOMEM, for whatever reason. */
void hak_budget_note_failure(void);
uint64_t hak_budget_failure_count(void);

/* Above the soft budget caches do not grow. Set by whoever looks at it (purge.h). */
bool hak_budget_is_frugal(void);
void hak_budget_be_frugal(bool frugal);

/* Upward: what counts, by all tallies. init.c says who that is. */
extern HAK_HIDDEN uint64_t (*const hak_budget_used)(void);

/* Where there is a hard budget. */
bool hak_budget_reserve_under(uint64_t hard, size_t bytes, size_t *held);
size_t hak_budget_hold_now(size_t bytes);
void hak_budget_release_now(size_t held);

HAK_INLINE bool hak_budget_reserve(size_t bytes, size_t *held)
{
	uint64_t hard = hak_policy_hard_bytes();

	*held = 0;
	return hak_likely(hard == 0) || hak_budget_reserve_under(hard, bytes, held);
}

HAK_INLINE size_t hak_budget_hold(size_t bytes)
{
	return hak_likely(hak_policy_hard_bytes() == 0) ? 0 : hak_budget_hold_now(bytes);
}

HAK_INLINE void hak_budget_release(size_t held)
{
	if (hak_unlikely(held != 0))
		hak_budget_release_now(held);
}

#endif
