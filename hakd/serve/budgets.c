#include "serve/budgets.h"

#include "base/log.h"

#include <event2/buffer.h>
#include <stdio.h>
#include <string.h>

/* A year: whoever wants more wants no end. */
#define TTL_SECONDS_MAX (365 * 86400)

static json_t *integer(uint64_t number)
{
	return json_integer(number > INT64_MAX ? INT64_MAX : (json_int_t)number);
}

static void set_budget(json_t *object, const struct group_budget *budget)
{
	json_object_set_new(object, "soft_budget_bytes", integer(budget->soft_bytes));
	json_object_set_new(object, "hard_budget_bytes", integer(budget->hard_bytes));
	json_object_set_new(object, "on_limit", json_string(budget->fails ? "fail" : "report"));
}

/* What `budget set` said; null where it said nothing. */
static json_t *said_json(const struct table *table, const struct override_key *key, uint64_t now_ns)
{
	const struct override *said = overrides_find(&table->allot.overrides, key);
	json_t *object;

	if (said == NULL || (said->expires_ns != 0 && said->expires_ns <= now_ns))
		return json_null();
	object = json_object();
	if (said->has_soft)
		json_object_set_new(object, "soft_bytes", integer(said->soft_bytes));
	if (said->has_hard)
		json_object_set_new(object, "hard_bytes", integer(said->hard_bytes));
	if (said->has_on_limit)
		json_object_set_new(object, "on_limit",
				    json_string(said->fails ? "fail" : "report"));
	if (said->expires_ns != 0)
		json_object_set_new(object, "ttl_seconds",
				    integer((said->expires_ns - now_ns) / CLOCK_SECOND_NS));
	return object;
}

/* `group` is NULL where nobody has been in it for long: it may have a budget all the same. */
static json_t *group_json(const struct table *table, const char *name, const struct group *group,
			  uint64_t now_ns)
{
	static const struct group nobody;
	const struct group_ledger *ledger = group != NULL ? &group->ledger : &nobody.ledger;
	struct override_key key = {.pid = 0};
	json_t *object = json_object();

	strcpy(key.group, name);
	json_object_set_new(object, "group", json_string(name));
	json_object_set_new(object, "process_count",
			    integer(group != NULL ? group->process_count : 0));
	json_object_set_new(object, "used_bytes", integer(ledger->used_bytes));
	set_budget(object, &ledger->budget);
	json_object_set_new(object, "exceeded_seconds",
			    json_real((double)(ledger->exceeded_ns / 1000000) / 1000));
	json_object_set_new(object, "set", said_json(table, &key, now_ns));
	return object;
}

static json_t *process_json(const struct table *table, const struct client *client, uint64_t now_ns)
{
	struct override_key key = {.pid = client->pid, .start_ticks = client->identity.start_ticks};
	json_t *object = json_object();

	json_object_set_new(object, "pid", json_integer(client->pid));
	json_object_set_new(object, "command", json_string(client->identity.comm));
	json_object_set_new(object, "group", json_string(client->group->name));
	json_object_set_new(object, "used_bytes",
			    integer(group_add(client->counted[HAK_METRIC_live_bytes],
					      client->counted[HAK_METRIC_cached_bytes])));
	set_budget(object, &client->wishes.budget);
	json_object_set_new(object, "set", said_json(table, &key, now_ns));
	return object;
}

/* Groups that have nothing left but a budget. */
static void list_the_gone(struct table *table, json_t *groups, uint64_t now_ns)
{
	const struct overrides *overrides = &table->allot.overrides;

	for (size_t i = 0; i < overrides->count; i++) {
		const struct override_key *key = &overrides->items[i].key;

		if (key->pid == 0 && groups_find(&table->groups, key->group) == NULL)
			json_array_append_new(groups, group_json(table, key->group, NULL, now_ns));
	}
}

void budgets_list(struct evhttp_request *request, struct table *table)
{
	json_t *answer = json_object(), *groups = json_array(), *processes = json_array();
	uint64_t now_ns = clock_now_ns();
	const struct client *client;
	const struct group *group;

	table_deal(table, now_ns);
	groups_sort(&table->groups);
	table_sort(table);
	for (group = table->groups.by_name; group != NULL; group = group->hh.next)
		json_array_append_new(groups, group_json(table, group->name, group, now_ns));
	list_the_gone(table, groups, now_ns);
	for (client = table->by_pid; client != NULL; client = client->hh.next)
		json_array_append_new(processes, process_json(table, client, now_ns));
	json_object_set_new(answer, "schema", json_integer(1));
	json_object_set_new(answer, "groups", groups);
	json_object_set_new(answer, "processes", processes);
	http_reply_json(request, 200, answer);
}

