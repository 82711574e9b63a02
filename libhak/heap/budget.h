/* budget.h - whether more memory may be taken, and whether to be frugal.
 *
 * What counts is what has left the free memory: blocks in use or cached, runs, huge blocks and
 * cached mappings. Without a hard budget every question costs one load. With one, a measurement
 * leaves credit, takings use it up, and only then is measured again: what is given back counts from
 * the next measurement on. Two threads that measure at once may each find the room for itself: by
 * so much a heap may be above its budget, until the next measurement.
 *
 * Threads    any; inside the fork gate, no lock held.
 */
#ifndef HAK_HEAP_BUDGET_H
#define HAK_HEAP_BUDGET_H

#include "base/config.h"

/* True: so many bytes more may be taken from slabs, from the pool or from the system. */
bool hak_budget_allows(size_t bytes);

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

#endif
