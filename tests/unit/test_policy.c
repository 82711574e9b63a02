/* Goal: texts become the policy that they say, the right rule holds, what means nothing is told.
 * Method: configurations as texts, and processes as words. */
#include "unit.h"

#include "fleet/policy.h"

#include <string.h>

#define MEMORY_BYTES ((uint64_t)8 << 30)
#define SECOND_NS ((uint64_t)1000000000)

static struct policy *policy;
static struct conf_report report;

static int tear_down(void **state)
{
	(void)state;
	policy_free(policy);
	policy = NULL;
	conf_report_deinit(&report);
	return 0;
}

static void make(const char *text)
{
	struct conf config = {.entries = NULL};

	tear_down(NULL);
	conf_read_text(&config, "x.conf", text, strlen(text), &report);
	policy = policy_new(&config, MEMORY_BYTES, &report);
}

static const char *match(const char *unit, const char *exe, const char *comm, unsigned uid)
{
	const struct policy_subject subject = {.unit = unit,
					       .cgroup = "/system.slice/a.service",
					       .exe = exe,
					       .comm = comm,
					       .user = uid == 7 ? "ada" : "",
					       .uid = uid};
	const struct policy_section *rule = policy_match(policy, &subject);

	return rule != NULL ? rule->name : "none";
}

static void values(void **state)
{
	(void)state;
	make("[hakd]\nsoft-budget = 25%\nhost-budget = none\n"
	     "[policy a]\nsoft=512M\nhard=2G\non-limit=fail\ndecay=500ms\nexempt=no\n");
	assert_non_null(policy);
	assert_int_equal(policy_number(&policy->host, POLICY_SOFT_BUDGET, 1), MEMORY_BYTES / 4);
	assert_int_equal(policy_number(&policy->host, POLICY_HOST_BUDGET, 1), 0);
	assert_int_equal(policy_number(&policy->host, POLICY_SLACK_BUDGET, 1), 1);
	assert_int_equal(policy_number(&policy->rules[0], POLICY_SOFT, 0), 512 << 20);
	assert_int_equal(policy_number(&policy->rules[0], POLICY_ON_LIMIT, 0), 1);
	assert_int_equal(policy_number(&policy->rules[0], POLICY_DECAY, 0), SECOND_NS / 2);
	assert_int_equal(policy_number(NULL, POLICY_DECAY, 3), 3);
	make("[policy a]\ndecay=2min\n[policy b]\ndecay = 10\n[policy c]\ndecay=24h\n");
	assert_int_equal(policy_number(&policy->rules[0], POLICY_DECAY, 0), 120 * SECOND_NS);
	assert_int_equal(policy_number(&policy->rules[1], POLICY_DECAY, 0), 10 * SECOND_NS);
	assert_int_equal(policy_number(&policy->rules[2], POLICY_DECAY, 0), 86400 * SECOND_NS);
}

static void the_last_value_holds_and_an_empty_one_resets(void **state)
{
	(void)state;
	make("[policy a]\nsoft=1M\nhard=9M\n[policy b]\nsoft=3M\n[policy a]\nsoft=2M\nhard=\n");
	assert_int_equal(policy->rule_count, 2);
	assert_int_equal(policy->rules[0].line, 2);
	assert_int_equal(policy_number(&policy->rules[0], POLICY_SOFT, 0), 2 << 20);
	assert_false(policy_is_set(&policy->rules[0], POLICY_HARD));
	assert_int_equal(policy->rules[0].values[POLICY_SOFT].line, 7);
}

static void the_first_that_matches(void **state)
{
	(void)state;
	make("[policy web]\nunit=*.service\n"
	     "[policy bin]\nexe=/usr/bin/*\npriority=-1\n"
	     "[policy py]\ncomm=python3*\nuser=ada\npriority=10\n"
	     "[policy seven]\nuser=7\n"
	     "[policy tree]\ncgroup=/system.slice/*\nunit=x\n");
	assert_string_equal(policy->rules[0].name, "py");
	assert_string_equal(policy->rules[3].name, "tree");
	assert_string_equal(policy->rules[4].name, "bin");
	assert_string_equal(match("a.service", "/usr/bin/python3", "python3.11", 7), "py");
	assert_string_equal(match("a.service", "/usr/bin/python3", "python3.11", 8), "web");
	assert_string_equal(match("a.scope", "/usr/bin/perl", "perl", 7), "seven");
	assert_string_equal(match("a.scope", "/usr/bin/perl", "perl", 1), "bin");
	assert_string_equal(match("x", "/opt/perl", "perl", 1), "tree");
	assert_string_equal(match("", "", "", 1), "none");
}

