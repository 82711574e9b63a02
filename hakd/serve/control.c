#include "serve/control.h"

#include "base/log.h"
#include "serve/budgets.h"
#include "serve/metrics.h"
#include "serve/report.h"

#include <event2/buffer.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *const metric_names[HAK_METRIC_COUNT] = {
#define METRIC(kind, field, family, labels, help) #field,
#include "proto/metrics.def"
#undef METRIC
};

/* JSON's integers are signed here; what is larger is a client's nonsense. */
static json_t *integer(uint64_t number)
{
	return json_integer(number > INT64_MAX ? INT64_MAX : (json_int_t)number);
}

static void set_time(json_t *object, const char *key, time_t when)
{
	char text[TEXT_TIME_BYTES];

	text_format_time(text, when);
	json_object_set_new(object, key, json_string(text));
}

static void refresh(struct control *control)
{
	table_refresh(control->table, clock_now_ns());
}

static json_t *registrations_json(const struct table *table)
{
	json_t *object = json_object();

	for (enum registration i = 0; i < REGISTRATION_COUNT; i++)
		json_object_set_new(object, table_registration_text(i),
				    integer(table->registrations[i]));
	return object;
}

static json_t *heap_json(struct table *table)
{
	uint64_t sum[HAK_METRIC_COUNT];
	json_t *object = json_object();

	table_sum(table, sum);
	for (enum hak_metric i = 0; i < HAK_METRIC_COUNT; i++)
		if (!group_metric_is_counter(i))
			json_object_set_new(object, metric_names[i], integer(sum[i]));
	return object;
}

static json_t *reclaim_json(const struct advisor *advisor)
{
	return json_pack("{s:s, s:s, s:o, s:o}", "state", line_state_text(advisor->line.state),
			 "why", advisor->line.why, "advised_bytes",
			 integer(advisor->advised_bytes[HAK_RECLAIM_PAGEOUT]), "swapped_bytes",
			 integer(advisor->swapped_bytes));
}

static void on_status(struct evhttp_request *request, pid_t pid, void *context)
{
	struct control *control = context;
	struct table *table = control->table;
	json_t *policy = json_object(), *status = json_object();

	(void)pid;
	refresh(control);
	json_object_set_new(policy, "soft_budget_bytes",
			    integer(allot_default_soft(&table->allot)));
	json_object_set_new(policy, "hard_budget_bytes", integer(0));
	json_object_set_new(policy, "host_budget_bytes", integer(allot_host_budget(&table->allot)));
	json_object_set_new(policy, "host_held_bytes", integer(table->allot.held_bytes));
	json_object_set_new(policy, "host_purge_level", integer(table->allot.host_level));
	json_object_set_new(status, "schema", json_integer(1));
	json_object_set_new(status, "version", json_string(control->version));
	json_object_set_new(status, "pid", json_integer(getpid()));
	set_time(status, "started", control->started);
	json_object_set_new(status, "client_count", integer(table->client_count));
	json_object_set_new(status, "group_count", integer(table->groups.count));
	json_object_set_new(status, "registrations", registrations_json(table));
	json_object_set_new(status, "policy", policy);
	json_object_set_new(status, "config", budgets_config_json(control->reload));
	json_object_set_new(status, "remote_reclaim", reclaim_json(control->advisor));
	json_object_set_new(status, "heap", heap_json(table));
	json_object_set_new(status, "pressure", report_pressure_json(control->effects));
	json_object_set_new(status, "governor",
			    report_governor_json(control->effects, clock_now_ns()));
	http_reply_json(request, 200, status);
}

static json_t *metrics_json(const struct client *client)
{
	json_t *object = json_object();

	for (enum hak_metric i = 0; i < HAK_METRIC_COUNT; i++)
		json_object_set_new(object, metric_names[i], integer(client->telemetry.metrics[i]));
	json_object_set_new(object, metric_names[HAK_METRIC_lazyfree_bytes],
			    integer(client_lazyfree_bytes(client)));
	return object;
}

