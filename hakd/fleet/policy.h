/* policy.h - what the administrator wants: the meaning of hakd.conf.
 *
 * A policy is made of a merged configuration, whole or not at all, and then never changes; its
 * rules, values and texts live as long as it does. policy.def has every key. Pure: no I/O.
 *
 *   [hakd]         one, for the host
 *   [policy NAME]  rules: what a process has to match, and what holds for it
 *   [budget NAME]  what a group has beyond its rules, as `hakctl budget set --persist` writes it
 *
 * A section that stands in several files is one section. The last value of a key holds; an empty
 * one takes it away. Of the rules that match a process the first holds: by priority, the highest
 * first, then in the order in which they were read.
 *
 * Unknown keys and sections are warned of; values that mean nothing are errors, after which there
 * is no policy.
 */
#ifndef HAKD_FLEET_POLICY_H
#define HAKD_FLEET_POLICY_H

#include "base/conf.h"

#define POLICY_SECTIONS_MAX 1024

enum policy_key {
#define KEY(section, name, id, kind, help) POLICY_##id,
#include "fleet/policy.def"
#undef KEY
	POLICY_KEY_COUNT,
};

struct policy_value {
	const char *text; /* as written; NULL: not set */
	uint64_t number;  /* bytes, nanoseconds, 0 or 1, or a priority moved by POLICY_PRIORITY_0 */
	const char *file;
	unsigned line;
};

#define POLICY_PRIORITY_MAX 1000000
#define POLICY_PRIORITY_0 ((uint64_t)POLICY_PRIORITY_MAX)

enum policy_section_kind { POLICY_HOST, POLICY_RULE, POLICY_BUDGET };

struct policy_section {
	enum policy_section_kind kind;
	char name[CONF_NAME_BYTES_MAX + 1]; /* "" for the host */
	const char *file;		    /* where it begins */
	unsigned line;
	struct policy_value values[POLICY_KEY_COUNT]; /* of other kinds: not set */
};

struct policy {
	struct conf config;
	struct policy_section host;
	struct policy_section *rules; /* the first that matches holds */
	size_t rule_count;
	struct policy_section *budgets;
	size_t budget_count;
};

/* What a rule looks at. Texts are the caller's; "" matches nothing but the lack of a pattern. */
struct policy_subject {
	const char *unit;
	const char *cgroup;
	const char *exe;
	const char *comm;
	const char *user;
	unsigned uid;
};

/* Makes a policy of *config, which it takes in any case. memory_bytes is what shares are of. NULL:
 * the report has errors, or there is no memory. */
struct policy *policy_new(struct conf *config, uint64_t memory_bytes, struct conf_report *report);
void policy_free(struct policy *policy);

/* The rule that holds for a process; NULL where none matches. */
const struct policy_section *policy_match(const struct policy *policy,
					  const struct policy_subject *subject);

/* The [budget] of a group, or NULL. */
const struct policy_section *policy_budget_of(const struct policy *policy, const char *group);

/* The value's number; `otherwise` where it is not set. section may be NULL. */
uint64_t policy_number(const struct policy_section *section, enum policy_key key,
		       uint64_t otherwise);

static inline bool policy_is_set(const struct policy_section *section, enum policy_key key)
{
	return section != NULL && section->values[key].text != NULL;
}

/* As a configuration once more, with the origin of each line behind it. */
void policy_print(const struct policy *policy, struct text *text);

#endif
