#include "govern/lazyfree.h"

#include "base/os.h"
#include "base/settings.h"
#include "govern/purge.h"
#include "heap/hole.h"
#include "heap/huge_cache.h"
#include "heap/pool.h"
#include "heap/region.h"
#include "heap/tally.h"
#include "heap/thread.h"

#include <stdatomic.h>

#define MIB ((size_t)1 << 20)
#define UNITS(bytes) ((uint32_t)((bytes) >> HAK_UNIT_SHIFT))

/* Free memory that is left without marks: so much at least, and at most where the heap breathes. */
#define LIMIT_BYTES_MIN MIB
#define LIMIT_BYTES_MAX (4 * MIB)

/* What is marked in vain may cost this share of the program's time, and so much of it may be saved
 * up; a program that has just begun has less. */
#define COST_SHARE 64
#define CREDIT_NS_FIRST 25000000
#define CREDIT_NS_MAX 250000000

/* About what a call costs, with what goes with it; and from how many it is learnt how much is
 * marked by one. */
#define CALL_NS 2000
#define CALLS_LEARNT 4096

/* One slow path marks so much of units, most of them in long rows, or so much in holes, or looks at
 * so many units for those. */
#define BATCH_BYTES (16 * MIB)
#define BATCH_HOLE_BYTES (4 * MIB)
#define BATCH_UNITS 4096

/* A look at the whole heap each time that threads have freed this share of what was in use at the
 * last one: each finds fewer blocks in use, and more in a row between them. */
#define FREED_SHARE 2

/* Single pages are a call each, and most of them have free neighbours soon: they are left until
 * less than this share of the heap is in use. */
#define SCARCE_SHARE 8

/* Smaller heaps are not worth the walk, as they are not worth a daemon's (attach.c). */
#define HEAP_BYTES_MIN (8 * MIB)

/* How finely a thread tells what it frees. */
#define GRAIN_SHIFT 17

/* Taken again within this time, a mark was in vain. */
#define SOON_NS 1000000000ull

/* What the heap reused long ago is forgotten by halves. */
#define EASE_NS 8000000000ull

/* After a refusal: memory is locked, most likely all of it. */
#define REFUSED_PAUSE_NS 60000000000ull

static _Atomic bool is_busy;
static _Atomic uint64_t resume_ns;
static _Atomic bool is_marking;
static _Atomic uint32_t limit_units = UNITS(LIMIT_BYTES_MIN);
static _Atomic uint32_t stuck_units; /* free units that cannot be marked, at the last count */
static _Atomic int64_t freed_bytes;  /* since the heap was last looked at */
static _Atomic uint64_t used_bytes;  /* in use or cached, when it was */
static _Atomic uint64_t age_due_ns = UINT64_MAX; /* when the last marks will be old */
static _Atomic uint64_t paid_until_ns;		 /* for marks in vain; at first, when it began */

/* Of whoever is busy. */
static struct {
	uint32_t next_superslab; /* those below it are to be looked at yet */
	uint32_t next_unit;	 /* for holes; those behind it */
	unsigned hole_pages_min; /* that are worth a call */
	bool has_holes;		 /* they are to be looked at, too */
	uint64_t marked_bytes;	 /* since reuse was last judged */
	int64_t reused_bytes;	 /* what the tallies said when it was judged */
	uint64_t old_bytes;	 /* old marks, as far as they are there yet */
	uint64_t stamped_ns;	 /* when cached mappings were last stamped */
	uint64_t eased_ns;
	uint64_t call_count; /* of late */
	uint64_t call_bytes; /* that those marked */
	uint64_t charged_ns; /* of marks in vain, less what time has paid for since */
} pass = {.call_count = 1, .charged_ns = CREDIT_NS_MAX - CREDIT_NS_FIRST};

static uint32_t limit_now(void)
{
	return atomic_load_explicit(&limit_units, memory_order_relaxed);
}

static uint32_t target_units(uint32_t limit)
{
	return atomic_load_explicit(&stuck_units, memory_order_relaxed) + limit;
}

/* What this thread had freed more than taken when it last said so, in grains, of which the lower
 * bits are enough. */
static __thread int16_t told_grains;

static int16_t grains_freed(void)
{
	return (int16_t)(told_grains - (int16_t)(hak_tally_moved_in_region() >> GRAIN_SHIFT));
}

bool hak_lazyfree_is_urgent(void)
{
	return grains_freed() > 1 || atomic_load_explicit(&is_marking, memory_order_relaxed);
}

/* Adds what this thread has freed to what all have. */
static void tell_freed(void)
{
	int16_t grains = grains_freed();
	int64_t freed = grains * ((int64_t)1 << GRAIN_SHIFT);

	if (grains == 0)
		return;
	told_grains = (int16_t)(told_grains - grains);
	freed += atomic_fetch_add_explicit(&freed_bytes, freed, memory_order_relaxed);
	/* A heap that grows has nothing to make up for. */
	if (freed < 0)
		atomic_store_explicit(&freed_bytes, 0, memory_order_relaxed);
}

