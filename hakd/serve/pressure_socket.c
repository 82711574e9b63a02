#include "serve/pressure_socket.h"

#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Between two bytes to one peer. */
#define PAUSE_NS CLOCK_SECOND_NS

struct pressure_peer {
	LIST_ENTRY(pressure_peer) entry;
	struct pressure_socket *server;
	struct event *reading;
	int fd;
	pid_t pid;
	uid_t uid;
	size_t input_bytes;
	uint64_t group_id;  /* 0: none that is watched */
	uint64_t placed_ns; /* when that was looked up */
	uint64_t told_ns;   /* 0: never */
};

static void peer_free(struct pressure_peer *peer)
{
	LIST_REMOVE(peer, entry);
	peer->server->peer_count--;
	if (peer->reading != NULL)
		event_free(peer->reading);
	close(peer->fd);
	free(peer);
}

static void on_input(evutil_socket_t fd, short what, void *context)
{
	struct pressure_peer *peer = context;
	char dropped[512];
	ssize_t count = recv(fd, dropped, sizeof dropped, MSG_DONTWAIT);

	(void)what;
	if (count < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (count > 0)
		peer->input_bytes += (size_t)count;
	if (count <= 0 || peer->input_bytes > PRESSURE_SOCKET_INPUT_BYTES_MAX)
		peer_free(peer);
}

static bool is_trusted(uid_t uid)
{
	return uid == 0 || uid == geteuid();
}

/* Control groups that are watched for the user's other connections, or more. */
static size_t count_groups(const struct pressure_peer *own)
{
	const struct pressure_peer *peer, *before;
	size_t count = 0;

	LIST_FOREACH(peer, &own->server->peers, entry)
	{
		before = LIST_FIRST(&own->server->peers);
		while (before != peer && (before == own || before->uid != own->uid ||
					  before->group_id != peer->group_id))
			before = LIST_NEXT(before, entry);
		count += peer != own && peer->uid == own->uid && peer->group_id != 0 &&
			 before == peer;
	}
	return count;
}

/* Who has enough of them hears of the system's pressure alone. */
static void place(struct pressure_peer *peer, uint64_t now_ns)
{
	bool has_enough = !is_trusted(peer->uid) &&
			  count_groups(peer) >= PRESSURE_SOCKET_GROUPS_MAX;

	peer->group_id = has_enough ? 0
				    : pressure_watch(&peer->server->effects->pressure, peer->pid,
						     now_ns);
	peer->placed_ns = now_ns;
}

static void tell(struct pressure_peer *peer, uint64_t now_ns)
{
	const struct effects *effects = peer->server->effects;

	if (effects_is_resting(effects, now_ns) ||
	    effects_level(effects, peer->group_id) == LEVEL_NONE ||
	    (peer->told_ns != 0 && now_ns - peer->told_ns < PAUSE_NS))
		return;
	/* Who has gone is found by on_input; who does not read has enough. */
	(void)send(peer->fd, "!", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	peer->told_ns = now_ns;
}

static void on_pressure(void *context, uint64_t now_ns)
{
	struct pressure_socket *server = context;
	struct pressure_peer *peer;

	LIST_FOREACH(peer, &server->peers, entry)
	tell(peer, now_ns);
}

void pressure_socket_tick(struct pressure_socket *server, uint64_t now_ns)
{
	struct pressure_peer *peer;

	if (server->fd < 0)
		return;
	LIST_FOREACH(peer, &server->peers, entry)
	{
		bool is_kept = peer->group_id != 0 &&
			       pressure_keep(&server->effects->pressure, peer->group_id);

		/* Processes may move, and a group may have had no place before. */
		if (now_ns - peer->placed_ns >= EFFECTS_PLACE_NS ||
		    (!is_kept && peer->group_id != 0))
			place(peer, now_ns);
	}
}

/* Whether that user may have one more. */
static bool has_room(const struct pressure_socket *server, uid_t uid)
{
	const struct pressure_peer *peer;
	size_t count = 0;

	if (is_trusted(uid))
		return server->peer_count < PRESSURE_SOCKET_PEERS_MAX;
	if (server->peer_count >= PRESSURE_SOCKET_PEERS_MAX - PRESSURE_SOCKET_ROOT_MIN)
		return false;
	LIST_FOREACH(peer, &server->peers, entry)
	count += peer->uid == uid;
	return count < PRESSURE_SOCKET_USER_MAX;
}

/* Takes fd where it succeeds. */
static bool welcome(struct pressure_socket *server, int fd)
{
	struct pressure_peer *peer;
	struct ucred who;
	socklen_t size = sizeof who;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) != 0 ||
	    !has_room(server, who.uid) ||
	    !table_admit(server->effects->table, who.uid, clock_now_ns()))
		return false;
	peer = calloc(1, sizeof *peer);
	if (peer == NULL)
		return false;
	peer->reading = event_new(server->base, fd, EV_READ | EV_PERSIST, on_input, peer);
	if (peer->reading == NULL || event_add(peer->reading, NULL) != 0) {
		if (peer->reading != NULL)
			event_free(peer->reading);
		free(peer);
		return false;
	}
	peer->server = server;
	peer->fd = fd;
	peer->pid = who.pid;
	peer->uid = who.uid;
	LIST_INSERT_HEAD(&server->peers, peer, entry);
	server->peer_count++;
	place(peer, clock_now_ns());
	tell(peer, clock_now_ns());
	return true;
}

static void greet(void *context, int fd)
{
	if (!welcome(context, fd))
		close(fd);
}

int pressure_socket_init(struct pressure_socket *server, struct event_base *base,
			 struct effects *effects, int fd)
{
	*server = (struct pressure_socket){.fd = -1, .base = base, .effects = effects};
	LIST_INIT(&server->peers);
	if (acceptor_init(&server->acceptor, base, fd, "who asks for pressure", greet, server) !=
	    0) {
		pressure_socket_deinit(server);
		return -ENOMEM;
	}
	server->fd = fd;
	effects->on_pressure = on_pressure;
	effects->pressure_context = server;
	return 0;
}

void pressure_socket_deinit(struct pressure_socket *server)
{
	while (!LIST_EMPTY(&server->peers))
		peer_free(LIST_FIRST(&server->peers));
	acceptor_deinit(&server->acceptor);
	if (server->fd >= 0) {
		server->effects->on_pressure = NULL;
		close(server->fd);
	}
	*server = (struct pressure_socket){.fd = -1};
}
