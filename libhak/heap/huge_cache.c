#include "heap/huge_cache.h"

#include "base/lock.h"
#include "base/memory.h"
#include "base/os.h"
#include "base/report.h"
#include "base/settings.h"
#include "heap/advice.h"
#include "heap/budget.h"
#include "heap/tally.h"

/* A clock costs a tenth of a huge block's malloc and free: what is freed has no age until somebody
 * looks at all of them. As a number it is younger than all others. */
#define NOT_STAMPED UINT64_MAX

/* A cached mapping that is this part of what is wanted saves as many page faults, and is worth the
 * system calls that make it fit. */
#define SAVING_SHARE 16

/* Freed mappings; the lock guards all of it, the sums are read by others. */
static struct {
	struct hak_lock lock;
	unsigned count;
	_Atomic size_t bytes;
	_Atomic size_t unmarked_bytes;	/* of these */
	_Atomic size_t news_bytes;	/* given since somebody heard of it */
	_Atomic unsigned leaving_count; /* on the way out of the cache to the system */
	struct hak_mapping *mappings[HAK_HUGE_CACHE_SLOTS];
} cache = {.lock = HAK_LOCK_OF(HAK_LOCK_CACHE)};

/* What has gone for its age, for as long as that is lately: mappings that are made meanwhile should
 * have come from here. The cache's lock guards it, bytes is read by others. */
static struct {
	_Atomic size_t bytes;
	uint8_t stamp; /* of the last (advice.h) */
} departed;

/* Memory leaves the cache, and begins to do so before it is counted there no longer: whoever finds
 * neither (hak_huge_cache_make_room) knows that it is with the system. */
static void leave_begin(void)
{
	atomic_fetch_add_explicit(&cache.leaving_count, 1, memory_order_relaxed);
}

static void leave_end(void)
{
	/* release: pairs with the acquire in hak_huge_cache_make_room() */
	atomic_fetch_sub_explicit(&cache.leaving_count, 1, memory_order_release);
}

static void unmap_evicted(struct hak_mapping *mapping)
{
	hak_mapping_unmap(mapping);
	leave_end();
}

/* The most that the cache may hold: what the setting says, and in a small container less. The first
 * to ask finds out; others who ask meanwhile do so, too. */
static size_t cache_bytes_max(void)
{
	static _Atomic size_t share;
	size_t most = hak_setting(&hak_settings.huge_cache_bytes);
	size_t part = atomic_load_explicit(&share, memory_order_relaxed);

	if (HAK_SECURE)
		return 0; /* what is freed must not be there any more */
	if (hak_unlikely(part == 0)) {
		part = hak_memory_bytes() / HAK_HUGE_CACHE_SHARE + 1;
		atomic_store_explicit(&share, part, memory_order_relaxed);
	}
	return most < part ? most : part;
}

void hak_huge_cache_size(void)
{
	(void)cache_bytes_max();
}

static void add_to(_Atomic size_t *sum, size_t bytes)
{
	atomic_store_explicit(sum, atomic_load_explicit(sum, memory_order_relaxed) + bytes,
			      memory_order_relaxed);
}

static struct hak_mapping *cache_remove_locked(unsigned i)
{
	struct hak_mapping *mapping = cache.mappings[i];
	size_t have = atomic_load_explicit(&cache.bytes, memory_order_relaxed);

	HAK_ASSERT(hak_lock_is_mine(&cache.lock));
	hak_mapping_leave(mapping);
	cache.mappings[i] = cache.mappings[--cache.count];
	if (!mapping->is_marked)
		add_to(&cache.unmarked_bytes, -mapping->bytes);
	/* release: pairs with the acquire in hak_huge_cache_has_any() */
	atomic_store_explicit(&cache.bytes, have - mapping->bytes, memory_order_release);
	return mapping;
}

/* The oldest mapping leaves the cache; its caller unmaps it after unlocking. NULL: none is so
 * old. */
static struct hak_mapping *cache_evict_locked(uint64_t before_ns)
{
	unsigned oldest = 0;

	if (cache.count == 0)
		return NULL;
	for (unsigned i = 1; i < cache.count; i++)
		if (cache.mappings[i]->freed_ns < cache.mappings[oldest]->freed_ns)
			oldest = i;
	if (cache.mappings[oldest]->freed_ns > before_ns)
		return NULL;
	leave_begin();
	return cache_remove_locked(oldest);
}

