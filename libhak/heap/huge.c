#include "heap/huge.h"

#include "base/lock.h"
#include "base/memory.h"
#include "base/os.h"
#include "base/probe.h"
#include "base/report.h"
#include "base/settings.h"
#include "heap/budget.h"
#include "heap/meta.h"
#include "heap/tally.h"

/* A mapping: a block's, in its bucket; or a freed one's, in the cache. */
struct entry {
	struct entry *next; /* in its bucket */
	char *start;
	size_t map_bytes;
	size_t block_bytes; /* <= map_bytes, whole pages: what the program may use */
	uint64_t freed_ns;  /* cached: NOT_STAMPED until purge.c has looked */
	bool is_undumped;   /* cached: core dumps leave it out; so it was when purge.c looked */
};

#define ENTRY_LOG2 3
static_assert(sizeof(struct entry) <= sizeof(void *) << ENTRY_LOG2, "an entry fits its array");

/* The lock guards the shard's buckets, the entries in them, and their sums, which others read. */
static struct shard {
	struct hak_lock lock;
	_Atomic uint64_t live_bytes;
	_Atomic uint64_t block_count;
} shards[HAK_HUGE_SHARDS] = {[0 ... HAK_HUGE_SHARDS - 1] = {.lock = HAK_LOCK_OF(HAK_LOCK_HUGE)}};
static struct entry *buckets[HAK_HUGE_BUCKETS];

/* A clock costs a tenth of a huge block's malloc and free: what is freed has no age until somebody
 * looks at all of them. As a number it is younger than all others. */
#define NOT_STAMPED UINT64_MAX

/* A cached mapping that is this part of what is wanted is grown, by a system call, and saves as
 * many page faults. */
#define SAVING_SHARE 8

/* Freed mappings; the lock guards all of it, bytes is read by others for statistics. */
static struct {
	struct hak_lock lock;
	unsigned count;
	_Atomic size_t bytes;
	_Atomic unsigned leaving_count; /* on the way out of the cache to the system */
	struct entry *entries[HAK_HUGE_CACHE_SLOTS];
} cache = {.lock = HAK_LOCK_OF(HAK_LOCK_CACHE)};

/* size <= PTRDIFF_MAX: it cannot wrap. */
static size_t round_to_pages(size_t size)
{
	size_t page_bytes = hak_os_page_bytes();

	return (size + page_bytes - 1) & ~(page_bytes - 1);
}

/* Fibonacci hashing of the page number (Knuth, TAOCP 3, 6.4): mappings lie at regular distances. */
static unsigned bucket_of(const void *start)
{
	uint64_t hash = (uint64_t)((uintptr_t)start >> 12) * 0x9e3779b97f4a7c15ull;

	return (unsigned)(hash >> 40) % HAK_HUGE_BUCKETS;
}

static struct shard *shard_of(unsigned bucket)
{
	return &shards[bucket % HAK_HUGE_SHARDS];
}

/* An entry comes into its shard or leaves it. Plain sums in effect: one writer at a time. */
static void sum_locked(struct shard *shard, uint64_t bytes, uint64_t count)
{
	uint64_t live = atomic_load_explicit(&shard->live_bytes, memory_order_relaxed);
	uint64_t blocks = atomic_load_explicit(&shard->block_count, memory_order_relaxed);

	HAK_ASSERT(hak_lock_is_mine(&shard->lock));
	atomic_store_explicit(&shard->live_bytes, live + bytes, memory_order_relaxed);
	atomic_store_explicit(&shard->block_count, blocks + count, memory_order_relaxed);
	hak_tally_add_moved((int64_t)bytes);
}

static void registry_add(struct entry *entry)
{
	unsigned bucket = bucket_of(entry->start);
	struct shard *shard = shard_of(bucket);

	hak_lock_take(&shard->lock);
	entry->next = buckets[bucket];
	buckets[bucket] = entry;
	sum_locked(shard, entry->map_bytes, 1);
	hak_lock_give(&shard->lock);
}

