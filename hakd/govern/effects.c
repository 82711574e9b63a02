#include "govern/effects.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* While an answer is waited for. */
#define NAP_MS 5

static void arm(struct event *event, uint64_t delay_ms)
{
	const struct timeval delay = {
		.tv_sec = (time_t)(delay_ms / 1000),
		.tv_usec = (suseconds_t)(delay_ms % 1000 * 1000),
	};

	event_add(event, &delay);
}

bool effects_is_paused(const struct effects *effects, uint64_t now_ns)
{
	return effects->paused_until_ns > now_ns;
}

enum level effects_level(const struct effects *effects, uint64_t group_id)
{
	const struct level_judge *system = &effects->pressure.system.judge;
	const struct pressure_watch *group = pressure_find(&effects->pressure, group_id);
	enum level level = system->is_pressing ? system->level : LEVEL_NONE;

	if (group != NULL && group->judge.is_pressing && group->judge.level > level)
		level = group->judge.level;
	return level;
}

static enum level level_on(const struct effects *effects, const struct client *client)
{
	return effects_level(effects, client->history.group_id);
}

static void tell_others(struct effects *effects, uint64_t now_ns)
{
	if (effects->on_pressure != NULL && pressure_is_pressing(&effects->pressure))
		effects->on_pressure(effects->pressure_context, now_ns);
}

static uint64_t idle_ns(const struct client *client, uint64_t now_ns)
{
	uint64_t since_ns = client->telemetry.updated_ns;

	if (since_ns == 0)
		since_ns = client->registered_ns;
	return since_ns < now_ns ? now_ns - since_ns : 0;
}

static uint64_t refaulted_total(const struct client *client)
{
	return client->counted[HAK_METRIC_refaulted_bytes_total];
}

/* All but what is resident, which costs a file. */
static struct governor_client describe(const struct effects *effects, const struct client *client,
				       uint64_t now_ns)
{
	return (struct governor_client){
		.pid = client->pid,
		.live_bytes = client->counted[HAK_METRIC_live_bytes],
		.cached_bytes = client->counted[HAK_METRIC_cached_bytes],
		.free_bytes = client->counted[HAK_METRIC_free_bytes],
		.lazyfree_bytes = client->counted[HAK_METRIC_lazyfree_bytes],
		.resident_bytes = GOVERNOR_RESIDENT_UNKNOWN,
		.soft_budget_bytes = client->mailbox.soft_budget_bytes,
		/* A part may be older than the end of the limit. */
		.slack_bytes = effects->slack_bytes != 0 ? client->history.slack_bytes : 0,
		.refaulted_bytes_total = refaulted_total(client),
		.idle_ns = idle_ns(client, now_ns),
		.level = level_on(effects, client),
		.is_exempt = allot_is_exempt(client),
		.is_dry_run = allot_is_dry(&effects->table->allot, client),
		.takes_remote = effects->remote.release != NULL &&
				allot_takes_remote(&effects->table->allot, client),
		.history = client->history,
	};
}

/* Room for all clients; false: no memory, and no round then. */
static bool make_room(void **room, size_t *size, size_t needed, size_t item_bytes)
{
	void *larger;

	if (needed <= *size)
		return true;
	larger = realloc(*room, needed * item_bytes);
	if (larger == NULL)
		return false;
	*room = larger;
	*size = needed;
	return true;
}

/* Nearly always there is none, and nobody's numbers are read. */
static bool has_reason(const struct effects *effects)
{
	return effects->remote.release != NULL || effects->slack_bytes != 0 ||
	       pressure_is_pressing(&effects->pressure);
}

static void plan(struct effects *effects, uint64_t now_ns)
{
	struct client *client, *next;
	size_t count = 0;

	effects->plan_count = effects->plan_next = 0;
	if (!has_reason(effects) || effects_is_paused(effects, now_ns) ||
	    !make_room((void **)&effects->clients, &effects->clients_size,
		       effects->table->client_count, sizeof *effects->clients))
		return;
	table_refresh(effects->table, now_ns);
	HASH_ITER(hh, effects->table->by_pid, client, next)
	{
		struct governor_client *described = &effects->clients[count];

		governor_settle(&client->history, refaulted_total(client), now_ns);
		*described = describe(effects, client, now_ns);
		if (!governor_may_take(described, now_ns))
			continue;
		(void)client_read_memory(client, now_ns);
		described->resident_bytes = client->memory.anonymous_bytes;
		count++;
	}
	effects->plan_count = governor_plan(effects->clients, count, now_ns, effects->plan);
}

