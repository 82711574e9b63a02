/* solo.h - what changes a word in one step, plain while the process has one thread.
 *
 * A locked operation costs as much as ten plain ones. Whoever comes later was created by this
 * thread, and finds what it stored; a signal handler does not come in between (gate.h).
 *
 * Threads    any; the orders given hold where there are several.
 * Source     glibc's <sys/single_threaded.h>.
 */
#ifndef HAK_BASE_SOLO_H
#define HAK_BASE_SOLO_H

#include "base/config.h"

#include <stdatomic.h>
#include <sys/single_threaded.h>

/* Each returns the word as it was. */
HAK_INLINE uint64_t hak_solo_or(_Atomic uint64_t *word, uint64_t bits, memory_order order)
{
	if (__libc_single_threaded) {
		uint64_t was = atomic_load_explicit(word, memory_order_relaxed);

		atomic_store_explicit(word, was | bits, memory_order_relaxed);
		return was;
	}
	return atomic_fetch_or_explicit(word, bits, order);
}

HAK_INLINE uint64_t hak_solo_and(_Atomic uint64_t *word, uint64_t bits, memory_order order)
{
	if (__libc_single_threaded) {
		uint64_t was = atomic_load_explicit(word, memory_order_relaxed);

		atomic_store_explicit(word, was & bits, memory_order_relaxed);
		return was;
	}
	return atomic_fetch_and_explicit(word, bits, order);
}

HAK_INLINE uint64_t hak_solo_add(_Atomic uint64_t *word, uint64_t number, memory_order order)
{
	if (__libc_single_threaded) {
		uint64_t was = atomic_load_explicit(word, memory_order_relaxed);

		atomic_store_explicit(word, was + number, memory_order_relaxed);
		return was;
	}
	return atomic_fetch_add_explicit(word, number, order);
}

/* True: the word was *expected, and is `desired` now. False, and then perhaps for no reason: what
 * it is instead is in *expected. */
HAK_INLINE bool hak_solo_exchange(_Atomic uint64_t *word, uint64_t *expected, uint64_t desired,
				  memory_order order)
{
	if (__libc_single_threaded) {
		/* It was read by this thread. */
		atomic_store_explicit(word, desired, memory_order_relaxed);
		return true;
	}
	return atomic_compare_exchange_weak_explicit(word, expected, desired, order,
						     memory_order_relaxed);
}

#endif
