#include "govern/sweep.h"

#include "base/policy.h"
#include "govern/purge.h"
#include "heap/pool.h"
#include "heap/region.h"
#include "heap/tally.h"
#include "heap/thread.h"

#include <stdatomic.h>

/* Looks in a decay: so many moments are compared, and each costs a sum over all threads. */
#define LOOKS_A_DECAY 4

/* Less than this is not looked for. A heap that has not opened twice as much is never summed up. */
#define MIB (1 << 20)
#define IDLE_MIB_MIN 8
#define IDLE_BYTES_MIN ((uint64_t)IDLE_MIB_MIN * MIB)

#define PAUSE_NS_MAX 64000000000ull

static _Atomic bool is_busy;
static _Atomic enum { QUIET, PENDING, SWEEPING } state;
static _Atomic uint64_t due_ns;

/* Of whoever is busy. */
static struct {
	uint64_t window_ns; /* since when idle_low is the least */
	uint64_t looked_ns;
	uint64_t idle_low;
	uint64_t idle_last;
	uint64_t pause_ns; /* after a sweep that found little; 0: none */
	uint64_t resume_ns;
	bool was_back; /* the program has come back from standing still, and this is its window */
	bool is_sweeping;
	struct hak_purge_trim trim;
} sweep;

/* A program that takes and frees nothing for this share of the decay stands still. After all that
 * is free has gone back, and a share of it was needed again soon: for how long it is to do so the
 * next time. */
#define STILL_SHARE 4
#define PATIENCE_NS_MAX (16 * HAK_SWEEP_SOON_NS)
#define REFAULT_SHARE 4

/* The same where the last has found little. */
#define FRUITLESS_NS_MAX 8000000000ull

/* The sweeps of all, which the agent asks for. */
static struct {
	_Atomic bool is_wanted;
	_Atomic uint64_t released_bytes; /* by the last */
	_Atomic int64_t refaulted_bytes; /* what the tallies said at its end */
	_Atomic(void *) agent;		 /* by its thread pointer; what follows is its own */
	uint64_t patience_ns;
	bool is_judged;
} whole;

/* An interval at least, even where all that is empty goes at once. */
static uint64_t decay_of_heap(void)
{
	uint64_t decay_ns = hak_policy_decay_ns();

	return decay_ns < HAK_PURGE_INTERVAL_NS ? HAK_PURGE_INTERVAL_NS : decay_ns;
}

/* Memory that holds no block in use or cached: in slabs, and in units that no slab has. */
static uint64_t idle_bytes(void)
{
	struct hak_tally_sums sums;
	struct hak_pool_counts pool;

	(void)hak_thread_tally(&sums);
	hak_pool_count(&pool);
	return hak_tally_free_bytes(&sums) + (pool.free_touched_unit_count << HAK_UNIT_SHIFT);
}

/* Much was taken or given by this thread since it last asked: what was idle then says little. */
static bool has_moved(void)
{
	static __thread int16_t last;
	int16_t now = (int16_t)(hak_tally_moved() / (MIB * IDLE_MIB_MIN / 2));
	int16_t moved = (int16_t)(now - last);

	if (-2 < moved && moved < 2)
		return false;
	last = now;
	return true;
}

static void begin(uint64_t target_bytes)
{
	/* Magazines and depots are left to those who use them. */
	sweep.trim = (struct hak_purge_trim){.level = HAK_PURGE_FREE, .target_bytes = target_bytes};
	sweep.is_sweeping = true;
}

static int64_t refaulted_bytes(void)
{
	struct hak_tally_sums sums;

	(void)hak_thread_tally(&sums);
	return sums.refaulted_bytes;
}

/* Nobody else sweeps all: who comes in the midst of it is at work again. */
static bool is_agent(void)
{
	return atomic_load_explicit(&whole.agent, memory_order_relaxed) ==
	       __builtin_thread_pointer();
}

static void begin_all(void)
{
	sweep.trim = (struct hak_purge_trim){.level = HAK_PURGE_ALL, .target_bytes = SIZE_MAX};
	sweep.is_sweeping = true;
}

static void end_all(void)
{
	atomic_store_explicit(&whole.released_bytes, sweep.trim.released_bytes,
			      memory_order_relaxed);
	atomic_store_explicit(&whole.refaulted_bytes, refaulted_bytes(), memory_order_relaxed);
	sweep.idle_low = sweep.idle_last = 0;
	sweep.is_sweeping = false;
}

/* Much of what went was needed again. */
static bool was_wrong(void)
{
	uint64_t released = atomic_load_explicit(&whole.released_bytes, memory_order_relaxed);
	int64_t again = refaulted_bytes() -
			atomic_load_explicit(&whole.refaulted_bytes, memory_order_relaxed);

	return again > MIB && (uint64_t)again > released / REFAULT_SHARE;
}

static bool has_found_little(void)
{
	return atomic_load_explicit(&whole.released_bytes, memory_order_relaxed) < IDLE_BYTES_MIN;
}

static void be_patient(uint64_t least_ns, uint64_t most_ns)
{
	uint64_t longer_ns = whole.patience_ns < least_ns ? least_ns : 2 * whole.patience_ns;

	whole.patience_ns = longer_ns < most_ns ? longer_ns : most_ns;
}

