#include "govern/purge.h"

#include "base/os.h"
#include "heap/huge.h"
#include "heap/pool.h"
#include "heap/region.h"

#include <stdatomic.h>

/* When to look again; who moves it forward by CAS does the work. */
static _Atomic uint64_t due_ns;

/* The most SuperSlabs that one slow path gives back: 2 MiB take the kernel up to 130 us, and a
 * malloc that returns a gibibyte would stand still for 70 ms. */
#define BATCH 8

/* True where there may be more of that age. */
static bool purge_superslabs(uint64_t before_ns)
{
	for (unsigned i = 0; i < BATCH; i++) {
		uint32_t index = hak_pool_take_empty(before_ns);

		if (index == HAK_POOL_NONE)
			return false;
		char *start = hak_region_address(index * (uint32_t)HAK_SUPERSLAB_UNITS);

		hak_pool_put_back(index, hak_os_return(start, HAK_SUPERSLAB_BYTES));
	}
	return true;
}

void hak_purge_if_due(void)
{
	if (!hak_pool_has_empty() && !hak_huge_has_cached())
		return;
	uint64_t now_ns = hak_os_now_ns();
	uint64_t due = atomic_load_explicit(&due_ns, memory_order_relaxed);

	if (now_ns < due ||
	    !atomic_compare_exchange_strong_explicit(&due_ns, &due, now_ns + HAK_PURGE_INTERVAL_NS,
						     memory_order_relaxed, memory_order_relaxed))
		return;
	uint64_t before_ns = now_ns > HAK_DECAY_NS ? now_ns - HAK_DECAY_NS : 0;

	/* More of it: the next slow path goes on, whoever makes it. */
	if (purge_superslabs(before_ns))
		atomic_store_explicit(&due_ns, now_ns, memory_order_relaxed);
	(void)hak_huge_purge(before_ns);
}
