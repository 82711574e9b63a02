#include "daemon.h"

#include "base/log.h"
#include "base/manager.h"
#include "base/privilege.h"
#include "serve/socket.h"

#include <hak/hak.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#define STRING_(x) #x
#define STRING(x) STRING_(x)
#define VERSION                                                                                    \
	STRING(HAK_VERSION_MAJOR) "." STRING(HAK_VERSION_MINOR) "." STRING(HAK_VERSION_PATCH)

enum socket_kind { SOCKET_CLIENT, SOCKET_CONTROL, SOCKET_PRESSURE, SOCKET_METRICS, SOCKET_KINDS };

static const struct {
	const char *name; /* of systemd's FileDescriptorName=, and of the file */
	int type;
	mode_t mode;
	bool unix_only;
} sockets[SOCKET_KINDS] = {
	[SOCKET_CLIENT] = {"client", SOCK_SEQPACKET, 0666, true},
	[SOCKET_CONTROL] = {"control", SOCK_STREAM, 0660, true},
	[SOCKET_PRESSURE] = {"pressure", SOCK_STREAM, 0666, true},
	[SOCKET_METRICS] = {"metrics", SOCK_STREAM, 0666, false},
};

/* Takes a listening socket in any case. */
static int serve(struct daemon *daemon, enum socket_kind kind, int fd)
{
	int error = -EEXIST;

	if (kind == SOCKET_CONTROL)
		error = http_listen(&daemon->http, fd);
	else if (kind == SOCKET_METRICS)
		error = http_listen(&daemon->metrics_http, fd);
	else if (kind == SOCKET_PRESSURE && daemon->pressure_socket.fd < 0)
		error = pressure_socket_init(&daemon->pressure_socket, daemon->base,
					     &daemon->effects, fd);
	else if (kind == SOCKET_CLIENT && daemon->listener.fd < 0)
		error = listener_init(&daemon->listener, daemon->base, &daemon->table, fd);
	if (error != 0) {
		log_say(LOG_ERR, "Cannot serve the socket '%s': %s.", sockets[kind].name,
			strerror(-error));
		close(fd);
	}
	return error;
}

static int serve_passed(struct daemon *daemon, int fd, const char *name, bool served[SOCKET_KINDS])
{
	if (store_adopt(&daemon->store, fd, name))
		return 0;
	for (enum socket_kind kind = 0; kind < SOCKET_KINDS; kind++) {
		if (strcmp(name, sockets[kind].name) != 0)
			continue;
		if (!socket_adopt(fd, sockets[kind].type, sockets[kind].unix_only)) {
			log_say(LOG_ERR, "The descriptor '%s' is not a socket that can serve so.",
				name);
			close(fd);
			return -EINVAL;
		}
		served[kind] = true;
		return serve(daemon, kind, fd);
	}
	log_say(LOG_WARNING, "Closed a descriptor that systemd passed as '%s'.", name);
	close(fd);
	return 0;
}

/* The sockets that systemd has made, and what it has kept for us, by name. */
static int adopt_sockets(struct daemon *daemon, bool served[SOCKET_KINDS])
{
	char **names = NULL;
	int count = sd_listen_fds_with_names(1, &names), error = 0;

	if (count < 0) {
		log_say(LOG_ERR, "Cannot take systemd's sockets: %s.", strerror(-count));
		return count;
	}
	for (int i = 0; i < count; i++) {
		if (error == 0)
			error = serve_passed(daemon, SD_LISTEN_FDS_START + i, names[i], served);
		free(names[i]);
	}
	free(names);
	return error;
}

static int make_socket(struct daemon *daemon, enum socket_kind kind, char *path)
{
	int fd, error;

	if (path == NULL)
		return -ENOMEM;
	error = socket_listen(path, sockets[kind].type, sockets[kind].mode, &fd);
	if (error != 0) {
		free(path);
		return error;
	}
	daemon->made[daemon->made_count++] = path;
	return serve(daemon, kind, fd);
}

/* Those that nobody passed. The control socket first: a daemon that lives is asked there, where it
 * does not count visitors. */
