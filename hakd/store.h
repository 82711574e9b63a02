/* store.h - what of hakd outlives it, and its way back into the next one.
 *
 * What each part keeps it says itself (base/state.h). It is saved at each tick, before anything is
 * answered and at the end.
 *
 *   under a service manager   in a memfd that the manager keeps ("state"), and with it the pages of
 *                             clients that are STORE_AGE_NS old, or come again ("page.INODE"): of
 *                             such a client's registration nothing is lost, and it does not notice
 *   by hand                   in DIR/state; clients register again
 *
 * The manager has the descriptors as long as the unit is not stopped, and passes them to the next
 * hakd with its sockets. It reads its messages when it comes to it: a tick sends STORE_TURN_MAX at
 * most, and goes on with the next tick where there is no room.
 *
 * Limits: STORE_PAGES_MAX pages; clients beyond it register again.
 */
#ifndef HAKD_STORE_H
#define HAKD_STORE_H

#include "fleet/record.h"
#include "govern/keep.h"

/* Most programs that end soon have ended by then. */
#define STORE_AGE_NS (10 * CLOCK_SECOND_NS)
#define STORE_TURN_MAX 64

/* FileDescriptorStoreMax= of the unit has room for one more. All their names are one string of the
 * environment, of which Linux takes 128 KiB. */
#define STORE_PAGES_MAX 4096

struct store_page {
	dev_t device;
	ino_t inode;
	int fd; /* -1: taken */
};

struct store {
	struct state state;
	struct record record;
	bool has_manager; /* that keeps descriptors for us, as far as we know */
	bool has_stored_state;
	int passed_state;	   /* -1: none */
	struct store_page *passed; /* by inode, STORE_PAGES_MAX at most; until all is restored */
	size_t passed_count;
	ino_t *gone; /* pages that the manager is to drop; room for STORE_PAGES_MAX */
	size_t gone_count;
	size_t stored_count; /* pages that it has, without those */
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

/* To be called with each descriptor that the manager has passed: takes it, if it was kept there for
 * us. Who is passed none is no service of its, whatever has left $NOTIFY_SOCKET behind. */
bool store_adopt(struct store *store, int fd, const char *name);

/* Finds what the last hakd has left, and restores it. Where that cannot be, hakd goes on without;
 * why has been said. */
void store_restore(struct store *store, const struct store_parts *parts, const char *runtime_dir);

void store_save(struct store *store);

/* Every 2 s: saves, and gives the manager what it is to keep by now. */
void store_tick(struct store *store, uint64_t now_ns);

#endif
