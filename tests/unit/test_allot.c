/* Goal: of all that is said of a process's budget the right one holds: the command's, the rule's,
 * the group's part and the host's. Method: clients and groups made by hand, policies as texts; what
 * is written is read back from a memfd. Commands that come and go: overrides alone. */
#include "unit.h"

#include "base/guard.h"
#include "fleet/allot.h"
#include "proto/page.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MIB ((uint64_t)1 << 20)
#define SECOND CLOCK_SECOND_NS
#define CLIENTS 3
#define PAGE_BYTES 8192

static struct allot allot;
static struct groups groups;
static struct client *clients, made[CLIENTS];
static struct policy *policy;
static struct sigaction handler; /* of SIGBUS; cmocka has one of its own in each test */

static int tear_down(void **state)
{
	struct client *client, *next;

	(void)state;
	HASH_ITER(hh, clients, client, next)
	{
		HASH_DEL(clients, client);
		munmap(client->page, PAGE_BYTES);
		close(client->memfd);
	}
	groups_deinit(&groups);
	groups = (struct groups){.by_name = NULL};
	policy_free(policy);
	policy = NULL;
	return 0;
}

static void set_policy(const char *text)
{
	struct conf_report report = {.error_count = 0};
	struct conf conf = {.entries = NULL};

	policy_free(policy);
	conf_read_text(&conf, "x.conf", text, strlen(text), &report);
	policy = policy_new(&conf, 1024 * MIB, &report);
	assert_non_null(policy);
	allot.policy = policy;
	conf_report_deinit(&report);
	for (struct client *client = clients; client != NULL; client = client->hh.next)
		allot_match(&allot, client, "");
}

static void begin(const char *text)
{
	allot = (struct allot){.default_soft_bytes = ALLOT_NO_DEFAULT, .memory_bytes = 1024 * MIB};
	for (int i = 0; i < CLIENTS; i++) {
		struct client *client = &made[i];

		*client = (struct client){.pid = 100 + i, .memfd = memfd_create("page", 0)};
		assert_true(ftruncate(client->memfd, PAGE_BYTES) == 0);
		client->page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
				    client->memfd, 0);
		assert_true(client->page != MAP_FAILED);
		client->identity.start_ticks = 7;
		strcpy(client->identity.comm, i == 2 ? "other" : "same");
		client->group = groups_join(&groups, i == 2 ? "g2" : "g", 0);
		HASH_ADD(hh, clients, pid, sizeof client->pid, client);
	}
	set_policy(text);
}

static void hold(int i, uint64_t live_bytes, uint64_t free_bytes)
{
	made[i].counted[HAK_METRIC_live_bytes] = live_bytes;
	made[i].counted[HAK_METRIC_free_bytes] = free_bytes;
}

static void deal(uint64_t now_ns)
{
	allot_deal(&allot, clients, &groups, now_ns);
}

static struct hak_mailbox box_of(int i)
{
	uint8_t bytes[HAK_MAILBOX_BYTES];
	struct hak_mailbox box;

	assert_int_equal(pread(made[i].memfd, bytes, sizeof bytes, HAK_PAGE_MAILBOX),
			 HAK_MAILBOX_BYTES);
	hak_mailbox_decode(bytes, &box);
	return box;
}

static void the_strictest_of_all(void **state)
{
	struct override said = {
		.key = {.pid = 100, .start_ticks = 7}, .has_soft = true, .soft_bytes = 300 * MIB};

	(void)state;
	begin("[policy a]\ncomm=same\nsoft=200M\nhard=500M\ngroup-soft=600M\n");
	deal(SECOND);
	/* Alike, they share 600 in halves: their own 200 are stricter. */
	assert_int_equal(box_of(0).soft_budget_bytes, 200 * MIB);
	assert_int_equal(box_of(0).hard_budget_bytes, 500 * MIB);
	assert_int_equal(box_of(2).soft_budget_bytes, 512 * MIB); /* half of the machine */
	assert_int_equal(box_of(2).hard_budget_bytes, 0);
	/* The command goes before the rule, and not before the group. */
	assert_true(overrides_set(&allot.overrides, &said));
	deal(2 * SECOND);
	assert_int_equal(box_of(0).soft_budget_bytes, 300 * MIB);
	hold(1, 100 * MIB, 0);
	hold(0, 10 * MIB, 0);
	deal(3 * SECOND);
	assert_in_range(box_of(0).soft_budget_bytes, 16 * MIB, 80 * MIB);
	/* Another process of that number was not meant. */
	made[0].identity.start_ticks = 8;
	hold(1, 0, 0);
	hold(0, 0, 0);
	deal(4 * SECOND);
	assert_int_equal(box_of(0).soft_budget_bytes, 200 * MIB);
}

