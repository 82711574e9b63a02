/* effects.h - carries out what the governor decides: one step, a look at what came of it, the next.
 *
 * A step is a request in the client's mailbox, or one call of remote reclaim. What it released is
 * how much less anonymous memory the process has resident after it, by /proc/PID/statm. A program
 * that was asked and does not answer is left behind after EFFECTS_ANSWER_NS, or EFFECTS_SILENT_NS
 * where it was idle or owes an answer already: its request stays, and is carried out when it wakes
 * up. Before each step that pressure has called for, the kernel is asked again whether it still
 * presses.
 *
 * Between two steps the loop serves others. A new round is planned at each tick, when pressure is
 * told of, and when a round is through and it still presses. Nothing is ever killed.
 *
 * One thread, with the event loop. Owns its events and the room for a snapshot of the clients.
 */
#ifndef HAKD_GOVERN_EFFECTS_H
#define HAKD_GOVERN_EFFECTS_H

#include "fleet/table.h"
#include "govern/actions.h"
#include "govern/pressure.h"

#include <event2/event.h>

#define EFFECTS_ANSWER_NS (CLOCK_SECOND_NS / 2)
#define EFFECTS_SILENT_NS (CLOCK_SECOND_NS / 20)

/* Between two words of the kernel that are heard. */
#define EFFECTS_HEARD_MS 100

/* A client's control group is looked up again after so long, for so many clients a tick. */
#define EFFECTS_PLACE_NS (60 * CLOCK_SECOND_NS)
#define EFFECTS_PLACES_MAX 500

#define EFFECTS_UNTIL_RESUMED UINT64_MAX

enum effects_answer {
	EFFECTS_REFUSED,   /* it cannot be done for this client */
	EFFECTS_DONE,	   /* and what came of it can be seen */
	EFFECTS_UNDER_WAY, /* it is when the client's release_ack is what release_request is now */
};

/* The way to take memory from a client that need not run. */
struct effects_remote {
	void *advisor;
	/* Takes up to so many bytes of what the client has marked MADV_FREE. */
	enum effects_answer (*release)(void *advisor, struct client *client, uint64_t bytes_max);
};

struct effects_step {
	bool is_active;
	struct governor_action action;
	uint64_t registered_ns; /* with the pid, which client it is */
	uint64_t before_bytes;	/* resident */
	uint64_t began_ns;
	uint64_t deadline_ns;
	uint64_t request; /* the client's number of it, by its method */
};

struct effects {
	struct table *table;
	struct pressure pressure;
	struct actions actions;
	struct effects_remote remote; /* release is NULL: there is none */
	/* Memory is short somewhere: the one upward call of govern/, by which serve/ tells programs
	 * that are no clients. NULL: nobody asks. */
	void (*on_pressure)(void *context, uint64_t now_ns);
	void *pressure_context;
	uint64_t slack_option_bytes; /* of the host; 0: as policy has it */
	uint64_t slack_bytes;	     /* as it is dealt out; 0: no such limit */
	uint64_t paused_until_ns;    /* 0: not paused */
	struct event *timer;	     /* the next step, or round */
	struct event *heard;	     /* of pressure.epoll */
	struct event *listening;     /* hears again */
	uint64_t heard_ns;	     /* when it was last listened to */
	struct governor_action plan[GOVERNOR_PLAN_MAX];
	size_t plan_count;
	size_t plan_next;
	struct effects_step step;
	struct governor_client *clients; /* the last snapshot */
	size_t clients_size;
};

/* With the slack of the host, in bytes; 0: as policy has it. 0, -ENOMEM or what pressure_init says.
 * effects_deinit is harmless after either, and twice. */
int effects_init(struct effects *effects, struct event_base *base, struct table *table,
		 uint64_t slack_bytes);
void effects_deinit(struct effects *effects);

/* Every 2 s. */
void effects_tick(struct effects *effects, uint64_t now_ns);

/* Nothing is done for so long, or EFFECTS_UNTIL_RESUMED; 0 resumes. A step under way is ended. */
void effects_pause(struct effects *effects, uint64_t duration_ns, uint64_t now_ns);
bool effects_is_paused(const struct effects *effects, uint64_t now_ns);

/* The highest level of those whose signals call for memory now: of the system, and of a group that
 * is watched (0: none). */
enum level effects_level(const struct effects *effects, uint64_t group_id);

/* Whether hakd takes no memory by itself now: paused, or a dry run. */
bool effects_is_resting(const struct effects *effects, uint64_t now_ns);

/* A trim that somebody has asked for by hakctl: it is told and counted as all others are. */
void effects_note_command(struct effects *effects, const struct client *client,
			  uint64_t target_bytes);

#endif
