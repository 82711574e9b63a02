/* store.h - what of hakd outlives it, and its way back into the next one.
 *
 * What each part keeps it says itself (base/state.h). It is saved at each tick, before anything is
 * answered and at the end, in DIR/state; a hakd that finds it goes on from there.
 */
#ifndef HAKD_STORE_H
#define HAKD_STORE_H

#include "fleet/record.h"
#include "govern/keep.h"

struct store {
	struct state state;
	struct record record;
};

/* Whose sections there are. All of them must have been made, and are empty. */
struct store_parts {
	struct table *table;
	struct effects *effects;
	struct advisor *advisor;
};

void store_init(struct store *store);

/* Saves a last time where it was restored. */
void store_deinit(struct store *store);

/* Finds what the last hakd has left, and restores it. Where that cannot be, hakd goes on without;
 * why has been said. */
void store_restore(struct store *store, const struct store_parts *parts, const char *runtime_dir);

void store_save(struct store *store);

#endif