static void a_budget_that_fails_is_the_stricter(void **state)
{
	(void)state;
	begin("[policy a]\ncomm=same\nhard=500M\n[budget g]\nhard=900M\non-limit=fail\n");
	deal(SECOND);
	assert_int_equal(box_of(0).hard_budget_bytes, 450 * MIB);
	assert_int_equal(box_of(0).flags, HAK_MAILBOX_FAIL);
	set_policy("[policy a]\ncomm=same\nhard=500M\non-limit=fail\n[budget g]\nhard=600M\n"
		   "on-limit=report\n");
	deal(2 * SECOND);
	/* 300 of the group are only counted, and there is one word for both. */
	assert_int_equal(box_of(0).hard_budget_bytes, 500 * MIB);
	assert_int_equal(box_of(0).flags, HAK_MAILBOX_FAIL);
	set_policy("[policy a]\non-limit=fail\n");
	deal(3 * SECOND);
	assert_int_equal(box_of(0).hard_budget_bytes | box_of(0).flags, 0);
}

/* One member's word is not the others'; what is said of the group is all's. */
static void each_members_rule_says_what_comes(void **state)
{
	static const char rules[] = "[policy a]\ncomm=same\ngroup-hard=1000M\n"
				    "[policy b]\ncomm=third\nhard=50M\non-limit=fail\n";
	char with_group[sizeof rules + 40];

	(void)state;
	begin("");
	strcpy(made[1].identity.comm, "third");
	set_policy(rules);
	deal(SECOND);
	assert_int_equal(box_of(0).hard_budget_bytes, 500 * MIB);
	assert_int_equal(box_of(0).flags, 0);
	assert_int_equal(box_of(1).hard_budget_bytes, 50 * MIB);
	assert_int_equal(box_of(1).flags, HAK_MAILBOX_FAIL);
	allot_newcomer(&allot, &made[0]);
	assert_false(made[0].wishes.budget.fails);
	snprintf(with_group, sizeof with_group, "%s[budget g]\non-limit=fail\n", rules);
	set_policy(with_group);
	deal(2 * SECOND);
	assert_int_equal(box_of(0).flags, HAK_MAILBOX_FAIL);
}

static void time_above(void **state)
{
	struct group *group;

	(void)state;
	begin("[policy a]\ncomm=same\ngroup-soft=100M\n");
	hold(0, 60 * MIB, 0);
	deal(SECOND);
	group = groups_find(&groups, "g");
	assert_false(group->ledger.is_over);
	hold(1, 50 * MIB, 0);
	deal(3 * SECOND);
	deal(6 * SECOND);
	assert_true(group->ledger.is_over);
	assert_int_equal(group->ledger.exceeded_ns, 5 * SECOND);
	hold(1, 0, 0);
	deal(8 * SECOND);
	assert_int_equal(group->ledger.exceeded_ns, 5 * SECOND);
	assert_int_equal(groups_find(&groups, "g2")->ledger.exceeded_ns, 0);
}

static void the_host(void **state)
{
	(void)state;
	begin("[hakd]\nhost-budget=800M\nsoft-budget=none\n[policy x]\ncomm=other\nexempt=yes\n");
	hold(0, 300 * MIB, 100 * MIB);
	hold(2, 900 * MIB, 900 * MIB); /* is left out */
	deal(SECOND);
	assert_int_equal(box_of(0).purge_level | box_of(0).soft_budget_bytes, 0);
	hold(1, 100 * MIB, 400 * MIB);
	deal(2 * SECOND);
	assert_int_equal(box_of(0).purge_level, 1);
	assert_int_equal(box_of(0).soft_budget_bytes + box_of(1).soft_budget_bytes, 800 * MIB);
	assert_int_equal(box_of(2).purge_level | box_of(2).soft_budget_bytes, 0);
	hold(1, 600 * MIB, 0);
	deal(3 * SECOND);
	assert_int_equal(box_of(1).purge_level, 2);
	hold(1, 350 * MIB, 0); /* 750 held: above seven eighths */
	deal(4 * SECOND);
	assert_int_equal(box_of(1).purge_level, 1);
	hold(1, 250 * MIB, 0);
	deal(5 * SECOND);
	assert_int_equal(box_of(1).purge_level | box_of(1).soft_budget_bytes, 0);
}

/* A client whose page is gone is passed over, until it is dropped. */
static void who_has_no_page_harms_nobody(void **state)
{
	(void)state;
	begin("[policy a]\nsoft=10M\n");
	assert_int_equal(sigaction(SIGBUS, &handler, NULL), 0);
	assert_int_equal(ftruncate(made[0].memfd, 0), 0);
	deal(SECOND);
	assert_true(made[0].has_lost_page);
	assert_false(client_maps_page(&made[0], SECOND));
	assert_false(made[1].has_lost_page);
	assert_int_equal(box_of(1).soft_budget_bytes, 10 * MIB);
}

