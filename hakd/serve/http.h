/* http.h - a small HTTP server on sockets that are there already, by libevent's evhttp.
 *
 * Requests are short and answered at once from memory. Bounds: a header of HTTP_HEADER_BYTES_MAX, a
 * body of HTTP_BODY_BYTES_MAX, HTTP_TIMEOUT_SECONDS without a byte, HTTP_CONNECTIONS_MAX open
 * connections, beyond which new ones wait in the sockets' queues. Of one user but root and the
 * daemon's own, as far as a socket tells it, HTTP_USER_CONNECTIONS_MAX: more are closed at once.
 *
 * A route that is asked for by a method that it has not is answered 405 here, a path without a
 * route 404. Errors are JSON, as proto/README.md has it.
 */
#ifndef HAKD_SERVE_HTTP_H
#define HAKD_SERVE_HTTP_H

#include "base/text.h"

#include <event2/event.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <jansson.h>
#include <sys/queue.h>

#define HTTP_HEADER_BYTES_MAX 8192
#define HTTP_BODY_BYTES_MAX 4096
#define HTTP_TIMEOUT_SECONDS 5
#define HTTP_CONNECTIONS_MAX 64
#define HTTP_USER_CONNECTIONS_MAX 16
#define HTTP_LISTENERS_MAX 8

/* pid: the number that stands for # in the path, else 0. */
typedef void http_handler(struct evhttp_request *request, pid_t pid, void *context);

struct http_route {
	const char *path; /* "#" stands for a pid */
	unsigned methods; /* EVHTTP_REQ_GET (HEAD goes with it) or EVHTTP_REQ_POST */
	http_handler *handler;
};

struct http_connection {
	int fd; /* evhttp's */
	ino_t inode;
	uid_t uid; /* NO_USER, of http.c: the socket does not tell, or none that is limited */
};

struct http {
	LIST_ENTRY(http) entry; /* in http.c, from http_init to http_deinit */
	struct evhttp *server;
	struct event_base *base;
	const struct http_route *routes;
	size_t route_count;
	void *context;
	/* Set from above: called before an answer is sent. */
	void (*answering)(void *context);
	void *answering_context;
	struct evconnlistener *listeners[HTTP_LISTENERS_MAX]; /* the server's */
	size_t listener_count;
	struct http_connection connections[HTTP_CONNECTIONS_MAX]; /* some may have ended */
	size_t connection_count;
	struct bufferevent *newcomers[HTTP_CONNECTIONS_MAX]; /* accepted in this turn */
	size_t newcomer_count;
	struct event *accepted; /* there are newcomers */
	struct event *resuming; /* after descriptors, or room for connections, had run out */
};

int http_init(struct http *http, struct event_base *base, const struct http_route *routes,
	      size_t route_count, void *context);
void http_deinit(struct http *http);

/* Serves a listening, non-blocking socket too, and takes it where it succeeds. 0, -ENOMEM, or
 * -ENOSPC where there are HTTP_LISTENERS_MAX already. */
int http_listen(struct http *http, int fd);

/* Each of these answers the request for good. text and json are taken; a json of NULL (no memory,
 * or text that is no UTF-8) and a text that has failed are answered 500. */
void http_reply_text(struct evhttp_request *request, const char *content_type, struct text *text);
void http_reply_json(struct evhttp_request *request, int status, json_t *json);
void http_reply_error(struct evhttp_request *request, int status, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
