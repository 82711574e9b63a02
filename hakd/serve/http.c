#include "serve/http.h"

#include "base/log.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/keyvalq_struct.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define ALL_METHODS 0xffff /* those that evhttp does not know among them: they get their 405 too */

#define NO_USER ((uid_t)-1)

static LIST_HEAD(, http) servers = LIST_HEAD_INITIALIZER(servers);

static void reply(struct evhttp_request *request, int status, const char *content_type,
		  const char *bytes, size_t count)
{
	struct evkeyvalq *headers = evhttp_request_get_output_headers(request);
	struct evbuffer *body = evbuffer_new();
	char length[24];

	snprintf(length, sizeof length, "%zu", count);
	evhttp_add_header(headers, "Content-Type", content_type);
	evhttp_add_header(headers, "Content-Length", length);
	/* evhttp would send the body after a HEAD as well. */
	if (body != NULL && evhttp_request_get_command(request) != EVHTTP_REQ_HEAD)
		evbuffer_add(body, bytes, count);
	evhttp_send_reply(request, status, NULL, body);
	if (body != NULL)
		evbuffer_free(body);
}

void http_reply_json(struct evhttp_request *request, int status, json_t *json)
{
	static const char broken[] =
		"{\"schema\": 1, \"error\": \"the answer cannot be written\"}\n";
	char *bytes = json != NULL ? json_dumps(json, JSON_REAL_PRECISION(12)) : NULL;
	size_t count;

	json_decref(json);
	if (bytes == NULL) {
		reply(request, 500, "application/json", broken, sizeof broken - 1);
		return;
	}
	/* A line of its own for whoever reads it in a terminal, in place of the NUL. */
	count = strlen(bytes);
	bytes[count] = '\n';
	reply(request, status, "application/json", bytes, count + 1);
	free(bytes);
}

void http_reply_error(struct evhttp_request *request, int status, const char *format, ...)
{
	char sentence[256];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(sentence, sizeof sentence, format, arguments);
	va_end(arguments);
	http_reply_json(request, status, json_pack("{s:i, s:s}", "schema", 1, "error", sentence));
}

void http_reply_text(struct evhttp_request *request, const char *content_type, struct text *text)
{
	if (text->failed || text->bytes == NULL)
		http_reply_error(request, 500, "the answer is too long");
	else
		reply(request, 200, content_type, text->bytes, text->used);
	text_deinit(text);
}

/* A pid as it is written down: no sign, no zero in front, no more than a pid can be. */
static size_t match_pid(const char *path, pid_t *pid)
{
	size_t length = strspn(path, "0123456789");
	unsigned long long number = strtoull(path, NULL, 10);

	if (length == 0 || length > 10 || path[0] == '0' || number > INT_MAX)
		return 0;
	*pid = (pid_t)number;
	return length;
}

static bool match(const char *pattern, const char *path, pid_t *pid)
{
	*pid = 0;
	for (; *pattern != '\0'; pattern++) {
		size_t length = *pattern == '#' ? match_pid(path, pid) : *pattern == *path;

		if (length == 0)
			return false;
		path += length;
	}
	return *path == '\0';
}

static void refuse_method(struct evhttp_request *request, unsigned methods)
{
	const char *allowed = methods == EVHTTP_REQ_POST  ? "POST"
			      : methods == EVHTTP_REQ_GET ? "GET, HEAD"
							  : "GET, HEAD, POST";

	evhttp_add_header(evhttp_request_get_output_headers(request), "Allow", allowed);
	http_reply_error(request, 405, "this path knows %s only", allowed);
}

static void on_request(struct evhttp_request *request, void *context)
{
	struct http *http = context;
	const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(request);
	const char *path = uri != NULL ? evhttp_uri_get_path(uri) : NULL;
	unsigned method = evhttp_request_get_command(request);

	for (size_t i = 0; path != NULL && i < http->route_count; i++) {
		const struct http_route *route = &http->routes[i];
		pid_t pid;

		if (!match(route->path, path, &pid))
			continue;
		if (method == EVHTTP_REQ_HEAD)
			method = EVHTTP_REQ_GET;
		if ((method & route->methods) == 0) {
			refuse_method(request, route->methods);
			return;
		}
		route->handler(request, pid, http->context);
		/* The answer waits in a buffer until the loop comes to write it. */
		if (http->answering != NULL)
			http->answering(http->answering_context);
		return;
	}
	http_reply_error(request, 404, "there is nothing at this path");
}

static void set_listening(struct http *http, bool listening)
{
	for (size_t i = 0; i < http->listener_count; i++) {
		if (listening)
			evconnlistener_enable(http->listeners[i]);
		else
			evconnlistener_disable(http->listeners[i]);
	}
}

/* Drops connections that have ended: the descriptor is closed, or another file by now. */
static void sweep(struct http *http)
{
	size_t kept = 0;

	for (size_t i = 0; i < http->connection_count; i++) {
		const struct http_connection *connection = &http->connections[i];
		struct stat status;

		if (fstat(connection->fd, &status) == 0 && status.st_ino == connection->inode)
			http->connections[kept++] = *connection;
	}
	http->connection_count = kept;
}

/* Lets connections in while there is room, else looks again in a second. */
static void admit(struct http *http)
{
	const struct timeval pause = {.tv_sec = 1};
	bool room;

	sweep(http);
	room = http->connection_count < HTTP_CONNECTIONS_MAX;
	set_listening(http, room);
	if (!room)
		event_add(http->resuming, &pause);
}

