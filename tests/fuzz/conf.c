/* Goal: whatever stands in a configuration file, hakd ends with a policy or with what is wrong, and
 * the policy is one that can be printed, read again and matched.
 *
 * Method: the bytes are a file. Where it is without an error, the printed policy is read as a file
 * again: it has no errors, the same sections, and matches the same rule. Where it has errors, there
 * is a line for each.
 */
#include "judge.h"

#include "fleet/policy.h"

#include <string.h>

#define MEMORY_BYTES ((uint64_t)8 << 30)

static const struct policy_subject subjects[] = {
	{.unit = "a.service", .cgroup = "/a", .exe = "/usr/bin/a", .comm = "a", .user = "ada"},
	{.unit = "", .cgroup = "", .exe = "", .comm = "", .user = "", .uid = 7},
};

static struct policy *make(const char *bytes, size_t count, struct conf_report *report)
{
	struct conf config = {.entries = NULL};

	conf_read_text(&config, "x.conf", bytes, count, report);
	return policy_new(&config, MEMORY_BYTES, report);
}

static size_t line_count(const struct conf_report *report)
{
	const char *at = report->text.bytes;
	size_t count = 0;

	for (; at != NULL && (at = strchr(at, '\n')) != NULL; at++)
		count++;
	return count;
}

static void judge_policy(const struct policy *policy)
{
	FUZZ_CHECK(policy->rule_count <= POLICY_SECTIONS_MAX);
	for (size_t i = 1; i < policy->rule_count; i++)
		FUZZ_CHECK(
			policy_number(&policy->rules[i - 1], POLICY_PRIORITY, POLICY_PRIORITY_0) >=
			policy_number(&policy->rules[i], POLICY_PRIORITY, POLICY_PRIORITY_0));
	for (size_t i = 0; i < policy->rule_count; i++) {
		uint64_t hard_bytes = policy_number(&policy->rules[i], POLICY_HARD, 0);

		FUZZ_CHECK(hard_bytes == 0 ||
			   policy_number(&policy->rules[i], POLICY_SOFT, 0) <= hard_bytes);
		FUZZ_CHECK(policy_number(&policy->rules[i], POLICY_EXEMPT, 0) <= 1);
		FUZZ_CHECK(policy->rules[i].name[0] != '\0' && policy->rules[i].line > 0);
	}
}

/* A value may stand on a line that was as long as may be before its origin was added. */
static void judge_printed(const struct policy *policy, const struct text *text)
{
	struct conf_report report = {.error_count = 0};
	struct policy *again = make(text->bytes, text->used, &report);

	if (again == NULL) {
		FUZZ_CHECK(strstr(report.text.bytes, "190 at most are expected") != NULL);
	} else if (report.warning_count == 0 && again->rule_count == policy->rule_count) {
		for (size_t i = 0; i < sizeof subjects / sizeof subjects[0]; i++) {
			const struct policy_section *one = policy_match(policy, &subjects[i]);
			const struct policy_section *other = policy_match(again, &subjects[i]);

			FUZZ_CHECK((one == NULL) == (other == NULL));
			FUZZ_CHECK(one == NULL || strcmp(one->name, other->name) == 0);
		}
	}
	policy_free(again);
	conf_report_deinit(&report);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	struct conf_report report = {.error_count = 0};
	struct policy *policy = make((const char *)bytes, count, &report);
	struct text text = {.bytes = NULL};

	FUZZ_CHECK((policy == NULL) == (report.error_count != 0));
	FUZZ_CHECK(line_count(&report) == report.error_count + report.warning_count);
	if (policy != NULL) {
		judge_policy(policy);
		policy_print(policy, &text);
		FUZZ_CHECK(!text.failed);
		judge_printed(policy, &text);
	}
	text_deinit(&text);
	policy_free(policy);
	conf_report_deinit(&report);
	return 0;
}