static json_t *remote_json(const struct client *client)
{
	return json_pack("{s:o, s:o, s:b, s:o, s:o}", "request", integer(client->release_request),
			 "ack", integer(client->release_ack), "done", !client->release_failed,
			 "released_bytes", integer(client->release_bytes), "returned_bytes",
			 integer(client->rows.returned_bytes));
}

static json_t *trim_json(const struct client *client)
{
	const struct hak_telemetry *telemetry = &client->telemetry;
	json_t *object = json_object();

	json_object_set_new(object, "request", integer(client->mailbox.trim_request));
	json_object_set_new(object, "ack", integer(telemetry->trim_ack));
	json_object_set_new(object, "before_bytes", integer(telemetry->trim_before_bytes));
	json_object_set_new(object, "after_bytes", integer(telemetry->trim_after_bytes));
	json_object_set_new(object, "released_bytes", integer(telemetry->trim_released_bytes));
	return object;
}

static void set_identity(json_t *object, const struct client *client)
{
	uint64_t version = client->hello.library_version;
	char text[48];

	snprintf(text, sizeof text, "%" PRIu32 ".%" PRIu32 ".%" PRIu32, (uint32_t)(version >> 32),
		 (uint32_t)(version >> 16 & 0xffff), (uint32_t)(version & 0xffff));
	json_object_set_new(object, "pid", json_integer(client->pid));
	json_object_set_new(object, "uid", json_integer(client->uid));
	json_object_set_new(object, "user", json_string(client->account->user));
	json_object_set_new(object, "command", json_string(client->identity.comm));
	json_object_set_new(object, "exe", json_string(client->identity.exe));
	json_object_set_new(object, "unit", json_string(client->identity.unit));
	json_object_set_new(object, "group", json_string(client->group->name));
	json_object_set_new(object, "library_version", json_string(text));
}

static json_t *client_json(const struct table *table, struct client *client, uint64_t now_ns)
{
	json_t *object = json_object();

	(void)client_read_memory(client, now_ns);
	set_identity(object, client);
	set_time(object, "registered", client->registered);
	json_object_set_new(object, "age_seconds", json_real(client_age_seconds(client, now_ns)));
	json_object_set_new(object, "plausible", json_boolean(client->plausible));
	json_object_set_new(object, "resident_bytes", integer(client->memory.resident_bytes));
	json_object_set_new(object, "soft_budget_bytes",
			    integer(client->mailbox.soft_budget_bytes));
	json_object_set_new(object, "hard_budget_bytes",
			    integer(client->mailbox.hard_budget_bytes));
	json_object_set_new(object, "policy", budgets_policy_json(table, client));
	json_object_set_new(object, "metrics", metrics_json(client));
	json_object_set_new(object, "trim", trim_json(client));
	json_object_set_new(object, "remote", remote_json(client));
	return object;
}

/* Row 0 is no class. */
static json_t *classes_json(const struct hak_telemetry *telemetry)
{
	json_t *array = json_array();

	for (uint64_t i = 1; i < telemetry->class_count; i++) {
		const struct hak_telemetry_class *class = &telemetry->classes[i];
		json_t *object = json_object();

		json_object_set_new(object, "block_bytes", integer(class->block_bytes));
		json_object_set_new(object, "slab_count", integer(class->slab_count));
		json_object_set_new(object, "block_count", integer(class->block_count));
		json_object_set_new(object, "taken_count", integer(class->taken_count));
		json_array_append_new(array, object);
	}
	return array;
}

static void on_clients(struct evhttp_request *request, pid_t pid, void *context)
{
	struct control *control = context;
	struct table *table = control->table;
	json_t *answer = json_object(), *clients = json_array();
	uint64_t now_ns = clock_now_ns();
	struct client *client;

	(void)pid;
	refresh(control);
	table_sort(table);
	for (client = table->by_pid; client != NULL; client = client->hh.next)
		json_array_append_new(clients, client_json(table, client, now_ns));
	json_object_set_new(answer, "schema", json_integer(1));
	json_object_set_new(answer, "clients", clients);
	http_reply_json(request, 200, answer);
}

