/* Goal: memory is taken from whom it should be, in small steps, and nobody is asked in vain again
 * and again.
 * Method: clients that exist in this file alone, at times that the test names; and a simulated
 * host, whose clients give what they have, and whose pressure falls when enough has come. */
#include "unit.h"

#include "govern/governor.h"

#include <string.h>

#define MIB GOVERNOR_MIB
#define SECOND CLOCK_SECOND_NS
#define NOW (1000 * SECOND)

static struct governor_client client_of(pid_t pid, uint64_t lazy_mib, uint64_t cached_mib)
{
	return (struct governor_client){
		.pid = pid,
		.live_bytes = 50 * MIB,
		.cached_bytes = cached_mib * MIB,
		.lazyfree_bytes = lazy_mib * MIB,
		.resident_bytes = (lazy_mib + cached_mib + 60) * MIB,
		.level = LEVEL_SOME,
		.takes_remote = true,
	};
}

static struct governor_action actions[GOVERNOR_PLAN_MAX];

static size_t plan(const struct governor_client *client)
{
	return governor_plan(client, 1, NOW, actions);
}

static void the_most_releasable_is_first(void **state)
{
	struct governor_client clients[] = {client_of(1, 100, 0), client_of(2, 300, 0),
					    client_of(3, 0, 40), client_of(4, 20, 0)};
	size_t count;

	(void)state;
	clients[3].resident_bytes = 4096 * MIB; /* the largest, with little to give */
	count = governor_plan(clients, 4, NOW, actions);
	assert_int_equal(count, 9);
	/* 300 MiB become 108 before 100 are more than what is left. */
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(actions[i].pid, 2);
	assert_int_equal(actions[4].pid, 1);
	assert_int_equal(actions[count - 1].pid, 4);
	for (size_t i = 0; i < count; i++) {
		assert_true(actions[i].target_bytes <= GOVERNOR_STEP_SOME_BYTES);
		assert_int_equal(actions[i].method,
				 actions[i].pid == 3 ? HISTORY_TRIM : HISTORY_REMOTE);
		assert_int_equal(actions[i].trigger, GOVERNOR_PRESSURE);
	}
}

static void steps_are_larger_in_need(void **state)
{
	struct governor_client client = client_of(1, 1024, 0);

	(void)state;
	assert_int_equal(plan(&client), 16);
	assert_int_equal(actions[0].target_bytes, GOVERNOR_STEP_SOME_BYTES);
	client.level = LEVEL_FULL;
	assert_int_equal(plan(&client), 4);
	assert_int_equal(actions[0].target_bytes, GOVERNOR_STEP_BYTES);
}

static void plans_are_bounded(void **state)
{
	static struct governor_client clients[1000];

	(void)state;
	for (int i = 0; i < 1000; i++)
		clients[i] = client_of(i + 1, (uint64_t)(i * 7919 % 1000), 0);
	assert_int_equal(governor_plan(clients, 1000, NOW, actions), GOVERNOR_PLAN_MAX);
	/* 999 MiB stand at i * 7919 % 1000 == 999. */
	assert_int_equal(clients[actions[0].pid - 1].lazyfree_bytes, 999 * MIB);
	for (size_t i = 1; i < GOVERNOR_PLAN_MAX; i++)
		assert_true(clients[actions[i].pid - 1].lazyfree_bytes >= 900 * MIB);
	assert_int_equal(governor_plan(clients, 0, NOW, actions), 0);
}

static void the_small_and_the_exempt_are_left_alone(void **state)
{
	struct governor_client client = client_of(1, 8, 0);

	(void)state;
	client.resident_bytes = GOVERNOR_SMALL_BYTES - 1;
	assert_int_equal(plan(&client), 0);
	client.resident_bytes = GOVERNOR_SMALL_BYTES;
	assert_int_equal(plan(&client), 1);
	client.is_exempt = true;
	assert_int_equal(plan(&client), 0);
	assert_string_equal(governor_refusal(&client, HISTORY_REMOTE, NOW), "policy exempts it");
	client = client_of(1, 0, 0);
	assert_int_equal(plan(&client), 0);
	client.lazyfree_bytes = GOVERNOR_STEP_BYTES_MIN - 1;
	assert_int_equal(plan(&client), 0);
}