/* Much of what was in use at the last look has been freed since. */
static bool has_freed_much(void)
{
	int64_t least = (int64_t)limit_now() << HAK_UNIT_SHIFT;
	int64_t share = (int64_t)(atomic_load_explicit(&used_bytes, memory_order_relaxed) /
				  FREED_SHARE);

	return atomic_load_explicit(&freed_bytes, memory_order_relaxed) >=
	       (share > least ? share : least);
}

static uint64_t marks_now(const struct hak_tally_sums *sums)
{
	struct hak_pool_counts pool;

	hak_pool_count(&pool);
	return hak_tally_not_negative(sums->lazy_bytes) + (pool.lazy_unit_count << HAK_UNIT_SHIFT);
}

static void raise_limit(uint64_t by_bytes, uint64_t now_ns)
{
	uint32_t limit = limit_now() + UNITS(by_bytes + by_bytes / 4);

	if (limit > UNITS(LIMIT_BYTES_MAX))
		limit = UNITS(LIMIT_BYTES_MAX);
	atomic_store_explicit(&limit_units, limit, memory_order_relaxed);
	pass.eased_ns = now_ns;
}

/* What was marked in vain is paid for by the time that passes. */
static void charge(uint64_t bytes, uint64_t now_ns)
{
	uint64_t last_ns = atomic_load_explicit(&paid_until_ns, memory_order_relaxed);
	uint64_t paid = 0;

	/* Another thread may have read the clock later and been here before. */
	if (now_ns > last_ns) {
		paid = (now_ns - last_ns) / COST_SHARE;
		atomic_store_explicit(&paid_until_ns, now_ns, memory_order_relaxed);
	}
	pass.charged_ns -= paid < pass.charged_ns ? paid : pass.charged_ns;
	pass.charged_ns += bytes / (pass.call_bytes / pass.call_count + 1) * CALL_NS;
	if (pass.charged_ns > CREDIT_NS_MAX)
		atomic_store_explicit(&resume_ns,
				      now_ns + (pass.charged_ns - CREDIT_NS_MAX) * COST_SHARE,
				      memory_order_relaxed);
}

/* Where half of what was marked has soon been taken again, the heap breathes, and a little more is
 * left alone for some time. Which marks were taken is not known: the old ones count first. */
static void judge_reuse(uint64_t now_ns)
{
	struct hak_tally_sums sums;

	(void)hak_thread_tally(&sums);
	uint64_t reused = (uint64_t)(sums.reused_bytes - pass.reused_bytes);
	uint64_t old = reused < pass.old_bytes ? reused : pass.old_bytes;

	pass.old_bytes -= old;
	reused -= old;
	charge(reused, now_ns);
	if (reused > pass.marked_bytes / 2)
		raise_limit(reused, now_ns);
	pass.reused_bytes = sums.reused_bytes;
	pass.marked_bytes = 0;
}

/* What has stayed marked so long is old: a program that was idle meanwhile needs its memory again,
 * and has had it back in between. Who asks is the first after that, so what was reused until now
 * was reused late. */
static void let_age(void)
{
	struct hak_tally_sums sums;

	(void)hak_thread_tally(&sums);
	pass.reused_bytes = sums.reused_bytes;
	pass.marked_bytes = 0;
	pass.old_bytes = marks_now(&sums);
	atomic_store_explicit(&age_due_ns, UINT64_MAX, memory_order_relaxed);
}

static void ease(uint64_t now_ns)
{
	uint32_t limit = limit_now();

	if (limit == UNITS(LIMIT_BYTES_MIN) || now_ns < pass.eased_ns + EASE_NS)
		return;
	pass.eased_ns = now_ns;
	limit /= 2;
	if (limit < UNITS(LIMIT_BYTES_MIN))
		limit = UNITS(LIMIT_BYTES_MIN);
	atomic_store_explicit(&limit_units, limit, memory_order_relaxed);
}

static void begin_holes(uint64_t now_ns)
{
	struct hak_tally_sums sums;

	/* What is kept at hand holds on to pages and slabs that are free but for that: a few blocks
	 * each. Of mappings those go that were cached already at the last look. */
	(void)hak_purge_let_go(pass.stamped_ns);
	hak_huge_cache_stamp(now_ns);
	pass.stamped_ns = now_ns;
	(void)hak_thread_tally(&sums);
	uint64_t used = hak_tally_taken_bytes(&sums);

	atomic_store_explicit(&used_bytes, used, memory_order_relaxed);
	atomic_store_explicit(&freed_bytes, 0, memory_order_relaxed);
	pass.next_unit = 0;
	pass.hole_pages_min = used < hak_region_open_bytes() / SCARCE_SHARE
				      ? 1
				      : (unsigned)(HAK_UNIT_BYTES / hak_os_page_bytes());
}

static bool is_paused(uint64_t now_ns)
{
	return now_ns < atomic_load_explicit(&resume_ns, memory_order_relaxed);
}