/* Takes the entry of a block out; of two threads that free one block, one gets NULL. */
static struct entry *registry_remove(const void *start)
{
	unsigned bucket = bucket_of(start);
	struct shard *shard = shard_of(bucket);
	struct entry *entry = NULL;

	hak_lock_take(&shard->lock);
	for (struct entry **at = &buckets[bucket]; *at != NULL; at = &(*at)->next) {
		if ((*at)->start == start) {
			entry = *at;
			*at = entry->next;
			sum_locked(shard, -(uint64_t)entry->map_bytes, -(uint64_t)1);
			break;
		}
	}
	hak_lock_give(&shard->lock);
	return entry;
}

static struct entry *take_entry(void)
{
	return (struct entry *)(void *)hak_meta_take_array(ENTRY_LOG2);
}

static void give_entry(struct entry *entry)
{
	hak_meta_give_array((void **)(void *)entry, ENTRY_LOG2);
}

static void unmap(struct entry *entry)
{
	hak_os_unmap(entry->start, entry->map_bytes);
	HAK_PROBE(huge_unmap, entry->start, entry->map_bytes);
	give_entry(entry);
}

/* Memory leaves the cache, and begins to do so before it is counted there no longer: whoever finds
 * neither (hak_huge_make_room) knows that it is with the system. */
static void leave_begin(void)
{
	atomic_fetch_add_explicit(&cache.leaving_count, 1, memory_order_relaxed);
}

static void leave_end(void)
{
	/* release: pairs with the acquire in hak_huge_make_room() */
	atomic_fetch_sub_explicit(&cache.leaving_count, 1, memory_order_release);
}

static void unmap_evicted(struct entry *entry)
{
	unmap(entry);
	leave_end();
}

static struct entry *cache_remove_locked(unsigned i)
{
	struct entry *entry = cache.entries[i];
	size_t have = atomic_load_explicit(&cache.bytes, memory_order_relaxed);

	HAK_ASSERT(hak_lock_is_mine(&cache.lock));
	cache.entries[i] = cache.entries[--cache.count];
	/* release: pairs with the acquire in hak_huge_has_cached() */
	atomic_store_explicit(&cache.bytes, have - entry->map_bytes, memory_order_release);
	return entry;
}

static bool fits(const struct entry *entry, size_t bytes)
{
	return entry->map_bytes >= bytes && entry->map_bytes <= bytes + bytes / 8;
}

/* The mapping that serves `bytes` at the least cost, or cache.count: the shortest of those long
 * enough, else the longest of the others, unless it saves hardly any page fault. */
static unsigned cache_choose_locked(size_t bytes)
{
	unsigned longer = cache.count, shorter = cache.count;

	/* The newest, most often: it is warm, and a buffer that comes and goes has one size. */
	if (cache.count != 0 && fits(cache.entries[cache.count - 1], bytes))
		return cache.count - 1;
	for (unsigned i = 0; i < cache.count; i++) {
		size_t have = cache.entries[i]->map_bytes;

		if (have >= bytes &&
		    (longer == cache.count || have < cache.entries[longer]->map_bytes))
			longer = i;
		if (have < bytes && have >= bytes / SAVING_SHARE &&
		    (shorter == cache.count || have > cache.entries[shorter]->map_bytes))
			shorter = i;
	}
	return longer != cache.count ? longer : shorter;
}

static void cache_put(struct entry *entry);

/* A tail that is long enough for a huge block stays in the cache as a mapping of its own, resident
 * as it is. */
static void cut_tail(struct entry *entry, size_t bytes)
{
	size_t tail_bytes = entry->map_bytes - bytes;
	struct entry *tail = tail_bytes > HAK_RUN_BYTES_MAX ? take_entry() : NULL;

	if (tail == NULL) {
		hak_os_unmap(entry->start + bytes, tail_bytes);
	} else {
		tail->start = entry->start + bytes;
		tail->map_bytes = tail_bytes;
		cache_put(tail);
	}
	entry->map_bytes = bytes;
}

