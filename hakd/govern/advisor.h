/* advisor.h - memory taken back from clients that need not run for it: what their SuperSlab tables
 * mark as free goes to hakd-advisor in batches, one under way at a time.
 *
 *   advisor_release --> queue --> batch of the first job --> line --> answer
 *                         ^                                             |
 *                         +------------- to its end, while there is more +
 *
 * A batch is made right before it is sent, from the table as it is then. Nothing waits: an answer
 * is an event, and what is full is said so. A job names its client by pid and time of registration,
 * so one that goes, or comes again, ends it. Where the advisor finds another address space behind
 * the pid (exec), the client is dropped, as table.h has it. What came of a job is told, but for
 * those that the governor waits for and tells himself; in a dry run what would be begun.
 *
 * Limits: ADVISOR_JOBS_MAX jobs, one of each client; ADVISOR_ANSWER_NS for an answer. One thread.
 */
#ifndef HAKD_GOVERN_ADVISOR_H
#define HAKD_GOVERN_ADVISOR_H

#include "fleet/table.h"
#include "govern/actions.h"
#include "govern/line.h"

#include <sys/queue.h>

#define ADVISOR_JOBS_MAX 256
#define ADVISOR_JOBS_KEPT 64 /* of them, for commands and in need */
#define ADVISOR_ANSWER_NS (10 * CLOCK_SECOND_NS)

/* A request takes milliseconds. The advisor ends itself a little before it is given up
 * (advisor/service.h), and another takes its place. */
#define ADVISOR_HELD_UP_NS (5 * CLOCK_SECOND_NS)

/* Whom the tick takes for idle, and what is worth it. */
#define ADVISOR_IDLE_NS CLOCK_SECOND_NS

/* While somebody has written a short while ago clients are looked at so often, and right when one
 * has been idle for long enough: it is to be found before the next tick. But not more often than
 * the last. */
#define ADVISOR_LOOK_NS (CLOCK_SECOND_NS / 2)
#define ADVISOR_ACTIVE_NS (3 * CLOCK_SECOND_NS)
#define ADVISOR_PAUSE_NS (CLOCK_SECOND_NS / 20)

#define ADVISOR_BYTES_MIN ((uint64_t)4 << 20)

/* Clients that are asked about, where hakd may not look into /proc itself: so many of those that
 * have another name, each tick, and one of the others so often, in turn. Each answer wakes two
 * processes, and the table's own check finds nearly all who are gone. */
#define ADVISOR_LOOKS_MAX 32
#define ADVISOR_HIDDEN_NS (8 * CLOCK_SECOND_NS)
#define ADVISOR_HIDDEN_MANY 512 /* of so many twice as often */

enum advisor_trigger { ADVISOR_IDLE, ADVISOR_COMMAND, ADVISOR_PRESSURE };

enum advisor_outcome {
	ADVISOR_TAKEN,	     /* a job of its own, or one that is under way already */
	ADVISOR_FULL,	     /* as many jobs as there may be */
	ADVISOR_UNAVAILABLE, /* line.why */
	ADVISOR_BARRED,	     /* this client has held the advisor up before */
};

struct advisor_job {
	TAILQ_ENTRY(advisor_job) entry;
	pid_t pid;
	uint64_t registered_ns; /* of the client that is meant */
	enum advisor_trigger trigger;
	bool is_look;	/* no advice: whether the client is still there */
	bool is_unsure; /* that comes first, before there is something to advise */
	uint32_t next_superslab;
	uint64_t bytes_max;
	uint64_t request; /* the client's release_request */
	uint64_t begin_ns;
	uint64_t advised_bytes;
	uint64_t released_bytes;
};

TAILQ_HEAD(advisor_jobs, advisor_job);

struct advisor {
	struct line line;
	struct table *table;
	struct actions *actions; /* where it is told what came of a job */
	/* Set from above: whether nothing is taken, nor said, for now. NULL: never. */
	bool (*is_resting)(const void *context, uint64_t now_ns);
	const void *resting_context;
	struct event *again; /* a pause: the limit, or a turn for others */
	struct event *look;  /* between ticks */
	struct advisor_jobs jobs;
	size_t job_count;
	struct rows_batch batch; /* of the first job, while is_under_way */
	uint32_t batch_begin;	 /* its next_superslab before */
	bool is_under_way;
	bool is_paused;
	uint64_t number; /* of the last request */
	uint64_t sent_ns;
	uint64_t advised_bytes[HAK_RECLAIM_ADVICE_COUNT]; /* that the kernel took */
	uint64_t dropped_bytes[HAK_RECLAIM_ADVICE_COUNT]; /* that it did not */
	uint64_t swapped_bytes;
	uint64_t refused_count; /* jobs that found the queue full */
	uint64_t looked_ns;	/* when a hidden client was last asked about */
};

/* `fd` as line_start_advisor left it; `is_on` as policy has it. 0 or -ENOMEM. */
int advisor_init(struct advisor *advisor, struct event_base *base, struct table *table,
		 struct actions *actions, const char *runtime_dir, int fd, bool is_on);
void advisor_deinit(struct advisor *advisor);

/* Takes back what the client has marked, bytes_max at most, 0 for all; a row of 2 MiB more. The
 * client's release_request is then its number, and release_ack will be. */
enum advisor_outcome advisor_release(struct advisor *advisor, struct client *client,
				     uint64_t bytes_max, enum advisor_trigger trigger);

/* Every 2 s: clients that have not written for a second and have marked much are released; where
 * others write, looks again between ticks. May drop clients. */
void advisor_tick(struct advisor *advisor, uint64_t now_ns);

bool advisor_is_available(const struct advisor *advisor);

#endif