static int make_sockets(struct daemon *daemon, const struct daemon_options *options,
			const bool served[SOCKET_KINDS])
{
	static const enum socket_kind order[] = {SOCKET_CONTROL, SOCKET_CLIENT, SOCKET_PRESSURE};
	const char *folder = options->runtime_dir;
	int error = 0;

	if ((!served[SOCKET_CONTROL] || !served[SOCKET_CLIENT]) && mkdir(folder, 0755) != 0 &&
	    errno != EEXIST) {
		error = -errno;
		log_say(LOG_ERR, "Cannot make the directory %s: %s.", folder, strerror(-error));
		return error;
	}
	for (size_t i = 0; error == 0 && i < sizeof order / sizeof order[0]; i++) {
		char *path = NULL;

		/* Under systemd that socket is no must, and its folder no place to make one. */
		if (served[order[i]] || (order[i] == SOCKET_PRESSURE && served[SOCKET_CLIENT]))
			continue;
		if (asprintf(&path, "%s/%s", folder, sockets[order[i]].name) < 0)
			path = NULL;
		error = make_socket(daemon, order[i], path);
	}
	if (error == 0 && options->metrics_socket != NULL)
		error = make_socket(daemon, SOCKET_METRICS, strdup(options->metrics_socket));
	return error;
}

static void on_stop(evutil_socket_t number, short what, void *context)
{
	struct daemon *daemon = context;

	(void)what;
	log_say(LOG_INFO, "Stopping at %s.", number == SIGTERM ? "SIGTERM" : "SIGINT");
	(void)manager_send("STOPPING=1", -1);
	event_base_loopbreak(daemon->base);
}

static void on_hangup(evutil_socket_t number, short what, void *context)
{
	struct daemon *daemon = context;
	struct conf_report report = {.error_count = 0};
	bool is_good = reload_now(&daemon->reload, &report);

	(void)number;
	(void)what;
	reload_log(&report);
	conf_report_deinit(&report);
	log_say(is_good ? LOG_INFO : LOG_ERR, "The configuration was read at SIGHUP: %s.",
		is_good ? "it holds now" : "it has errors, and what was before holds on");
}

static void on_departure(evutil_socket_t fd, short what, void *context)
{
	struct daemon *daemon = context;

	(void)fd;
	(void)what;
	table_reap(&daemon->table, clock_now_ns());
}

/* "none", or "none, by files" where the kernel does not tell of it, and "unknown" where it has no
 * such files either. */
static const char *pressure_words(const struct daemon *daemon, char *words, size_t size)
{
	const struct pressure *pressure = &daemon->effects.pressure;

	if (pressure->source == PRESSURE_SOURCE_NONE && pressure_level(pressure) == LEVEL_NONE)
		return "unknown";
	snprintf(words, size, "%s%s", level_text(pressure_level(pressure)),
		 pressure->source == PRESSURE_SOURCE_TRIGGER ? "" : ", by files");
	return words;
}

/* "12 clients, 345 MiB live, soft budget 11.9 GiB, pressure none". Without somebody to tell it is
 * not found out. */
static void notify_status(struct daemon *daemon, const char *ready)
{
	struct table *table = &daemon->table;
	char status[sizeof daemon->status], live[TEXT_SIZE_BYTES];
	char budget[TEXT_SIZE_BYTES] = "none", pressure[24], lines[MANAGER_LINES_BYTES];
	uint64_t sum[HAK_METRIC_COUNT], soft_bytes = allot_default_soft(&table->allot);

	if (getenv("NOTIFY_SOCKET") == NULL)
		return;
	table_refresh(table, clock_now_ns());
	table_sum(table, sum);
	text_format_bytes(live, sum[HAK_METRIC_live_bytes]);
	if (soft_bytes != 0)
		text_format_bytes(budget, soft_bytes);
	snprintf(status, sizeof status, "%zu client%s, %s live, soft budget %s, pressure %s%s%s",
		 table->client_count, table->client_count == 1 ? "" : "s", live, budget,
		 pressure_words(daemon, pressure, sizeof pressure),
		 allot_all_is_dry(&table->allot) ? ", dry run" : "",
		 daemon->reload.is_good ? "" : ", bad configuration");
	if (ready[0] == '\0' && strcmp(status, daemon->status) == 0)
		return;
	snprintf(lines, sizeof lines, "%sSTATUS=%s", ready, status);
	/* Readiness may wait for the manager, since nobody is served yet. */
	if (ready[0] != '\0')
		sd_notify(0, lines);
	else if (manager_send(lines, -1) == -EAGAIN)
		return; /* at the next tick */
	strcpy(daemon->status, status);
}

static bool is_resting(const void *effects, uint64_t now_ns)
{
	return effects_is_paused(effects, now_ns);
}