/* A mapping made to fit: a tail over an eighth is cut off, a missing one is grown. NULL: it could
 * not be grown, and is gone. */
static struct entry *fit(struct entry *entry, size_t bytes)
{
	char *grown = NULL;

	if (entry->map_bytes >= bytes) {
		cut_tail(entry, bytes);
		return entry;
	}
	/* Of the whole: the mapping counts nowhere now. */
	if (hak_budget_allows(bytes))
		grown = hak_os_remap(entry->start, entry->map_bytes, bytes);
	if (grown == NULL) {
		unmap(entry);
		return NULL;
	}
	HAK_PROBE(huge_resize, entry->start, grown, entry->map_bytes, bytes);
	entry->start = grown;
	entry->map_bytes = bytes;
	return entry;
}

/* A cached mapping that fits or is made to. NULL: there is none. */
static struct entry *cache_take(size_t bytes)
{
	struct entry *entry = NULL;
	bool leaves = false;
	unsigned i;

	if (atomic_load_explicit(&cache.bytes, memory_order_relaxed) == 0)
		return NULL;
	hak_lock_take(&cache.lock);
	i = cache_choose_locked(bytes);
	if (i != cache.count) {
		leaves = !fits(cache.entries[i], bytes);
		if (leaves)
			leave_begin();
		entry = cache_remove_locked(i);
	}
	hak_lock_give(&cache.lock);
	if (entry != NULL && entry->is_undumped)
		(void)hak_os_dump(entry->start, entry->map_bytes, true);
	if (leaves) {
		entry = fit(entry, bytes);
		leave_end();
	}
	return entry;
}

/* The oldest mapping leaves the cache; its caller unmaps it after unlocking. NULL: none is so
 * old. */
static struct entry *cache_evict_locked(uint64_t before_ns)
{
	unsigned oldest = 0;

	if (cache.count == 0)
		return NULL;
	for (unsigned i = 1; i < cache.count; i++)
		if (cache.entries[i]->freed_ns < cache.entries[oldest]->freed_ns)
			oldest = i;
	if (cache.entries[oldest]->freed_ns > before_ns)
		return NULL;
	leave_begin();
	return cache_remove_locked(oldest);
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

void hak_huge_size_cache(void)
{
	(void)cache_bytes_max();
}

static void cache_put(struct entry *entry)
{
	size_t most = cache_bytes_max();
	struct entry *evicted;
	bool kept;

	if (entry->map_bytes > most || hak_budget_is_frugal()) {
		unmap(entry);
		return;
	}
	entry->freed_ns = NOT_STAMPED;
	entry->is_undumped = false;
	/* Make room by the oldest, one at a time and unmapped outside the lock. */
	do {
		evicted = NULL;
		hak_lock_take(&cache.lock);
		size_t have = atomic_load_explicit(&cache.bytes, memory_order_relaxed);

		kept = cache.count < HAK_HUGE_CACHE_SLOTS && have + entry->map_bytes <= most;
		if (kept) {
			cache.entries[cache.count++] = entry;
			atomic_store_explicit(&cache.bytes, have + entry->map_bytes,
					      memory_order_relaxed);
		} else {
			evicted = cache_evict_locked(UINT64_MAX);
		}
		hak_lock_give(&cache.lock);
		if (evicted != NULL)
			unmap_evicted(evicted);
	} while (!kept);
}

/* Fresh memory at a multiple of `alignment`: map more, cut both ends off. */
static char *map_aligned(size_t bytes, size_t alignment)
{
	size_t mapped = bytes + alignment;
	char *start;

	if (alignment <= hak_os_page_bytes())
		return hak_os_map(bytes);
	if (mapped < bytes || (start = hak_os_map(mapped)) == NULL)
		return NULL;
	size_t before = (size_t)(-(uintptr_t)start & (alignment - 1));

	if (before != 0)
		hak_os_unmap(start, before);
	if (before != alignment)
		hak_os_unmap(start + before + bytes, alignment - before);
	return start + before;
}

/* A mapping that is made for the block. NULL: no memory. */
static struct entry *take_fresh(size_t bytes, size_t alignment)
{
	struct entry *entry;

