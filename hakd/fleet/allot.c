#include "fleet/allot.h"

#include "base/log.h"
#include "base/text.h"

#include <string.h>

/* The host is under its budget again only when this share of it is free: else who is asked for
 * memory by turns would breathe with the ticks. */
#define HOST_EASE_SHARE 8

static const struct policy_section *host_of(const struct allot *allot)
{
	return allot->policy != NULL ? &allot->policy->host : NULL;
}

uint64_t allot_default_soft(const struct allot *allot)
{
	if (allot->default_soft_bytes != ALLOT_NO_DEFAULT)
		return allot->default_soft_bytes;
	return policy_number(host_of(allot), POLICY_SOFT_BUDGET, allot->memory_bytes / 2);
}

uint64_t allot_host_budget(const struct allot *allot)
{
	return policy_number(host_of(allot), POLICY_HOST_BUDGET, 0);
}

void allot_match(const struct allot *allot, struct client *client, const char *user)
{
	const struct process_identity *identity = &client->identity;
	const struct policy_subject subject = {
		.unit = identity->unit,
		.cgroup = identity->cgroup,
		.exe = identity->exe,
		.comm = identity->comm,
		.user = user,
		.uid = client->uid,
	};

	client->rule = allot->policy != NULL ? policy_match(allot->policy, &subject) : NULL;
}

const char *allot_group_name(const struct client *client)
{
	return policy_is_set(client->rule, POLICY_GROUP) ? client->rule->values[POLICY_GROUP].text
							 : client->identity.group;
}

bool allot_is_exempt(const struct client *client)
{
	return policy_number(client->rule, POLICY_EXEMPT, 0) != 0;
}

bool allot_shares(const struct allot *allot, const struct groups *groups)
{
	const struct group *group = groups->by_name;

	while (group != NULL && group->ledger.budget.soft_bytes == 0 &&
	       group->ledger.budget.hard_bytes == 0)
		group = group->hh.next;
	return group != NULL || allot_host_budget(allot) != 0;
}

uint64_t allot_slack_bytes(const struct allot *allot)
{
	return policy_number(host_of(allot), POLICY_SLACK_BUDGET, 0);
}

bool allot_takes_remote(const struct allot *allot, const struct client *client)
{
	return policy_number(host_of(allot), POLICY_HOST_REMOTE_RECLAIM, 1) != 0 &&
	       policy_number(client->rule, POLICY_REMOTE_RECLAIM, 1) != 0;
}

bool allot_all_is_dry(const struct allot *allot)
{
	return allot->is_dry_run || policy_number(host_of(allot), POLICY_HOST_DRY_RUN, 0) != 0;
}

bool allot_is_dry(const struct allot *allot, const struct client *client)
{
	return allot_all_is_dry(allot) || policy_number(client->rule, POLICY_DRY_RUN, 0) != 0;
}

static void override(const struct override *said, struct group_budget *budget)
{
	if (said == NULL)
		return;
	if (said->has_soft)
		budget->soft_bytes = said->soft_bytes;
	if (said->has_hard)
		budget->hard_bytes = said->hard_bytes;
	if (said->has_on_limit)
		budget->fails = said->fails;
}

/* Of the process alone. */
static struct group_budget own_budget(const struct allot *allot, const struct client *client)
{
	struct override_key key = {.pid = client->pid, .start_ticks = client->identity.start_ticks};
	struct group_budget budget = {
		.soft_bytes = policy_number(client->rule, POLICY_SOFT, allot_default_soft(allot)),
		.hard_bytes = policy_number(client->rule, POLICY_HARD, 0),
		.fails = policy_number(client->rule, POLICY_ON_LIMIT, 0) != 0,
	};

	override(overrides_find(&allot->overrides, &key), &budget);
	return budget;
}

/* Who is in no group of its own for want of places has nothing to do with the others there. */
static void add_rule(struct group_budget *rules, const struct client *client)
{
	if (strcmp(client->group->name, GROUP_OTHER) == 0)
		return;
	rules->soft_bytes = share_stricter(rules->soft_bytes,
					   policy_number(client->rule, POLICY_GROUP_SOFT, 0));
	rules->hard_bytes = share_stricter(rules->hard_bytes,
					   policy_number(client->rule, POLICY_GROUP_HARD, 0));
	rules->fails |= policy_number(client->rule, POLICY_ON_LIMIT, 0) != 0;
}

/* Of the group, where its members' rules say `rules`; and whether what comes at its hard budget is
 * said of the group itself. */
