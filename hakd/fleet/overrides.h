/* overrides.h - budgets that were set from the command line.
 *
 * They go before what hakd.conf says, of a group or of one process, until they are cleared, until
 * their time is up, or until the daemon's state is gone (base/state.h): with the machine's boot,
 * and under systemd with a stop that is no restart. There are OVERRIDES_MAX of them at most. One
 * thread.
 */
#ifndef HAKD_FLEET_OVERRIDES_H
#define HAKD_FLEET_OVERRIDES_H

#include "base/clock.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define OVERRIDES_MAX 256

/* Whose: a group's where pid is 0. */
struct override_key {
	char group[128];
	pid_t pid;
	uint64_t start_ticks; /* with the pid: another process of that number is not meant */
};

struct override {
	struct override_key key;
	bool has_soft, has_hard, has_on_limit; /* what is not there is as in hakd.conf */
	uint64_t soft_bytes;		       /* 0: none at all */
	uint64_t hard_bytes;
	bool fails;
	uint64_t expires_ns; /* 0: holds until it is cleared */
};

struct overrides {
	struct override items[OVERRIDES_MAX];
	size_t count;
};

/* Sets it, in place of one of the same key, whose other values stay. False: there is no room. */
bool overrides_set(struct overrides *overrides, const struct override *wanted);

/* False: there was none. */
bool overrides_clear(struct overrides *overrides, const struct override_key *key);

/* NULL: none. Until the next call that is not overrides_find. */
const struct override *overrides_find(const struct overrides *overrides,
				      const struct override_key *key);

/* Drops those whose time is up. */
void overrides_expire(struct overrides *overrides, uint64_t now_ns);

#endif
