#include "serve/listener.h"

#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef SO_PEERPIDFD /* Linux 6.5 */
#define SO_PEERPIDFD 77
#endif

/* One connection that has not sent its hello yet. */
struct peer {
	LIST_ENTRY(peer) entry;
	struct listener *listener;
	struct event *hello;
	struct client_papers papers;
	int fd;
};

/* What one message brought. */
struct parcel {
	uint8_t bytes[HAK_HELLO_BYTES_MAX];
	size_t count;
	int memfd; /* -1: none */
};

static enum registration refuse(enum registration registration, const struct client_papers *papers,
				const char *why)
{
	log_say(LOG_DEBUG, "Refused process %d of user %u: %s.", papers->pid, papers->uid, why);
	return registration;
}

/* A pidfd or a negative errno. Without SO_PEERPIDFD the pid may be another process's by now. The
 * same start time on both sides of pidfd_open shows that the pidfd is of the process that /proc
 * shows. That it is the peer cannot be known then; what it brings counts for its own group only. */
static int open_pidfd(pid_t pid)
{
	uint64_t start_ticks;
	int error = process_start_ticks(pid, &start_ticks);

	return error != 0 ? error : process_open(pid, start_ticks);
}

/* Who the kernel says it is. */
static const char *identify(int fd, struct client_papers *papers)
{
	struct ucred peer;
	socklen_t size = sizeof peer;

	papers->pidfd = -1;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
		return "the kernel does not tell who it is";
	papers->pid = peer.pid;
	papers->uid = peer.uid;
	if (peer.pid <= 0)
		return "it is of a pid namespace that is not seen from here";
	return NULL;
}

/* 0 or a negative errno. Taken before the hello is waited for: the pid may have another owner by
 * then. */
static int take_pidfd(int fd, struct client_papers *papers)
{
	socklen_t size = sizeof papers->pidfd;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &papers->pidfd, &size) == 0)
		return 0;
	papers->pidfd = -1;
	if (errno != ENOPROTOOPT)
		return -errno;
	papers->pidfd = open_pidfd(papers->pid);
	return papers->pidfd < 0 ? papers->pidfd : 0;
}

/* No pidfd: either the process has ended since, which is no fault of its (table.c has the same
 * case a moment later), or there is none to be had here. */
static enum registration judge_pidfd(int error, const struct client_papers *papers)
{
	if (error == -ESRCH || error == -EINVAL || error == -ENOENT)
		return REGISTRATION_ACCEPTED;
	return refuse(REGISTRATION_LIMIT, papers, "there is no pidfd for it");
}

/* Takes the first descriptor of a message and closes the others: a buffer for one has room for two,
 * because of its alignment, and the kernel fills it. */
static int take_descriptors(struct msghdr *message, int *memfd)
{
	int count = 0;

	for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part != NULL;
	     part = CMSG_NXTHDR(message, part)) {
		size_t bytes = part->cmsg_len - CMSG_LEN(0);

		if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t at = 0; at + sizeof(int) <= bytes; at += sizeof(int)) {
			int fd;

			memcpy(&fd, CMSG_DATA(part) + at, sizeof fd);
			if (count++ == 0)
				*memfd = fd;
			else
				close(fd);
		}
	}
	return count;
}

/* NULL, or why the message is none of ours. -EAGAIN in *error: there is none yet. */
static const char *receive(int fd, struct parcel *parcel, int *error)
{
	/* Room for credentials too, which a socket of systemd's may be asked to pass. */
	_Alignas(struct cmsghdr)
		uint8_t control[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(sizeof(int))];
	struct iovec bytes = {.iov_base = parcel->bytes, .iov_len = sizeof parcel->bytes};
	struct msghdr message = {
		.msg_iov = &bytes,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof control,
	};
	ssize_t count = recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	int descriptors;

	parcel->memfd = -1;
	*error = count < 0 ? -errno : 0;
	if (count < 0)
		return "its message cannot be received";
	parcel->count = (size_t)count;
	descriptors = take_descriptors(&message, &parcel->memfd);
	if ((message.msg_flags & MSG_TRUNC) != 0)
		return "its message is too long";
	if ((message.msg_flags & MSG_CTRUNC) != 0 && descriptors == 0) {
		*error = -EMFILE; /* recvmsg(2) says no more than that one is missing */
		return "there is no descriptor left for its page";
	}
	if ((message.msg_flags & MSG_CTRUNC) != 0 || descriptors > 1)
		return "it sent more than one descriptor";
	if (count == 0)
		return "it closed without a hello";
	if (descriptors == 0)
		return "it sent no descriptor";
	return NULL;
}

/* Reads a hello and registers who sent it. False: there is no message yet. Takes papers->pidfd
 * where there was one. */