static struct group_budget group_budget(const struct allot *allot, const char *name,
					const struct group_budget *rules, bool *says_on_limit)
{
	const struct policy_section *section = allot->policy != NULL
						       ? policy_budget_of(allot->policy, name)
						       : NULL;
	struct override_key key = {.pid = 0};
	struct group_budget budget = {
		.soft_bytes = policy_number(section, POLICY_BUDGET_SOFT, rules->soft_bytes),
		.hard_bytes = policy_number(section, POLICY_BUDGET_HARD, rules->hard_bytes),
		.fails = policy_number(section, POLICY_BUDGET_ON_LIMIT, rules->fails) != 0,
	};
	const struct override *said;

	strcpy(key.group, name);
	said = overrides_find(&allot->overrides, &key);
	override(said, &budget);
	*says_on_limit = policy_is_set(section, POLICY_BUDGET_ON_LIMIT) ||
			 (said != NULL && said->has_on_limit);
	return budget;
}

/* Where nothing is said of the group itself, each member's rule says. */
static bool fails_at_limit(const struct client *client, bool is_said, bool fails)
{
	return is_said ? fails : policy_number(client->rule, POLICY_ON_LIMIT, 0) != 0;
}

/* The mailbox has one hard budget: one that fails is stricter than any that is only counted. */
static void add_hard(struct group_budget *budget, uint64_t hard_bytes, bool fails)
{
	if (hard_bytes == 0 || (budget->hard_bytes != 0 && budget->fails && !fails))
		return;
	if (budget->hard_bytes != 0 && budget->fails == fails)
		hard_bytes = share_stricter(budget->hard_bytes, hard_bytes);
	budget->hard_bytes = hard_bytes;
	budget->fails = fails;
}

/* With the part that it has of its group's budget and of the host's. */
static void reckon(const struct allot *allot, struct client *client,
		   const struct group_budget *part, uint64_t host_bytes, uint64_t level)
{
	struct client_wishes *wishes = &client->wishes;

	*wishes = (struct client_wishes){.purge_level = 0};
	if (allot_is_exempt(client))
		return;
	wishes->budget = own_budget(allot, client);
	if (wishes->budget.hard_bytes == 0)
		wishes->budget.fails = false;
	add_hard(&wishes->budget, part->hard_bytes, part->fails);
	wishes->budget.soft_bytes = share_stricter(wishes->budget.soft_bytes, part->soft_bytes);
	wishes->budget.soft_bytes = share_stricter(wishes->budget.soft_bytes, host_bytes);
	wishes->purge_level = level;
	wishes->decay_ns = policy_number(client->rule, POLICY_DECAY, 0);
	wishes->magazine_bytes_max = policy_number(client->rule, POLICY_THREAD_CACHE, 0);
	wishes->has_agent = policy_number(client->rule, POLICY_AGENT, 0) != 0;
}

void allot_newcomer(const struct allot *allot, struct client *client)
{
	const struct group_ledger *ledger = &client->group->ledger;
	struct group_budget rules = ledger->rules, budget, part;
	bool says_on_limit;

	add_rule(&rules, client);
	budget = group_budget(allot, client->group->name, &rules, &says_on_limit);
	part = (struct group_budget){
		.soft_bytes = share_newcomer(budget.soft_bytes, ledger->member_count,
					     ledger->used_bytes),
		.hard_bytes = share_newcomer(budget.hard_bytes, ledger->member_count,
					     ledger->used_bytes),
		.fails = fails_at_limit(client, says_on_limit, budget.fails),
	};
	reckon(allot, client, &part, 0, 0);
}

struct client_wishes allot_told(const struct allot *allot, const struct client *client)
{
	return allot_is_dry(allot, client) ? (struct client_wishes){.purge_level = 0}
					   : client->wishes;
}

static uint64_t live_of(const struct client *client)
{
	return client->counted[HAK_METRIC_live_bytes];
}

static uint64_t used_of(const struct client *client)
{
	return group_add(live_of(client), client->counted[HAK_METRIC_cached_bytes]);
}

static uint64_t held_of(const struct client *client)
{
	return group_add(used_of(client), group_add(client->counted[HAK_METRIC_free_bytes],
						    client->counted[HAK_METRIC_lazyfree_bytes]));
}

/* What all members hold, and what their rules say. */
static uint64_t add_up(struct allot *allot, struct client *clients, struct groups *groups,
		       unsigned __int128 *live_bytes)
{
	struct group *group;
	struct client *client;
	uint64_t count = 0;

	*live_bytes = 0;
	allot->used_bytes = allot->held_bytes = 0;
	for (group = groups->by_name; group != NULL; group = group->hh.next)
		group->ledger = (struct group_ledger){.exceeded_ns = group->ledger.exceeded_ns,
						      .is_over = group->ledger.is_over};
	for (client = clients; client != NULL; client = client->hh.next) {
		struct group_ledger *ledger = &client->group->ledger;

		if (allot_is_exempt(client))
			continue;
		count++;
		add_rule(&ledger->rules, client);
		ledger->member_count++;
		ledger->live_bytes += live_of(client);
		ledger->used_bytes = group_add(ledger->used_bytes, used_of(client));
		*live_bytes += live_of(client);
		allot->used_bytes = group_add(allot->used_bytes, used_of(client));
		allot->held_bytes = group_add(allot->held_bytes, held_of(client));
	}
	return count;
}

