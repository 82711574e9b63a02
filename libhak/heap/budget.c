#include "heap/budget.h"

#include "base/policy.h"

#include <stdatomic.h>

/* The most credit that one measurement gives: what is given back is seen again after so much. */
#define CREDIT_BYTES_MAX ((int64_t)16 << 20)

static HAK_EARLY _Atomic int64_t credit;
static _Atomic bool is_frugal;
static _Atomic uint64_t failure_count;

/* Bytes that may be taken yet; 0 where it is less. */
static uint64_t room_under(uint64_t hard)
{
	uint64_t used = hak_budget_used();

	return used < hard ? hard - used : 0;
}

static bool allows_by_measure(uint64_t hard, size_t bytes)
{
	uint64_t room = room_under(hard);
	bool allowed = bytes <= room;

	room = allowed ? room - bytes : 0;
	atomic_store_explicit(&credit, room > CREDIT_BYTES_MAX ? CREDIT_BYTES_MAX : (int64_t)room,
			      memory_order_relaxed);
	return allowed;
}

bool hak_budget_allows(size_t bytes)
{
	uint64_t hard = hak_policy_hard_bytes();

	if (hak_likely(hard == 0))
		return true;
	if (bytes > (size_t)CREDIT_BYTES_MAX)
		return allows_by_measure(hard, bytes);
	int64_t before = atomic_fetch_sub_explicit(&credit, (int64_t)bytes, memory_order_relaxed);

	return before >= (int64_t)bytes || allows_by_measure(hard, bytes);
}

bool hak_budget_refuses(size_t bytes)
{
	uint64_t hard = hak_policy_hard_bytes();

	return hard != 0 && bytes > room_under(hard);
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