/* Whose the connection is, where that user may have few. Of TCP nothing is known. */
static uid_t limited_user(int fd)
{
	struct ucred peer;
	socklen_t size = sizeof peer;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 || peer.uid == 0 ||
	    peer.uid == geteuid())
		return NO_USER;
	return peer.uid;
}

static bool has_enough(const struct http *http, uid_t uid)
{
	size_t count = 0;

	for (size_t i = 0; i < http->connection_count && uid != NO_USER; i++)
		count += http->connections[i].uid == uid;
	return count >= HTTP_USER_CONNECTIONS_MAX;
}

/* One that is of no use is shut down, so that evhttp finds its end and closes it in the next turn;
 * it takes nobody's place until then. */
static void enter(struct http *http, int fd)
{
	struct stat status;
	uid_t uid;

	if (fstat(fd, &status) != 0)
		return;
	uid = limited_user(fd);
	if (has_enough(http, uid)) {
		log_say(LOG_DEBUG, "Closed an HTTP connection of user %u, who has %d.", uid,
			HTTP_USER_CONNECTIONS_MAX);
		shutdown(fd, SHUT_RDWR);
		return;
	}
	http->connections[http->connection_count++] = (struct http_connection){
		.fd = fd, .inode = status.st_ino, .uid = uid};
}

/* Right after connections were accepted, before anything of theirs can be read. */
static void on_accepted(evutil_socket_t unused, short what, void *context)
{
	struct http *http = context;

	(void)unused;
	(void)what;
	sweep(http);
	while (http->newcomer_count > 0) {
		struct bufferevent *newcomer = http->newcomers[--http->newcomer_count];

		enter(http, bufferevent_getfd(newcomer));
		bufferevent_decref(newcomer);
	}
	admit(http);
}

/* evhttp has no limit for connections and tells nobody when one ends, so they are counted here: by
 * descriptor and inode, since neither is anybody's to keep. This is called between accept(2) and
 * the moment when the descriptor is known; on_accepted runs next. */
static struct bufferevent *on_accepting(struct event_base *base, void *context)
{
	struct http *http = context;
	struct bufferevent *newcomer = bufferevent_socket_new(base, -1, 0);

	if (newcomer == NULL)
		return NULL;
	bufferevent_incref(newcomer);
	http->newcomers[http->newcomer_count++] = newcomer;
	if (http->connection_count + http->newcomer_count == HTTP_CONNECTIONS_MAX)
		set_listening(http, false);
	event_active(http->accepted, EV_TIMEOUT, 1);
	return newcomer;
}

/* evhttp makes a listener's context its own, so what it hands out is looked up here. */
static void on_accept_failed(struct evconnlistener *listener, void *context)
{
	const struct timeval pause = {.tv_sec = 1};
	const struct evhttp *server = context;
	struct http *http;

	(void)listener;
	/* The queue stays readable: without a pause this would be a busy loop. */
	log_say(LOG_WARNING, "Cannot accept HTTP connections for a second: %s.", strerror(errno));
	LIST_FOREACH(http, &servers, entry)
	{
		if (http->server != server)
			continue;
		set_listening(http, false);
		event_add(http->resuming, &pause);
	}
}

static void on_resume(evutil_socket_t fd, short what, void *context)
{
	(void)fd;
	(void)what;
	admit(context);
}

int http_init(struct http *http, struct event_base *base, const struct http_route *routes,
	      size_t route_count, void *context)
{
	*http = (struct http){
		.base = base, .routes = routes, .route_count = route_count, .context = context};
	LIST_INSERT_HEAD(&servers, http, entry);
	http->server = evhttp_new(base);
	http->resuming = evtimer_new(base, on_resume, http);
	http->accepted = evtimer_new(base, on_accepted, http);
	if (http->server == NULL || http->resuming == NULL || http->accepted == NULL) {
		http_deinit(http);
		return -ENOMEM;
	}
	evhttp_set_gencb(http->server, on_request, http);
	evhttp_set_bevcb(http->server, on_accepting, http);
	evhttp_set_allowed_methods(http->server, ALL_METHODS);
	evhttp_set_max_headers_size(http->server, HTTP_HEADER_BYTES_MAX);
	evhttp_set_max_body_size(http->server, HTTP_BODY_BYTES_MAX);
	evhttp_set_timeout(http->server, HTTP_TIMEOUT_SECONDS);
	return 0;
}

void http_deinit(struct http *http)
{
	if (http->base == NULL)
		return;
	LIST_REMOVE(http, entry);
	while (http->newcomer_count > 0)
		bufferevent_decref(http->newcomers[--http->newcomer_count]);
	if (http->accepted != NULL)
		event_free(http->accepted);
	if (http->resuming != NULL)
		event_free(http->resuming);
	if (http->server != NULL)
		evhttp_free(http->server); /* its listeners and connections go with it */
	*http = (struct http){.base = NULL};
}

int http_listen(struct http *http, int fd)
{
	struct evconnlistener *listener;

	if (http->listener_count == HTTP_LISTENERS_MAX)
		return -ENOSPC;
	/* A backlog of 0: it listens already. */
	listener = evconnlistener_new(http->base, NULL, http,
				      LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
	if (listener == NULL)
		return -ENOMEM;
	if (evhttp_bind_listener(http->server, listener) == NULL) {
		/* Freeing it would close fd, which stays the caller's; this ends the daemon. */
		return -ENOMEM;
	}
	evconnlistener_set_error_cb(listener, on_accept_failed);
	http->listeners[http->listener_count++] = listener;
	return 0;
}