/* What is resident is read of those alone that a plan could have: at rest of nobody. */
static void at_rest_nobody_is_looked_at(void **state)
{
	struct governor_client client = client_of(1, 100, 0);

	(void)state;
	client.resident_bytes = GOVERNOR_RESIDENT_UNKNOWN;
	assert_true(governor_may_take(&client, NOW));
	client.level = LEVEL_NONE;
	client.idle_ns = 2 * GOVERNOR_IDLE_NS;
	assert_false(governor_may_take(&client, NOW));
	client.soft_budget_bytes = 99 * MIB;
	assert_true(governor_may_take(&client, NOW));
	client.is_exempt = true;
	assert_false(governor_may_take(&client, NOW));
}

/* A client that says it has all the memory in the world has at most what is resident of it. */
static void claims_are_believed_as_far_as_they_can_be(void **state)
{
	struct governor_client client = client_of(1, 0, 0);

	(void)state;
	client.lazyfree_bytes = client.cached_bytes = client.free_bytes = UINT64_MAX;
	client.resident_bytes = 100 * MIB;
	assert_int_equal(governor_releasable(&client, HISTORY_REMOTE), 100 * MIB);
	assert_int_equal(governor_releasable(&client, HISTORY_TRIM), 100 * MIB);
	client.takes_remote = false;
	assert_int_equal(governor_releasable(&client, HISTORY_TRIM), 100 * MIB);
	assert_int_equal(plan(&client), 2);
}

static void without_remote_reclaim_marked_memory_is_asked_for(void **state)
{
	struct governor_client client = client_of(1, 100, 10);

	(void)state;
	client.takes_remote = false;
	assert_int_equal(plan(&client), 2);
	assert_int_equal(actions[0].method, HISTORY_TRIM);
	assert_int_equal(actions[0].target_bytes + actions[1].target_bytes, 110 * MIB);
}

/* Who sleeps does not answer: it is asked after all others, and may answer when it wakes. */
static void the_silent_are_asked_last(void **state)
{
	struct governor_client clients[] = {client_of(1, 0, 900), client_of(2, 0, 2),
					    client_of(3, 3, 0)};

	(void)state;
	clients[0].idle_ns = clients[2].idle_ns = 5 * SECOND;
	assert_int_equal(governor_plan(clients, 3, NOW, actions), 16);
	assert_int_equal(actions[0].pid, 3);
	assert_int_equal(actions[1].pid, 2);
	assert_int_equal(actions[2].pid, 1);
}

/* What the idle have marked within their budgets is the advisor's. */
static void above_its_soft_budget_the_idle_give_what_is_marked(void **state)
{
	struct governor_client client = client_of(1, 100, 100);

	(void)state;
	client.level = LEVEL_NONE;
	client.soft_budget_bytes = 200 * MIB;
	client.idle_ns = GOVERNOR_IDLE_NS - 1;
	assert_int_equal(plan(&client), 0);
	client.idle_ns = GOVERNOR_IDLE_NS;
	assert_int_equal(plan(&client), 1);
	assert_int_equal(actions[0].trigger, GOVERNOR_BUDGET);
	assert_int_equal(actions[0].target_bytes, 100 * MIB);
	client.soft_budget_bytes = 250 * MIB;
	assert_int_equal(plan(&client), 0);
	client.soft_budget_bytes = 0;
	assert_int_equal(plan(&client), 0);
	client.soft_budget_bytes = 200 * MIB;
	client.takes_remote = false;
	assert_int_equal(plan(&client), 0);
}

/* The part of the slack is a budget too: what is above it goes, of those who run as well. */
static void what_is_above_the_part_of_the_slack_goes(void **state)
{
	struct governor_client client = client_of(1, 0, 100);

	(void)state;
	client.level = LEVEL_NONE;
	client.slack_bytes = 60 * MIB;
	assert_int_equal(plan(&client), 1);
	assert_int_equal(actions[0].method, HISTORY_TRIM);
	assert_int_equal(actions[0].trigger, GOVERNOR_BUDGET);
	assert_int_equal(actions[0].target_bytes, 40 * MIB);
	client.idle_ns = GOVERNOR_IDLE_NS;
	assert_int_equal(plan(&client), 0);
	client.idle_ns = 0;
	client.slack_bytes = 100 * MIB - GOVERNOR_GROWN_BYTES;
	assert_int_equal(plan(&client), 0);
}

static void note(struct governor_client *client, enum history_method method, uint64_t target_mib,
		 uint64_t released_mib, uint64_t now_ns)
{
	const struct governor_action action = {
		.pid = client->pid,
		.method = method,
		.target_bytes = target_mib * MIB,
		.is_dry_run = client->is_dry_run,
	};
	const struct governor_outcome outcome = {
		.released_bytes = released_mib * MIB,
		.resident_bytes = client->resident_bytes -= released_mib * MIB,
		.refaulted_bytes_total = client->refaulted_bytes_total,
	};

	governor_note(&client->history, &action, &outcome, now_ns);
}

