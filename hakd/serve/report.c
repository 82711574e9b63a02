#include "serve/report.h"

#include "base/log.h"

#include <event2/buffer.h>
#include <inttypes.h>
#include <string.h>

/* JSON's integers are signed. */
static json_int_t integer(uint64_t number)
{
	return number > INT64_MAX ? INT64_MAX : (json_int_t)number;
}

static json_t *watch_json(const struct pressure_watch *watch)
{
	return json_pack("{s:s, s:b, s:I, s:I}", "level", level_text(watch->judge.level),
			 "pressing", watch->judge.is_pressing, "used_bytes",
			 integer(watch->room.used_bytes), "limit_bytes",
			 integer(watch->room.limit_bytes));
}

/* A group by the folder that tells of it; its name is bytes that somebody chose. */
static json_t *group_json(const struct pressure_watch *watch)
{
	const char *folder = watch->place.limits[0] != '\0' ? watch->place.limits
							    : watch->place.stalls;
	char name[CGROUP_PATH_BYTES];
	json_t *object = watch_json(watch);

	text_clean(name, sizeof name, folder, strlen(folder));
	json_object_set_new(object, "group", json_string(name));
	json_object_set_new(object, "triggers", json_boolean(watch->fds[PRESSURE_EVENT_SOME] >= 0));
	return object;
}

json_t *report_pressure_json(const struct effects *effects)
{
	const struct pressure *pressure = &effects->pressure;
	json_t *object = json_object(), *groups = json_array();

	json_object_set_new(object, "level", json_string(level_text(pressure_level(pressure))));
	json_object_set_new(object, "source", json_string(pressure_source_text(pressure->source)));
	json_object_set_new(object, "window_seconds", json_integer(pressure->window_seconds));
	json_object_set_new(object, "system", watch_json(&pressure->system));
	for (size_t i = 0; i < PRESSURE_GROUPS_MAX; i++)
		if (pressure->groups[i].id != 0)
			json_array_append_new(groups, group_json(&pressure->groups[i]));
	json_object_set_new(object, "groups", groups);
	return object;
}

json_t *report_governor_json(const struct effects *effects, uint64_t now_ns)
{
	uint64_t release_count = 0, released_bytes = 0;
	json_t *resumes = json_null();

	for (enum governor_trigger i = 0; i < GOVERNOR_TRIGGERS; i++) {
		for (enum history_method j = 0; j < HISTORY_METHODS; j++) {
			release_count += effects->actions.releases[i][j];
			released_bytes += effects->actions.released_bytes[i][j];
		}
	}
	if (effects_is_paused(effects, now_ns) && effects->paused_until_ns != EFFECTS_UNTIL_RESUMED)
		resumes = json_real((double)(effects->paused_until_ns - now_ns) / 1e9);
	return json_pack("{s:b, s:b, s:o, s:b, s:I, s:I, s:I}", "dry_run",
			 allot_all_is_dry(&effects->table->allot), "paused",
			 effects_is_paused(effects, now_ns), "resumes_seconds", resumes,
			 "remote_reclaim", effects->remote.release != NULL, "slack_bytes",
			 integer(effects->slack_bytes), "release_count", integer(release_count),
			 "released_bytes", integer(released_bytes));
}

static json_t *record_json(const struct actions_record *record)
{
	const struct governor_action *action = &record->action;
	char when[TEXT_TIME_BYTES];

	text_format_time(when, record->when);
	return json_pack("{s:s, s:i, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:f}", "when", when,
			 "pid", (int)action->pid, "command", record->command, "unit", record->unit,
			 "method", governor_method_text(action->method), "trigger",
			 governor_trigger_text(action->trigger), "level", level_text(action->level),
			 "result", actions_result_text(record->result), "target_bytes",
			 integer(action->target_bytes), "released_bytes",
			 integer(record->released_bytes), "duration_seconds",
			 (double)record->duration_us / 1e6);
}

void report_reply_actions(struct evhttp_request *request, const struct effects *effects)
{
	json_t *answer = json_object(), *list = json_array();
	const struct actions_record *record;

	for (size_t i = 0; (record = actions_before(&effects->actions, i)) != NULL; i++)
		json_array_append_new(list, record_json(record));
	json_object_set_new(answer, "schema", json_integer(1));
	json_object_set_new(answer, "count", json_integer(integer(effects->actions.count)));
	json_object_set_new(answer, "actions", list);
	http_reply_json(request, 200, answer);
}

static bool parse_ttl(struct evhttp_request *request, uint64_t *ttl_ns)
{
	struct evbuffer *body = evhttp_request_get_input_buffer(request);
	size_t count = evbuffer_get_length(body);
	json_t *object, *ttl;
	bool valid;

	*ttl_ns = EFFECTS_UNTIL_RESUMED;
	if (count == 0)
		return true;
	object = json_loadb((const char *)evbuffer_pullup(body, -1), count, JSON_REJECT_DUPLICATES,
			    NULL);
	ttl = json_object_get(object, "ttl_seconds");
	valid = json_object_size(object) == 1 && json_is_number(ttl) &&
		json_number_value(ttl) > 0 && json_number_value(ttl) <= REPORT_PAUSE_SECONDS_MAX;
	if (valid)
		*ttl_ns = (uint64_t)(json_number_value(ttl) * 1e9);
	json_decref(object);
	return valid;
}

