/* acceptor.h - takes connections from a listening socket of the event loop.
 *
 * A turn takes ACCEPTOR_TURN_MAX of them. Where descriptors or memory have run out it rests for a
 * second, since the queue stays readable and would else be a busy loop.
 *
 * One thread, with the event loop. Does not own the listening socket.
 */
#ifndef HAKD_SERVE_ACCEPTOR_H
#define HAKD_SERVE_ACCEPTOR_H

#include <event2/event.h>

#define ACCEPTOR_TURN_MAX 64

/* Takes fd, a connection that does not block. */
typedef void acceptor_greet(void *context, int fd);

struct acceptor {
	struct event *accepting;
	struct event *resuming; /* after descriptors had run out */
	const char *whom;	/* for the log: "clients" */
	acceptor_greet *greet;
	void *context;
};

/* 0 or -ENOMEM; to be ended by acceptor_deinit() in either case. */
int acceptor_init(struct acceptor *acceptor, struct event_base *base, int fd, const char *whom,
		  acceptor_greet *greet, void *context);
void acceptor_deinit(struct acceptor *acceptor);

#endif