/* Once for each sweep. */
static void judge(bool stirred_soon, uint64_t decay_ns)
{
	if (stirred_soon && was_wrong())
		be_patient(HAK_SWEEP_SOON_NS, PATIENCE_NS_MAX);
	else if (stirred_soon && has_found_little())
		be_patient(decay_ns, FRUITLESS_NS_MAX);
	else
		whole.patience_ns = 0;
	whole.is_judged = true;
}

bool hak_sweep_all(uint64_t still_ns, bool stirred_soon)
{
	uint64_t decay_ns = decay_of_heap();

	if (!whole.is_judged)
		judge(stirred_soon, decay_ns);
	if (still_ns < decay_ns / STILL_SHARE || still_ns < whole.patience_ns)
		return false;
	whole.is_judged = false;
	atomic_store_explicit(&whole.agent, __builtin_thread_pointer(), memory_order_relaxed);
	atomic_store_explicit(&whole.is_wanted, true, memory_order_relaxed);
	return true;
}

static void look(uint64_t now_ns, uint64_t decay_ns)
{
	uint64_t idle = idle_bytes();

	/* No slow path since the last look, for a whole decay: as it was, so it stayed. But what
	 * was left may be what the program has come back for; not twice in a row, as some wake up
	 * for less than a decay now and then. */
	if (now_ns - sweep.looked_ns >= decay_ns) {
		sweep.was_back = !sweep.was_back;
		sweep.idle_low = sweep.idle_last;
		sweep.window_ns = sweep.was_back ? now_ns : sweep.looked_ns;
	}
	sweep.looked_ns = now_ns;
	sweep.idle_last = idle;
	if (idle < sweep.idle_low)
		sweep.idle_low = idle;
	if (now_ns - sweep.window_ns < decay_ns)
		return;
	sweep.was_back = false;
	if (sweep.idle_low >= IDLE_BYTES_MIN && now_ns >= sweep.resume_ns)
		begin(sweep.idle_low);
	sweep.idle_low = idle;
	sweep.window_ns = now_ns;
}

static void step(uint64_t now_ns, uint64_t decay_ns)
{
	bool is_all = sweep.trim.level == HAK_PURGE_ALL;
	bool more = (!is_all || is_agent()) && hak_purge_trim(&sweep.trim);

	if (more)
		return;
	if (is_all) {
		end_all();
		return;
	}
	sweep.is_sweeping = false;
	if (sweep.trim.released_bytes >= sweep.trim.target_bytes / 4)
		sweep.pause_ns = 0;
	else
		sweep.pause_ns = sweep.pause_ns == 0 ? 2 * decay_ns : 2 * sweep.pause_ns;
	if (sweep.pause_ns > PAUSE_NS_MAX)
		sweep.pause_ns = PAUSE_NS_MAX;
	sweep.resume_ns = now_ns + sweep.pause_ns;
}

bool hak_sweep_is_pending(void)
{
	return atomic_load_explicit(&state, memory_order_relaxed) != QUIET;
}

static bool is_wanted(void)
{
	return atomic_load_explicit(&whole.is_wanted, memory_order_relaxed);
}

bool hak_sweep_is_under_way(void)
{
	return is_wanted() || atomic_load_explicit(&state, memory_order_relaxed) == SWEEPING;
}

static bool is_due(uint64_t now_ns)
{
	return hak_sweep_is_under_way() ||
	       ((now_ns >= atomic_load_explicit(&due_ns, memory_order_relaxed) || has_moved()) &&
		hak_region_open_bytes() >= 2 * IDLE_BYTES_MIN);
}

/* What is idle is too little, or its time is farther away than a decay, where a look is put off. */
static bool is_quiet(uint64_t now_ns, uint64_t decay_ns)
{
	return sweep.idle_last < IDLE_BYTES_MIN || now_ns + decay_ns < sweep.resume_ns;
}

void hak_sweep_if_due(uint64_t now_ns)
{
	/* acquire, and release below: hand the state from one thread to the next */
	if (!is_due(now_ns) || atomic_exchange_explicit(&is_busy, true, memory_order_acquire))
		return;
	uint64_t decay_ns = decay_of_heap();

	/* Another thread has read the clock later and was here before: no time has passed. */
	if (now_ns < sweep.looked_ns)
		now_ns = sweep.looked_ns;
	uint64_t next_ns = now_ns;

	if (atomic_exchange_explicit(&whole.is_wanted, false, memory_order_relaxed) && is_agent())
		begin_all();
	if (sweep.is_sweeping)
		step(now_ns, decay_ns);
	else
		look(now_ns, decay_ns);
	if (!sweep.is_sweeping)
		next_ns += decay_ns / LOOKS_A_DECAY;
	atomic_store_explicit(&state,
			      sweep.is_sweeping		   ? SWEEPING
			      : is_quiet(now_ns, decay_ns) ? QUIET
							   : PENDING,
			      memory_order_relaxed);
	atomic_store_explicit(&due_ns, next_ns, memory_order_relaxed);
	atomic_store_explicit(&is_busy, false, memory_order_release);
}
