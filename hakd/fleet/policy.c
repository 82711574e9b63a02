#include "fleet/policy.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind { SIZE, TIME, YES_NO, ON_LIMIT, NUMBER, GLOB, NAME };

static const char *const expected[] = {
	[SIZE] = "a size such as 512M, 2G or 10%, or none",
	[TIME] = "a time such as 500ms, 10s, 5min or 1h, of a day at most",
	[YES_NO] = "yes or no",
	[ON_LIMIT] = "report or fail",
	[NUMBER] = "a whole number from -1000000 to 1000000",
	[GLOB] = "a pattern as of a shell, such as *.service",
	[NAME] = "a name of printable characters, 120 at most",
};

static const struct key {
	enum policy_section_kind section;
	const char *name;
	enum kind kind;
} keys[POLICY_KEY_COUNT] = {
#define HOST POLICY_HOST
#define RULE POLICY_RULE
#define BUDGET POLICY_BUDGET
#define KEY(section, name, id, kind, help) {section, name, kind},
#include "fleet/policy.def"
#undef KEY
#undef HOST
#undef RULE
#undef BUDGET
};

static const char *const section_words[] = {
	[POLICY_HOST] = "hakd",
	[POLICY_RULE] = "policy",
	[POLICY_BUDGET] = "budget",
};

#define NAME_CHARACTERS_MAX 120
#define DAY_NS ((uint64_t)86400 * 1000000000)

/* "10s" and its kin; a number alone counts seconds, as systemd has it. */
static bool parse_time(const char *text, uint64_t *ns)
{
	static const struct {
		const char *name;
		double ns;
	} units[] = {{"ms", 1e6}, {"s", 1e9}, {"", 1e9}, {"min", 6e10}, {"h", 3.6e12}};
	char *end;
	double number = strtod(text, &end);

	if (end == text || end != text + strspn(text, "0123456789."))
		return false;
	for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
		if (strcmp(end, units[i].name) != 0)
			continue;
		number *= units[i].ns;
		*ns = number <= (double)DAY_NS ? (uint64_t)number : 0;
		return number <= (double)DAY_NS;
	}
	return false;
}

/* 0 is "none", in the mailbox as well. */
static bool parse_size(const char *text, uint64_t memory_bytes, uint64_t *bytes)
{
	if (strcmp(text, "none") == 0) {
		*bytes = 0;
		return true;
	}
	return text_parse_bytes(text, memory_bytes, bytes);
}

static bool parse_word(const char *text, const char *one, const char *other, uint64_t *number)
{
	*number = strcmp(text, one) == 0;
	return *number == 1 || strcmp(text, other) == 0;
}

static bool parse_number(const char *text, uint64_t *number)
{
	char *end;
	long value;

	errno = 0;
	value = strtol(text, &end, 10);
	if (end == text || *end != '\0' || errno != 0 || value < -POLICY_PRIORITY_MAX ||
	    value > POLICY_PRIORITY_MAX)
		return false;
	*number = (uint64_t)(value + POLICY_PRIORITY_MAX);
	return true;
}

static bool is_printable(const char *text, size_t length_max)
{
	size_t length = 0;

	for (; text[length] != '\0'; length++)
		if (text[length] < ' ' || text[length] > '~')
			return false;
	return length <= length_max;
}

static bool parse(enum kind kind, const char *text, uint64_t memory_bytes, uint64_t *number)
{
	*number = 0;
	switch (kind) {
	case SIZE:
		return parse_size(text, memory_bytes, number);
	case TIME:
		return parse_time(text, number);
	case YES_NO:
		return parse_word(text, "yes", "no", number);
	case ON_LIMIT:
		return parse_word(text, "fail", "report", number);
	case NUMBER:
		return parse_number(text, number);
	case GLOB:
		return is_printable(text, CONF_LINE_BYTES_MAX);
	case NAME:
		return is_printable(text, NAME_CHARACTERS_MAX);
	}
	return false;
}

/* A policy that is being made. */
struct making {
	struct policy *policy;
	uint64_t memory_bytes;
	struct conf_report *report;
};

static struct policy_section *find_section(struct policy_section *sections, size_t count,
					   const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(sections[i].name, name) == 0)
			return &sections[i];
	return NULL;
}