static void nothing_is_written_twice(void **state)
{
	uint64_t epoch;

	(void)state;
	begin("[policy a]\nsoft=10M\n");
	deal(SECOND);
	epoch = box_of(0).epoch;
	assert_int_equal(epoch, 1);
	deal(2 * SECOND);
	assert_int_equal(box_of(0).epoch, epoch);
	/* Words that are others' stay as they are. */
	made[0].mailbox.flags |= HAK_MAILBOX_REMOTE_RECLAIM;
	made[0].mailbox.trim_request = 5;
	set_policy("[policy a]\nhard=10M\non-limit=fail\n");
	deal(3 * SECOND);
	assert_int_equal(box_of(0).epoch, epoch + 1);
	assert_int_equal(box_of(0).flags, HAK_MAILBOX_REMOTE_RECLAIM | HAK_MAILBOX_FAIL);
	assert_int_equal(box_of(0).trim_request, 5);
}

static void newcomers(void **state)
{
	(void)state;
	begin("[policy a]\ncomm=same\ngroup-hard=400M\non-limit=fail\n");
	allot_newcomer(&allot, &made[0]);
	assert_int_equal(made[0].wishes.budget.hard_bytes, 400 * MIB);
	hold(0, 300 * MIB, 0);
	deal(SECOND);
	allot_newcomer(&allot, &made[1]);
	assert_int_equal(made[1].wishes.budget.hard_bytes, 100 * MIB);
	assert_true(made[1].wishes.budget.fails);
}

static void who_may_have_an_agent(void **state)
{
	(void)state;
	begin("[policy a]\ncomm=same\nagent=yes\n");
	allot_newcomer(&allot, &made[0]);
	assert_true(made[0].wishes.has_agent);
	deal(SECOND);
	assert_true((box_of(0).flags & HAK_MAILBOX_AGENT) != 0);
	assert_true((box_of(2).flags & HAK_MAILBOX_AGENT) == 0);
	set_policy("[policy a]\ncomm=same\nagent=yes\ndry-run=yes\n");
	deal(2 * SECOND);
	assert_true((box_of(0).flags & HAK_MAILBOX_AGENT) == 0);
	set_policy("[policy a]\ncomm=same\nagent=yes\nexempt=yes\n");
	deal(3 * SECOND);
	assert_true((box_of(0).flags & HAK_MAILBOX_AGENT) == 0);
}

static void as_many_as_may_be(void **state)
{
	static struct overrides overrides;
	struct override said = {.has_soft = true, .soft_bytes = 1};

	(void)state;
	for (int i = 1; i <= OVERRIDES_MAX; i++) {
		said.key.pid = i;
		assert_true(overrides_set(&overrides, &said));
	}
	said.key.pid = OVERRIDES_MAX + 1;
	assert_false(overrides_set(&overrides, &said));
	/* One that is there is changed, and what is not said stays. */
	said = (struct override){
		.key = {.pid = 9}, .has_hard = true, .hard_bytes = 2, .expires_ns = 50};
	assert_true(overrides_set(&overrides, &said));
	assert_int_equal(overrides_find(&overrides, &said.key)->soft_bytes, 1);
	assert_int_equal(overrides_find(&overrides, &said.key)->hard_bytes, 2);
	overrides_expire(&overrides, 49);
	assert_non_null(overrides_find(&overrides, &said.key));
	overrides_expire(&overrides, 50);
	assert_null(overrides_find(&overrides, &said.key));
	assert_false(overrides_clear(&overrides, &said.key));
	said.key.pid = 10;
	assert_true(overrides_clear(&overrides, &said.key));
	assert_int_equal(overrides.count, OVERRIDES_MAX - 2);
}

static void do_nothing(void *context)
{
	(void)context;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(the_strictest_of_all, tear_down),
		cmocka_unit_test_teardown(a_budget_that_fails_is_the_stricter, tear_down),
		cmocka_unit_test_teardown(each_members_rule_says_what_comes, tear_down),
		cmocka_unit_test_teardown(time_above, tear_down),
		cmocka_unit_test_teardown(the_host, tear_down),
		cmocka_unit_test_teardown(who_has_no_page_harms_nobody, tear_down),
		cmocka_unit_test_teardown(nothing_is_written_twice, tear_down),
		cmocka_unit_test_teardown(newcomers, tear_down),
		cmocka_unit_test_teardown(who_may_have_an_agent, tear_down),
		cmocka_unit_test(as_many_as_may_be),
	};

	guard_call(do_nothing, NULL);
	sigaction(SIGBUS, NULL, &handler);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
