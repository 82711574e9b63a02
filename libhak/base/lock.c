#include "base/lock.h"

/* Ranks that this thread holds, one bit each: debug builds only, and so two locks of one rank are
 * never held together. */
static __thread uint32_t held_ranks;

void hak_lock_take_slowly(struct hak_lock *lock)
{
	for (int spin = 0; spin < HAK_LOCK_SPINS; spin++) {
		uint32_t free_state = 0;

		hak_os_relax();
		if (atomic_load_explicit(&lock->state, memory_order_relaxed) == 0 &&
		    atomic_compare_exchange_strong_explicit(&lock->state, &free_state, 1,
							    memory_order_acquire,
							    memory_order_relaxed))
			return;
	}
	/* From here on the lock is taken as "somebody sleeps": we cannot know that we were the
	 * last. acquire: pairs with the release in hak_lock_give(). */
	while (atomic_exchange_explicit(&lock->state, 2, memory_order_acquire) != 0)
		hak_os_futex_wait(&lock->state, 2, 0);
}

void hak_lock_note_taken(const struct hak_lock *lock)
{
	HAK_CHECK((held_ranks >> lock->rank) == 0);
	held_ranks |= 1u << lock->rank;
}

void hak_lock_note_given(const struct hak_lock *lock)
{
	HAK_CHECK(((held_ranks >> lock->rank) & 1) != 0);
	held_ranks &= ~(1u << lock->rank);
}

bool hak_lock_is_noted(const struct hak_lock *lock)
{
	return ((held_ranks >> lock->rank) & 1) != 0;
}
