#include "heap/run.h"

#include "base/misuse.h"
#include "base/os.h"
#include "base/report.h"
#include "heap/budget.h"
#include "heap/control.h"
#include "heap/pool.h"
#include "heap/region.h"
#include "heap/tally.h"

/* The secure build's. */
static _Atomic unsigned run_count;

/* The secure build's last unit of a run, which has no access. */
static void *guard_of(uint32_t unit, unsigned unit_count)
{
	return hak_region_address(unit + unit_count - (unsigned)HAK_GUARD_UNITS);
}

/* Those that came while there were few. So there are never more guards than that. */
static void guard(uint32_t unit, unsigned unit_count)
{
	if (atomic_fetch_add_explicit(&run_count, 1, memory_order_relaxed) < HAK_GUARDS_MAX)
		hak_os_guard(guard_of(unit, unit_count), HAK_UNIT_BYTES);
}

/* Where there was none it does nothing. False: it cannot be opened. */
static bool unguard(uint32_t unit, unsigned unit_count)
{
	bool opened = hak_os_unguard(guard_of(unit, unit_count), HAK_UNIT_BYTES);

	atomic_fetch_sub_explicit(&run_count, 1, memory_order_relaxed);
	return opened;
}

/* What the program may use of a run of so many units. */
static size_t bytes_of(unsigned unit_count)
{
	return (unit_count - HAK_GUARD_UNITS) << HAK_UNIT_SHIFT;
}

void *hak_run_take(size_t size, size_t alignment, bool *zeroed)
{
	unsigned unit_count = hak_run_units(size) + (unsigned)HAK_GUARD_UNITS;
	unsigned unit_alignment = hak_run_units(alignment);
	uint32_t unit;
	size_t held;

	if (!hak_budget_reserve((size_t)unit_count << HAK_UNIT_SHIFT, &held))
		return NULL;
	unit = hak_pool_take(unit_count, unit_alignment, zeroed);
	if (unit == HAK_POOL_NONE) {
		hak_budget_release(held);
		return NULL;
	}
	struct hak_slab *slab = hak_control_slab(unit);
	uint64_t last = atomic_load_explicit(&slab->control, memory_order_relaxed);

	HAK_CHECK((last & (HAK_CONTROL_SLAB | HAK_CONTROL_RUN)) == 0);
	/* release: pairs with the acquire of whoever reads the length */
	atomic_store_explicit(&slab->control,
			      hak_control_next(last, HAK_CONTROL_RUN, 0, unit_count),
			      memory_order_release);
	hak_region_mark(unit, unit_count, HAK_CLASS_RUN_HEAD, HAK_CLASS_RUN_TAIL);
	hak_tally_add_run_units(unit_count);
	hak_budget_release(held);
	if (HAK_GUARD_UNITS != 0)
		guard(unit, unit_count);
	return hak_region_address(unit);
}

static void report(enum hak_misuse_kind kind, const void *block, size_t bytes, const char *call)
{
	hak_misuse_report(
		&(struct hak_misuse){.kind = kind, .call = call, .address = block, .bytes = bytes});
}

/* The control word of the run whose first byte this is; 0 where there is none. */
static uint64_t control_of(const void *block, const char *call)
{
	uint32_t unit = hak_region_unit(block);
	uint64_t control = atomic_load_explicit(&hak_control_slab(unit)->control,
						memory_order_acquire);

	if (hak_region_class(unit) == HAK_CLASS_RUN_HEAD && (control & HAK_CONTROL_RUN) != 0) {
		if (hak_likely(hak_region_offset(block) % HAK_UNIT_BYTES == 0))
			return control;
		hak_run_report_interior(block, call);
		return 0;
	}
	report(HAK_MISUSE_NOT_IN_USE, block, 0, call);
	return 0;
}

void hak_run_give(void *block)
{
	uint32_t unit = hak_region_unit(block);
	uint64_t control = control_of(block, "free");
	unsigned unit_count = hak_control_count(control);

	if (hak_unlikely(control == 0))
		return;
	/* One CAS decides between two threads that free the same run. acquire: pairs with the
	 * release in hak_run_take() */
	if (!atomic_compare_exchange_strong_explicit(&hak_control_slab(unit)->control, &control,
						     hak_control_next(control, 0, 0, 0),
						     memory_order_acq_rel, memory_order_relaxed)) {
		report(HAK_MISUSE_NOT_IN_USE, block, 0, "free");
		return;
	}
	hak_tally_add_run_units(-(int64_t)unit_count);
	hak_region_mark(unit, unit_count, HAK_CLASS_NONE, HAK_CLASS_NONE);
	/* A guard that cannot be opened, since the process may have no more that it can write to,
	 * is never used again. */
	if (HAK_GUARD_UNITS != 0 && !unguard(unit, unit_count))
		unit_count -= (unsigned)HAK_GUARD_UNITS;
	hak_pool_give(unit, unit_count, (struct hak_advice_units){0});
}

size_t hak_run_bytes(const void *block, const char *call)
{
	uint64_t control = control_of(block, call);

	return control == 0 ? 0 : bytes_of(hak_control_count(control));
}

void hak_run_shrink(void *block, size_t size)
{
	uint32_t unit = hak_region_unit(block);
	uint64_t control = control_of(block, "realloc");
	unsigned unit_count = hak_control_count(control);
	unsigned kept_count = hak_run_units(size);

	/* The secure build moves a block instead: its guard lies behind it. */
	if (kept_count >= unit_count || HAK_GUARD_UNITS != 0)
		return;
	atomic_store_explicit(&hak_control_slab(unit)->control,
			      hak_control_next(control, HAK_CONTROL_RUN, 0, kept_count),
			      memory_order_release);
	hak_tally_add_run_units((int64_t)kept_count - (int64_t)unit_count);
	hak_region_mark(unit + kept_count, unit_count - kept_count, HAK_CLASS_NONE, HAK_CLASS_NONE);
	hak_pool_give(unit + kept_count, unit_count - kept_count, (struct hak_advice_units){0});
}

void hak_run_report_interior(const void *block, const char *call)
{
	uint32_t head = hak_region_run_head(hak_region_unit(block));
	uint64_t control = atomic_load_explicit(&hak_control_slab(head)->control,
						memory_order_acquire);

	report(HAK_MISUSE_INTERIOR, block, bytes_of(hak_control_count(control)), call);
}
