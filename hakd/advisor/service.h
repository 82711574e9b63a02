/* service.h - the advisor's connections: who may ask, how much a second, and the answers.
 *
 * A listening socket, a connection that was handed over, or both. A peer is root or of the one user
 * that is allowed; others are closed at once. A message that is none is answered REFUSED; a peer
 * that does not read its answers is closed. Each message is answered before the next is read.
 *
 * The limit is a bucket of a second's bytes, of all peers together. A request that takes
 * longer than SERVICE_REQUEST_SECONDS ends the process by SIGALRM: what it looks at holds it up.
 *
 * One thread. Errors: 0, or a negative errno.
 */
#ifndef HAKD_ADVISOR_SERVICE_H
#define HAKD_ADVISOR_SERVICE_H

#include <stdint.h>
#include <sys/types.h>

#define SERVICE_PEERS_MAX 4
#define SERVICE_REQUEST_SECONDS 8

struct service {
	int listening;		      /* -1: none */
	int peers[SERVICE_PEERS_MAX]; /* -1: free */
	uid_t peer_uid;		      /* beside root */
	uint64_t bytes_per_second;
	double tokens; /* bytes that may be advised now */
	uint64_t filled_ns;
	int refusal; /* why nothing can be advised, or 0 */
};

void service_init(struct service *service, uid_t peer_uid, uint64_t bytes_per_second);

/* Takes a connection; says READY, or UNABLE, to it. -EPERM, said: it may not ask; -EPIPE: it is
 * gone already. */
int service_add(struct service *service, int fd);

/* Serves until a signal ends the process; without a listening socket, until the last peer has gone
 * (0). */
int service_run(struct service *service);

#endif
