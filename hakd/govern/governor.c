#include "govern/governor.h"

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Claims may be anything: sums stop at the largest number. */
static uint64_t sum(uint64_t a, uint64_t b)
{
	return a + b < a ? UINT64_MAX : a + b;
}

const char *governor_trigger_text(enum governor_trigger trigger)
{
	static const char *const texts[GOVERNOR_TRIGGERS] = {"pressure", "budget", "decay",
							     "command"};

	return texts[trigger];
}

const char *governor_method_text(enum history_method method)
{
	static const char *const texts[HISTORY_METHODS] = {"mailbox", "remote"};

	return texts[method];
}

uint64_t governor_releasable(const struct governor_client *client, enum history_method method)
{
	uint64_t claim = client->lazyfree_bytes;

	if (method == HISTORY_TRIM)
		claim = sum(client->takes_remote ? 0 : claim,
			    sum(client->cached_bytes, client->free_bytes));
	return least(claim, client->resident_bytes);
}

static uint64_t cooldown_ns(const struct history_turn *turn, enum level level)
{
	return GOVERNOR_COOLDOWN_NS << (level == LEVEL_FULL ? 0 : turn->backoff);
}

const char *governor_refusal(const struct governor_client *client, enum history_method method,
			     uint64_t now_ns)
{
	const struct history_turn *turn = &client->history.turns[method];

	if (client->is_exempt)
		return "policy exempts it";
	if (method == HISTORY_REMOTE && !client->takes_remote)
		return "there is no remote reclaim for it";
	if (client->resident_bytes < GOVERNOR_SMALL_BYTES)
		return "it is small";
	if (governor_releasable(client, method) < GOVERNOR_STEP_BYTES_MIN)
		return "it has nothing to give back";
	if (!turn->is_drained)
		return NULL;
	/* Nor may it have carried out what it was asked for. */
	if (client->idle_ns >= now_ns - turn->acted_ns)
		return "it has not stirred since the last release";
	if (now_ns - turn->acted_ns < cooldown_ns(turn, client->level))
		return "it cools down after the last release";
	if (client->resident_bytes < turn->resident_bytes + GOVERNOR_GROWN_BYTES)
		return "it has hardly grown since the last release";
	return NULL;
}

static uint64_t heap_bytes(const struct governor_client *client)
{
	return sum(sum(client->live_bytes, client->cached_bytes),
		   sum(client->free_bytes, client->lazyfree_bytes));
}

/* What it keeps beyond its part of the slack; a little is left to it. */
static uint64_t excess_bytes(const struct governor_client *client)
{
	uint64_t slack = least(sum(client->cached_bytes,
				   sum(client->free_bytes, client->lazyfree_bytes)),
			       client->resident_bytes);
	uint64_t part = client->slack_bytes;

	return part != 0 && slack > part + GOVERNOR_GROWN_BYTES ? slack - part : 0;
}

/* Whether there is a reason to take memory from it now, which, and how much at most. Who sleeps is
 * not asked for the sake of a budget. */
static bool has_trigger(const struct governor_client *client, enum history_method method,
			enum governor_trigger *trigger, uint64_t *bytes)
{
	uint64_t excess = excess_bytes(client);
	bool is_idle = client->idle_ns >= GOVERNOR_IDLE_NS;

	*bytes = governor_releasable(client, method);
	*trigger = client->level != LEVEL_NONE ? GOVERNOR_PRESSURE : GOVERNOR_BUDGET;
	if (*trigger == GOVERNOR_PRESSURE)
		return true;
	if (excess >= GOVERNOR_STEP_BYTES_MIN && (method == HISTORY_REMOTE || !is_idle)) {
		*bytes = least(*bytes, excess);
		return true;
	}
	return method == HISTORY_REMOTE && is_idle && client->soft_budget_bytes != 0 &&
	       heap_bytes(client) > client->soft_budget_bytes;
}

/* A client with what is left to plan of it. */
struct candidate {
	const struct governor_client *client;
	enum history_method method;
	enum governor_trigger trigger;
	uint64_t left_bytes;
};

/* Who answers at once is before who answers when it next wakes up; among those, the most bytes;
 * then the more pressed. */
static bool is_better(const struct candidate *a, const struct candidate *b)
{
	bool a_waits = a->method == HISTORY_TRIM && a->client->idle_ns >= GOVERNOR_IDLE_NS;
	bool b_waits = b->method == HISTORY_TRIM && b->client->idle_ns >= GOVERNOR_IDLE_NS;

	if (a_waits != b_waits)
		return b_waits;
	if (a->left_bytes != b->left_bytes)
		return a->left_bytes > b->left_bytes;
	return a->client->level > b->client->level;
}

