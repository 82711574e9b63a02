#include "govern/limit.h"

#include "base/os.h"
#include "base/policy.h"
#include "base/size_class.h"
#include "govern/attach.h"
#include "govern/purge.h"
#include "heap/budget.h"
#include "heap/depot.h"
#include "heap/huge.h"
#include "heap/tally.h"
#include "heap/thread.h"

#include <errno.h>
#include <hak/hak.h>
#include <stdatomic.h>

/* One thread at a time is in the callback; it may set another one from there. The pair is copied
 * under a flag of its own, held for two words, and inside the gate, so that no fork copies half of
 * it. */
static _Atomic bool callback_is_busy;
static __thread bool callback_is_mine;
static _Atomic bool pair_is_busy;
static struct {
	hak_budget_callback function;
	void *context;
} callback;

uint64_t hak_limit_used(void)
{
	struct hak_tally_sums sums;
	struct hak_huge_counts huge;

	(void)hak_thread_tally(&sums);
	hak_huge_count(&huge);
	return hak_tally_taken_bytes(&sums) + huge.live_bytes + huge.cached_bytes;
}

/* What a trim gives back for certain: other threads' magazines follow when those come to a slow
 * path. */
static uint64_t certain_bytes(void)
{
	struct hak_huge_counts huge;
	uint64_t bytes = 0;

	hak_huge_count(&huge);
	for (unsigned i = 1; i <= HAK_CLASS_COUNT; i++)
		bytes += (uint64_t)hak_depot_count(i) * hak_size_classes[i].block_bytes;
	return bytes + huge.cached_bytes;
}

#define TRIM_PAUSE_NS 10000000

/* All that can go: where that makes room for certain, else now and then, since a program that goes
 * on asking at its budget would do nothing else. */
static void trim_all(size_t wanted)
{
	static _Atomic uint64_t next_ns;
	uint64_t now_ns = hak_os_now_ns();
	uint64_t next = atomic_load_explicit(&next_ns, memory_order_relaxed);
	uint64_t certain = certain_bytes();

	if ((certain != 0 && !hak_budget_refuses(wanted > certain ? wanted - certain : 0)) ||
	    (now_ns >= next &&
	     atomic_compare_exchange_strong_explicit(&next_ns, &next, now_ns + TRIM_PAUSE_NS,
						     memory_order_relaxed, memory_order_relaxed)))
		hak_trim(SIZE_MAX);
}

/* acquire, and release: hand the pair from one thread to the next */
static struct hak_thread *take_pair(void)
{
	struct hak_thread *thread = hak_thread_enter();

	while (atomic_exchange_explicit(&pair_is_busy, true, memory_order_acquire))
		hak_os_yield();
	return thread;
}

static void give_pair(struct hak_thread *thread)
{
	atomic_store_explicit(&pair_is_busy, false, memory_order_release);
	hak_thread_leave(thread);
}

/* True: the program has one, and it says that it has helped. */
static bool callback_helps(size_t bytes)
{
	bool helped = false;

	if (atomic_exchange_explicit(&callback_is_busy, true, memory_order_acquire))
		return false;
	callback_is_mine = true;
	struct hak_thread *thread = take_pair();
	hak_budget_callback function = callback.function;
	void *context = callback.context;

	give_pair(thread);
	if (function != NULL)
		helped = function(bytes, context) != 0;
	callback_is_mine = false;
	atomic_store_explicit(&callback_is_busy, false, memory_order_release);
	return helped;
}

/* With what this thread itself keeps given back, which costs little. */
static bool has_room_after_purge(size_t bytes)
{
	hak_purge_thread();
	return !hak_budget_refuses(bytes);
}

#define TRIES_MAX 4

/* Again where others were moving memory meanwhile: what they hold on its way to the cache can go as
 * well. */
static bool make_room(size_t bytes)
{
	for (unsigned try = 0; try < TRIES_MAX; try++) {
		uint64_t held = hak_budget_settle();

		if (has_room_after_purge(bytes))
			return true;
		trim_all(bytes);
		if (!hak_budget_refuses(bytes))
			return true;
		if (hak_budget_settle() == held)
			break;
	}
	return false;
}

/* A budget of a daemon that is gone is none; this thread may be the first to look for long. */
static void forget_the_silent(void)
{
	struct hak_thread *thread;

	if (hak_setting(&hak_policy.refusing_bytes) == 0)
		return;
	thread = hak_thread_enter();
	if (hak_attach_is_silent(hak_os_now_ns()))
		hak_policy_forget();
	hak_thread_leave(thread);
}