static void begin_groups(const struct allot *allot, struct groups *groups)
{
	struct group *group;

	for (group = groups->by_name; group != NULL; group = group->hh.next) {
		struct group_ledger *ledger = &group->ledger;

		ledger->budget = group_budget(allot, group->name, &ledger->rules,
					      &ledger->says_on_limit);
		ledger->soft = share_begin(ledger->budget.soft_bytes, ledger->member_count,
					   ledger->live_bytes);
		ledger->hard = share_begin(ledger->budget.hard_bytes, ledger->member_count,
					   ledger->live_bytes);
	}
}

static struct group_budget next_part(struct group_ledger *ledger, const struct client *client)
{
	struct group_budget part = {
		.fails = fails_at_limit(client, ledger->says_on_limit, ledger->budget.fails),
	};

	if (ledger->budget.soft_bytes != 0)
		part.soft_bytes = share_next(&ledger->soft, live_of(client));
	if (ledger->budget.hard_bytes != 0)
		part.hard_bytes = share_next(&ledger->hard, live_of(client));
	return part;
}

static bool is_above(uint64_t used_bytes, uint64_t budget_bytes)
{
	return budget_bytes != 0 && used_bytes > budget_bytes;
}

/* 2 where even what is in use is too much. */
static uint64_t host_level(const struct allot *allot, uint64_t budget_bytes)
{
	uint64_t limit_bytes = budget_bytes;

	if (allot->host_level != 0)
		limit_bytes -= budget_bytes / HOST_EASE_SHARE;
	if (!is_above(allot->held_bytes, limit_bytes))
		return 0;
	return is_above(allot->used_bytes, budget_bytes) ? 2 : 1;
}

/* Says so when it begins and when it ends. */
static void judge_host(struct allot *allot)
{
	uint64_t budget_bytes = allot_host_budget(allot), level = host_level(allot, budget_bytes);
	char held[TEXT_SIZE_BYTES], budget[TEXT_SIZE_BYTES];

	if ((level != 0) != (allot->host_level != 0)) {
		text_format_bytes(held, allot->held_bytes);
		text_format_bytes(budget, budget_bytes);
		log_say(LOG_INFO, "All programs together hold %s: the host's budget of %s is %s.",
			held, budget, level != 0 ? "exceeded" : "kept");
	}
	allot->host_level = level;
}

/* Says so once, when a group begins to be above, and counts for how long it is. */
static void judge_groups(struct groups *groups, uint64_t elapsed_ns)
{
	struct group *group;

	for (group = groups->by_name; group != NULL; group = group->hh.next) {
		struct group_ledger *ledger = &group->ledger;
		bool was_over = ledger->is_over;

		ledger->is_over = ledger->has_member_over ||
				  is_above(ledger->used_bytes, ledger->budget.soft_bytes) ||
				  is_above(ledger->used_bytes, ledger->budget.hard_bytes);
		if (ledger->is_over)
			ledger->exceeded_ns += elapsed_ns;
		if (ledger->is_over && !was_over)
			log_say(LOG_INFO, "The group %s is above its budget.", group->name);
	}
}

void allot_deal(struct allot *allot, struct client *clients, struct groups *groups, uint64_t now_ns)
{
	uint64_t elapsed_ns = allot->dealt_ns != 0 ? now_ns - allot->dealt_ns : 0;
	unsigned __int128 live_bytes;
	uint64_t count = add_up(allot, clients, groups, &live_bytes);
	struct share host = share_begin(allot_host_budget(allot), count, live_bytes);
	struct client *client;

	judge_host(allot);
	overrides_expire(&allot->overrides, now_ns);
	begin_groups(allot, groups);
	for (client = clients; client != NULL; client = client->hh.next) {
		struct group_ledger *ledger = &client->group->ledger;
		struct group_budget part = {.fails = false};
		struct client_wishes told;
		uint64_t host_bytes = 0;

		if (!allot_is_exempt(client)) {
			part = next_part(ledger, client);
			host_bytes = allot->host_level != 0 ? share_next(&host, live_of(client))
							    : 0;
		}
		reckon(allot, client, &part, host_bytes, allot->host_level);
		ledger->has_member_over |=
			is_above(used_of(client), client->wishes.budget.soft_bytes) ||
			is_above(used_of(client), client->wishes.budget.hard_bytes);
		told = allot_told(allot, client);
		client_wish(client, &told);
	}
	judge_groups(groups, elapsed_ns);
	allot->dealt_ns = now_ns;
}
