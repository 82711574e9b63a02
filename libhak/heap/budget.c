#include "heap/budget.h"

#include "base/os.h"

#include <stdatomic.h>

/* The most credit that one measurement gives: what is given back is seen again after so much. */
#define CREDIT_BYTES_MAX ((int64_t)16 << 20)

static HAK_EARLY _Atomic int64_t credit;
/* Of all that was ever held, and released: one word would look the same after both. */
static _Atomic uint64_t held_total, released_total;
/* Four bytes of each thread, in grains; UINT32_MAX is "more than can be made room for". */
static __thread uint32_t refused_grains;
static _Atomic bool is_frugal;
static _Atomic uint64_t failure_count;

/* Bytes that may be taken yet, 0 where it is less; and what had ever been held when that was so.
 * What comes or goes meanwhile is counted once or twice, but for what began to be held: whoever
 * takes the room looks whether anything did. */
static uint64_t room_under(uint64_t hard, uint64_t *held_before)
{
	/* acquire, twice: pair with the releases in hak_budget_release() and hak_budget_hold() */
	uint64_t released = atomic_load_explicit(&released_total, memory_order_acquire);
	uint64_t held = atomic_load_explicit(&held_total, memory_order_acquire);
	uint64_t used = hak_budget_used() + (held - released);

	*held_before = held;
	return used < hard ? hard - used : 0;
}

/* The room that is left; not where somebody has used credit since. */
static void set_credit(int64_t seen, uint64_t room)
{
	(void)atomic_compare_exchange_strong_explicit(
		&credit, &seen, room > CREDIT_BYTES_MAX ? CREDIT_BYTES_MAX : (int64_t)room,
		memory_order_relaxed, memory_order_relaxed);
}

/* Measures; where there is room, `holds` bytes are held from then on. */
static bool allows_by_measure(uint64_t hard, size_t bytes, size_t holds)
{
	uint64_t held, room;
	int64_t seen;

	do {
		/* acquire: pairs with the release in has_credit() */
		seen = atomic_load_explicit(&credit, memory_order_acquire);
		room = room_under(hard, &held);
		if (bytes > room) {
			set_credit(seen, 0);
			return false;
		}
	} while (!atomic_compare_exchange_weak_explicit(
		&held_total, &held, held + holds, memory_order_acq_rel, memory_order_relaxed));
	set_credit(seen, room - bytes);
	return true;
}

static bool has_credit(size_t bytes)
{
	/* release: who sees that it was used sees what was held before */
	return bytes <= (size_t)CREDIT_BYTES_MAX &&
	       atomic_fetch_sub_explicit(&credit, (int64_t)bytes, memory_order_acq_rel) >=
		       (int64_t)bytes;
}

static bool answer(bool allowed, size_t bytes)
{
	size_t grains = (bytes + HAK_GRAIN_BYTES - 1) / HAK_GRAIN_BYTES;

	refused_grains = allowed ? 0 : grains < UINT32_MAX ? (uint32_t)grains : UINT32_MAX;
	return allowed;
}

bool hak_budget_allows(size_t bytes)
{
	uint64_t hard = hak_policy_hard_bytes();

	if (hak_likely(hard == 0))
		return true;
	return answer(has_credit(bytes) || allows_by_measure(hard, bytes, 0), bytes);
}

bool hak_budget_reserve_under(uint64_t hard, size_t bytes, size_t *held)
{
	int64_t left = atomic_load_explicit(&credit, memory_order_relaxed);
	bool allowed = left >= 0 && bytes <= (size_t)left;

	/* Held before the credit is used: whoever measures in between sees one of both. Not where
	 * there is too little of it: others would be refused for what is not there. */
	*held = allowed ? hak_budget_hold_now(bytes) : 0;
	if (!allowed || !has_credit(bytes)) {
		hak_budget_release(*held);
		allowed = allows_by_measure(hard, bytes, bytes);
		*held = allowed ? bytes : 0;
	}
	return answer(allowed, bytes);
}

size_t hak_budget_hold_now(size_t bytes)
{
	atomic_fetch_add_explicit(&held_total, bytes, memory_order_acq_rel);
	return bytes;
}

void hak_budget_release_now(size_t held)
{
	atomic_fetch_add_explicit(&released_total, held, memory_order_release);
}

/* The most looks, with a system call each. */
#define LOOKS_MAX 1000

uint64_t hak_budget_settle(void)
{
	uint64_t held = atomic_load_explicit(&held_total, memory_order_relaxed);

	for (unsigned look = 0; look < LOOKS_MAX; look++) {
		if (atomic_load_explicit(&released_total, memory_order_acquire) >= held)
			break;
		hak_os_yield();
	}
	return held;
}

size_t hak_budget_refused(void)
{
	uint32_t grains = refused_grains;

	refused_grains = 0;
	return grains < UINT32_MAX ? grains * HAK_GRAIN_BYTES : SIZE_MAX;
}

bool hak_budget_refuses(size_t bytes)
{
	uint64_t hard = hak_policy_hard_bytes(), held;

	return hard != 0 && bytes > room_under(hard, &held);
}

void hak_budget_measure_anew(void)
{
	atomic_store_explicit(&credit, 0, memory_order_relaxed);
}

bool hak_budget_is_frugal(void)
{
	return atomic_load_explicit(&is_frugal, memory_order_relaxed);
}

void hak_budget_be_frugal(bool frugal)
{
	atomic_store_explicit(&is_frugal, frugal, memory_order_relaxed);
}

void hak_budget_note_failure(void)
{
	atomic_fetch_add_explicit(&failure_count, 1, memory_order_relaxed);
}

uint64_t hak_budget_failure_count(void)
{
	return atomic_load_explicit(&failure_count, memory_order_relaxed);
}