void hak_huge_cache_give(struct hak_mapping *mapping)
{
	size_t most = cache_bytes_max();
	struct hak_mapping *evicted;
	bool kept;

	if (mapping->bytes > most || hak_budget_is_frugal()) {
		hak_mapping_unmap(mapping);
		return;
	}
	mapping->freed_ns = NOT_STAMPED;
	mapping->is_undumped = mapping->is_marked = false;
	/* Make room by the oldest, one at a time and unmapped outside the lock. */
	do {
		evicted = NULL;
		hak_lock_take(&cache.lock);
		size_t have = atomic_load_explicit(&cache.bytes, memory_order_relaxed);

		kept = cache.count < HAK_HUGE_CACHE_SLOTS && have + mapping->bytes <= most;
		if (kept) {
			cache.mappings[cache.count++] = mapping;
			atomic_store_explicit(&cache.bytes, have + mapping->bytes,
					      memory_order_relaxed);
			add_to(&cache.unmarked_bytes, mapping->bytes);
			add_to(&cache.news_bytes, mapping->bytes);
			hak_mapping_arrive(mapping);
		} else {
			evicted = cache_evict_locked(UINT64_MAX);
		}
		hak_lock_give(&cache.lock);
		if (evicted != NULL)
			unmap_evicted(evicted);
	} while (!kept);
}

static bool fits(const struct hak_mapping *mapping, size_t bytes)
{
	return mapping->bytes >= bytes && mapping->bytes <= bytes + bytes / 8;
}

/* What is taken out of the cache for one block. */
struct choice {
	struct hak_mapping *mappings[HAK_MAPPING_PIECES_MAX];
	unsigned count, piece_count;
	size_t bytes;
};

/* The mapping that serves the rest at the least cost, or cache.count: the shortest of those long
 * enough, else the longest of the others, unless it saves hardly any page fault. Behind a shorter
 * one comes one piece more at least. */
static unsigned choose_locked(const struct choice *choice, size_t rest, size_t least)
{
	unsigned longer = cache.count, shorter = cache.count;
	unsigned pieces = HAK_MAPPING_PIECES_MAX - choice->piece_count;

	for (unsigned i = 0; i < cache.count; i++) {
		const struct hak_mapping *mapping = cache.mappings[i];
		size_t have = mapping->bytes;

		if (have >= rest && mapping->piece_count <= pieces &&
		    (longer == cache.count || have < cache.mappings[longer]->bytes))
			longer = i;
		if (have < rest && have >= least && mapping->piece_count < pieces &&
		    (shorter == cache.count || have > cache.mappings[shorter]->bytes))
			shorter = i;
	}
	return longer != cache.count ? longer : shorter;
}

static void add_locked(struct choice *choice, unsigned i)
{
	struct hak_mapping *mapping = cache_remove_locked(i);

	choice->mappings[choice->count++] = mapping;
	choice->piece_count += mapping->piece_count;
	choice->bytes += mapping->bytes;
}

/* One that is long enough, or several, as long as they are worth it. */
static void choose_all_locked(struct choice *choice, size_t bytes)
{
	bool may_gather = hak_mapping_may_gather();
	size_t least = bytes / SAVING_SHARE;

	do {
		unsigned i = choose_locked(choice, bytes - choice->bytes, least);

		if (i == cache.count)
			break;
		add_locked(choice, i);
	} while (may_gather && choice->bytes < bytes && bytes - choice->bytes >= least);
}

static void cut_tail(struct hak_mapping *mapping, size_t bytes)
{
	struct hak_mapping *tail = hak_mapping_cut(mapping, bytes);

	if (tail != NULL)
		hak_huge_cache_give(tail);
}

/* One mapping of what was chosen: a tail over an eighth is cut off, a missing one is grown. NULL:
 * it could not be made, and all are gone. */
static struct hak_mapping *fit(const struct choice *choice, size_t bytes)
{
	struct hak_mapping *last = choice->mappings[choice->count - 1];