static void begin_round(struct effects *effects, uint64_t now_ns)
{
	if (effects->step.is_active || effects->plan_next < effects->plan_count)
		return;
	plan(effects, now_ns);
	if (effects->plan_count > 0)
		arm(effects->timer, 0);
}

static void end_step(struct effects *effects, struct client *client, enum actions_result result,
		     uint64_t now_ns)
{
	struct effects_step *step = &effects->step;
	struct governor_outcome outcome = {.refaulted_bytes_total = refaulted_total(client)};

	step->is_active = false;
	/* It is ending: what it has given back is not known, and no matter. */
	if (!client_read_memory(client, now_ns))
		return;
	outcome.resident_bytes = client->memory.anonymous_bytes;
	if (outcome.resident_bytes < step->before_bytes && result != ACTIONS_DRY_RUN)
		outcome.released_bytes = step->before_bytes - outcome.resident_bytes;
	governor_note(&client->history, &step->action, &outcome, now_ns);
	actions_note_client(&effects->actions, client, &step->action, result,
			    outcome.released_bytes, now_ns - step->began_ns);
}

/* Whether the answer is there: of a program in its numbers, of remote reclaim when its work is
 * done. */
static bool is_answered(const struct effects *effects, struct client *client, uint64_t now_ns)
{
	const struct effects_step *step = &effects->step;

	if (step->action.method == HISTORY_TRIM) {
		client_refresh(client, now_ns);
		return client->telemetry.trim_ack >= step->request;
	}
	return client->release_ack >= step->request;
}

/* False: it is waited for. */
static bool finish_step(struct effects *effects, uint64_t now_ns)
{
	struct effects_step *step = &effects->step;
	struct client *client = table_find(effects->table, step->action.pid);

	if (client == NULL || client->registered_ns != step->registered_ns)
		step->is_active = false;
	else if (is_answered(effects, client, now_ns))
		end_step(effects, client,
			 step->action.method == HISTORY_REMOTE && client->release_failed
				 ? ACTIONS_FAILED
				 : ACTIONS_DONE,
			 now_ns);
	else if (now_ns >= step->deadline_ns)
		end_step(effects, client, ACTIONS_PENDING, now_ns);
	return !step->is_active;
}

/* The client may be gone after it. */
static void begin_trim(struct effects *effects, struct client *client, uint64_t now_ns)
{
	struct effects_step *step = &effects->step;
	/* Who has let us wait once does not hold up the others for so long again. */
	bool is_silent = idle_ns(client, now_ns) >= GOVERNOR_IDLE_NS ||
			 client->telemetry.trim_ack < client->mailbox.trim_request;

	client = table_trim(effects->table, step->action.pid, step->action.target_bytes, now_ns);
	if (client == NULL) {
		step->is_active = false;
		return;
	}
	step->request = client->mailbox.trim_request;
	step->deadline_ns = now_ns + (is_silent ? EFFECTS_SILENT_NS : EFFECTS_ANSWER_NS);
}

static void begin_remote(struct effects *effects, struct client *client, uint64_t now_ns)
{
	struct effects_step *step = &effects->step;

	step->deadline_ns = now_ns + EFFECTS_ANSWER_NS;
	switch (effects->remote.release(effects->remote.advisor, client,
					step->action.target_bytes)) {
	case EFFECTS_REFUSED:
		end_step(effects, client, ACTIONS_FAILED, clock_now_ns());
		break;
	case EFFECTS_DONE:
		end_step(effects, client, ACTIONS_DONE, clock_now_ns());
		break;
	case EFFECTS_UNDER_WAY:
		step->request = client->release_request;
		break;
	}
}