/* The keys of a request, each of its type; what is not there stays as it is. */
static bool read_key(const char *key, const json_t *value, struct override *wanted, bool *clear,
		     json_int_t *ttl_seconds)
{
	json_int_t number = json_integer_value(value);
	const char *string = json_string_value(value);

	if (strcmp(key, "clear") == 0 && json_is_boolean(value)) {
		*clear = json_is_true(value);
		return true;
	}
	if (strcmp(key, "group") == 0 && string != NULL)
		return snprintf(wanted->key.group, sizeof wanted->key.group, "%s", string) <
		       (int)sizeof wanted->key.group;
	if (strcmp(key, "on_limit") == 0 && string != NULL) {
		wanted->has_on_limit = true;
		wanted->fails = strcmp(string, "fail") == 0;
		return wanted->fails || strcmp(string, "report") == 0;
	}
	if (!json_is_integer(value) || number < 0)
		return false;
	if (strcmp(key, "pid") == 0) {
		wanted->key.pid = (pid_t)number;
		return number > 0 && number <= INT32_MAX;
	}
	if (strcmp(key, "soft_bytes") == 0) {
		wanted->has_soft = true;
		wanted->soft_bytes = (uint64_t)number;
		return true;
	}
	if (strcmp(key, "hard_bytes") == 0) {
		wanted->has_hard = true;
		wanted->hard_bytes = (uint64_t)number;
		return true;
	}
	*ttl_seconds = number;
	return strcmp(key, "ttl_seconds") == 0 && number <= TTL_SECONDS_MAX;
}

/* NULL, or what is wrong with the request. */
static const char *read_wanted(struct evhttp_request *request, struct override *wanted, bool *clear)
{
	struct evbuffer *body = evhttp_request_get_input_buffer(request);
	size_t count = evbuffer_get_length(body);
	json_int_t ttl_seconds = 0;
	bool is_good = true;
	json_t *object, *value;
	const char *key;

	object = count == 0 ? NULL
			    : json_loadb((const char *)evbuffer_pullup(body, -1), count,
					 JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(object)) {
		json_decref(object);
		return "the body is no JSON object";
	}
	json_object_foreach(object, key, value)
		is_good = is_good && read_key(key, value, wanted, clear, &ttl_seconds);
	json_decref(object);
	if (!is_good)
		return "the body has a key that is not known, or a value that is none for it";
	if ((wanted->key.pid != 0) == (wanted->key.group[0] != '\0'))
		return "the body names neither one pid nor one group";
	if (*clear == (wanted->has_soft || wanted->has_hard || wanted->has_on_limit))
		return "the body has either budgets or \"clear\": true";
	if (wanted->has_hard && wanted->hard_bytes != 0 && wanted->soft_bytes > wanted->hard_bytes)
		return "the hard budget is less than the soft one";
	if (ttl_seconds != 0)
		wanted->expires_ns = clock_now_ns() + (uint64_t)ttl_seconds * CLOCK_SECOND_NS;
	return NULL;
}

/* A process that has ended has no use for its budget, and its place may be needed. */
static void forget_the_gone(struct table *table)
{
	struct overrides *overrides = &table->allot.overrides;
	size_t i = 0;

	/* Not whether it is a client: after a restart it may not have come back yet. */
	while (i < overrides->count) {
		struct override_key key = overrides->items[i].key;

		if (key.pid == 0 || !process_has_ended(key.pid, key.start_ticks))
			i++;
		else
			(void)overrides_clear(overrides, &key);
	}
}

/* False: nobody is of that name, which has been answered. */
static bool resolve(struct evhttp_request *request, struct table *table, struct override_key *key)
{
	const struct client *client;
	bool is_known;

	if (key->pid == 0) {
		is_known = groups_find(&table->groups, key->group) != NULL ||
			   overrides_find(&table->allot.overrides, key) != NULL;
		if (!is_known)
			http_reply_error(request, 404, "no group has the name %s", key->group);
		return is_known;
	}
	client = table_find(table, key->pid);
	if (client == NULL)
		http_reply_error(request, 404, "no client has the pid %d", key->pid);
	else
		key->start_ticks = client->identity.start_ticks;
	return client != NULL;
}

static void answer_set(struct evhttp_request *request, struct table *table,
		       const struct override_key *key)
{
	uint64_t now_ns = clock_now_ns();
	json_t *answer;

	answer = key->pid == 0 ? group_json(table, key->group,
					    groups_find(&table->groups, key->group), now_ns)
			       : process_json(table, table_find(table, key->pid), now_ns);
	json_object_set_new(answer, "schema", json_integer(1));
	http_reply_json(request, 200, answer);
}

/* With what was set before, of which a part may stay. */
static bool is_consistent(const struct overrides *overrides, const struct override *wanted)
{
	const struct override *before = overrides_find(overrides, &wanted->key);
	uint64_t soft_bytes = wanted->soft_bytes, hard_bytes = wanted->hard_bytes;

	if (before != NULL && !wanted->has_soft && before->has_soft)
		soft_bytes = before->soft_bytes;
	if (before != NULL && !wanted->has_hard && before->has_hard)
		hard_bytes = before->hard_bytes;
	return hard_bytes == 0 || soft_bytes <= hard_bytes;
}