static void on_client(struct evhttp_request *request, pid_t pid, void *context)
{
	struct control *control = context;
	struct client *client;
	json_t *object;

	refresh(control);
	client = table_find(control->table, pid);
	if (client == NULL) {
		http_reply_error(request, 404, "no client has the pid %d", pid);
		return;
	}
	object = client_json(control->table, client, clock_now_ns());
	json_object_set_new(object, "classes", classes_json(&client->telemetry));
	http_reply_json(request, 200, object);
}

enum trim_method { TRIM_AUTO, TRIM_MAILBOX, TRIM_REMOTE, TRIM_METHODS };

static const char *const trim_methods[TRIM_METHODS] = {"auto", "mailbox", "remote"};

struct trim {
	uint64_t target_bytes;
	enum trim_method method;
};

static bool take_target(const json_t *target, struct trim *trim)
{
	if (!json_is_integer(target) || json_integer_value(target) < 0)
		return false;
	trim->target_bytes = (uint64_t)json_integer_value(target);
	return true;
}

static bool take_method(const json_t *method, struct trim *trim)
{
	const char *text = json_string_value(method);

	for (enum trim_method i = 0; text != NULL && i < TRIM_METHODS; i++) {
		if (strcmp(text, trim_methods[i]) == 0) {
			trim->method = i;
			return true;
		}
	}
	return false;
}

/* The body of a trim: nothing, or an object of nothing but target_bytes and method. */
static bool parse_trim(struct evhttp_request *request, struct trim *trim)
{
	struct evbuffer *body = evhttp_request_get_input_buffer(request);
	size_t count = evbuffer_get_length(body);
	json_t *object, *value;
	const char *key;
	bool valid;

	*trim = (struct trim){.method = TRIM_AUTO};
	if (count == 0)
		return true;
	object = json_loadb((const char *)evbuffer_pullup(body, -1), count, JSON_REJECT_DUPLICATES,
			    NULL);
	valid = json_object_size(object) != 0;
	json_object_foreach(object, key, value)
	{
		if (strcmp(key, "target_bytes") == 0)
			valid = valid && take_target(value, trim);
		else
			valid = valid && strcmp(key, "method") == 0 && take_method(value, trim);
	}
	json_decref(object);
	return valid;
}

/* 0 where the mailbox is not asked, or not there any more. */
static uint64_t trim_by_mailbox(struct control *control, pid_t pid, const struct trim *trim)
{
	struct client *client;

	if (trim->method == TRIM_REMOTE)
		return 0;
	client = table_trim(control->table, pid, trim->target_bytes, clock_now_ns());
	if (client == NULL)
		return 0;
	log_say(LOG_INFO, "Asked process %d (%s) to give back memory, request %" PRIu64 ".", pid,
		client->identity.comm, client->mailbox.trim_request);
	return client->mailbox.trim_request;
}

static void on_trim(struct evhttp_request *request, pid_t pid, void *context)
{
	static const char *const whys[] = {"", "too many clients wait for the advisor",
					   "remote reclaim is not available",
					   "it has held the advisor up before"};
	struct control *control = context;
	enum advisor_outcome outcome = ADVISOR_UNAVAILABLE;
	struct client *client;
	uint64_t mailbox_request;
	struct trim trim;

	if (!parse_trim(request, &trim)) {
		http_reply_error(request, 400,
				 "the body is neither empty nor {\"target_bytes\": number, "
				 "\"method\": \"auto\", \"mailbox\" or \"remote\"}");
		return;
	}
	mailbox_request = trim_by_mailbox(control, pid, &trim);
	client = table_find(control->table, pid);
	if (client == NULL) {
		http_reply_error(request, 404, "no client has the pid %d", pid);
		return;
	}
	if (trim.method != TRIM_REMOTE)
		effects_note_command(control->effects, client, trim.target_bytes);
	if (trim.method != TRIM_MAILBOX)
		outcome = advisor_release(control->advisor, client, trim.target_bytes,
					  ADVISOR_COMMAND);
	if (trim.method == TRIM_REMOTE && outcome != ADVISOR_TAKEN) {
		http_reply_error(request, 503, "%s", whys[outcome]);
		return;
	}
	http_reply_json(request, 202,
			json_pack("{s:i, s:i, s:o, s:o}", "schema", 1, "pid", (int)pid,
				  "trim_request", integer(mailbox_request), "remote_request",
				  integer(outcome == ADVISOR_TAKEN ? client->release_request : 0)));
}