/* NULL: too many, or no memory, which has been told. */
static struct policy_section *grow(struct making *making, enum policy_section_kind kind,
				   const char *name, const struct conf_entry *entry)
{
	struct policy *policy = making->policy;
	struct policy_section **sections = kind == POLICY_RULE ? &policy->rules : &policy->budgets;
	size_t *count = kind == POLICY_RULE ? &policy->rule_count : &policy->budget_count;
	struct policy_section *section = find_section(*sections, *count, name), *grown;

	if (section != NULL)
		return section;
	grown = *count < POLICY_SECTIONS_MAX ? realloc(*sections, (*count + 1) * sizeof *grown)
					     : NULL;
	if (grown == NULL) {
		conf_error(making->report, entry->file, entry->line,
			   "there is no room for this section; %d at most are expected",
			   POLICY_SECTIONS_MAX);
		return NULL;
	}
	*sections = grown;
	section = &grown[(*count)++];
	*section = (struct policy_section){.kind = kind, .file = entry->file, .line = entry->line};
	snprintf(section->name, sizeof section->name, "%s", name);
	return section;
}

/* The section that an entry stands in; NULL where it cannot be, which has been told. */
static struct policy_section *section_of(struct making *making, const struct conf_entry *entry)
{
	const char *name = entry->section;

	if (strcmp(name, section_words[POLICY_HOST]) == 0)
		return &making->policy->host;
	for (enum policy_section_kind kind = POLICY_RULE; kind <= POLICY_BUDGET; kind++) {
		size_t length = strlen(section_words[kind]);

		if (strncmp(name, section_words[kind], length) != 0 ||
		    (name[length] != ' ' && name[length] != '\0'))
			continue;
		name += length;
		name += strspn(name, " ");
		if (name[0] != '\0' && is_printable(name, CONF_NAME_BYTES_MAX))
			return grow(making, kind, name, entry);
		conf_error(making->report, entry->file, entry->line,
			   "the section has no name; [%s NAME] is expected", section_words[kind]);
		return NULL;
	}
	conf_warn(making->report, entry->file, entry->line,
		  "the section [%s] is not known; [hakd], [policy NAME] or [budget NAME] is "
		  "expected",
		  name);
	return NULL;
}

static enum policy_key key_of(enum policy_section_kind section, const char *name)
{
	enum policy_key key = 0;

	while (key < POLICY_KEY_COUNT &&
	       (keys[key].section != section || strcmp(keys[key].name, name) != 0))
		key++;
	return key;
}

static void set(struct making *making, const struct conf_entry *entry)
{
	struct policy_section *section = section_of(making, entry);
	enum policy_key key;
	uint64_t number;

	if (section == NULL)
		return;
	key = key_of(section->kind, entry->key);
	if (key == POLICY_KEY_COUNT) {
		conf_warn(making->report, entry->file, entry->line,
			  "the key '%s' is not known in [%s]; ignored", entry->key, entry->section);
		return;
	}
	if (entry->value[0] == '\0') {
		section->values[key] = (struct policy_value){.text = NULL};
		return;
	}
	if (!parse(keys[key].kind, entry->value, making->memory_bytes, &number)) {
		conf_error(making->report, entry->file, entry->line, "%s is '%s'; %s is expected",
			   entry->key, entry->value, expected[keys[key].kind]);
		return;
	}
	section->values[key] = (struct policy_value){
		.text = entry->value, .number = number, .file = entry->file, .line = entry->line};
}

/* A hard budget below the soft one would leave no room for being frugal in. */
static void judge_pair(struct conf_report *report, const struct policy_section *section,
		       enum policy_key soft, enum policy_key hard)
{
	const struct policy_value *value = &section->values[hard];

	if (value->number != 0 && section->values[soft].number > value->number)
		conf_error(report, value->file, value->line,
			   "%s is '%s', less than %s, which is '%s' at %s:%u; as much or more is "
			   "expected",
			   keys[hard].name, value->text, keys[soft].name,
			   section->values[soft].text, section->values[soft].file,
			   section->values[soft].line);
}

static void judge(const struct policy *policy, struct conf_report *report)
{
	for (size_t i = 0; i < policy->rule_count; i++) {
		judge_pair(report, &policy->rules[i], POLICY_SOFT, POLICY_HARD);
		judge_pair(report, &policy->rules[i], POLICY_GROUP_SOFT, POLICY_GROUP_HARD);
	}
	for (size_t i = 0; i < policy->budget_count; i++)
		judge_pair(report, &policy->budgets[i], POLICY_BUDGET_SOFT, POLICY_BUDGET_HARD);
}

/* qsort(3) may change the order of equals: the rules are put in by hand, each behind those that go
 * before it. */
