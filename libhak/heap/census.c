#include "heap/census.h"

#include "base/size_class.h"
#include "heap/control.h"
#include "heap/region.h"

/* Adds one slab to its class's row. */
static void count_slab(struct hak_slab *slab, uint64_t control, struct hak_census_row *row)
{
	unsigned class_idx = hak_control_class(control);
	unsigned block_count = hak_size_classes[class_idx].block_count;
	unsigned free_count = hak_control_count(control);
	unsigned high_water = hak_control_high_water(slab);
	unsigned untouched = high_water < block_count ? block_count - high_water : 0;

	row->slab_count++;
	row->taken_block_count += block_count - free_count;
	row->free_touched_block_count += free_count > untouched ? free_count - untouched : 0;
}

/* Units to the next slab or run, counting the one that begins here. Others go on meanwhile: the
 * byte and the word are believed only where they say the same. */
static uint32_t count_unit(uint32_t unit, unsigned class_idx, struct hak_census_row *counts,
			   uint64_t *run_unit_count)
{
	struct hak_slab *slab = hak_control_slab(unit);
	uint64_t control = atomic_load_explicit(&slab->control, memory_order_acquire);

	if (class_idx == HAK_CLASS_RUN_HEAD && (control & HAK_CONTROL_RUN) != 0) {
		*run_unit_count += hak_control_count(control);
		return hak_control_count(control);
	}
	if (class_idx <= HAK_CLASS_COUNT && (control & HAK_CONTROL_SLAB) != 0 &&
	    hak_control_class(control) == class_idx) {
		count_slab(slab, control, &counts[class_idx]);
		return hak_size_classes[class_idx].unit_count;
	}
	return 1;
}

void hak_census_of_slabs(struct hak_census_row counts[HAK_CLASS_COUNT + 1],
			 uint64_t *run_unit_count)
{
	uint32_t end = (uint32_t)(hak_region_open_bytes() >> HAK_UNIT_SHIFT);
	uint32_t unit = 0;

	*run_unit_count = 0;
	while (unit < end) {
		unsigned class_idx = hak_region_class(unit);

		unit += class_idx == HAK_CLASS_NONE
				? 1
				: count_unit(unit, class_idx, counts, run_unit_count);
	}
}

bool hak_census_is_valid(uint32_t unit)
{
	struct hak_slab *slab = hak_control_slab(unit);
	uint64_t control = atomic_load_explicit(&slab->control, memory_order_acquire);
	unsigned class_idx = hak_control_class(control);
	unsigned free_count = 0, unit_count;

	if ((control & HAK_CONTROL_RUN) != 0) {
		class_idx = HAK_CLASS_RUN_HEAD;
		unit_count = hak_control_count(control);
	} else if ((control & HAK_CONTROL_SLAB) != 0) {
		unit_count = hak_size_classes[class_idx].unit_count;
		for (unsigned i = 0; i < HAK_SLAB_WORDS; i++)
			free_count += (unsigned)__builtin_popcountl(
				atomic_load_explicit(&slab->free[i], memory_order_relaxed));
		if (free_count < hak_control_count(control) ||
		    free_count > hak_size_classes[class_idx].block_count)
			return false;
	} else {
		return hak_region_class(unit) == HAK_CLASS_NONE;
	}
	for (unsigned i = 0; i < unit_count; i++) {
		unsigned byte = i != 0 && class_idx == HAK_CLASS_RUN_HEAD ? HAK_CLASS_RUN_TAIL
									  : class_idx;

		if (hak_region_class(unit + i) != byte)
			return false;
		if (class_idx != HAK_CLASS_RUN_HEAD && hak_control_head(unit + i) != unit)
			return false;
	}
	return true;
}
