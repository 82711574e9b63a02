/* listener.h - the client socket: from a connection to a client in the table.
 *
 * A client connects, sends one hello with one memfd and closes; mostly all of it has happened
 * before its connection is accepted. Who has not sent its hello after LISTENER_HELLO_SECONDS is
 * closed, so are those beyond LISTENER_PENDING_MAX. A turn of the loop accepts ACCEPTOR_TURN_MAX.
 * Nothing is ever sent.
 *
 * Owns its listening socket and the connections that still owe a hello.
 */
#ifndef HAKD_SERVE_LISTENER_H
#define HAKD_SERVE_LISTENER_H

#include "fleet/table.h"
#include "serve/acceptor.h"

#define LISTENER_HELLO_SECONDS 2
#define LISTENER_PENDING_MAX 1024

struct peer;
LIST_HEAD(peers, peer);

struct listener {
	int fd;
	struct table *table;
	struct event_base *base;
	struct acceptor acceptor;
	struct peers pending;
	size_t pending_count;
};

/* Takes fd, a listening socket, where it succeeds. 0 or a negative errno. */
int listener_init(struct listener *listener, struct event_base *base, struct table *table, int fd);
void listener_deinit(struct listener *listener);

#endif