/* Keeps the best, in order: as many as a plan has steps, since each is good for one at least. */
static void keep(struct candidate best[GOVERNOR_PLAN_MAX], size_t *count,
		 const struct candidate *candidate)
{
	size_t at = *count;

	while (at > 0 && is_better(candidate, &best[at - 1]))
		at--;
	if (at == GOVERNOR_PLAN_MAX)
		return;
	if (*count < GOVERNOR_PLAN_MAX)
		(*count)++;
	for (size_t i = *count - 1; i > at; i--)
		best[i] = best[i - 1];
	best[at] = *candidate;
}

/* A client is in a plan with the method that gets more, remote where that is the same. */
static bool consider(const struct governor_client *client, uint64_t now_ns,
		     struct candidate *candidate)
{
	bool found = false;

	for (int i = HISTORY_METHODS - 1; i >= 0; i--) {
		struct candidate by = {.client = client, .method = (enum history_method)i};

		if (governor_refusal(client, by.method, now_ns) != NULL ||
		    !has_trigger(client, by.method, &by.trigger, &by.left_bytes))
			continue;
		if (!found || is_better(&by, candidate))
			*candidate = by;
		found = true;
	}
	return found;
}

bool governor_may_take(const struct governor_client *client, uint64_t now_ns)
{
	struct candidate any;

	return consider(client, now_ns, &any);
}

static uint64_t step_bytes(const struct candidate *candidate)
{
	return candidate->client->level == LEVEL_SOME ? GOVERNOR_STEP_SOME_BYTES
						      : GOVERNOR_STEP_BYTES;
}

size_t governor_plan(const struct governor_client *clients, size_t client_count, uint64_t now_ns,
		     struct governor_action actions[GOVERNOR_PLAN_MAX])
{
	struct candidate best[GOVERNOR_PLAN_MAX], candidate;
	size_t count = 0, planned = 0;

	for (size_t i = 0; i < client_count; i++)
		if (consider(&clients[i], now_ns, &candidate))
			keep(best, &count, &candidate);
	/* Step by step from whoever has the most left. */
	while (planned < GOVERNOR_PLAN_MAX) {
		struct candidate *next = NULL;
		uint64_t bytes;

		for (size_t i = 0; i < count; i++)
			if (best[i].left_bytes >= GOVERNOR_STEP_BYTES_MIN &&
			    (next == NULL || is_better(&best[i], next)))
				next = &best[i];
		if (next == NULL)
			break;
		bytes = least(next->left_bytes, step_bytes(next));
		next->left_bytes -= bytes;
		actions[planned++] = (struct governor_action){
			.pid = next->client->pid,
			.method = next->method,
			.trigger = next->trigger,
			.level = next->client->level,
			.target_bytes = bytes,
			.is_dry_run = next->client->is_dry_run,
		};
	}
	return planned;
}

void governor_note(struct history *history, const struct governor_action *action,
		   const struct governor_outcome *outcome, uint64_t now_ns)
{
	struct history_turn *turn = &history->turns[action->method];

	/* The first of a campaign. */
	if (turn->acted_ns == 0 || turn->is_drained || turn->is_settled) {
		turn->released_bytes = 0;
		turn->refaulted_base = outcome->refaulted_bytes_total;
	}
	turn->acted_ns = now_ns;
	turn->resident_bytes = outcome->resident_bytes;
	turn->released_bytes = sum(turn->released_bytes, outcome->released_bytes);
	turn->is_settled = false;
	/* What was only said in a dry run would be said again at once. */
	turn->is_drained = action->is_dry_run || outcome->released_bytes < action->target_bytes / 2;
}

void governor_settle(struct history *history, uint64_t refaulted_bytes_total, uint64_t now_ns)
{
	for (enum history_method i = 0; i < HISTORY_METHODS; i++) {
		struct history_turn *turn = &history->turns[i];
		uint64_t refaulted = refaulted_bytes_total > turn->refaulted_base
					     ? refaulted_bytes_total - turn->refaulted_base
					     : 0;

		if (turn->acted_ns == 0 || turn->is_settled || turn->released_bytes == 0)
			continue;
		if (refaulted > turn->released_bytes / GOVERNOR_REFAULT_SHARE) {
			/* It does not wait for the end of its time: the campaign is over. */
			if (turn->backoff < GOVERNOR_BACKOFF_MAX)
				turn->backoff++;
			turn->is_settled = turn->is_drained = true;
		} else if (now_ns - turn->acted_ns >= GOVERNOR_REFAULT_NS) {
			if (turn->backoff > 0)
				turn->backoff--;
			turn->is_settled = true;
		}
	}
}

bool governor_goes_on(const struct history *history, enum history_method method)
{
	return !history->turns[method].is_drained;
}
