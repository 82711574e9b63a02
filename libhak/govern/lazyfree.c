#include "govern/lazyfree.h"

#include "base/os.h"
#include "base/settings.h"
#include "govern/purge.h"
#include "heap/hole.h"
#include "heap/pool.h"
#include "heap/region.h"
#include "heap/tally.h"
#include "heap/thread.h"

#include <stdatomic.h>

#define MIB ((size_t)1 << 20)
#define UNITS(bytes) ((uint32_t)((bytes) >> HAK_UNIT_SHIFT))

/* Free memory that is left without marks: so much at least, more where the heap breathes. */
#define LIMIT_BYTES_MIN (16 * MIB)

/* One slow path marks so much, or looks at so many units for holes. */
#define BATCH_BYTES (4 * MIB)
#define BATCH_UNITS 4096

/* Holes are looked for whenever threads have freed so much more than they took: the limit, or this
 * share of the heap where that is more. */
#define HOLES_SHARE 16

/* What the heap reused long ago is forgotten by halves. */
#define EASE_NS 8000000000ull

/* After a refusal: memory is locked, most likely all of it. */
#define REFUSED_PAUSE_NS 60000000000ull

static _Atomic bool is_busy;
static _Atomic uint64_t resume_ns;
static _Atomic bool is_marking;
static _Atomic uint32_t limit_units = UNITS(LIMIT_BYTES_MIN);
static _Atomic uint32_t stuck_units; /* free units that cannot be marked, at the last count */
static _Atomic int64_t freed_bytes;  /* since holes were last looked for */

/* Of whoever is busy. */
static struct {
	uint32_t next_superslab; /* those below it are to be looked at yet */
	uint32_t next_unit;	 /* for holes; those behind it */
	bool has_holes;		 /* they are to be looked at, too */
	uint64_t marked_bytes;	 /* since reuse was last judged */
	int64_t reused_bytes;	 /* what the tallies said then */
	uint64_t eased_ns;
} pass;

static uint32_t limit_now(void)
{
	return atomic_load_explicit(&limit_units, memory_order_relaxed);
}

static uint32_t target_units(uint32_t limit)
{
	return atomic_load_explicit(&stuck_units, memory_order_relaxed) + limit;
}

/* What this thread has freed more than taken since it last said so is added to what all have. */
static bool has_freed(void)
{
	static __thread int16_t told_mib; /* of the sum's lower bits */
	int16_t mib = (int16_t)(hak_tally_moved() / (int64_t)MIB);
	int64_t least = (int64_t)(hak_region_open_bytes() / HOLES_SHARE);
	int64_t freed;

	if (mib == told_mib)
		return false;
	freed = (int64_t)(int16_t)(told_mib - mib) * (int64_t)MIB;
	freed += atomic_fetch_add_explicit(&freed_bytes, freed, memory_order_relaxed);
	told_mib = mib;
	/* A heap that grows has nothing to make up for. */
	if (freed < 0)
		atomic_store_explicit(&freed_bytes, 0, memory_order_relaxed);
	if (least < (int64_t)limit_now() << HAK_UNIT_SHIFT)
		least = (int64_t)limit_now() << HAK_UNIT_SHIFT;
	return freed >= least;
}

/* Where half of what was marked has been taken again since, twice as much more is left alone from
 * now on: a heap that breathes pays for its first breath. */
static void judge_reuse(uint64_t now_ns)
{
	struct hak_tally_sums sums;
	uint64_t reused;

	(void)hak_thread_tally(&sums);
	reused = (uint64_t)(sums.reused_bytes - pass.reused_bytes);
	if (reused > pass.marked_bytes / 2 && limit_now() < UNITS(hak_region_open_bytes())) {
		atomic_store_explicit(&limit_units, limit_now() + 2 * UNITS(reused),
				      memory_order_relaxed);
		pass.eased_ns = now_ns;
	}
	pass.reused_bytes = sums.reused_bytes;
	pass.marked_bytes = 0;
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

static void begin(bool has_holes, uint64_t now_ns)
{
	judge_reuse(now_ns);
	pass.next_superslab = UINT32_MAX;
	pass.next_unit = 0;
	pass.has_holes = has_holes;
	if (has_holes)
		atomic_store_explicit(&freed_bytes, 0, memory_order_relaxed);
	atomic_store_explicit(&is_marking, true, memory_order_relaxed);
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
	while (pass.next_unit < stop && bytes < BATCH_BYTES)
		bytes += hak_hole_mark(&pass.next_unit);
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

static uint64_t refused_count(void)
{
	return atomic_load_explicit(&hak_os_advice.refused_count, memory_order_relaxed);
}

/* Units first: a mark for each of them is the most for a system call. */
static void mark(uint64_t now_ns)
{
	uint64_t before = refused_count();
	bool more = mark_units() || mark_holes();

	if (refused_count() != before) {
		atomic_store_explicit(&resume_ns, now_ns + REFUSED_PAUSE_NS, memory_order_relaxed);
		more = false;
	}
	atomic_store_explicit(&is_marking, more, memory_order_relaxed);
}

void hak_lazyfree_if_due(uint64_t now_ns)
{
	bool has_holes;

	if (!hak_settings.lazyfree)
		return;
	has_holes = has_freed();
	/* acquire, and release below: hand the state from one thread to the next */
	if ((!has_much_unmarked() && !has_holes &&
	     !atomic_load_explicit(&is_marking, memory_order_relaxed)) ||
	    now_ns < atomic_load_explicit(&resume_ns, memory_order_relaxed) ||
	    atomic_exchange_explicit(&is_busy, true, memory_order_acquire))
		return;
	ease(now_ns);
	if (!atomic_load_explicit(&is_marking, memory_order_relaxed))
		begin(has_holes, now_ns);
	mark(now_ns);
	atomic_store_explicit(&is_busy, false, memory_order_release);
}
