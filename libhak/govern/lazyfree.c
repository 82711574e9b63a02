#include "govern/lazyfree.h"

#include "base/os.h"
#include "base/settings.h"
#include "govern/credit.h"
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
#define LIMIT_SHARE 64 /* of a large heap it is more */

/* So much of mappings may be freed between two looks: while those may not be marked, more. */
#define NEWS_BYTES LIMIT_BYTES_MAX
#define NEWS_BYTES_PAUSED (64 * MIB)

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

/* What there is besides the marks, in calls: a sum over the tallies of all threads; magazines and
 * depots that are filled anew, and a look at all slabs. */
#define TALLIES_A_CALL 4
#define REFILL_CALLS 64
#define UNITS_A_CALL 64

/* How finely a thread tells what it frees. */
#define GRAIN_SHIFT 17

/* Taken again within this time, a mark was in vain. */
#define SOON_NS 1000000000ull

/* After so long without breaths the limit falls, by halves. */
#define EASE_NS 8000000000ull

/* After a refusal: memory is locked, most likely all of it. */
#define REFUSED_PAUSE_NS 60000000000ull

static _Atomic bool is_busy;
static _Atomic uint64_t resume_ns;	    /* nothing is marked before */
static _Atomic uint64_t resume_mappings_ns; /* nor are cached mappings */
static _Atomic size_t news_bytes = NEWS_BYTES;
static _Atomic bool is_marking;
static _Atomic uint32_t limit_units = UNITS(LIMIT_BYTES_MIN);
static _Atomic uint32_t stuck_units; /* free units that cannot be marked, at the last count */
static _Atomic int64_t freed_bytes;  /* since the heap was last looked at */
static _Atomic uint64_t used_bytes;  /* in use or cached, when it was */
static _Atomic uint64_t age_due_ns = UINT64_MAX; /* when the last marks will be old */
static _Atomic uint64_t looked_ns;		 /* while there are younger ones */
static _Atomic uint64_t began_ns;		 /* the first look of all */

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
	struct hak_credit credit; /* not begun where it is paid until 0 */
} pass;

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
	return grains_freed() > 1 ||
	       hak_huge_cache_news() > atomic_load_explicit(&news_bytes, memory_order_relaxed) ||
	       atomic_load_explicit(&is_marking, memory_order_relaxed);
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

static void hear_news(uint64_t now_ns)
{
	bool may_mark = now_ns >= atomic_load_explicit(&resume_mappings_ns, memory_order_relaxed);
	size_t bytes = may_mark ? NEWS_BYTES : NEWS_BYTES_PAUSED;

	hak_huge_cache_heard();
	if (atomic_load_explicit(&news_bytes, memory_order_relaxed) != bytes)
		atomic_store_explicit(&news_bytes, bytes, memory_order_relaxed);
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
	uint32_t most = UNITS(hak_region_open_bytes() / LIMIT_SHARE);

	if (most < UNITS(LIMIT_BYTES_MAX))
		most = UNITS(LIMIT_BYTES_MAX);
	atomic_store_explicit(&limit_units, limit < most ? limit : most, memory_order_relaxed);
	pass.eased_ns = now_ns;
}

/* What was marked in vain is paid for by the time that passes. */
static void charge(uint64_t bytes, uint64_t now_ns)
{
	struct hak_credit *credit = &pass.credit;

	hak_credit_charge(credit, bytes, now_ns);
	atomic_store_explicit(&resume_ns, hak_credit_due_ns(credit, 0), memory_order_relaxed);
	/* They are few, and go by their age: not on what a program begins with. */
	atomic_store_explicit(&resume_mappings_ns, hak_credit_due_ns(credit, HAK_CREDIT_NS_FIRST),
			      memory_order_relaxed);
}

/* Where half of what was marked has soon been taken again, the heap breathes, and a little more is
 * left alone for some time. Which marks were taken is not known: the old ones count first. */
static void judge_reuse(uint64_t now_ns)
{
	struct hak_tally_sums sums;
	unsigned tally_count = hak_thread_tally(&sums);
	uint64_t reused = (uint64_t)(sums.reused_bytes - pass.reused_bytes);
	uint64_t old = reused < pass.old_bytes ? reused : pass.old_bytes;

	pass.old_bytes -= old;
	reused -= old;
	hak_credit_drop(&pass.credit, old);
	charge(reused, now_ns);
	if (reused > pass.marked_bytes / 2)
		raise_limit(reused, now_ns);
	pass.reused_bytes = sums.reused_bytes;
	pass.marked_bytes = 0;
	hak_credit_note_marks(&pass.credit, tally_count / TALLIES_A_CALL, 0);
}

