/* history.h - what is remembered of a client from one release of its memory to the next.
 *
 * A part of struct client, so that it lives as long as the client does, and longer where the same
 * heap registers again, with another daemon as well. Written by govern/ alone. Times are
 * CLOCK_MONOTONIC; 0 is "never".
 */
#ifndef HAKD_FLEET_HISTORY_H
#define HAKD_FLEET_HISTORY_H

#include <stdbool.h>
#include <stdint.h>

/* The two ways in which memory goes back: the program is asked, or hakd advises the kernel. */
enum history_method { HISTORY_TRIM, HISTORY_REMOTE, HISTORY_METHODS };

/* One way. A campaign is what was released from the time that it was left alone on. */
struct history_turn {
	uint64_t acted_ns;	 /* when the last action ended */
	uint64_t resident_bytes; /* of the process, after it */
	uint64_t released_bytes; /* by the campaign */
	uint64_t refaulted_base; /* the client's refaulted_bytes_total at the campaign's begin */
	uint32_t backoff;	 /* how often the cooldown is doubled */
	bool is_drained;	 /* the last action found less than half of what it was to */
	bool is_settled;	 /* refaults after the campaign have been judged */
};

struct history {
	struct history_turn turns[HISTORY_METHODS];
	uint64_t slack_bytes; /* its part of the host's slack; 0: no limit */
	uint64_t group_id;    /* of its control group in govern/pressure; 0: none that is watched */
	uint64_t placed_ns;   /* when that was looked up */
};

#endif
