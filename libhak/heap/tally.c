#include "heap/tally.h"

#include "base/size_class.h"

static struct hak_tally shared;

static __thread struct hak_tally *own;
static __thread int64_t moved_bytes; /* in the region */
static __thread uint32_t huge_kib;   /* may go around: who asks compares modulo 4 TiB at most */

void hak_tally_use(struct hak_tally *tally)
{
	own = tally;
}

static struct hak_tally *tally_now(void)
{
	return own != NULL ? own : &shared;
}

/* A read-modify-write, since the shared tally has many writers, and a record's tally has two for a
 * moment when it changes hands. */
static void add(_Atomic int64_t *sum, int64_t number)
{
	atomic_fetch_add_explicit(sum, number, memory_order_relaxed);
}

void hak_tally_add_taken(unsigned class_idx, int64_t blocks)
{
	struct hak_tally *tally = tally_now();
	int64_t bytes = blocks * (int64_t)hak_size_classes[class_idx].block_bytes;

	add(&tally->taken[class_idx], blocks);
	if (blocks > 0)
		add(&tally->refilled_bytes, bytes);
	moved_bytes += bytes;
}

void hak_tally_add_touched(unsigned class_idx, int64_t blocks)
{
	add(&tally_now()->touched[class_idx], blocks);
}

void hak_tally_add_slabs(unsigned class_idx, int64_t slabs)
{
	add(&tally_now()->slabs[class_idx], slabs);
}

void hak_tally_add_run_units(int64_t units)
{
	struct hak_tally *tally = tally_now();

	add(&tally->run_units, units);
	if (units > 0)
		add(&tally->refilled_bytes, units * (int64_t)HAK_UNIT_BYTES);
	moved_bytes += units * (int64_t)HAK_UNIT_BYTES;
}

void hak_tally_add_returned(int64_t bytes)
{
	add(&tally_now()->returned_bytes, bytes);
}

void hak_tally_add_lazy(int64_t bytes)
{
	add(&tally_now()->lazy_bytes, bytes);
}

void hak_tally_add_reused(int64_t bytes)
{
	if (bytes != 0)
		add(&tally_now()->reused_bytes, bytes);
}

void hak_tally_add_refaulted(int64_t bytes)
{
	add(&tally_now()->refaulted_bytes, bytes);
}

void hak_tally_add_huge(int64_t bytes)
{
	huge_kib += (uint32_t)(bytes / 1024);
}

int64_t hak_tally_moved(void)
{
	return moved_bytes + (int64_t)(int32_t)huge_kib * 1024;
}

int64_t hak_tally_moved_in_region(void)
{
	return moved_bytes;
}

void hak_tally_sum(const struct hak_tally *tally, struct hak_tally_sums *sums)
{
	if (tally == NULL)
		tally = &shared;
	for (unsigned i = 1; i <= HAK_CLASS_COUNT; i++) {
		sums->taken[i] += atomic_load_explicit(&tally->taken[i], memory_order_relaxed);
		sums->touched[i] += atomic_load_explicit(&tally->touched[i], memory_order_relaxed);
		sums->slabs[i] += atomic_load_explicit(&tally->slabs[i], memory_order_relaxed);
	}
	sums->run_units += atomic_load_explicit(&tally->run_units, memory_order_relaxed);
	sums->returned_bytes += atomic_load_explicit(&tally->returned_bytes, memory_order_relaxed);
	sums->lazy_bytes += atomic_load_explicit(&tally->lazy_bytes, memory_order_relaxed);
	sums->reused_bytes += atomic_load_explicit(&tally->reused_bytes, memory_order_relaxed);
	sums->refaulted_bytes += atomic_load_explicit(&tally->refaulted_bytes,
						      memory_order_relaxed);
	sums->refilled_bytes += atomic_load_explicit(&tally->refilled_bytes, memory_order_relaxed);
}

uint64_t hak_tally_taken_bytes(const struct hak_tally_sums *sums)
{
	int64_t bytes = sums->run_units * (int64_t)HAK_UNIT_BYTES;

	for (unsigned i = 1; i <= HAK_CLASS_COUNT; i++)
		bytes += sums->taken[i] * (int64_t)hak_size_classes[i].block_bytes;
	return hak_tally_not_negative(bytes);
}

uint64_t hak_tally_free_bytes(const struct hak_tally_sums *sums)
{
	int64_t bytes = -sums->returned_bytes;

	for (unsigned i = 1; i <= HAK_CLASS_COUNT; i++)
		bytes += (sums->touched[i] - sums->taken[i]) *
			 (int64_t)hak_size_classes[i].block_bytes;
	return hak_tally_not_negative(bytes);
}
