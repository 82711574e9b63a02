/* allot.h - who gets which budget: policy, the command line's word, and the host's share, together.
 *
 * Of a process, in this order: `hakctl budget set PID`, its rule, the default. Of a group: `hakctl
 * budget set GROUP`, its [budget] section, the strictest that its members' rules give it; dealt out
 * in proportion to live bytes (share.h). Of the host: dealt out to all likewise, as long as they
 * hold more than it. A process gets the strictest of the three.
 *
 * Dealt anew with each tick, so that a group may be above its budget for so long. A newcomer has
 * its budgets in the mailbox before its registration is done.
 *
 * What a client claims decides over its own part of its group's budget only: whoever lies takes
 * from its own group. One thread.
 */
#ifndef HAKD_FLEET_ALLOT_H
#define HAKD_FLEET_ALLOT_H

#include "fleet/client.h"
#include "fleet/overrides.h"

#define ALLOT_NO_DEFAULT UINT64_MAX

struct allot {
	const struct policy *policy; /* the caller's; NULL: everything is as by default */
	uint64_t default_soft_bytes; /* that of the command line; ALLOT_NO_DEFAULT: policy's */
	uint64_t memory_bytes;	     /* of the machine */
	bool is_dry_run;	     /* by the command line */
	struct overrides overrides;
	uint64_t dealt_ns;
	uint64_t used_bytes; /* of all that take part, live and cached */
	uint64_t held_bytes; /* and free */
	uint64_t host_level; /* the purge level that the host's budget asks of all; 0: it is kept */
};

/* The soft budget of a process that nothing else is said of; 0: none. */
uint64_t allot_default_soft(const struct allot *allot);

/* The rule of the policy that is now in force for a client; to be called when that changes. */
void allot_match(const struct allot *allot, struct client *client, const char *user);

/* Of all processes together; 0: none. */
uint64_t allot_host_budget(const struct allot *allot);

/* The name of the group of a process: its rule's, or else what the kernel says of it. */
const char *allot_group_name(const struct client *client);

/* Reckons a client's wishes from scratch, before it is dealt anything: it has its group. */
void allot_newcomer(const struct allot *allot, struct client *client);

/* What is written into the mailbox: the wishes, or none in a dry run. */
struct client_wishes allot_told(const struct allot *allot, const struct client *client);

/* Reckons and writes all wishes anew, of clients with fresh numbers. A page that cannot be written
 * shows at the next tick. */
void allot_deal(struct allot *allot, struct client *clients, struct groups *groups,
		uint64_t now_ns);

/* Whether there is a budget that several share, of a group or of the host. */
bool allot_shares(const struct allot *allot, const struct groups *groups);

/* Whether all is only reckoned and told: for everybody, or for one. */
bool allot_all_is_dry(const struct allot *allot);
bool allot_is_dry(const struct allot *allot, const struct client *client);

/* Whether policy leaves it alone; and whether it lets what it has marked be taken from it. */
bool allot_is_exempt(const struct client *client);
bool allot_takes_remote(const struct allot *allot, const struct client *client);

/* What all heaps together may keep beyond what is live; 0: no such limit. */
uint64_t allot_slack_bytes(const struct allot *allot);

#endif
