#include "base/policy.h"

HAK_EARLY struct hak_policy hak_policy;

static void store(_Atomic uint64_t *to, uint64_t value)
{
	atomic_store_explicit(to, value, memory_order_relaxed);
}

static uint64_t at_most(uint64_t value, uint64_t most)
{
	return value < most ? value : most;
}

static uint64_t clamp_budget(uint64_t bytes)
{
	return bytes != 0 && bytes < HAK_POLICY_BUDGET_BYTES_MIN ? HAK_POLICY_BUDGET_BYTES_MIN
								 : bytes;
}

void hak_policy_set(const struct hak_policy_values *values)
{
	uint64_t hard_bytes = clamp_budget(values->hard_bytes);

	store(&hak_policy.soft_bytes, clamp_budget(values->soft_bytes));
	store(&hak_policy.refusing_bytes, values->refuses ? hard_bytes : 0);
	store(&hak_policy.counting_bytes, hard_bytes);
	store(&hak_policy.purge_level, at_most(values->purge_level, HAK_POLICY_LEVEL_MAX));
	store(&hak_policy.decay_ns, at_most(values->decay_ns, HAK_POLICY_DECAY_NS_MAX));
	store(&hak_policy.magazine_bytes_max,
	      at_most(values->magazine_bytes_max, HAK_MAGAZINE_BYTES_MAX));
	store(&hak_policy.wants_agent, values->wants_agent);
}

void hak_policy_forget(void)
{
	const struct hak_policy_values none = {.soft_bytes = 0};

	/* Mostly there is nothing to forget, and then nothing changes. */
	if ((hak_setting(&hak_policy.soft_bytes) | hak_setting(&hak_policy.counting_bytes) |
	     hak_setting(&hak_policy.purge_level) | hak_setting(&hak_policy.decay_ns) |
	     hak_setting(&hak_policy.magazine_bytes_max) | hak_setting(&hak_policy.wants_agent)) !=
	    0)
		hak_policy_set(&none);
}