void budgets_set(struct evhttp_request *request, struct table *table)
{
	struct override wanted = {.has_soft = false};
	bool clear = false;
	const char *why = read_wanted(request, &wanted, &clear);
	char whose[sizeof wanted.key.group];

	if (why != NULL) {
		http_reply_error(request, 400, "%s", why);
		return;
	}
	if (!resolve(request, table, &wanted.key))
		return;
	if (!clear && !is_consistent(&table->allot.overrides, &wanted)) {
		http_reply_error(request, 400,
				 "the hard budget is less than the soft one, of "
				 "which one was set before");
		return;
	}
	forget_the_gone(table);
	if (!clear && !overrides_set(&table->allot.overrides, &wanted)) {
		http_reply_error(request, 409, "%d budgets are set already, and no more may be",
				 OVERRIDES_MAX);
		return;
	}
	if (clear && !overrides_clear(&table->allot.overrides, &wanted.key)) {
		http_reply_error(request, 404, "no budget has been set for it");
		return;
	}
	text_clean(whose, sizeof whose, wanted.key.group, strlen(wanted.key.group));
	log_say(LOG_INFO, "The budget of %s%s (pid %d) was %s by command.",
		wanted.key.pid == 0 ? "group " : "process", whose, wanted.key.pid,
		clear ? "cleared" : "set");
	table_deal(table, clock_now_ns());
	answer_set(request, table, &wanted.key);
}

static json_t *lines_json(const struct conf_report *report)
{
	const char *rest = report->text.bytes != NULL ? report->text.bytes : "";
	json_t *array = json_array();

	while (rest[0] != '\0') {
		size_t length = strcspn(rest, "\n");
		char line[1024];

		/* A file may hold anything, and JSON is UTF-8. */
		text_clean(line, sizeof line, rest, length);
		json_array_append_new(array, json_string(line));
		rest += length + (rest[length] == '\n');
	}
	return array;
}

void budgets_reload(struct evhttp_request *request, struct reload *reload)
{
	struct conf_report report = {.error_count = 0};
	bool is_good = reload_now(reload, &report);
	json_t *answer = json_object();
	char why[sizeof reload->why];

	reload_log(&report);
	log_say(is_good ? LOG_INFO : LOG_ERR, "The configuration was read by command: %s.",
		is_good ? "it holds now" : "it has errors, and what was before holds on");
	json_object_set_new(answer, "schema", json_integer(1));
	if (is_good) {
		json_object_set_new(answer, "files", integer(reload->policy->config.file_count));
		json_object_set_new(answer, "policies", integer(reload->policy->rule_count));
	} else {
		text_clean(why, sizeof why, reload->why, strlen(reload->why));
		json_object_set_new(answer, "error", json_string(why));
	}
	json_object_set_new(answer, "problems", lines_json(&report));
	conf_report_deinit(&report);
	http_reply_json(request, is_good ? 200 : 422, answer);
}

static json_t *yes_no(bool is_so)
{
	return json_string(is_so ? "yes" : "no");
}

json_t *budgets_policy_json(const struct table *table, const struct client *client)
{
	const struct policy_section *rule = client->rule;
	json_t *object = json_object();

	json_object_set_new(object, "name", rule != NULL ? json_string(rule->name) : json_null());
	if (rule != NULL) {
		char file[1024];

		text_clean(file, sizeof file, rule->file, strlen(rule->file));
		json_object_set_new(object, "file", json_string(file));
		json_object_set_new(object, "line", json_integer(rule->line));
	}
	set_budget(object, &client->wishes.budget);
	json_object_set_new(object, "exempt", yes_no(allot_is_exempt(client)));
	json_object_set_new(object, "dry_run", yes_no(allot_is_dry(&table->allot, client)));
	json_object_set_new(object, "agent", yes_no(policy_number(rule, POLICY_AGENT, 0) != 0));
	json_object_set_new(object, "remote_reclaim",
			    yes_no(allot_takes_remote(&table->allot, client)));
	return object;
}

json_t *budgets_config_json(const struct reload *reload)
{
	json_t *object = json_object(), *dirs = json_array();
	char text[TEXT_TIME_BYTES], why[sizeof reload->why];

	for (size_t i = 0; i < reload->sources.dir_count; i++)
		json_array_append_new(dirs, json_string(reload->sources.dirs[i]));
	json_object_set_new(object, "dirs", dirs);
	json_object_set_new(object, "good", json_boolean(reload->is_good));
	text_clean(why, sizeof why, reload->why, strlen(reload->why));
	json_object_set_new(object, "error", json_string(why));
	text_format_time(text, reload->succeeded);
	json_object_set_new(object, "loaded", json_string(reload->succeeded != 0 ? text : ""));
	json_object_set_new(object, "policies",
			    integer(reload->policy != NULL ? reload->policy->rule_count : 0));
	return object;
}
