/* actions.h - what was done about memory: each release is told, counted and kept for a while.
 *
 * Told: one line. Where fd 2 is the journal it is an entry with fields of its own (MESSAGE_ID
 * ACTIONS_MESSAGE_ID; HAK_PID, HAK_UNIT, HAK_ACTION, HAK_TRIGGER, HAK_TARGET_BYTES,
 * HAK_RELEASED_BYTES, HAK_DURATION_USEC, HAK_DRY_RUN, HAK_RESULT), else the same as a sentence.
 * Kept: the last ACTIONS_KEPT, for GET /v1/actions. One thread; owns nothing.
 */
#ifndef HAKD_GOVERN_ACTIONS_H
#define HAKD_GOVERN_ACTIONS_H

#include "fleet/client.h"
#include "govern/governor.h"

#include <time.h>

#define ACTIONS_KEPT 64
#define ACTIONS_MESSAGE_ID "5e1fd2b8a0c94f5c9d0e6a3b7c481d27"

enum actions_result {
	ACTIONS_DONE,	 /* what went back is known */
	ACTIONS_PENDING, /* asked for: the program carries it out when it next needs memory */
	ACTIONS_ASKED,	 /* by hakctl, which waits for the answer itself */
	ACTIONS_FAILED,	 /* it could not be asked, or the advisor could not */
	ACTIONS_DRY_RUN, /* only decided */
	ACTIONS_RESULTS,
};

struct actions_record {
	time_t when;
	struct governor_action action;
	enum actions_result result;
	uint64_t released_bytes; /* of the process's anonymous memory */
	uint64_t duration_us;
	char unit[128]; /* the systemd unit, or else the group */
	char command[64];
};

struct actions {
	struct actions_record kept[ACTIONS_KEPT]; /* number i is at i % ACTIONS_KEPT */
	uint64_t first;				  /* number of the first that this hakd knows of */
	uint64_t count;				  /* of all, ever */
	uint64_t releases[GOVERNOR_TRIGGERS][HISTORY_METHODS];
	uint64_t released_bytes[GOVERNOR_TRIGGERS][HISTORY_METHODS];
	uint64_t results[ACTIONS_RESULTS];
};

/* "done", "pending", "asked", "failed", "dry-run". */
const char *actions_result_text(enum actions_result result);

void actions_note(struct actions *actions, const struct actions_record *record);

/* The same of a client, as it is named now. */
void actions_note_client(struct actions *actions, const struct client *client,
			 const struct governor_action *action, enum actions_result result,
			 uint64_t released_bytes, uint64_t duration_ns);

/* The one before the last so many, the last by 0; NULL where there is none, or none any more. */
const struct actions_record *actions_before(const struct actions *actions, size_t back);

#endif