static bool is_taken(const struct governor_client *client, uint64_t now_ns)
{
	return governor_refusal(client, HISTORY_REMOTE, now_ns) == NULL;
}

static void who_had_nothing_cools_down_and_must_grow(void **state)
{
	struct governor_client client = client_of(1, 100, 0);

	(void)state;
	/* A step that found what it was to find is followed by the next. */
	note(&client, HISTORY_REMOTE, 64, 60, NOW);
	assert_true(governor_goes_on(&client.history, HISTORY_REMOTE));
	assert_true(is_taken(&client, NOW));
	/* The claim is old: there is nothing more. */
	note(&client, HISTORY_REMOTE, 40, 1, NOW);
	assert_false(governor_goes_on(&client.history, HISTORY_REMOTE));
	assert_false(is_taken(&client, NOW + GOVERNOR_COOLDOWN_NS));
	client.resident_bytes += GOVERNOR_GROWN_BYTES;
	assert_false(is_taken(&client, NOW + GOVERNOR_COOLDOWN_NS - 1));
	assert_true(is_taken(&client, NOW + GOVERNOR_COOLDOWN_NS));
	client.resident_bytes -= 1;
	assert_false(is_taken(&client, NOW + GOVERNOR_COOLDOWN_NS));
	/* Who sleeps since then has nothing new. */
	client.resident_bytes += 100 * MIB;
	client.idle_ns = 2 * GOVERNOR_COOLDOWN_NS;
	assert_false(is_taken(&client, NOW + 2 * GOVERNOR_COOLDOWN_NS));
	client.idle_ns -= 1;
	assert_true(is_taken(&client, NOW + 2 * GOVERNOR_COOLDOWN_NS));
	/* The other way has a history of its own. */
	client.cached_bytes = 50 * MIB;
	assert_null(governor_refusal(&client, HISTORY_TRIM, NOW));
}

static void it_backs_off_where_refaults_follow(void **state)
{
	struct governor_client client = client_of(1, 100, 0);
	uint64_t now_ns = NOW, cooldown_ns = GOVERNOR_COOLDOWN_NS;

	(void)state;
	for (uint32_t i = 1; i <= GOVERNOR_BACKOFF_MAX + 2; i++) {
		note(&client, HISTORY_REMOTE, 64, 64, now_ns);
		client.refaulted_bytes_total += 17 * MIB;
		governor_settle(&client.history, client.refaulted_bytes_total, now_ns + SECOND);
		/* Once, however often it is looked at. */
		governor_settle(&client.history, client.refaulted_bytes_total, now_ns + SECOND);
		client.resident_bytes += 64 * MIB;
		if (i <= GOVERNOR_BACKOFF_MAX)
			cooldown_ns *= 2;
		assert_false(is_taken(&client, now_ns + cooldown_ns - 1));
		assert_true(is_taken(&client, now_ns + cooldown_ns));
		/* In need it does not wait so long. */
		client.level = LEVEL_FULL;
		assert_false(is_taken(&client, now_ns + GOVERNOR_COOLDOWN_NS - 1));
		assert_true(is_taken(&client, now_ns + GOVERNOR_COOLDOWN_NS));
		client.level = LEVEL_SOME;
		now_ns += cooldown_ns;
	}
	/* A release after which little comes back makes good for one that was wrong. */
	note(&client, HISTORY_REMOTE, 64, 64, now_ns);
	client.refaulted_bytes_total += 15 * MIB;
	governor_settle(&client.history, client.refaulted_bytes_total,
			now_ns + GOVERNOR_REFAULT_NS - 1);
	assert_int_equal(client.history.turns[HISTORY_REMOTE].backoff, GOVERNOR_BACKOFF_MAX);
	governor_settle(&client.history, client.refaulted_bytes_total,
			now_ns + GOVERNOR_REFAULT_NS);
	governor_settle(&client.history, client.refaulted_bytes_total,
			now_ns + 2 * GOVERNOR_REFAULT_NS);
	assert_int_equal(client.history.turns[HISTORY_REMOTE].backoff, GOVERNOR_BACKOFF_MAX - 1);
	assert_true(is_taken(&client, now_ns + 3 * GOVERNOR_REFAULT_NS));
}

/* It is said once, not for ever. */
static void a_dry_run_is_planned_and_ends(void **state)
{
	struct governor_client client = client_of(1, 100, 0);

	(void)state;
	client.is_dry_run = true;
	assert_int_equal(plan(&client), 2);
	assert_true(actions[0].is_dry_run);
	note(&client, HISTORY_REMOTE, 64, 0, NOW);
	assert_int_equal(plan(&client), 0);
}

