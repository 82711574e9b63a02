/* record.h - how the fleet is written down for the hakd that comes after this one.
 *
 * Everything of the fleet that has to survive is in this file, and nothing else of it does: who is
 * a client and since when, its counters, how it took releases, what the advisor took of it; groups
 * with what departed members had counted; budgets of the command line, with the time that they have
 * left; what the table itself counts. A client's budgets are reckoned anew, by its rule and these.
 *
 * Who was registered goes on where its page is at hand (take_page), else when it registers again.
 */
#ifndef HAKD_FLEET_RECORD_H
#define HAKD_FLEET_RECORD_H

#include "base/state.h"
#include "fleet/table.h"

struct record {
	struct table *table;
	/* Set from above: the page of a client, which is then the caller's; -1: not at hand. NULL:
	 * no page is. */
	int (*take_page)(void *context, dev_t device, ino_t inode);
	void *context;
};

/* Names the sections. The record must stay where it is. */
void record_keep(struct record *record, struct state *state);

#endif
