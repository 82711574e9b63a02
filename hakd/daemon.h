/* daemon.h - hakd as a whole: the sockets, the table of clients and the loop that serves them.
 *
 * One thread, one event loop. Sockets come from systemd by name (daemon.c has them), or are
 * made below the runtime directory; those that were made here are removed at a clean stop.
 */
#ifndef HAKD_DAEMON_H
#define HAKD_DAEMON_H

#include "fleet/table.h"
#include "govern/advisor.h"
#include "govern/effects.h"
#include "serve/control.h"
#include "serve/http.h"
#include "serve/listener.h"
#include "serve/pressure_socket.h"
#include "store.h"

#define DAEMON_TICK_SECONDS 2

struct daemon_options {
	const char *runtime_dir;
	const char *metrics_socket; /* a path, or NULL: none */
	uint64_t soft_budget_bytes; /* 0: none; ALLOT_NO_DEFAULT: as configured */
	uint64_t memory_bytes;	    /* of the machine */
	struct conf_sources config;
	uint64_t slack_bytes; /* of the host; 0: as configured */
	bool remote_reclaim;
	bool is_dry_run;
};

struct daemon {
	struct event_base *base;
	struct table table;
	struct reload reload;
	struct effects effects;
	struct advisor advisor;
	struct control control;
	struct listener listener;
	struct pressure_socket pressure_socket;
	struct store store;
	struct http http;	  /* control */
	struct http metrics_http; /* metrics */
	struct event *events[6];  /* signals, departures, tick, watchdog */
	size_t event_count;
	char *made[4]; /* paths of the sockets that were made here */
	size_t made_count;
	char status[192]; /* as the service manager knows it */
};

/* 0, or a negative errno that has been said. */
int daemon_init(struct daemon *daemon, const struct daemon_options *options);
void daemon_deinit(struct daemon *daemon);

/* Serves until SIGTERM or SIGINT. 0 or a negative errno. */
int daemon_run(struct daemon *daemon);

#endif