bool hak_limit_relieve(size_t bytes)
{
	size_t wanted = hak_budget_refused();
	int saved_errno = errno;
	bool has_room;

	if (wanted == 0)
		return false;
	/* Others have given back meanwhile, or the daemon has changed the budget. */
	if (!hak_budget_refuses(wanted))
		return true;
	forget_the_silent();
	has_room = make_room(wanted);
	if (!has_room && callback_helps(bytes))
		has_room = has_room_after_purge(wanted);
	hak_budget_measure_anew();
	errno = saved_errno;
	return has_room;
}

/* Where a level is asked for and no budget is in the way, a pass is made so often. */
#define PASS_PAUSE_NS 1000000000ull

static _Atomic uint64_t exceeded_count;

/* What is free goes back; where the heap is above its budget after that as well, what is cached
 * follows, and so on in turn. One at a time is here. */
static void take_step(bool is_above, uint64_t level, uint64_t now_ns)
{
	static struct hak_purge_trim trim = {.level = HAK_PURGE_FREE, .target_bytes = UINT64_MAX};
	static uint64_t next_pass_ns;
	enum hak_purge_level next = trim.level == HAK_PURGE_FREE ? HAK_PURGE_ALL : HAK_PURGE_FREE;

	if (!is_above) {
		next = level < HAK_PURGE_ALL ? HAK_PURGE_FREE : HAK_PURGE_ALL;
		/* Of a budget that was in the way before. */
		if (trim.level > next)
			trim = (struct hak_purge_trim){.level = next, .target_bytes = UINT64_MAX};
	}
	if ((!is_above && now_ns < next_pass_ns) || hak_purge_trim(&trim))
		return;
	trim = (struct hak_purge_trim){.level = next, .target_bytes = UINT64_MAX};
	next_pass_ns = now_ns + PASS_PAUSE_NS;
}

uint64_t hak_limit_exceeded_count(void)
{
	return atomic_load_explicit(&exceeded_count, memory_order_relaxed);
}

/* Each time that it begins to be above. */
static void count_excess(uint64_t used)
{
	static bool was_above;
	uint64_t hard = hak_setting(&hak_policy.counting_bytes);
	bool is_above = hard != 0 && used > hard;

	if (is_above && !was_above)
		atomic_fetch_add_explicit(&exceeded_count, 1, memory_order_relaxed);
	was_above = is_above;
}

void hak_limit_look(uint64_t now_ns)
{
	static _Atomic bool is_busy;
	static _Atomic uint64_t due_ns;
	uint64_t level = hak_setting(&hak_policy.purge_level);
	/* A hard budget that is only counted is one to be frugal above, too. */
	uint64_t soft = hak_policy_stricter(hak_policy_soft_bytes(),
					    hak_setting(&hak_policy.counting_bytes));
	uint64_t used;
	bool is_above;

	if (hak_likely(soft == 0 && level == 0 && !hak_budget_is_frugal()) ||
	    now_ns < atomic_load_explicit(&due_ns, memory_order_relaxed) ||
	    atomic_exchange_explicit(&is_busy, true, memory_order_acquire))
		return;
	used = hak_limit_used();
	is_above = soft != 0 && used > soft;
	count_excess(used);
	hak_budget_be_frugal(is_above || level != 0);
	if (hak_budget_is_frugal())
		take_step(is_above, level, now_ns);
	atomic_store_explicit(&due_ns, now_ns + HAK_PURGE_INTERVAL_NS, memory_order_relaxed);
	atomic_store_explicit(&is_busy, false, memory_order_release);
}

HAK_EXPORT int hak_set_budget(uint64_t soft_bytes, uint64_t hard_bytes)
{
	if (hard_bytes != 0 && soft_bytes > hard_bytes) {
		errno = EINVAL;
		return -1;
	}
	atomic_store_explicit(&hak_settings.budget_soft_bytes, soft_bytes, memory_order_relaxed);
	atomic_store_explicit(&hak_settings.budget_hard_bytes, hard_bytes, memory_order_relaxed);
	hak_budget_measure_anew();
	return 0;
}

HAK_EXPORT void hak_set_budget_callback(hak_budget_callback function, void *context)
{
	struct hak_thread *thread = take_pair();

	callback.function = function;
	callback.context = context;
	give_pair(thread);
}

void hak_limit_fork_child(void)
{
	hak_policy_forget();
	atomic_store_explicit(&callback_is_busy, callback_is_mine, memory_order_relaxed);
}