/* False: it breathes too much. */
static bool begin(uint64_t now_ns)
{
	judge_reuse(now_ns);
	if (is_paused(now_ns))
		return false;
	pass.next_superslab = UINT32_MAX;
	/* Asked after the judgement, which may have raised the limit. */
	pass.has_holes = has_freed_much();
	if (pass.has_holes)
		begin_holes(now_ns);
	atomic_store_explicit(&is_marking, true, memory_order_relaxed);
	return true;
}

/* True where there is more to do. */
static bool mark_units(void)
{
	struct hak_pool_claim claim;
	uint32_t wanted = target_units(limit_now() / 2);
	size_t bytes = 0;

	/* A claim may look at many SuperSlabs in vain: that is enough for this slow path. */
	while (hak_pool_unmarked_count() > wanted && bytes < BATCH_BYTES &&
	       hak_pool_claim_unmarked(&pass.next_superslab, &claim))
		bytes += hak_purge_claim(&claim, HAK_POOL_LAZY);
	pass.marked_bytes += bytes;
	if (pass.next_superslab == 0)
		atomic_store_explicit(&stuck_units, hak_pool_unmarked_count(),
				      memory_order_relaxed);
	return pass.next_superslab != 0 && hak_pool_unmarked_count() > wanted;
}

static bool mark_holes(void)
{
	uint32_t end = UNITS(hak_region_open_bytes());
	uint32_t stop = end - pass.next_unit > BATCH_UNITS ? pass.next_unit + BATCH_UNITS : end;
	size_t bytes = 0;

	if (!pass.has_holes || pass.next_unit >= end)
		return false;
	hak_pool_note_away(true);
	while (pass.next_unit < stop && bytes < BATCH_HOLE_BYTES)
		bytes += hak_hole_mark(&pass.next_unit, pass.hole_pages_min);
	hak_pool_note_away(false);
	pass.marked_bytes += bytes;
	return pass.next_unit < end;
}

static bool has_much_unmarked(void)
{
	uint32_t unmarked = hak_pool_unmarked_count();

	if (unmarked < atomic_load_explicit(&stuck_units, memory_order_relaxed))
		atomic_store_explicit(&stuck_units, unmarked, memory_order_relaxed);
	return unmarked > target_units(limit_now());
}

static void note_calls(uint64_t count, uint64_t bytes)
{
	if (pass.call_count >= CALLS_LEARNT) {
		pass.call_count /= 2;
		pass.call_bytes /= 2;
	}
	pass.call_count += count;
	pass.call_bytes += bytes;
}

static uint64_t count_of(_Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

/* Units first: a mark for each of them is the most for a system call. */
static void mark(uint64_t now_ns)
{
	uint64_t calls = count_of(&hak_os_advice.count);
	uint64_t refused = count_of(&hak_os_advice.refused_count);
	uint64_t bytes = pass.marked_bytes;
	bool more = mark_units() || mark_holes();

	note_calls(count_of(&hak_os_advice.count) - calls, pass.marked_bytes - bytes);
	if (count_of(&hak_os_advice.refused_count) != refused) {
		atomic_store_explicit(&resume_ns, now_ns + REFUSED_PAUSE_NS, memory_order_relaxed);
		more = false;
	}
	if (pass.marked_bytes != 0)
		atomic_store_explicit(&age_due_ns, now_ns + SOON_NS, memory_order_relaxed);
	atomic_store_explicit(&is_marking, more, memory_order_relaxed);
}

static bool is_old(uint64_t now_ns)
{
	return now_ns >= atomic_load_explicit(&age_due_ns, memory_order_relaxed);
}

static bool is_due(uint64_t now_ns)
{
	if (!hak_settings.lazyfree || hak_region_open_bytes() < HEAP_BYTES_MIN)
		return false;
	/* What has begun is brought to its end. */
	if (!atomic_load_explicit(&is_marking, memory_order_relaxed) &&
	    (is_paused(now_ns) || !(has_much_unmarked() || has_freed_much() || is_old(now_ns))))
		return false;
	return hak_os_may_mark();
}

bool hak_lazyfree_is_marking(void)
{
	return atomic_load_explicit(&is_marking, memory_order_relaxed) &&
	       hak_region_open_bytes() >= HEAP_BYTES_MIN;
}

void hak_lazyfree_if_due(uint64_t now_ns)
{
	/* In any case, since hak_lazyfree_is_urgent() asks for what was not told. */
	tell_freed();
	if (hak_unlikely(atomic_load_explicit(&paid_until_ns, memory_order_relaxed) == 0))
		atomic_store_explicit(&paid_until_ns, now_ns, memory_order_relaxed);
	/* acquire, and release below: hand the state from one thread to the next */
	if (!is_due(now_ns) || atomic_exchange_explicit(&is_busy, true, memory_order_acquire))
		return;
	if (is_old(now_ns))
		let_age();
	ease(now_ns);
	if (atomic_load_explicit(&is_marking, memory_order_relaxed) || begin(now_ns))
		mark(now_ns);
	atomic_store_explicit(&is_busy, false, memory_order_release);
}