#define HOST_CLIENTS 60

static struct governor_client host[HOST_CLIENTS];
static uint64_t host_has[HOST_CLIENTS]; /* what is really there; claims may be more */

static uint64_t act(const struct governor_action *action, uint64_t now_ns)
{
	struct governor_client *client = &host[action->pid - 1];
	uint64_t *has = &host_has[action->pid - 1];
	uint64_t released = *has < action->target_bytes ? *has : action->target_bytes;
	struct governor_outcome outcome;

	assert_false(client->is_exempt);
	assert_false(action->is_dry_run);
	*has -= released;
	client->resident_bytes -= released;
	outcome = (struct governor_outcome){released, client->resident_bytes, 0};
	governor_note(&client->history, action, &outcome, now_ns);
	return released;
}

/* A shortage of 3 GiB at a host whose clients have 6 GiB that they do not use, of which some say so
 * though it has gone long ago. */
static void a_shortage_is_met_and_no_more(void **state)
{
	uint64_t short_bytes = 3072 * MIB, released = 0, now_ns = NOW;
	size_t step_count = 0, vain_count = 0;

	(void)state;
	for (int i = 0; i < HOST_CLIENTS; i++) {
		host[i] = client_of(i + 1, (uint64_t)(i + 1) * 7, 0);
		host_has[i] = i % 5 == 0 ? 0 : host[i].lazyfree_bytes;
		host[i].is_exempt = i % 7 == 3;
	}
	while (released < short_bytes) {
		size_t count = governor_plan(host, HOST_CLIENTS, now_ns, actions);

		assert_true(count > 0);
		for (size_t i = 0; i < count && released < short_bytes; i++) {
			struct governor_client *client = &host[actions[i].pid - 1];
			uint64_t got;

			if (!governor_goes_on(&client->history, actions[i].method))
				continue;
			got = act(&actions[i], now_ns);
			now_ns += SECOND / 100;
			released += got;
			client->lazyfree_bytes -= got;
			step_count++;
			vain_count += got == 0;
		}
	}
	assert_true(released < short_bytes + GOVERNOR_STEP_SOME_BYTES);
	/* One step in vain for each that claims what it has not. */
	assert_true(vain_count <= HOST_CLIENTS / 5);
	assert_true(step_count < 2 * short_bytes / GOVERNOR_STEP_SOME_BYTES + vain_count);
}

/* Where all that there is has been taken, planning ends: nobody is asked again and again. */
static void an_end_is_found_where_there_is_no_more(void **state)
{
	uint64_t released = 0, now_ns = NOW;
	size_t rounds = 0, count;

	(void)state;
	for (int i = 0; i < HOST_CLIENTS; i++) {
		host[i] = client_of(i + 1, 100, 0);
		host_has[i] = 70 * MIB;
	}
	while ((count = governor_plan(host, HOST_CLIENTS, now_ns, actions)) > 0) {
		assert_true(++rounds < 100);
		for (size_t i = 0; i < count; i++)
			if (governor_goes_on(&host[actions[i].pid - 1].history, actions[i].method))
				released += act(&actions[i], now_ns);
	}
	assert_int_equal(released, HOST_CLIENTS * 70 * MIB);
	assert_int_equal(governor_plan(host, HOST_CLIENTS, now_ns + 100 * SECOND, actions), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_most_releasable_is_first),
		cmocka_unit_test(steps_are_larger_in_need),
		cmocka_unit_test(plans_are_bounded),
		cmocka_unit_test(the_small_and_the_exempt_are_left_alone),
		cmocka_unit_test(at_rest_nobody_is_looked_at),
		cmocka_unit_test(claims_are_believed_as_far_as_they_can_be),
		cmocka_unit_test(without_remote_reclaim_marked_memory_is_asked_for),
		cmocka_unit_test(the_silent_are_asked_last),
		cmocka_unit_test(above_its_soft_budget_the_idle_give_what_is_marked),
		cmocka_unit_test(what_is_above_the_part_of_the_slack_goes),
		cmocka_unit_test(who_had_nothing_cools_down_and_must_grow),
		cmocka_unit_test(it_backs_off_where_refaults_follow),
		cmocka_unit_test(a_dry_run_is_planned_and_ends),
		cmocka_unit_test(a_shortage_is_met_and_no_more),
		cmocka_unit_test(an_end_is_found_where_there_is_no_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
