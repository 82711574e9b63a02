/* mailbox.h - page 0 of the memfd: what the daemon asks of a client.
 *
 * The daemon writes it at registration and whenever something changes; the client looks on its slow
 * paths, copies it under the sequence (page.h) and clamps every value: a daemon is trusted with
 * policy, not with the program's life.
 *
 * Pure; no allocation. Version rule: fields are added at the end; 0 always means "as without".
 */
#ifndef HAK_PROTO_MAILBOX_H
#define HAK_PROTO_MAILBOX_H

#include <stdbool.h>
#include <stdint.h>

#define HAK_MAILBOX_BYTES 96

/* Words that the client reads without copying the rest. */
#define HAK_MAILBOX_SEQUENCE 0
#define HAK_MAILBOX_DAEMON_SEEN 8
#define HAK_MAILBOX_EPOCH 16
#define HAK_MAILBOX_RECLAIMED 88

struct hak_mailbox {
	uint64_t sequence;
	uint64_t daemon_seen;	    /* counts up every 2 s while the daemon lives */
	uint64_t epoch;		    /* rises with every change of what follows */
	uint64_t soft_budget_bytes; /* above it a heap turns frugal; 0: none */
	uint64_t hard_budget_bytes; /* what comes above it: flags; 0: none */
	uint64_t trim_request;	    /* rises with every trim; answered by telemetry's trim_ack */
	uint64_t trim_target_bytes; /* give back so many at most; 0: all that can go */
	uint64_t purge_level;	    /* 0, 1, 2 */
	uint64_t decay_ns; /* free memory older than this goes back; 0: the library's own */
	uint64_t magazine_bytes_max; /* of one magazine; 0: the library's own */
	uint64_t flags;		     /* HAK_MAILBOX_... */
	uint64_t reclaimed_ns;	     /* CLOCK_MONOTONIC when pages were last taken back; 0: never */
};

#define HAK_MAILBOX_REMOTE_RECLAIM ((uint64_t)1) /* the daemon has taken pages back before */
#define HAK_MAILBOX_FAIL ((uint64_t)2) /* at the hard budget allocation fails; else it is counted */
#define HAK_MAILBOX_AGENT ((uint64_t)4) /* the client may start a thread that hears it at once */

void hak_mailbox_encode(const struct hak_mailbox *mailbox, uint8_t bytes[HAK_MAILBOX_BYTES]);
void hak_mailbox_decode(const uint8_t bytes[HAK_MAILBOX_BYTES], struct hak_mailbox *mailbox);

#endif