static void on_metrics(struct evhttp_request *request, pid_t pid, void *context)
{
	struct control *control = context;
	struct metrics_daemon daemon = {.version = control->version,
					.started = control->started,
					.config_is_good = control->reload->is_good,
					.config_succeeded = control->reload->succeeded,
					.advisor = control->advisor};
	uint64_t sum[HAK_METRIC_COUNT];
	struct text text = {.bytes = NULL};

	(void)pid;
	refresh(control);
	table_sum(control->table, sum);
	process_read_self(&daemon.self);
	metrics_write(&text, control->table, &daemon);
	report_write_metrics(&text, control->effects);
	http_reply_text(request, METRICS_CONTENT_TYPE, &text);
}

static void on_actions(struct evhttp_request *request, pid_t pid, void *context)
{
	(void)pid;
	report_reply_actions(request, ((struct control *)context)->effects);
}

static void on_pause(struct evhttp_request *request, pid_t pid, void *context)
{
	(void)pid;
	report_reply_pause(request, ((struct control *)context)->effects);
}

static void on_resume(struct evhttp_request *request, pid_t pid, void *context)
{
	(void)pid;
	report_reply_resume(request, ((struct control *)context)->effects);
}

static void on_healthy(struct evhttp_request *request, pid_t pid, void *context)
{
	struct text text = {.bytes = NULL};

	(void)pid;
	(void)context;
	text_put(&text, "ok\n");
	http_reply_text(request, "text/plain; charset=utf-8", &text);
}

static void on_budgets(struct evhttp_request *request, pid_t pid, void *context)
{
	struct control *control = context;

	(void)pid;
	if (evhttp_request_get_command(request) == EVHTTP_REQ_POST)
		budgets_set(request, control->table);
	else
		budgets_list(request, control->table);
}

static void on_reload(struct evhttp_request *request, pid_t pid, void *context)
{
	struct control *control = context;

	(void)pid;
	budgets_reload(request, control->reload);
}

const struct http_route control_routes[] = {
	{"/v1/status", EVHTTP_REQ_GET, on_status},
	{"/v1/clients", EVHTTP_REQ_GET, on_clients},
	{"/v1/clients/#", EVHTTP_REQ_GET, on_client},
	{"/v1/clients/#/trim", EVHTTP_REQ_POST, on_trim},
	{"/v1/actions", EVHTTP_REQ_GET, on_actions},
	{"/v1/policy/pause", EVHTTP_REQ_POST, on_pause},
	{"/v1/policy/resume", EVHTTP_REQ_POST, on_resume},
	{"/v1/budgets", EVHTTP_REQ_GET | EVHTTP_REQ_POST, on_budgets},
	{"/v1/reload", EVHTTP_REQ_POST, on_reload},
	{"/metrics", EVHTTP_REQ_GET, on_metrics},
	{"/-/healthy", EVHTTP_REQ_GET, on_healthy},
};
const size_t control_route_count = sizeof control_routes / sizeof control_routes[0];

const struct http_route control_metrics_routes[] = {
	{"/metrics", EVHTTP_REQ_GET, on_metrics},
	{"/-/healthy", EVHTTP_REQ_GET, on_healthy},
};
const size_t control_metrics_route_count = sizeof control_metrics_routes /
					   sizeof control_metrics_routes[0];