	if (choice->count == 1 && fits(last, bytes))
		return last;
	if (choice->bytes > bytes)
		cut_tail(last, last->bytes - (choice->bytes - bytes));
	if (choice->count > 1 || (last->piece_count > 1 && last->bytes < bytes))
		return hak_mapping_gather(choice->mappings, choice->count, bytes);
	if (last->bytes < bytes && !hak_mapping_resize(last, bytes)) {
		hak_mapping_unmap(last);
		return NULL;
	}
	return last;
}

/* It is somebody's memory again. */
static void bring_back(const struct hak_mapping *mapping)
{
	if (mapping->is_undumped)
		(void)hak_os_dump(mapping->start, mapping->bytes, true);
	if (mapping->is_marked)
		hak_tally_add_reused((int64_t)mapping->bytes);
}

/* NULL: there is nothing that would do. */
static HAK_NOINLINE struct hak_mapping *cache_take_best(size_t bytes)
{
	struct choice choice = {.count = 0};
	struct hak_mapping *mapping = NULL;

	hak_lock_take(&cache.lock);
	choose_all_locked(&choice, bytes);
	if (choice.count != 0)
		leave_begin();
	hak_lock_give(&cache.lock);
	for (unsigned i = 0; i < choice.count; i++)
		bring_back(choice.mappings[i]);
	if (choice.count != 0) {
		mapping = fit(&choice, bytes);
		leave_end();
	}
	return mapping;
}

/* The newest, most often: it is warm, and a buffer that comes and goes has one size. */
static struct hak_mapping *cache_take(size_t bytes)
{
	struct hak_mapping *mapping = NULL;

	if (atomic_load_explicit(&cache.bytes, memory_order_relaxed) == 0)
		return NULL;
	hak_lock_take(&cache.lock);
	if (cache.count != 0 && fits(cache.mappings[cache.count - 1], bytes))
		mapping = cache_remove_locked(cache.count - 1);
	hak_lock_give(&cache.lock);
	if (hak_unlikely(mapping == NULL))
		return cache_take_best(bytes);
	bring_back(mapping);
	return mapping;
}

/* One that was made for such an alignment, or lies so by chance: none is cut or grown for it. */
static struct hak_mapping *cache_take_aligned(size_t bytes, size_t alignment)
{
	struct hak_mapping *mapping = NULL;

	if (atomic_load_explicit(&cache.bytes, memory_order_relaxed) == 0)
		return NULL;
	hak_lock_take(&cache.lock);
	for (unsigned i = cache.count; i-- > 0 && mapping == NULL;)
		if (fits(cache.mappings[i], bytes) &&
		    (uintptr_t)cache.mappings[i]->start % alignment == 0)
			mapping = cache_remove_locked(i);
	hak_lock_give(&cache.lock);
	if (mapping != NULL)
		bring_back(mapping);
	return mapping;
}

static size_t departed_bytes(void)
{
	return atomic_load_explicit(&departed.bytes, memory_order_relaxed);
}

static void note_departed(size_t bytes)
{
	hak_lock_take(&cache.lock);
	if (hak_advice_is_soon(departed.stamp))
		bytes += departed_bytes();
	atomic_store_explicit(&departed.bytes, bytes, memory_order_relaxed);
	departed.stamp = hak_advice_stamp();
	hak_lock_give(&cache.lock);
}

/* Each departed byte once. */
static HAK_NOINLINE void note_refault(size_t bytes)
{
	bool is_soon;

	hak_lock_take(&cache.lock);
	is_soon = hak_advice_is_soon(departed.stamp);
	if (bytes > departed_bytes())
		bytes = departed_bytes();
	atomic_store_explicit(&departed.bytes, is_soon ? departed_bytes() - bytes : 0,
			      memory_order_relaxed);
	hak_lock_give(&cache.lock);
	if (is_soon)
		hak_tally_add_refaulted((int64_t)bytes);
}

/* With the last reserve, if need be. NULL: no memory. */
static struct hak_mapping *take_fresh(size_t bytes, size_t alignment)
{
	struct hak_mapping *mapping = hak_mapping_make(bytes, alignment);

	if (mapping == NULL) {
		hak_huge_cache_make_room();
		mapping = hak_mapping_make(bytes, alignment);
	}
	if (hak_unlikely(departed_bytes() != 0) && mapping != NULL)
		note_refault(mapping->bytes);
	return mapping;
}

