/* lock.h - a mutex of four bytes that lives in static and reserved memory.
 *
 * Three states on a futex word, after Drepper, "Futexes Are Tricky" (2011), mutex 2: 0 free, 1
 * held, 2 held and somebody sleeps. Uncontended it is one compare-and-swap to take and one exchange
 * to give, inlined. Where the C library says that the process has one thread it is plain loads and
 * stores, as the C library's own malloc does it: a handler must not create threads. Not recursive.
 * It needs no initialisation, and a forked child needs no repair: the fork gate (gate.h) lets no
 * fork happen while one is held.
 *
 * Locking order: a thread that holds a lock takes only locks of a higher rank. Checked by debug
 * builds. Most slow paths hold one lock at a time; the pairs that nest are named at the lock.
 */
#ifndef HAK_BASE_LOCK_H
#define HAK_BASE_LOCK_H

#include "base/os.h"
#include "base/report.h"

#include <stdatomic.h>
#include <sys/single_threaded.h>

/* The order of the lines is the order of locking. */
enum hak_lock_rank {
	HAK_LOCK_BIRTH,	     /* heap/region: the birth of the heap */
	HAK_LOCK_THREAD,     /* heap/thread: the list of threads; inside it META at a birth */
	HAK_LOCK_QUARANTINE, /* heap/quarantine: freed blocks of one class */
	HAK_LOCK_CLASS,	     /* heap/slab: the partial slabs of one class */
	HAK_LOCK_DEPOT,	     /* heap/depot: the batches of one class */
	HAK_LOCK_POOL,	     /* heap/pool: units and SuperSlabs; inside it ROW */
	HAK_LOCK_ROW,	     /* heap/shared: what a daemon reads of SuperSlabs */
	HAK_LOCK_HUGE,	     /* heap/huge: one shard of the registry */
	HAK_LOCK_CACHE,	     /* heap/huge: the cache of freed mappings */
	HAK_LOCK_META,	     /* heap/meta: the allocator's own memory */
};

struct hak_lock {
	_Atomic uint32_t state;
	uint32_t rank; /* enum hak_lock_rank */
};

#define HAK_LOCK_OF(rank_)                                                                         \
	{                                                                                          \
		.state = 0, .rank = (rank_)                                                        \
	}

void hak_lock_take_slowly(struct hak_lock *lock);

/* Debug builds: aborts where the order is broken, and remembers what this thread holds. */
void hak_lock_note_taken(const struct hak_lock *lock);
void hak_lock_note_given(const struct hak_lock *lock);
bool hak_lock_is_noted(const struct hak_lock *lock);

HAK_INLINE void hak_lock_take(struct hak_lock *lock)
{
	uint32_t free_state = 0;

	if (HAK_DEBUG)
		hak_lock_note_taken(lock);
	/* relaxed: whoever comes later was created by this thread */
	if (__libc_single_threaded &&
	    hak_likely(atomic_load_explicit(&lock->state, memory_order_relaxed) == 0)) {
		atomic_store_explicit(&lock->state, 1, memory_order_relaxed);
		return;
	}
	/* acquire: pairs with the release in hak_lock_give() */
	if (hak_unlikely(!atomic_compare_exchange_strong_explicit(
		    &lock->state, &free_state, 1, memory_order_acquire, memory_order_relaxed)))
		hak_lock_take_slowly(lock);
}

HAK_INLINE void hak_lock_give(struct hak_lock *lock)
{
	if (HAK_DEBUG)
		hak_lock_note_given(lock);
	if (__libc_single_threaded) {
		atomic_store_explicit(&lock->state, 0, memory_order_relaxed);
		return;
	}
	/* release: pairs with the acquires of the next taker */
	if (hak_unlikely(atomic_exchange_explicit(&lock->state, 0, memory_order_release) == 2))
		hak_os_futex_wake(&lock->state, 1);
}

/* For assertions: true where this thread holds the lock, and always in release builds. */
HAK_INLINE bool hak_lock_is_mine(const struct hak_lock *lock)
{
	return !HAK_DEBUG || hak_lock_is_noted(lock);
}

#endif