static void budgets_of_groups(void **state)
{
	(void)state;
	make("[budget redis.service]\nsoft=1G\n[budget other]\ngroup=a name\nhard=1M\n");
	assert_int_equal(policy_number(policy_budget_of(policy, "redis.service"),
				       POLICY_BUDGET_SOFT, 0),
			 1 << 30);
	assert_int_equal(policy_number(policy_budget_of(policy, "a name"), POLICY_BUDGET_HARD, 0),
			 1 << 20);
	assert_null(policy_budget_of(policy, "other"));
}

static void refused(const char *text, const char *sentence)
{
	make(text);
	assert_null(policy);
	assert_non_null(report.text.bytes);
	if (strstr(report.text.bytes, sentence) == NULL)
		fail_msg("%s", report.text.bytes);
}

static void what_means_nothing(void **state)
{
	(void)state;
	refused("[policy a]\nsoft=12Q\n", "x.conf:2: soft is '12Q'; a size such as 512M");
	refused("[policy a]\nsoft=101%\n", "x.conf:2: soft is '101%'");
	refused("[policy a]\nsoft=-1\n", "x.conf:2: soft is '-1'");
	refused("[policy a]\non-limit=kill\n", "x.conf:2: on-limit is 'kill'; report or fail is");
	refused("[policy a]\ndecay=1d\n", "x.conf:2: decay is '1d'; a time such as");
	refused("[policy a]\ndecay=25h\n", "x.conf:2: decay");
	refused("[policy a]\nexempt=1\n", "x.conf:2: exempt is '1'; yes or no is expected");
	refused("[policy a]\npriority=1000001\n", "x.conf:2: priority");
	refused("[policy a]\ngroup=\xc3\xa4\n", "x.conf:2: group");
	refused("[policy]\nsoft=1\n", "x.conf:2: the section has no name; [policy NAME]");
	refused("[policy a]\nsoft=2M\nhard=1M\n",
		"x.conf:3: hard is '1M', less than soft, which is '2M' at x.conf:2");
	refused("[policy a]\ngroup-soft=2M\ngroup-hard=1M\n", "x.conf:3: group-hard is '1M'");
	refused("[budget a]\nsoft=2M\nhard=1M\n", "x.conf:3: hard is '1M'");
}

static void what_is_not_known(void **state)
{
	(void)state;
	make("[policy a]\nsofty=1\n[hakd]\nsoft=1\n[polic a]\nsoft=1\n");
	assert_non_null(policy);
	assert_int_equal(report.warning_count, 3);
	assert_non_null(strstr(report.text.bytes,
			       "x.conf:2: warning: the key 'softy' is not known in [policy a]"));
	assert_non_null(strstr(report.text.bytes, "x.conf:4: warning: the key 'soft'"));
	assert_non_null(strstr(report.text.bytes, "x.conf:6: warning: the section [polic a]"));
}

/* What is printed is a configuration that means the same. */
static void printed_and_read_again(void **state)
{
	struct text first = {.bytes = NULL}, second = {.bytes = NULL};

	(void)state;
	make("[hakd]\nsoft-budget=10%\n[policy a]\nunit=*;x\nsoft=1M\n[policy b]\npriority=3\n"
	     "[budget g]\nhard=7G\n");
	policy_print(policy, &first);
	assert_non_null(strstr(first.bytes, "\nsoft-budget = 10% ; x.conf:2, 819 MiB\n"));
	assert_non_null(strstr(first.bytes, "\nsoft = 1M ; x.conf:5\n"));
	make(first.bytes);
	assert_non_null(policy);
	assert_int_equal(report.error_count + report.warning_count, 0);
	assert_string_equal(policy->rules[0].name, "b");
	assert_string_equal(policy->rules[1].values[POLICY_MATCH_UNIT].text, "*;x");
	policy_print(policy, &second);
	assert_non_null(second.bytes);
	text_deinit(&first);
	text_deinit(&second);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(values, tear_down),
		cmocka_unit_test_teardown(the_last_value_holds_and_an_empty_one_resets, tear_down),
		cmocka_unit_test_teardown(the_first_that_matches, tear_down),
		cmocka_unit_test_teardown(budgets_of_groups, tear_down),
		cmocka_unit_test_teardown(what_means_nothing, tear_down),
		cmocka_unit_test_teardown(what_is_not_known, tear_down),
		cmocka_unit_test_teardown(printed_and_read_again, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