static void begin_step(struct effects *effects, struct client *client,
		       const struct governor_action *action, uint64_t now_ns)
{
	effects->step = (struct effects_step){
		.is_active = true,
		.action = *action,
		.registered_ns = client->registered_ns,
		.before_bytes = client->memory.anonymous_bytes,
		.began_ns = now_ns,
	};
	if (action->is_dry_run)
		end_step(effects, client, ACTIONS_DRY_RUN, now_ns);
	else if (action->method == HISTORY_TRIM)
		begin_trim(effects, client, now_ns);
	else
		begin_remote(effects, client, now_ns);
}

/* Policy, or the advisor, may be another one than when it was planned. */
static bool may_be_done(const struct effects *effects, const struct client *client,
			const struct governor_action *action)
{
	return governor_goes_on(&client->history, action->method) && !allot_is_exempt(client) &&
	       (action->method != HISTORY_REMOTE ||
		(effects->remote.release != NULL &&
		 allot_takes_remote(&effects->table->allot, client)));
}

/* The next step of the plan that there is still a reason for. False: the plan is through. */
static bool go_on(struct effects *effects, uint64_t now_ns)
{
	while (effects->plan_next < effects->plan_count) {
		struct governor_action *action = &effects->plan[effects->plan_next++];
		struct client *client = table_find(effects->table, action->pid);

		if (client == NULL || !may_be_done(effects, client, action) ||
		    !client_read_memory(client, now_ns))
			continue;
		action->is_dry_run = allot_is_dry(&effects->table->allot, client);
		if (action->trigger == GOVERNOR_PRESSURE) {
			pressure_look(&effects->pressure, now_ns);
			if (level_on(effects, client) == LEVEL_NONE)
				continue;
		}
		begin_step(effects, client, action, now_ns);
		return true;
	}
	return false;
}

static void on_timer(int fd, short what, void *context)
{
	struct effects *effects = context;
	uint64_t now_ns = clock_now_ns();

	(void)fd;
	(void)what;
	if (effects->step.is_active && !finish_step(effects, now_ns)) {
		arm(effects->timer, NAP_MS);
		return;
	}
	if (effects_is_paused(effects, now_ns))
		effects->plan_next = effects->plan_count;
	if (go_on(effects, now_ns)) {
		arm(effects->timer, effects->step.is_active ? NAP_MS : 0);
	} else {
		begin_round(effects, now_ns);
	}
}

static void hear(struct effects *effects)
{
	uint64_t now_ns = clock_now_ns();

	effects->heard_ns = now_ns;
	pressure_wake(&effects->pressure, now_ns);
	tell_others(effects, now_ns);
	if (pressure_is_pressing(&effects->pressure))
		begin_round(effects, now_ns);
}

/* Thresholds of version 1 may be crossed a thousand times a second: each is heard when we listen
 * again, at the latest. */
static void on_heard(int fd, short what, void *context)
{
	struct effects *effects = context;

	(void)fd;
	(void)what;
	if (clock_now_ns() - effects->heard_ns >= EFFECTS_HEARD_MS * (CLOCK_SECOND_NS / 1000))
		hear(effects);
	event_del(effects->heard);
	arm(effects->listening, EFFECTS_HEARD_MS);
}

/* What a trigger told meanwhile is taken by the first look of who listens again, and told to
 * nobody. */
static void on_listening(int fd, short what, void *context)
{
	struct effects *effects = context;

	(void)fd;
	(void)what;
	event_add(effects->heard, NULL);
	hear(effects);
}

int effects_init(struct effects *effects, struct event_base *base, struct table *table,
		 uint64_t slack_bytes)
{
	int error;

	*effects = (struct effects){.table = table, .slack_option_bytes = slack_bytes};
	error = pressure_init(&effects->pressure, "/proc/pressure");
	if (error != 0)
		return error;
	effects->timer = event_new(base, -1, 0, on_timer, effects);
	effects->heard = event_new(base, effects->pressure.epoll, EV_READ | EV_PERSIST, on_heard,
				   effects);
	effects->listening = event_new(base, -1, 0, on_listening, effects);
	if (effects->timer == NULL || effects->heard == NULL || effects->listening == NULL ||
	    event_add(effects->heard, NULL) != 0)
		return -ENOMEM;
	return 0;
}