static bool take_hello(struct listener *listener, int fd, struct client_papers *papers)
{
	struct table *table = listener->table;
	enum registration registration;
	struct parcel parcel;
	int error;
	const char *why = receive(fd, &parcel, &error);

	if (error == -EAGAIN || error == -EINTR)
		return false;
	if (why == NULL) {
		enum hak_hello_error flaw = hak_hello_decode(parcel.bytes, parcel.count,
							     &papers->hello);

		if (flaw == HAK_HELLO_OK) {
			papers->memfd = parcel.memfd;
			registration = table_register(table, papers, clock_now_ns(), &why);
			if (registration != REGISTRATION_ACCEPTED)
				refuse(registration, papers, why);
			table_count(table, registration);
			return true;
		}
		why = hak_hello_error_text(flaw);
		registration = flaw == HAK_HELLO_UNKNOWN ? REGISTRATION_VERSION
							 : REGISTRATION_INVALID;
	} else {
		registration = error == -EMFILE ? REGISTRATION_LIMIT : REGISTRATION_INVALID;
	}
	table_count(table, refuse(registration, papers, why));
	if (parcel.memfd >= 0)
		close(parcel.memfd);
	close(papers->pidfd);
	return true;
}

static void peer_free(struct peer *peer)
{
	LIST_REMOVE(peer, entry);
	peer->listener->pending_count--;
	if (peer->hello != NULL)
		event_free(peer->hello);
	close(peer->fd);
	free(peer);
}

static void on_hello(evutil_socket_t fd, short what, void *context)
{
	struct peer *peer = context;
	struct table *table = peer->listener->table;

	if ((what & EV_TIMEOUT) != 0) {
		table_count(table, refuse(REGISTRATION_INVALID, &peer->papers,
					  "it sent no hello in time"));
		close(peer->papers.pidfd);
	} else if (!take_hello(peer->listener, fd, &peer->papers)) {
		return;
	}
	peer_free(peer);
}

/* Takes fd and papers->pidfd where it succeeds. */
static bool wait_for_hello(struct listener *listener, int fd, const struct client_papers *papers)
{
	const struct timeval limit = {.tv_sec = LISTENER_HELLO_SECONDS};
	struct peer *peer;

	if (listener->pending_count >= LISTENER_PENDING_MAX)
		return false;
	peer = calloc(1, sizeof *peer);
	if (peer == NULL)
		return false;
	peer->hello = event_new(listener->base, fd, EV_READ | EV_PERSIST, on_hello, peer);
	if (peer->hello == NULL || event_add(peer->hello, &limit) != 0) {
		if (peer->hello != NULL)
			event_free(peer->hello);
		free(peer);
		return false;
	}
	peer->listener = listener;
	peer->papers = *papers;
	peer->fd = fd;
	LIST_INSERT_HEAD(&listener->pending, peer, entry);
	listener->pending_count++;
	return true;
}

static void greet(void *context, int fd)
{
	struct listener *listener = context;
	struct client_papers papers = {.pidfd = -1, .memfd = -1};
	struct table *table = listener->table;
	const char *why = identify(fd, &papers);
	int error;

	if (why != NULL) {
		table_count(table, refuse(REGISTRATION_INVALID, &papers, why));
	} else if (!table_admit(table, papers.uid, clock_now_ns())) {
		table_count(table,
			    refuse(REGISTRATION_LIMIT, &papers, "its user registers too often"));
	} else if ((error = take_pidfd(fd, &papers)) != 0) {
		table_count(table, judge_pidfd(error, &papers));
	} else if (!take_hello(listener, fd, &papers)) {
		if (wait_for_hello(listener, fd, &papers))
			return;
		table_count(table, refuse(REGISTRATION_LIMIT, &papers,
					  "too many connections have sent no hello"));
		close(papers.pidfd);
	}
	close(fd);
}

int listener_init(struct listener *listener, struct event_base *base, struct table *table, int fd)
{
	*listener = (struct listener){.fd = -1, .table = table, .base = base};
	LIST_INIT(&listener->pending);
	if (acceptor_init(&listener->acceptor, base, fd, "clients", greet, listener) != 0) {
		listener_deinit(listener);
		return -ENOMEM;
	}
	listener->fd = fd;
	return 0;
}

void listener_deinit(struct listener *listener)
{
	while (!LIST_EMPTY(&listener->pending)) {
		struct peer *peer = LIST_FIRST(&listener->pending);

		close(peer->papers.pidfd);
		peer_free(peer);
	}
	acceptor_deinit(&listener->acceptor);
	if (listener->fd >= 0)
		close(listener->fd);
	*listener = (struct listener){.fd = -1};
}