static void sort_rules(struct policy *policy)
{
	for (size_t i = 1; i < policy->rule_count; i++) {
		struct policy_section rule = policy->rules[i];
		uint64_t priority = policy_number(&rule, POLICY_PRIORITY, POLICY_PRIORITY_0);
		size_t at = i;

		for (; at > 0 && policy_number(&policy->rules[at - 1], POLICY_PRIORITY,
					       POLICY_PRIORITY_0) < priority;
		     at--)
			policy->rules[at] = policy->rules[at - 1];
		policy->rules[at] = rule;
	}
}

struct policy *policy_new(struct conf *config, uint64_t memory_bytes, struct conf_report *report)
{
	struct making making = {.memory_bytes = memory_bytes, .report = report};

	making.policy = calloc(1, sizeof *making.policy);
	if (making.policy == NULL) {
		conf_error(report, "hakd.conf", 0, "no memory is left");
		conf_deinit(config);
		return NULL;
	}
	making.policy->config = *config;
	*config = (struct conf){.entries = NULL};
	for (size_t i = 0; i < making.policy->config.entry_count; i++)
		set(&making, &making.policy->config.entries[i]);
	judge(making.policy, report);
	sort_rules(making.policy);
	if (report->error_count == 0)
		return making.policy;
	policy_free(making.policy);
	return NULL;
}

void policy_free(struct policy *policy)
{
	if (policy == NULL)
		return;
	conf_deinit(&policy->config);
	free(policy->rules);
	free(policy->budgets);
	free(policy);
}

uint64_t policy_number(const struct policy_section *section, enum policy_key key,
		       uint64_t otherwise)
{
	return policy_is_set(section, key) ? section->values[key].number : otherwise;
}

static bool glob_fits(const struct policy_section *rule, enum policy_key key, const char *text)
{
	return !policy_is_set(rule, key) || fnmatch(rule->values[key].text, text, 0) == 0;
}

static bool user_fits(const struct policy_section *rule, const struct policy_subject *subject)
{
	char number[16];

	snprintf(number, sizeof number, "%u", subject->uid);
	return !policy_is_set(rule, POLICY_MATCH_USER) ||
	       strcmp(rule->values[POLICY_MATCH_USER].text, subject->user) == 0 ||
	       strcmp(rule->values[POLICY_MATCH_USER].text, number) == 0;
}

const struct policy_section *policy_match(const struct policy *policy,
					  const struct policy_subject *subject)
{
	for (size_t i = 0; i < policy->rule_count; i++) {
		const struct policy_section *rule = &policy->rules[i];

		if (glob_fits(rule, POLICY_MATCH_UNIT, subject->unit) &&
		    glob_fits(rule, POLICY_MATCH_CGROUP, subject->cgroup) &&
		    glob_fits(rule, POLICY_MATCH_EXE, subject->exe) &&
		    glob_fits(rule, POLICY_MATCH_COMM, subject->comm) && user_fits(rule, subject))
			return rule;
	}
	return NULL;
}

const struct policy_section *policy_budget_of(const struct policy *policy, const char *group)
{
	for (size_t i = 0; i < policy->budget_count; i++) {
		const struct policy_section *budget = &policy->budgets[i];
		const char *name = policy_is_set(budget, POLICY_BUDGET_GROUP)
					   ? budget->values[POLICY_BUDGET_GROUP].text
					   : budget->name;

		if (strcmp(name, group) == 0)
			return budget;
	}
	return NULL;
}

/* What a share comes to is told too: it depends on the machine. */
static void print_value(struct text *text, enum policy_key key, const struct policy_value *value)
{
	char size[TEXT_SIZE_BYTES];

	text_print(text, "%s = %.400s ; %.400s:%u", keys[key].name, value->text, value->file,
		   value->line);
	if (keys[key].kind == SIZE && strchr(value->text, '%') != NULL) {
		text_format_bytes(size, value->number);
		text_print(text, ", %s", size);
	}
	text_put(text, "\n");
}

static void print_section(struct text *text, const struct policy_section *section)
{
	text_print(text, "\n[%s%s%s]\n", section_words[section->kind],
		   section->name[0] != '\0' ? " " : "", section->name);
	for (enum policy_key key = 0; key < POLICY_KEY_COUNT; key++)
		if (policy_is_set(section, key))
			print_value(text, key, &section->values[key]);
}

void policy_print(const struct policy *policy, struct text *text)
{
	if (policy->config.file_count == 0)
		text_put(text, "# no configuration file was found\n");
	for (size_t i = 0; i < policy->config.file_count; i++)
		text_print(text, "# %.900s\n", policy->config.files[i]);
	print_section(text, &policy->host);
	for (size_t i = 0; i < policy->rule_count; i++)
		print_section(text, &policy->rules[i]);
	for (size_t i = 0; i < policy->budget_count; i++)
		print_section(text, &policy->budgets[i]);
}
