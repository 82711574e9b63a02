#include "structures.h"

#include "stress.h"

#include "base/size_class.h"
#include "heap/census.h"
#include "heap/control.h"
#include "heap/depot.h"
#include "heap/huge.h"
#include "heap/pool.h"
#include "heap/region.h"
#include "heap/slab.h"

/* Units of what begins at this one; of what is free, one. */
static uint32_t units_at(uint32_t unit)
{
	unsigned class_idx = hak_region_class(unit);

	if (class_idx >= 1 && class_idx <= HAK_CLASS_COUNT)
		return hak_size_classes[class_idx].unit_count;
	if (class_idx == HAK_CLASS_RUN_HEAD)
		return hak_control_count(hak_control_slab(unit)->control);
	return 1;
}

void structures_check(void)
{
	uint32_t end = (uint32_t)(hak_region_open_bytes() >> HAK_UNIT_SHIFT);

	STRESS_CHECK(hak_pool_is_valid());
	STRESS_CHECK(hak_huge_is_valid());
	for (unsigned i = 1; i <= HAK_CLASS_COUNT; i++)
		STRESS_CHECK(hak_depot_is_valid(i));
	for (uint32_t unit = 0; unit < end; unit += units_at(unit))
		if (!hak_census_is_valid(unit))
			stress_fail("unit %u, of class %u, is not valid", unit,
				    hak_region_class(unit));
}