static enum effects_answer release_remotely(void *advisor, struct client *client,
					    uint64_t bytes_max)
{
	return advisor_release(advisor, client, bytes_max, ADVISOR_PRESSURE) == ADVISOR_TAKEN
		       ? EFFECTS_UNDER_WAY
		       : EFFECTS_REFUSED;
}

/* The governor's way to clients that need not run, while there is one. What idle clients have
 * marked the advisor takes by itself, unless there is a pause. */
static void join(struct daemon *daemon)
{
	daemon->effects.remote = (struct effects_remote){
		.advisor = &daemon->advisor,
		.release = advisor_is_available(&daemon->advisor) ? release_remotely : NULL,
	};
	daemon->advisor.is_resting = is_resting;
	daemon->advisor.resting_context = &daemon->effects;
}

static void on_tick(evutil_socket_t fd, short what, void *context)
{
	struct daemon *daemon = context;

	(void)fd;
	(void)what;
	table_tick(&daemon->table, clock_now_ns());
	join(daemon);
	pressure_socket_tick(&daemon->pressure_socket, clock_now_ns());
	effects_tick(&daemon->effects, clock_now_ns());
	advisor_tick(&daemon->advisor, clock_now_ns());
	store_tick(&daemon->store, clock_now_ns());
	notify_status(daemon, "");
}

static void on_watchdog(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	(void)context;
	(void)manager_send("WATCHDOG=1", -1);
}

static int add_event(struct daemon *daemon, int fd, short what, event_callback_fn callback,
		     const struct timeval *every)
{
	struct event *event = event_new(daemon->base, fd, what | EV_PERSIST, callback, daemon);

	if (event == NULL || event_add(event, every) != 0) {
		if (event != NULL)
			event_free(event);
		return -ENOMEM;
	}
	daemon->events[daemon->event_count++] = event;
	return 0;
}

static int add_events(struct daemon *daemon)
{
	const struct timeval tick = {.tv_sec = DAEMON_TICK_SECONDS};
	uint64_t watchdog_us;
	int error;

	error = add_event(daemon, SIGTERM, EV_SIGNAL, on_stop, NULL);
	if (error == 0)
		error = add_event(daemon, SIGINT, EV_SIGNAL, on_stop, NULL);
	if (error == 0)
		error = add_event(daemon, SIGHUP, EV_SIGNAL, on_hangup, NULL);
	if (error == 0)
		error = add_event(daemon, daemon->table.departures, EV_READ, on_departure, NULL);
	if (error == 0)
		error = add_event(daemon, -1, 0, on_tick, &tick);
	if (error == 0 && sd_watchdog_enabled(0, &watchdog_us) > 0) {
		/* A third, so that one of them may be lost. */
		const struct timeval third = {
			.tv_sec = (time_t)(watchdog_us / 3 / 1000000),
			.tv_usec = (suseconds_t)(watchdog_us / 3 % 1000000),
		};

		error = add_event(daemon, -1, 0, on_watchdog, &third);
	}
	if (error != 0)
		log_say(LOG_ERR, "Cannot make the daemon's events: %s.", strerror(-error));
	return error;
}

static void on_libevent(int severity, const char *message)
{
	static const int priorities[] = {LOG_DEBUG, LOG_DEBUG, LOG_WARNING, LOG_ERR};

	log_say(priorities[severity & 3], "libevent: %s.", message);
}

static int init_servers(struct daemon *daemon)
{
	int error;

	event_set_log_callback(on_libevent);
	daemon->base = event_base_new();
	if (daemon->base == NULL) {
		log_say(LOG_ERR, "Cannot make an event loop.");
		return -ENOMEM;
	}
	error = http_init(&daemon->http, daemon->base, control_routes, control_route_count,
			  &daemon->control);
	if (error == 0)
		error = http_init(&daemon->metrics_http, daemon->base, control_metrics_routes,
				  control_metrics_route_count, &daemon->control);
	if (error != 0)
		log_say(LOG_ERR, "Cannot make an HTTP server: %s.", strerror(-error));
	return error;
}

/* With a configuration that has errors it does without: it would be of no use to anybody if it did
 * not start. */
static void init_policy(struct daemon *daemon, const struct daemon_options *options)
{
	struct conf_report report = {.error_count = 0};

	daemon->table.allot.default_soft_bytes = options->soft_budget_bytes;
	daemon->table.allot.memory_bytes = options->memory_bytes;
	daemon->table.allot.is_dry_run = options->is_dry_run;
	reload_init(&daemon->reload, &daemon->table, &options->config);
	if (!reload_now(&daemon->reload, &report))
		log_say(LOG_ERR, "The configuration has errors: going on without one.");
	reload_log(&report);
	conf_report_deinit(&report);
}

