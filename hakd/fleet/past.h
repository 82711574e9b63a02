/* past.h - what is known of a client from before: under its last page, or under the last hakd.
 *
 * Whoever registers again goes on where it was: its counters, when it came, how it took its last
 * releases. Those whose page did not outlive the last hakd are expected: `pasts` lists them, by
 * pid, until they register or their process has ended. What they had counted is in their group's
 * `departed` meanwhile, so that no sum falls.
 *
 * There are as many as there may be clients. One thread.
 */
#ifndef HAKD_FLEET_PAST_H
#define HAKD_FLEET_PAST_H

#include "fleet/client.h"

#include <sys/queue.h>

struct past {
	pid_t pid;
	uid_t uid;
	struct process_identity identity; /* its start time: with the pid, which process */
	char group[128];		  /* that it was in */
	struct hak_hello hello;
	dev_t device; /* of its page */
	ino_t inode;
	time_t registered;
	uint64_t registered_ns;
	uint64_t counted[HAK_METRIC_COUNT];
	struct history history;
	uint64_t release_request;
	uint64_t release_ack;
	uint64_t release_bytes;
};

void past_of(const struct client *client, struct past *past);

/* Gives a client, with fresh numbers, its past, as far as its heap is the same: after an exec it is
 * another one, whose region lies elsewhere. Counters that go on (they are no less than they were)
 * stay in past->counted, and are the client's from here on; the others are 0 there: they stay with
 * the group. */
void past_give(struct past *past, struct client *client);

/* Whether the page is the same, and not only the process. */
bool past_has_page(const struct past *past, const struct client *client);

struct expected {
	UT_hash_handle hh; /* by pid */
	TAILQ_ENTRY(expected) queue;
	struct past past;
	uint64_t looked_ns; /* whether its process is still there */
};

TAILQ_HEAD(expected_queue, expected);

struct pasts {
	struct expected *by_pid;
	struct expected_queue queue; /* the longest not looked at first */
};

#define PASTS_LOOK_NS (10 * CLOCK_SECOND_NS)
#define PASTS_LOOKS_MAX 500 /* in one call of pasts_expire */

void pasts_init(struct pasts *pasts);
void pasts_deinit(struct pasts *pasts);

/* In place of another one of that pid. False: no memory. */
bool pasts_add(struct pasts *pasts, const struct past *past, uint64_t now_ns);

/* Takes the past of a process off the list, if there is one and it is the same process. */
bool pasts_take(struct pasts *pasts, pid_t pid, uint64_t start_ticks, struct past *past);

/* Drops some whose process has ended. */
void pasts_expire(struct pasts *pasts, uint64_t now_ns);

#endif
