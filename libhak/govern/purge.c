#include "govern/purge.h"

#include "base/os.h"
#include "base/policy.h"
#include "base/probe.h"
#include "heap/depot.h"
#include "heap/hole.h"
#include "heap/huge_cache.h"
#include "heap/pool.h"
#include "heap/region.h"
#include "heap/thread.h"

#include <stdatomic.h>

/* When to look again; who moves it forward by CAS does the work. */
static _Atomic uint64_t due_ns;

static _Atomic uint64_t returned_bytes;

/* The system did not take the last that was to go: it is locked. */
static _Atomic bool is_refused;

/* The most SuperSlabs that one slow path gives back: 2 MiB take the kernel up to 130 us, and a
 * malloc that returns a gibibyte would stand still for 70 ms. */
#define BATCH 8

static void note_returned(size_t bytes)
{
	if (bytes != 0)
		HAK_PROBE(purge, bytes);
	atomic_fetch_add_explicit(&returned_bytes, bytes, memory_order_relaxed);
}

/* Where the next unit in a claim lies, from `unit` on; HAK_SUPERSLAB_UNITS where there is none. */
static unsigned next_unit(const struct hak_pool_claim *claim, unsigned unit, bool claimed)
{
	while (unit < HAK_SUPERSLAB_UNITS) {
		uint64_t word = claim->units[unit / HAK_WORD_BITS];
		uint64_t rest = (claimed ? word : ~word) >> unit % HAK_WORD_BITS;

		if (rest != 0)
			return unit + (unsigned)__builtin_ctzl(rest);
		unit = (unit / HAK_WORD_BITS + 1) * HAK_WORD_BITS;
	}
	return HAK_SUPERSLAB_UNITS;
}

size_t hak_purge_claim(const struct hak_pool_claim *claim, enum hak_pool_outcome outcome)
{
	bool (*const advise)(void *address, size_t bytes) = outcome == HAK_POOL_LAZY
								    ? hak_os_mark_lazy
								    : hak_os_return;
	char *start = hak_region_address(claim->superslab * (uint32_t)HAK_SUPERSLAB_UNITS);
	unsigned first = next_unit(claim, 0, true);
	bool advised = true;
	size_t bytes = 0;

	while (first < HAK_SUPERSLAB_UNITS) {
		unsigned end = next_unit(claim, first, false);
		size_t row_bytes = (size_t)(end - first) << HAK_UNIT_SHIFT;

		advised = advised && advise(start + ((size_t)first << HAK_UNIT_SHIFT), row_bytes);
		bytes += row_bytes;
		first = next_unit(claim, end, true);
	}
	hak_pool_put_back(claim, advised ? outcome : HAK_POOL_KEPT);
	if (outcome == HAK_POOL_RETURNED)
		atomic_store_explicit(&is_refused, !advised, memory_order_relaxed);
	if (!advised)
		return 0;
	if (outcome == HAK_POOL_RETURNED) {
		size_t held = (size_t)claim->holding_count << HAK_UNIT_SHIFT;

		bytes = held < bytes ? held : bytes;
		note_returned(bytes);
	}
	return bytes;
}

/* True where there may be more of that age. */
static bool purge_superslabs(uint64_t before_ns)
{
	struct hak_pool_claim claim;

	for (unsigned i = 0; i < BATCH; i++) {
		if (!hak_pool_claim_empty(before_ns, &claim))
			return false;
		(void)hak_purge_claim(&claim, HAK_POOL_RETURNED);
	}
	return true;
}

bool hak_purge_is_pending(void)
{
	return (hak_pool_has_empty() && !atomic_load_explicit(&is_refused, memory_order_relaxed)) ||
	       hak_huge_cache_has_any();
}

bool hak_purge_has_more(uint64_t now_ns)
{
	return hak_pool_has_empty() &&
	       now_ns >= atomic_load_explicit(&due_ns, memory_order_relaxed);
}

void hak_purge_if_due(uint64_t now_ns)
{
	if (!hak_pool_has_empty() && !hak_huge_cache_has_any())
		return;
	uint64_t due = atomic_load_explicit(&due_ns, memory_order_relaxed);

	if (now_ns < due ||
	    !atomic_compare_exchange_strong_explicit(&due_ns, &due, now_ns + HAK_PURGE_INTERVAL_NS,
						     memory_order_relaxed, memory_order_relaxed))
		return;
	uint64_t decay_ns = hak_policy_decay_ns();
	uint64_t before_ns = now_ns > decay_ns ? now_ns - decay_ns : 0;

	/* More of it: the next slow path goes on, whoever makes it. */
	if (purge_superslabs(before_ns))
		atomic_store_explicit(&due_ns, now_ns, memory_order_relaxed);
	hak_huge_cache_stamp(now_ns);
	note_returned(hak_huge_cache_purge(before_ns));
}

uint64_t hak_purge_returned_bytes(void)
{
	return atomic_load_explicit(&returned_bytes, memory_order_relaxed);
}

/* One slow path of a trim: so many SuperSlabs, or memory out of holes in slabs. Both are some
 * milliseconds at most. */
#define TRIM_SUPERSLABS 32
#define TRIM_HOLE_BYTES ((size_t)4 << 20)
#define TRIM_UNITS 16384

static void release(struct hak_purge_trim *trim, size_t bytes)
{
	trim->released_bytes += bytes;
}

size_t hak_purge_let_go(uint64_t before_ns)
{
	size_t bytes = hak_huge_cache_purge(before_ns);

	note_returned(bytes);
	/* On their way from depots to slabs blocks are out of reach. */
	hak_pool_note_away(true);
	hak_thread_shed();
	hak_depot_drain();
	hak_pool_note_away(false);
	return bytes;
}

static bool is_satisfied(const struct hak_purge_trim *trim)
{
	return trim->released_bytes >= trim->target_bytes;
}

/* True where there may be more. */
static bool trim_units(struct hak_purge_trim *trim)
{
	struct hak_pool_claim claim;

	for (unsigned i = 0; i < TRIM_SUPERSLABS && !is_satisfied(trim); i++) {
		if (!hak_pool_claim_from(&trim->next_superslab, &claim))
			return false;
		release(trim, hak_purge_claim(&claim, HAK_POOL_RETURNED));
	}
	return true;
}

static bool trim_holes(struct hak_purge_trim *trim)
{
	uint32_t end = (uint32_t)(hak_region_open_bytes() >> HAK_UNIT_SHIFT);
	uint32_t stop = end - trim->next_unit > TRIM_UNITS ? trim->next_unit + TRIM_UNITS : end;
	size_t bytes = 0;

	hak_pool_note_away(true);
	while (trim->next_unit < stop && bytes < TRIM_HOLE_BYTES && !is_satisfied(trim))
		bytes += hak_hole_return(&trim->next_unit);
	hak_pool_note_away(false);
	note_returned(bytes);
	release(trim, bytes);
	return trim->next_unit < end;
}

bool hak_purge_trim(struct hak_purge_trim *trim)
{
	if (trim->level == HAK_PURGE_ALL && !trim->is_begun) {
		release(trim, hak_purge_let_go(UINT64_MAX));
		trim->is_begun = true;
	}
	/* Free units first: they are the most for a system call. */
	bool more = !is_satisfied(trim) && (trim_units(trim) || trim_holes(trim)) &&
		    !is_satisfied(trim);

	HAK_PROBE(trim, trim->released_bytes, trim->target_bytes, (unsigned)more);
	return more;
}
