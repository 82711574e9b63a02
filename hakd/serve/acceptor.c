#include "serve/acceptor.h"

#include "base/log.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

static void on_connection(evutil_socket_t listening, short what, void *context)
{
	struct acceptor *acceptor = context;

	(void)what;
	for (int i = 0; i < ACCEPTOR_TURN_MAX; i++) {
		int fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			acceptor->greet(acceptor->context, fd);
		} else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM ||
			   errno == ENOBUFS) {
			const struct timeval pause = {.tv_sec = 1};

			log_say(LOG_WARNING, "Cannot accept %s for a second: %s.", acceptor->whom,
				strerror(errno));
			event_del(acceptor->accepting);
			event_add(acceptor->resuming, &pause);
			return;
		} else if (errno != ECONNABORTED && errno != EINTR) {
			return;
		}
	}
}

static void on_resume(evutil_socket_t fd, short what, void *context)
{
	struct acceptor *acceptor = context;

	(void)fd;
	(void)what;
	event_add(acceptor->accepting, NULL);
}

int acceptor_init(struct acceptor *acceptor, struct event_base *base, int fd, const char *whom,
		  acceptor_greet *greet, void *context)
{
	*acceptor = (struct acceptor){
		.accepting = event_new(base, fd, EV_READ | EV_PERSIST, on_connection, acceptor),
		.resuming = evtimer_new(base, on_resume, acceptor),
		.whom = whom,
		.greet = greet,
		.context = context,
	};
	if (acceptor->accepting == NULL || acceptor->resuming == NULL ||
	    event_add(acceptor->accepting, NULL) != 0)
		return -ENOMEM;
	return 0;
}

void acceptor_deinit(struct acceptor *acceptor)
{
	if (acceptor->accepting != NULL)
		event_free(acceptor->accepting);
	if (acceptor->resuming != NULL)
		event_free(acceptor->resuming);
	*acceptor = (struct acceptor){.accepting = NULL};
}