void effects_deinit(struct effects *effects)
{
	struct event **events[] = {&effects->timer, &effects->heard, &effects->listening};

	for (size_t i = 0; i < sizeof events / sizeof events[0]; i++) {
		if (*events[i] != NULL)
			event_free(*events[i]);
		*events[i] = NULL;
	}
	/* Nothing was opened where the table is not known. */
	if (effects->table != NULL)
		pressure_deinit(&effects->pressure);
	free(effects->clients);
	effects->clients = NULL;
	effects->clients_size = 0;
}

/* Which groups clients are in: of those who are new, and of some again, as processes may move. */
static void place_clients(struct effects *effects, uint64_t now_ns)
{
	struct pressure *pressure = &effects->pressure;
	struct client *client, *next;
	size_t looked = 0;

	HASH_ITER(hh, effects->table->by_pid, client, next)
	{
		struct history *history = &client->history;
		bool is_due = history->placed_ns == 0 ||
			      now_ns - history->placed_ns >= EFFECTS_PLACE_NS ||
			      (history->group_id != 0 &&
			       !pressure_keep(pressure, history->group_id));

		if (!is_due || looked == EFFECTS_PLACES_MAX)
			continue;
		looked++;
		history->group_id = pressure_watch(pressure, client->pid, now_ns);
		history->placed_ns = now_ns;
	}
	pressure_sweep(pressure);
}

static bool has_slack(const struct client *client)
{
	return !allot_is_exempt(client) && client->memory.anonymous_bytes >= GOVERNOR_SMALL_BYTES;
}

/* Each that is not small may keep the same part of the slack. What is resident may be of any age
 * here: it only keeps the small out. */
static void deal_slack(struct effects *effects, uint64_t now_ns)
{
	const struct allot *allot = &effects->table->allot;
	uint64_t part_bytes, count = 0;
	struct client *client, *next;

	/* The options go before policy, which may be another one at each tick. */
	effects->slack_bytes = effects->slack_option_bytes != 0 ? effects->slack_option_bytes
								: allot_slack_bytes(allot);
	if (effects->slack_bytes == 0)
		return;
	HASH_ITER(hh, effects->table->by_pid, client, next)
	{
		if (client->memory.anonymous_bytes < GOVERNOR_SMALL_BYTES &&
		    client->counted[HAK_METRIC_live_bytes] >= GOVERNOR_SMALL_BYTES)
			(void)client_read_memory(client, now_ns);
		count += has_slack(client);
	}
	part_bytes = count == 0 ? 0 : effects->slack_bytes / count;
	HASH_ITER(hh, effects->table->by_pid, client, next)
	{
		client->history.slack_bytes = has_slack(client) ? part_bytes : 0;
	}
}

void effects_tick(struct effects *effects, uint64_t now_ns)
{
	place_clients(effects, now_ns);
	pressure_tick(&effects->pressure, now_ns);
	tell_others(effects, now_ns);
	deal_slack(effects, now_ns);
	begin_round(effects, now_ns);
}

void effects_pause(struct effects *effects, uint64_t duration_ns, uint64_t now_ns)
{
	effects->paused_until_ns = duration_ns == 0
					   ? 0
					   : (now_ns + duration_ns < now_ns ? UINT64_MAX
									    : now_ns + duration_ns);
}

bool effects_is_resting(const struct effects *effects, uint64_t now_ns)
{
	return allot_all_is_dry(&effects->table->allot) || effects_is_paused(effects, now_ns);
}

void effects_note_command(struct effects *effects, const struct client *client,
			  uint64_t target_bytes)
{
	const struct governor_action action = {
		.pid = client->pid,
		.method = HISTORY_TRIM,
		.trigger = GOVERNOR_COMMAND,
		.target_bytes = target_bytes,
	};

	actions_note_client(&effects->actions, client, &action, ACTIONS_ASKED, 0, 0);
}