	if (!hak_budget_allows(bytes))
		return NULL;
	/* First, so that noting the block cannot fail. */
	entry = take_entry();
	if (entry == NULL) {
		hak_huge_make_room();
		entry = take_entry();
	}
	if (entry == NULL)
		return NULL;
	entry->map_bytes = bytes;
	entry->start = map_aligned(bytes, alignment);
	if (entry->start == NULL) {
		hak_huge_make_room();
		entry->start = map_aligned(bytes, alignment);
	}
	if (entry->start == NULL) {
		give_entry(entry);
		return NULL;
	}
	HAK_PROBE(huge_map, entry->start, bytes);
	return entry;
}

void *hak_huge_take(size_t size, size_t alignment, bool *zeroed)
{
	/* No bytes at all are a page: an empty mapping would leave its address to the next. */
	size_t bytes = round_to_pages(size == 0 ? 1 : size);
	struct entry *entry = NULL;

	if (alignment <= hak_os_page_bytes())
		entry = cache_take(bytes);
	*zeroed = entry == NULL;
	if (entry == NULL)
		entry = take_fresh(bytes, alignment);
	if (entry == NULL)
		return NULL;
	char *start = entry->start;

	entry->block_bytes = bytes;
	registry_add(entry);
	return start;
}

bool hak_huge_give(void *block)
{
	struct entry *entry = registry_remove(block);

	if (entry == NULL)
		return false;
	cache_put(entry);
	return true;
}

bool hak_huge_bytes(const void *block, size_t *bytes)
{
	unsigned bucket = bucket_of(block);
	bool found = false;

	hak_lock_take(&shard_of(bucket)->lock);
	for (const struct entry *at = buckets[bucket]; at != NULL && !found; at = at->next) {
		if (at->start == block) {
			*bytes = at->block_bytes;
			found = true;
		}
	}
	hak_lock_give(&shard_of(bucket)->lock);
	return found;
}

/* The mapping at its new length, somewhere; NULL: it stays as it was. */
static char *remap(const struct entry *entry, size_t bytes)
{
	char *moved;

	/* Of the whole: out of the registry, the block counts nowhere now. */
	if (bytes > entry->map_bytes && !hak_budget_allows(bytes))
		return NULL;
	moved = hak_os_remap(entry->start, entry->map_bytes, bytes);
	if (moved == NULL) {
		hak_huge_make_room();
		moved = hak_os_remap(entry->start, entry->map_bytes, bytes);
	}
	return moved;
}

void *hak_huge_resize(void *block, size_t size)
{
	size_t bytes = round_to_pages(size);
	struct entry *entry = registry_remove(block);
	char *moved = block;

	if (entry == NULL)
		return NULL;
	if (bytes > entry->map_bytes || bytes < entry->map_bytes - entry->map_bytes / 8) {
		moved = remap(entry, bytes);
		if (moved != NULL) {
			HAK_PROBE(huge_resize, block, moved, entry->map_bytes, bytes);
			entry->map_bytes = bytes;
		}
	}
	if (moved != NULL) {
		entry->start = moved;
		entry->block_bytes = bytes;
	}
	registry_add(entry);
	return moved;
}

void hak_huge_stamp(uint64_t now_ns)
{
	hak_lock_take(&cache.lock);
	for (unsigned i = 0; i < cache.count; i++) {
		struct entry *entry = cache.entries[i];

		if (entry->freed_ns != NOT_STAMPED)
			continue;
		entry->freed_ns = now_ns;
		/* Under the lock, since a mapping that is away would make others map anew; 16 at
		 * most, and not for each free, which it would cost ten times. */
		entry->is_undumped = hak_os_dump(entry->start, entry->map_bytes, false);
	}
	hak_lock_give(&cache.lock);
}

bool hak_huge_has_cached(void)
{
	/* acquire: pairs with the release in cache_remove_locked(): whoever finds nothing finds
	 * what is on its way out. */
	return atomic_load_explicit(&cache.bytes, memory_order_acquire) != 0;
}

size_t hak_huge_purge(uint64_t before_ns)
{
	struct entry *evicted;
	size_t bytes = 0;

	while (hak_huge_has_cached()) {
		hak_lock_take(&cache.lock);
		evicted = cache_evict_locked(before_ns);
		hak_lock_give(&cache.lock);
		if (evicted == NULL)
			break;
		bytes += evicted->map_bytes;
		unmap_evicted(evicted);
	}
	return bytes;
}

/* The most looks at what other threads are unmapping: a system call each, of which the memory of 64
 * MiB takes some milliseconds. */
#define LOOKS_MAX 1000

void hak_huge_make_room(void)
{
	unsigned leaving;

	(void)hak_huge_purge(UINT64_MAX);
	/* What others are unmapping counts as memory until they have done so. acquire: pairs with
	 * the release in leave_end() */
	for (unsigned look = 0; look < LOOKS_MAX; look++) {
		leaving = atomic_load_explicit(&cache.leaving_count, memory_order_acquire);
		if (leaving == 0)
			break;
		hak_os_yield();
	}
}

void hak_huge_count(struct hak_huge_counts *counts)
{
	counts->block_count = 0;
	counts->live_bytes = 0;
	for (unsigned i = 0; i < HAK_HUGE_SHARDS; i++) {
		counts->block_count += atomic_load_explicit(&shards[i].block_count,
							    memory_order_relaxed);
		counts->live_bytes += atomic_load_explicit(&shards[i].live_bytes,
							   memory_order_relaxed);
	}
	counts->cached_bytes = atomic_load_explicit(&cache.bytes, memory_order_relaxed);
}

size_t hak_huge_copy(struct hak_huge_block *blocks, size_t room)
{
	size_t count = 0;

	for (unsigned bucket = 0; bucket < HAK_HUGE_BUCKETS; bucket++) {
		hak_lock_take(&shard_of(bucket)->lock);
		for (const struct entry *at = buckets[bucket]; at != NULL && count < room;
		     at = at->next)
			blocks[count++] = (struct hak_huge_block){.start = at->start,
								  .bytes = at->block_bytes};
		hak_lock_give(&shard_of(bucket)->lock);
	}
	return count;
}

static bool cache_is_valid(void)
{
	size_t bytes = 0;
	bool valid;

	hak_lock_take(&cache.lock);
	for (unsigned i = 0; i < cache.count; i++)
		bytes += cache.entries[i]->map_bytes;
	valid = cache.count <= HAK_HUGE_CACHE_SLOTS &&
		bytes == atomic_load_explicit(&cache.bytes, memory_order_relaxed);
	hak_lock_give(&cache.lock);
	return valid;
}

bool hak_huge_is_valid(void)
{
	struct hak_huge_counts counts;
	uint64_t bytes = 0, count = 0;
	bool valid = true;

	for (unsigned bucket = 0; bucket < HAK_HUGE_BUCKETS; bucket++) {
		hak_lock_take(&shard_of(bucket)->lock);
		for (const struct entry *at = buckets[bucket]; at != NULL; at = at->next) {
			valid = valid && bucket_of(at->start) == bucket &&
				at->block_bytes <= at->map_bytes &&
				(uintptr_t)at->start % hak_os_page_bytes() == 0;
			bytes += at->map_bytes;
			count++;
		}
		hak_lock_give(&shard_of(bucket)->lock);
	}
	hak_huge_count(&counts);
	return valid && bytes == counts.live_bytes && count == counts.block_count &&
	       cache_is_valid();
}