/* What has stayed marked so long is old: a program that was idle meanwhile needs its memory again,
 * and has had it back in between. If it was, who asks is the first after that, and what was reused
 * until now was reused late. */
static void let_age(uint64_t now_ns, bool was_idle)
{
	struct hak_tally_sums sums;
	uint64_t marked;

	if (!was_idle)
		judge_reuse(now_ns);
	(void)hak_thread_tally(&sums);
	marked = marks_now(&sums);
	if (pass.credit.marked_bytes > marked)
		hak_credit_drop(&pass.credit, pass.credit.marked_bytes - marked);
	pass.reused_bytes = sums.reused_bytes;
	pass.marked_bytes = 0;
	pass.old_bytes = marked;
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
	hak_credit_note_marks(&pass.credit,
			      REFILL_CALLS + UNITS(hak_region_open_bytes()) / UNITS_A_CALL, 0);
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

static bool has_unmarked_mappings(uint64_t now_ns)
{
	return hak_huge_cache_unmarked_bytes() > LIMIT_BYTES_MAX &&
	       now_ns >= atomic_load_explicit(&resume_mappings_ns, memory_order_relaxed);
}

static bool has_much_unmarked(void)
{
	uint32_t unmarked = hak_pool_unmarked_count();

	if (unmarked < atomic_load_explicit(&stuck_units, memory_order_relaxed))
		atomic_store_explicit(&stuck_units, unmarked, memory_order_relaxed);
	return unmarked > target_units(limit_now());
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
	bool more;

	if (has_unmarked_mappings(now_ns))
		pass.marked_bytes += hak_huge_cache_mark();
	more = mark_units() || mark_holes();
	hak_credit_note_marks(&pass.credit, count_of(&hak_os_advice.count) - calls,
			      pass.marked_bytes - bytes);
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

static bool is_large_enough(void)
{
	return hak_region_open_bytes() + hak_huge_cache_bytes() >= HEAP_BYTES_MIN;
}

static bool is_due(uint64_t now_ns)
{
	bool is_wanted = has_much_unmarked();
	bool is_begun = atomic_load_explicit(&is_marking, memory_order_relaxed);

	if (!hak_settings.lazyfree || !is_large_enough())
		return false;
	/* What has begun is brought to its end, whatever is owed meanwhile (let_age). */
	if (!is_begun && is_paused(now_ns))
		return false;
	is_wanted = is_wanted || is_begun || has_unmarked_mappings(now_ns) || has_freed_much() ||
		    is_old(now_ns);
	return is_wanted && hak_os_may_mark();
}

bool hak_lazyfree_is_marking(void)
{
	return atomic_load_explicit(&is_marking, memory_order_relaxed) && is_large_enough();
}

/* Whether the program has stood still since the last marks, or until they were old. */
static bool note_look(uint64_t now_ns)
{
	uint64_t due_ns = atomic_load_explicit(&age_due_ns, memory_order_relaxed);
	uint64_t last_ns = atomic_load_explicit(&looked_ns, memory_order_relaxed);

	if (due_ns != UINT64_MAX)
		atomic_store_explicit(&looked_ns, now_ns, memory_order_relaxed);
	if (hak_unlikely(atomic_load_explicit(&began_ns, memory_order_relaxed) == 0))
		atomic_store_explicit(&began_ns, now_ns, memory_order_relaxed);
	return last_ns + SOON_NS / 2 < due_ns;
}

void hak_lazyfree_if_due(uint64_t now_ns)
{
	bool was_idle = note_look(now_ns);

	/* In any case, since hak_lazyfree_is_urgent() asks for what was not told. */
	tell_freed();
	hear_news(now_ns);
	/* acquire, and release below: hand the state from one thread to the next */
	if (!is_due(now_ns) || atomic_exchange_explicit(&is_busy, true, memory_order_acquire))
		return;
	if (pass.credit.paid_until_ns == 0)
		hak_credit_begin(&pass.credit,
				 atomic_load_explicit(&began_ns, memory_order_relaxed));
	if (is_old(now_ns))
		let_age(now_ns, was_idle);
	ease(now_ns);
	if (atomic_load_explicit(&is_marking, memory_order_relaxed) || begin(now_ns))
		mark(now_ns);
	atomic_store_explicit(&is_busy, false, memory_order_release);
}

void hak_lazyfree_fork_child(void)
{
	atomic_store_explicit(&is_busy, false, memory_order_relaxed);
	atomic_store_explicit(&is_marking, false, memory_order_relaxed);
	atomic_store_explicit(&resume_ns, 0, memory_order_relaxed);
	atomic_store_explicit(&resume_mappings_ns, 0, memory_order_relaxed);
	atomic_store_explicit(&began_ns, 0, memory_order_relaxed);
	pass.credit = (struct hak_credit){.paid_until_ns = 0};
}
