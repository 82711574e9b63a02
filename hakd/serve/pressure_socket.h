/* pressure_socket.h - tells programs that do not run on libhak when memory is short: the socket
 * that $MEMORY_PRESSURE_WATCH may name (systemd.io/MEMORY_PRESSURE).
 *
 * A stream. Who connects gets a byte once a second at most while the system presses, or the control
 * group that it is in, unless hakd rests. What it writes is read and dropped: the thresholds are
 * hakd's (govern/level.h). Nobody is waited for: who does not read has its bytes already.
 *
 * Bounds: PRESSURE_SOCKET_PEERS_MAX connections, of one user but root and the daemon's own
 * PRESSURE_SOCKET_USER_MAX, as often as registrations may come (table_admit); more are closed, and
 * so is who writes more than PRESSURE_SOCKET_INPUT_BYTES_MAX.
 *
 * One thread, with the event loop. Owns its listening socket and the connections.
 */
#ifndef HAKD_SERVE_PRESSURE_SOCKET_H
#define HAKD_SERVE_PRESSURE_SOCKET_H

#include "govern/effects.h"
#include "serve/acceptor.h"

#include <sys/queue.h>

#define PRESSURE_SOCKET_PEERS_MAX 128
#define PRESSURE_SOCKET_USER_MAX 32
#define PRESSURE_SOCKET_ROOT_MIN 32  /* of all, that are kept for root and the daemon's user */
#define PRESSURE_SOCKET_GROUPS_MAX 8 /* control groups that one user may have watched so */
#define PRESSURE_SOCKET_INPUT_BYTES_MAX 4096

struct pressure_peer;
LIST_HEAD(pressure_peers, pressure_peer);

struct pressure_socket {
	int fd; /* -1: none */
	struct event_base *base;
	struct effects *effects;
	struct acceptor acceptor;
	struct pressure_peers peers;
	size_t peer_count;
};

/* Takes fd, a listening socket, where it succeeds, and has effects call it. 0 or a negative
 * errno. */
int pressure_socket_init(struct pressure_socket *server, struct event_base *base,
			 struct effects *effects, int fd);
void pressure_socket_deinit(struct pressure_socket *server);

/* Every 2 s, before effects_tick: the groups that peers are in stay watched. */
void pressure_socket_tick(struct pressure_socket *server, uint64_t now_ns);

#endif