struct hak_mapping *hak_huge_cache_take(size_t bytes, size_t alignment, bool *zeroed)
{
	struct hak_mapping *mapping = alignment <= hak_os_page_bytes()
					      ? cache_take(bytes)
					      : cache_take_aligned(bytes, alignment);

	*zeroed = mapping == NULL;
	return mapping != NULL ? mapping : take_fresh(bytes, alignment);
}

void hak_huge_cache_stamp(uint64_t now_ns)
{
	hak_lock_take(&cache.lock);
	for (unsigned i = 0; i < cache.count; i++) {
		struct hak_mapping *mapping = cache.mappings[i];

		if (mapping->freed_ns != NOT_STAMPED)
			continue;
		mapping->freed_ns = now_ns;
		/* Under the lock, since a mapping that is away would make others map anew; 16 at
		 * most, and not for each free, which it would cost ten times. */
		mapping->is_undumped = hak_os_dump(mapping->start, mapping->bytes, false);
	}
	hak_lock_give(&cache.lock);
}

size_t hak_huge_cache_news(void)
{
	return atomic_load_explicit(&cache.news_bytes, memory_order_relaxed);
}

void hak_huge_cache_heard(void)
{
	if (hak_huge_cache_news() != 0)
		atomic_store_explicit(&cache.news_bytes, 0, memory_order_relaxed);
}

size_t hak_huge_cache_unmarked_bytes(void)
{
	return atomic_load_explicit(&cache.unmarked_bytes, memory_order_relaxed);
}

size_t hak_huge_cache_mark(void)
{
	size_t bytes = 0;

	hak_lock_take(&cache.lock);
	for (unsigned i = 0; i < cache.count; i++) {
		struct hak_mapping *mapping = cache.mappings[i];

		if (mapping->is_marked)
			continue;
		/* Under the lock, as above. */
		mapping->is_marked = hak_os_mark_lazy(mapping->start, mapping->bytes);
		if (!mapping->is_marked)
			break;
		add_to(&cache.unmarked_bytes, -mapping->bytes);
		bytes += mapping->bytes;
	}
	hak_lock_give(&cache.lock);
	return bytes;
}

bool hak_huge_cache_has_any(void)
{
	/* acquire: pairs with the release in cache_remove_locked(): whoever finds nothing finds
	 * what is on its way out. */
	return atomic_load_explicit(&cache.bytes, memory_order_acquire) != 0;
}

size_t hak_huge_cache_purge(uint64_t before_ns)
{
	struct hak_mapping *evicted;
	size_t bytes = 0;

	while (hak_huge_cache_has_any()) {
		hak_lock_take(&cache.lock);
		evicted = cache_evict_locked(before_ns);
		hak_lock_give(&cache.lock);
		if (evicted == NULL)
			break;
		bytes += evicted->bytes;
		unmap_evicted(evicted);
	}
	if (bytes != 0)
		note_departed(bytes);
	return bytes;
}

/* The most looks at what other threads are unmapping: a system call each, of which the memory of 64
 * MiB takes some milliseconds. */
#define LOOKS_MAX 1000

void hak_huge_cache_make_room(void)
{
	unsigned leaving;

	(void)hak_huge_cache_purge(UINT64_MAX);
	/* What others are unmapping counts as memory until they have done so. acquire: pairs with
	 * the release in leave_end() */
	for (unsigned look = 0; look < LOOKS_MAX; look++) {
		leaving = atomic_load_explicit(&cache.leaving_count, memory_order_acquire);
		if (leaving == 0)
			break;
		hak_os_yield();
	}
}

size_t hak_huge_cache_bytes(void)
{
	return atomic_load_explicit(&cache.bytes, memory_order_relaxed);
}

bool hak_huge_cache_is_valid(void)
{
	size_t bytes = 0, unmarked = 0;
	bool valid = true;

	hak_lock_take(&cache.lock);
	for (unsigned i = 0; i < cache.count; i++) {
		valid = valid && hak_mapping_is_valid(cache.mappings[i]);
		bytes += cache.mappings[i]->bytes;
		unmarked += cache.mappings[i]->is_marked ? 0 : cache.mappings[i]->bytes;
	}
	valid = valid && cache.count <= HAK_HUGE_CACHE_SLOTS && bytes == hak_huge_cache_bytes() &&
		unmarked == hak_huge_cache_unmarked_bytes();
	hak_lock_give(&cache.lock);
	return valid;
}
