/* governor.h - from whom memory is taken, how much at once, and from whom not. Pure decisions.
 *
 * Most releasable first, never the largest first: what a program does not use is taken, and nobody
 * is killed. A plan is a few small steps; after each the caller looks what came of it and whether
 * memory is still short, and tells governor_note.
 *
 *   trigger    from whom                              how
 *   pressure   clients in whose scope it presses      remote, or by asking
 *   budget     clients that keep more than their      both, and no more than that
 *              part of the slack
 *   budget     idle clients above their soft budget   remote: who runs keeps to it by himself
 *
 * What idle clients have marked goes without any of these: govern/advisor.h.
 *
 * Left alone are clients that are exempt; that have less than GOVERNOR_SMALL_BYTES; that cool down
 * after a campaign that found little, each time twice as long where what was taken came back within
 * GOVERNOR_REFAULT_NS (not in need: at level full it is the plain cooldown); and that have not
 * stirred, or have grown by less than GOVERNOR_GROWN_BYTES since. What a client claims is believed
 * up to what it has resident, and once: a step that finds less than half ends the campaign.
 *
 * Source: the thresholds of Android's CachedAppOptimizer (commit 9242fadf: 85 % of the gain with
 * half of the work); refaults as the measure of a wrong release: TMO (ASPLOS 2022).
 */
#ifndef HAKD_GOVERN_GOVERNOR_H
#define HAKD_GOVERN_GOVERNOR_H

#include "fleet/history.h"
#include "govern/level.h"

#include <stddef.h>
#include <sys/types.h>

#define GOVERNOR_MIB ((uint64_t)1 << 20)

#define GOVERNOR_STEP_SOME_BYTES (64 * GOVERNOR_MIB)
#define GOVERNOR_STEP_BYTES (256 * GOVERNOR_MIB)
#define GOVERNOR_STEP_BYTES_MIN (1 * GOVERNOR_MIB) /* less is not worth a call */
#define GOVERNOR_SMALL_BYTES ((uint64_t)12000 * 1000)
#define GOVERNOR_GROWN_BYTES ((uint64_t)8000 * 1000)

#define GOVERNOR_IDLE_NS CLOCK_SECOND_NS
#define GOVERNOR_COOLDOWN_NS (10 * CLOCK_SECOND_NS)
#define GOVERNOR_BACKOFF_MAX 5 /* 320 s */
#define GOVERNOR_REFAULT_NS (10 * CLOCK_SECOND_NS)
#define GOVERNOR_REFAULT_SHARE 4 /* a quarter of the released bytes came back: that was wrong */

#define GOVERNOR_PLAN_MAX 16

enum governor_trigger {
	GOVERNOR_PRESSURE,
	GOVERNOR_BUDGET,
	GOVERNOR_DECAY,	  /* the advisor's, never planned here */
	GOVERNOR_COMMAND, /* hakctl's, nor this */
	GOVERNOR_TRIGGERS,
};

struct governor_client {
	pid_t pid;
	uint64_t live_bytes; /* these as it claims, 0 where that is not plausible */
	uint64_t cached_bytes;
	uint64_t free_bytes;
	uint64_t lazyfree_bytes;
	uint64_t resident_bytes; /* anonymous memory, by the kernel */
	uint64_t soft_budget_bytes;
	uint64_t slack_bytes; /* its part of the host's slack; 0: no such limit */
	uint64_t refaulted_bytes_total;
	uint64_t idle_ns;  /* since it last wrote */
	enum level level;  /* of what presses on it: the system or its group */
	bool is_exempt;	   /* by policy */
	bool is_dry_run;   /* by policy: decided and told, not done */
	bool takes_remote; /* there is an advisor, and policy lets it */
	struct history history;
};

struct governor_action {
	pid_t pid;
	enum history_method method;
	enum governor_trigger trigger;
	enum level level;
	uint64_t target_bytes;
	bool is_dry_run;
};

/* What came of one. */
struct governor_outcome {
	uint64_t released_bytes;
	uint64_t resident_bytes; /* after it */
	uint64_t refaulted_bytes_total;
};

/* "pressure", "budget", "decay", "command"; "mailbox", "remote". */
const char *governor_trigger_text(enum governor_trigger trigger);
const char *governor_method_text(enum history_method method);

/* Why a client is left alone, in words for people; NULL where it is not, by that method. */
const char *governor_refusal(const struct governor_client *client, enum history_method method,
			     uint64_t now_ns);

/* What a method could get out of a client, as far as it may be believed. */
uint64_t governor_releasable(const struct governor_client *client, enum history_method method);

/* Whether a plan could have it. What is resident costs a file to read, and may be unknown: then it
 * is taken for much, and a plan may leave the client out after all. */
#define GOVERNOR_RESIDENT_UNKNOWN UINT64_MAX
bool governor_may_take(const struct governor_client *client, uint64_t now_ns);

/* The next steps, in order; returns how many. Of one client several may follow on each other. */
size_t governor_plan(const struct governor_client *clients, size_t client_count, uint64_t now_ns,
		     struct governor_action actions[GOVERNOR_PLAN_MAX]);

/* Writes what came of an action into the client's history. */
void governor_note(struct history *history, const struct governor_action *action,
		   const struct governor_outcome *outcome, uint64_t now_ns);

/* Judges, once the time for it has come, whether what was released was needed after all. */
void governor_settle(struct history *history, uint64_t refaulted_bytes_total, uint64_t now_ns);

/* False: the action before has found so little that another one of the same plan is useless. */
bool governor_goes_on(const struct history *history, enum history_method method);

#endif