static void reply_governor(struct evhttp_request *request, const struct effects *effects,
			   uint64_t now_ns)
{
	http_reply_json(request, 200,
			json_pack("{s:i, s:o}", "schema", 1, "governor",
				  report_governor_json(effects, now_ns)));
}

void report_reply_pause(struct evhttp_request *request, struct effects *effects)
{
	uint64_t now_ns = clock_now_ns(), ttl_ns;

	if (!parse_ttl(request, &ttl_ns)) {
		http_reply_error(request, 400,
				 "the body is neither empty nor {\"ttl_seconds\": number}, of %d "
				 "at most",
				 REPORT_PAUSE_SECONDS_MAX);
		return;
	}
	effects_pause(effects, ttl_ns, now_ns);
	if (ttl_ns == EFFECTS_UNTIL_RESUMED)
		log_say(LOG_NOTICE, "No memory is taken back until that is resumed.");
	else
		log_say(LOG_NOTICE, "No memory is taken back for %.0f s.", (double)ttl_ns / 1e9);
	reply_governor(request, effects, now_ns);
}

void report_reply_resume(struct evhttp_request *request, struct effects *effects)
{
	uint64_t now_ns = clock_now_ns();

	effects_pause(effects, 0, now_ns);
	log_say(LOG_NOTICE, "Memory is taken back again.");
	reply_governor(request, effects, now_ns);
}

static void head(struct text *text, const char *family, const char *type, const char *help)
{
	text_print(text, "# HELP %s %s\n# TYPE %s %s\n", family, help, family, type);
}

static void write_pressure(struct text *text, const struct pressure *pressure)
{
	static const char *const scopes[PRESSURE_SCOPES] = {"system", "cgroup"};

	head(text, "hak_pressure_available", "gauge",
	     "Whether the kernel tells of memory pressure; 0 where files are read every 2 s.");
	text_print(text, "hak_pressure_available %d\n",
		   pressure->source == PRESSURE_SOURCE_TRIGGER);
	head(text, "hak_pressure_level", "gauge",
	     "Memory pressure now, the highest of all scopes: 0 none, 1 some, 2 full.");
	text_print(text, "hak_pressure_level %d\n", (int)pressure_level(pressure));
	head(text, "hak_pressure_events_total", "counter",
	     "How often a level of memory pressure was come up to.");
	for (enum pressure_scope i = 0; i < PRESSURE_SCOPES; i++)
		for (enum level j = LEVEL_SOME; j < LEVEL_COUNT; j++)
			text_print(text,
				   "hak_pressure_events_total{scope=\"%s\",level=\"%s\"} %" PRIu64
				   "\n",
				   scopes[i], level_text(j), pressure->event_totals[i][j]);
	head(text, "hak_pressure_cgroups", "gauge",
	     "Control groups of clients whose memory pressure is known.");
	text_print(text, "hak_pressure_cgroups %zu\n", pressure->group_count);
	head(text, "hak_pressure_cgroups_overflowed_total", "counter",
	     "How often there was no place to watch a control group.");
	text_print(text, "hak_pressure_cgroups_overflowed_total %" PRIu64 "\n",
		   pressure->overflow_total);
}

/* A family with a sample for each trigger and method. */
static void write_releases(struct text *text, const char *family, const char *help,
			   const uint64_t counts[GOVERNOR_TRIGGERS][HISTORY_METHODS])
{
	head(text, family, "counter", help);
	for (enum governor_trigger i = 0; i < GOVERNOR_TRIGGERS; i++)
		for (enum history_method j = 0; j < HISTORY_METHODS; j++)
			text_print(text, "%s{trigger=\"%s\",method=\"%s\"} %" PRIu64 "\n", family,
				   governor_trigger_text(i), governor_method_text(j), counts[i][j]);
}

void report_write_metrics(struct text *text, const struct effects *effects)
{
	const struct allot *allot = &effects->table->allot;

	write_pressure(text, &effects->pressure);
	write_releases(text, "hak_releases_total", "Releases of memory that were carried out.",
		       effects->actions.releases);
	write_releases(text, "hak_released_bytes_total",
		       "What processes had resident less after releases.",
		       effects->actions.released_bytes);
	head(text, "hak_release_timeouts_total", "counter",
	     "Releases that a program had not carried out when it was looked.");
	text_print(text, "hak_release_timeouts_total %" PRIu64 "\n",
		   effects->actions.results[ACTIONS_PENDING]);
	head(text, "hak_release_failures_total", "counter", "Releases that could not be tried.");
	text_print(text, "hak_release_failures_total %" PRIu64 "\n",
		   effects->actions.results[ACTIONS_FAILED]);
	head(text, "hak_host_budget_bytes", "gauge",
	     "What all programs together may hold, 0 for no budget of the host.");
	text_print(text, "hak_host_budget_bytes %" PRIu64 "\n", allot_host_budget(allot));
	head(text, "hak_host_purge_level", "gauge",
	     "What that budget asks of all programs now: 0 nothing, 1 what is free, 2 caches too.");
	text_print(text, "hak_host_purge_level %" PRIu64 "\n", allot->host_level);
	head(text, "hak_policy_dry_run", "gauge",
	     "Whether releases are only told of, and not carried out.");
	text_print(text, "hak_policy_dry_run %d\n", allot_all_is_dry(allot));
	head(text, "hak_policy_paused", "gauge", "Whether nothing is released for now.");
	text_print(text, "hak_policy_paused %d\n", effects_is_paused(effects, clock_now_ns()));
}
