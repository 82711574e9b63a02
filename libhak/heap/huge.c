#include "heap/huge.h"

#include "base/lock.h"
#include "base/os.h"
#include "base/report.h"
#include "heap/huge_cache.h"
#include "heap/tally.h"

/* The lock guards the shard's buckets, the mappings in them, and their sums, which others read. */
static struct shard {
	struct hak_lock lock;
	_Atomic uint64_t live_bytes;
	_Atomic uint64_t block_count;
} shards[HAK_HUGE_SHARDS] = {[0 ... HAK_HUGE_SHARDS - 1] = {.lock = HAK_LOCK_OF(HAK_LOCK_HUGE)}};
static struct hak_mapping *buckets[HAK_HUGE_BUCKETS];

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

/* A mapping comes into its shard or leaves it. Plain sums in effect: one writer at a time. */
static void sum_locked(struct shard *shard, uint64_t bytes, uint64_t count)
{
	uint64_t live = atomic_load_explicit(&shard->live_bytes, memory_order_relaxed);
	uint64_t blocks = atomic_load_explicit(&shard->block_count, memory_order_relaxed);

	HAK_ASSERT(hak_lock_is_mine(&shard->lock));
	atomic_store_explicit(&shard->live_bytes, live + bytes, memory_order_relaxed);
	atomic_store_explicit(&shard->block_count, blocks + count, memory_order_relaxed);
	hak_tally_add_huge((int64_t)bytes);
}

static void registry_add(struct hak_mapping *mapping)
{
	unsigned bucket = bucket_of(mapping->start);
	struct shard *shard = shard_of(bucket);

	hak_lock_take(&shard->lock);
	mapping->next = buckets[bucket];
	buckets[bucket] = mapping;
	sum_locked(shard, mapping->bytes, 1);
	hak_mapping_arrive(mapping);
	hak_lock_give(&shard->lock);
}

/* Takes the mapping of a block out; of two threads that free one block, one gets NULL. */
static struct hak_mapping *registry_remove(const void *start)
{
	unsigned bucket = bucket_of(start);
	struct shard *shard = shard_of(bucket);
	struct hak_mapping *mapping = NULL;

	hak_lock_take(&shard->lock);
	for (struct hak_mapping **at = &buckets[bucket]; *at != NULL; at = &(*at)->next) {
		if ((*at)->start == start) {
			mapping = *at;
			*at = mapping->next;
			hak_mapping_leave(mapping);
			sum_locked(shard, -(uint64_t)mapping->bytes, -(uint64_t)1);
			break;
		}
	}
	hak_lock_give(&shard->lock);
	return mapping;
}

void *hak_huge_take(size_t size, size_t alignment, bool *zeroed)
{
	/* No bytes at all are a page: an empty mapping would leave its address to the next. */
	size_t bytes = round_to_pages(size == 0 ? 1 : size);
	struct hak_mapping *mapping = hak_huge_cache_take(bytes, alignment, zeroed);

	if (mapping == NULL)
		return NULL;
	char *start = mapping->start;

	mapping->block_bytes = bytes;
	registry_add(mapping);
	return start;
}

bool hak_huge_give(void *block)
{
	struct hak_mapping *mapping = registry_remove(block);

	if (mapping == NULL)
		return false;
	hak_huge_cache_give(mapping);
	return true;
}

bool hak_huge_bytes(const void *block, size_t *bytes)
{
	unsigned bucket = bucket_of(block);
	bool found = false;

	hak_lock_take(&shard_of(bucket)->lock);
	for (const struct hak_mapping *at = buckets[bucket]; at != NULL && !found; at = at->next) {
		if (at->start == block) {
			*bytes = at->block_bytes;
			found = true;
		}
	}
	hak_lock_give(&shard_of(bucket)->lock);
	return found;
}

/* With the last reserve, if need be. */
static bool resize(struct hak_mapping *mapping, size_t bytes)
{
	if (hak_mapping_resize(mapping, bytes))
		return true;
	hak_huge_cache_make_room();
	return hak_mapping_resize(mapping, bytes);
}

void *hak_huge_resize(void *block, size_t size)
{
	size_t bytes = round_to_pages(size);
	struct hak_mapping *mapping = registry_remove(block);
	bool fits, done;

	if (mapping == NULL)
		return NULL;
	fits = bytes <= mapping->bytes && bytes >= mapping->bytes - mapping->bytes / 8;
	done = fits || resize(mapping, bytes);
	if (done)
		mapping->block_bytes = bytes;
	block = mapping->start;
	registry_add(mapping);
	return done ? block : NULL;
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
	counts->cached_bytes = hak_huge_cache_bytes();
}

size_t hak_huge_copy(struct hak_huge_block *blocks, size_t room)
{
	size_t count = 0;

	for (unsigned bucket = 0; bucket < HAK_HUGE_BUCKETS; bucket++) {
		hak_lock_take(&shard_of(bucket)->lock);
		for (const struct hak_mapping *at = buckets[bucket]; at != NULL && count < room;
		     at = at->next)
			blocks[count++] = (struct hak_huge_block){.start = at->start,
								  .bytes = at->block_bytes};
		hak_lock_give(&shard_of(bucket)->lock);
	}
	return count;
}

bool hak_huge_is_valid(void)
{
	struct hak_huge_counts counts;
	uint64_t bytes = 0, count = 0;
	bool valid = true;

	for (unsigned bucket = 0; bucket < HAK_HUGE_BUCKETS; bucket++) {
		hak_lock_take(&shard_of(bucket)->lock);
		for (const struct hak_mapping *at = buckets[bucket]; at != NULL; at = at->next) {
			valid = valid && bucket_of(at->start) == bucket &&
				at->block_bytes <= at->bytes && hak_mapping_is_valid(at);
			bytes += at->bytes;
			count++;
		}
		hak_lock_give(&shard_of(bucket)->lock);
	}
	hak_huge_count(&counts);
	return valid && bytes == counts.live_bytes && count == counts.block_count &&
	       hak_huge_cache_is_valid();
}
