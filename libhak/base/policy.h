/* policy.h - what the daemon asks of this process, beside the settings of its own.
 *
 * All 0, which is "nothing", until the mailbox has been read (govern/telemetry.h), after the daemon
 * has been silent for HAK_POLICY_TTL_NS, and in the child of a fork. Values are clamped when they
 * are set: a daemon is trusted with policy, not with the program's life.
 *
 *   budgets   the stricter of both holds, the program's own and the daemon's; of the daemon's a
 *             hard one refuses only where it says so (refuses), and is else only counted
 *   decay     the daemon's goes before HAK_DECAY
 *
 * Threads    any may read; one at a time sets.
 */
#ifndef HAK_BASE_POLICY_H
#define HAK_BASE_POLICY_H

#include "base/settings.h"

#define HAK_POLICY_TTL_NS ((uint64_t)60000000000)
#define HAK_POLICY_BUDGET_BYTES_MIN ((uint64_t)1 << 20)
#define HAK_POLICY_DECAY_NS_MAX ((uint64_t)86400000000000)
#define HAK_POLICY_LEVEL_MAX 2

struct hak_policy_values {
	uint64_t soft_bytes; /* 0: none */
	uint64_t hard_bytes; /* 0: none */
	bool refuses;
	uint64_t purge_level;
	uint64_t decay_ns;	     /* 0: as set */
	uint64_t magazine_bytes_max; /* 0: HAK_MAGAZINE_BYTES_MAX */
	bool wants_agent;
};

struct hak_policy {
	_Atomic uint64_t soft_bytes;
	_Atomic uint64_t refusing_bytes; /* the hard budget where it refuses, else 0 */
	_Atomic uint64_t counting_bytes; /* the hard budget in any case */
	_Atomic uint64_t purge_level;
	_Atomic uint64_t decay_ns;
	_Atomic uint64_t magazine_bytes_max;
	_Atomic uint64_t wants_agent;
};

extern HAK_HIDDEN struct hak_policy hak_policy;

/* Clamps them, and puts them in force. */
void hak_policy_set(const struct hak_policy_values *values);
void hak_policy_forget(void);

/* The stricter of two budgets, of which 0 is none. */
HAK_INLINE uint64_t hak_policy_stricter(uint64_t one, uint64_t other)
{
	return one - 1 < other - 1 ? one : other;
}

/* Whether there may be threads of libhak's own (govern/agent.h). */
HAK_INLINE bool hak_policy_has_agent(void)
{
	return hak_settings.agent || hak_setting(&hak_policy.wants_agent) != 0;
}

/* The hard budget that refuses, and the soft one; 0: none. */
HAK_INLINE uint64_t hak_policy_hard_bytes(void)
{
	return hak_policy_stricter(hak_setting(&hak_settings.budget_hard_bytes),
				   hak_setting(&hak_policy.refusing_bytes));
}

HAK_INLINE uint64_t hak_policy_soft_bytes(void)
{
	return hak_policy_stricter(hak_setting(&hak_settings.budget_soft_bytes),
				   hak_setting(&hak_policy.soft_bytes));
}

HAK_INLINE uint64_t hak_policy_decay_ns(void)
{
	uint64_t decay_ns = hak_setting(&hak_policy.decay_ns);

	return decay_ns != 0 ? decay_ns : hak_setting(&hak_settings.decay_ms) * 1000000;
}

#endif