/* An advisor of its own comes first, while there are capabilities to give it; then they go. */
static int init_advisor(struct daemon *daemon, const struct daemon_options *options)
{
	int fd = -1, error = 0;

	if (options->remote_reclaim)
		error = line_start_advisor(&fd);
	if (error == 0)
		error = advisor_init(&daemon->advisor, daemon->base, &daemon->table,
				     &daemon->effects.actions, options->runtime_dir, fd,
				     options->remote_reclaim);
	if (error == 0 && fd >= 0)
		error = privilege_keep(0);
	if (error != 0)
		log_say(LOG_ERR, "Cannot reach the advisor: %s.", strerror(-error));
	return error;
}

/* What somebody has been told, a counter or that a budget is set, is true after a kill as well. */
static void on_answering(void *store)
{
	store_save(store);
}

static void restore(struct daemon *daemon, const struct daemon_options *options)
{
	const struct store_parts parts = {
		.table = &daemon->table,
		.effects = &daemon->effects,
		.advisor = &daemon->advisor,
	};

	store_restore(&daemon->store, &parts, options->runtime_dir);
	daemon->http.answering = daemon->metrics_http.answering = on_answering;
	daemon->http.answering_context = daemon->metrics_http.answering_context = &daemon->store;
}

int daemon_init(struct daemon *daemon, const struct daemon_options *options)
{
	bool served[SOCKET_KINDS] = {false};
	int error;

	*daemon = (struct daemon){
		.listener = {.fd = -1}, .pressure_socket = {.fd = -1}, .table = {.departures = -1}};
	store_init(&daemon->store);
	daemon->control = (struct control){.table = &daemon->table,
					   .effects = &daemon->effects,
					   .reload = &daemon->reload,
					   .advisor = &daemon->advisor,
					   .version = VERSION,
					   .started = time(NULL)};
	error = table_init(&daemon->table);
	if (error == 0)
		init_policy(daemon, options);
	if (error == 0)
		error = init_servers(daemon);
	if (error == 0)
		error = effects_init(&daemon->effects, daemon->base, &daemon->table,
				     options->slack_bytes);
	if (error == 0)
		error = adopt_sockets(daemon, served);
	if (error == 0)
		error = make_sockets(daemon, options, served);
	if (error == 0)
		error = add_events(daemon);
	if (error == 0)
		error = init_advisor(daemon, options);
	if (error == 0) {
		join(daemon);
		restore(daemon, options);
	}
	if (error != 0)
		daemon_deinit(daemon);
	return error;
}

void daemon_deinit(struct daemon *daemon)
{
	/* First of all: who comes now is to find no socket rather than one that is deaf. */
	while (daemon->made_count > 0) {
		daemon->made_count--;
		unlink(daemon->made[daemon->made_count]);
		free(daemon->made[daemon->made_count]);
	}
	store_deinit(&daemon->store);
	while (daemon->event_count > 0)
		event_free(daemon->events[--daemon->event_count]);
	listener_deinit(&daemon->listener);
	pressure_socket_deinit(&daemon->pressure_socket);
	http_deinit(&daemon->http);
	http_deinit(&daemon->metrics_http);
	effects_deinit(&daemon->effects);
	if (daemon->reload.table != NULL)
		reload_deinit(&daemon->reload);
	advisor_deinit(&daemon->advisor);
	table_deinit(&daemon->table);
	if (daemon->base != NULL)
		event_base_free(daemon->base);
	daemon->base = NULL;
}

int daemon_run(struct daemon *daemon)
{
	char budget[TEXT_SIZE_BYTES] = "none";
	uint64_t soft_bytes = allot_default_soft(&daemon->table.allot);

	/* Whoever hangs up while it is answered has its error from write(2). */
	signal(SIGPIPE, SIG_IGN);
	if (soft_bytes != 0)
		text_format_bytes(budget, soft_bytes);
	log_say(LOG_INFO, "hakd " VERSION " is ready; soft budget of each process: %s.", budget);
	notify_status(daemon, "READY=1\n");
	if (event_base_dispatch(daemon->base) < 0) {
		log_say(LOG_ERR, "The event loop has failed.");
		return -EIO;
	}
	return 0;
}
