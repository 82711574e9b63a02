/* client.h - one registered process: its memfd, who it is, and its numbers as last believed.
 *
 * The memfd is the client's to scribble on: it is read with pread(2), every copy is taken once and
 * then judged, and whatever it says counts for this client alone. Its first page, the mailbox, is
 * mapped, to be written: in pwrite(2) one would wait for the inode, which a client can hold for as
 * long as it likes by a write(2) of its own from memory that does not come. The seals keep the page
 * where it is. Two sets of numbers:
 *
 *   telemetry   the last copy that was whole: what the client claims
 *   counted     what its group's sums take: the claim while it is plausible. Counters never fall;
 *               the gauges of a claim that cannot be true are 0. Lazyfree is less what was taken
 *               from outside (rows.h), which the client does not know of.
 *
 * Owns its memfd, its mapping and its pidfd. One thread. Nothing here waits for a client.
 */
#ifndef HAKD_FLEET_CLIENT_H
#define HAKD_FLEET_CLIENT_H

#include "fleet/groups.h"
#include "fleet/history.h"
#include "fleet/policy.h"
#include "fleet/process.h"
#include "fleet/rows.h"
#include "proto/hello.h"
#include "proto/mailbox.h"
#include "proto/telemetry.h"

#include <sys/queue.h>

struct account; /* table.h: what the clients of a user share */

/* What the mailbox is to say, but for what is asked once (trims). Flags beyond those of
 * CLIENT_WISH_FLAGS are left as they are. */
struct client_wishes {
	struct group_budget budget;
	uint64_t purge_level;
	uint64_t decay_ns;
	uint64_t magazine_bytes_max;
	bool has_agent;
};

#define CLIENT_WISH_FLAGS (HAK_MAILBOX_FAIL | HAK_MAILBOX_AGENT)

struct client {
	UT_hash_handle hh;	   /* by pid, in table.h */
	TAILQ_ENTRY(client) queue; /* whose address space is looked at next, in table.h */
	struct group *group;
	struct account *account;
	pid_t pid;
	uid_t uid;
	int pidfd;
	int memfd;
	unsigned char *page; /* of the mailbox */
	dev_t device;	     /* of the memfd: with its inode, what /proc/PID/maps shows */
	ino_t inode;
	struct process_identity identity;
	struct hak_hello hello;
	struct hak_mailbox mailbox;	   /* as written */
	const struct policy_section *rule; /* that holds for it; NULL: none */
	struct client_wishes wishes;	   /* as reckoned; in a dry run not written */
	struct hak_telemetry telemetry;
	uint64_t counted[HAK_METRIC_COUNT];
	struct history history; /* of releases, govern/'s own */
	struct process_memory memory;
	uint64_t memory_read_ns;  /* 0: never */
	uint64_t copied_sequence; /* of the page's telemetry, when it was last copied */
	uint64_t checked_ns;	  /* when its address space was looked at */
	uint64_t registered_ns;
	time_t registered;
	bool plausible;
	bool has_come_again; /* it was a client before, under another page */
	bool has_lost_page;  /* a part of it that was written is not there: to be dropped */
	bool is_stored;	     /* its page is with the service manager */
	bool is_hidden;	     /* hakd may not look at its address space */
	bool is_suspect;     /* and it has another name: after an exec, or not */
	char seen_comm[PROCESS_COMM_BYTES];
	uint64_t looked_ns;	    /* when the advisor was asked to */
	struct rows rows;	    /* what the advisor took of it */
	bool is_releasing;	    /* the advisor has a job of it */
	uint64_t release_request;   /* of the last job */
	uint64_t release_ack;	    /* of the last that was done */
	uint64_t release_bytes;	    /* that this one gave to the system */
	bool release_failed;	    /* it could not be done, or not all of it */
	bool is_barred;		    /* the advisor did not come back from it: it is asked no more */
	uint64_t released_sequence; /* copied_sequence, when it was last released for being idle */
};

/* What a client brings: the descriptors, and what the kernel said of the peer. */
struct client_papers {
	struct hak_hello hello;
	pid_t pid;
	uid_t uid;
	int pidfd;
	int memfd;
};

/* NULL where the descriptor is a page as page.h says, else the sentence that says why not. */
const char *client_refuse_page(int memfd, uint32_t superslab_count);

/* Takes the two descriptors where it succeeds: *client is to be freed with client_free. 0, -ENOMEM,
 * or the errno of a page that cannot be mapped. */
int client_new(const struct client_papers *papers, const struct process_identity *identity,
	       struct client **client);
void client_free(struct client *client);

/* In place of client_free: the two descriptors are the caller's again. */
void client_refuse(struct client *client);

enum client_read {
	CLIENT_READ_OK,
	CLIENT_READ_TORN,	 /* it was being written all the time: the last good copy stays */
	CLIENT_READ_IMPLAUSIBLE, /* from now on; only the first time in a row is told */
};

/* Takes a new copy of its numbers and judges them. */
enum client_read client_refresh(struct client *client, uint64_t now_ns);

/* What is counted, after `telemetry` or `rows` changed. */
void client_count(struct client *client);

/* Bytes that the client calls lazyfree, less what was taken of them from outside. */
uint64_t client_lazyfree_bytes(const struct client *client);

/* Looks how much memory the process has now; its `memory` may else be of any age. False: the kernel
 * does not say, as of one that is ending. */
bool client_read_memory(struct client *client, uint64_t now_ns);

/* Opens the mailbox with these wishes; to be called once, before anything else is written there. */
void client_open(struct client *client, const struct client_wishes *wishes);

/* Takes over the mailbox as the last daemon has left it, in place of client_open: what it says
 * holds until other wishes are written. */
void client_resume(struct client *client);

/* Writes the wishes where they are others than before. */
void client_wish(struct client *client, const struct client_wishes *wishes);

/* "The daemon lives": to be called every 2 s. */
void client_tick(struct client *client);

/* Asks the client to give memory back, `target_bytes` at most, 0 for all. The number of the request
 * is then in mailbox.trim_request. */
void client_trim(struct client *client, uint64_t target_bytes);

/* To be called before marked pages of the client's are taken from outside: by this time it counts
 * those that it needs again soon. */
void client_note_reclaim(struct client *client, uint64_t now_ns);

/* Tells the client that memory of its was taken from outside, if it has not been told. */
void client_confirm_reclaim(struct client *client);

/* False: the process has another address space since (exec), or none. Where hakd may not look,
 * is_hidden is set, and the answer is true of whatever is large enough to hold the heap's region;
 * is_suspect, where it has another name than before. */
bool client_maps_page(struct client *client, uint64_t now_ns);

/* Seconds since it last wrote; since its registration if it never did. */
double client_age_seconds(const struct client *client, uint64_t now_ns);

bool client_is_valid(const struct client *client);

#endif
