#include "advisor/service.h"

#include "advisor/target.h"
#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void service_init(struct service *service, uid_t peer_uid, uint64_t bytes_per_second)
{
	*service = (struct service){
		.listening = -1,
		.peer_uid = peer_uid,
		.bytes_per_second = bytes_per_second,
		.tokens = (double)bytes_per_second,
		.filled_ns = clock_now_ns(),
		.refusal = target_refusal(),
	};
	for (int i = 0; i < SERVICE_PEERS_MAX; i++)
		service->peers[i] = -1;
	if (service->refusal != 0)
		log_say(LOG_WARNING, "Nothing can be advised: %s.",
			service->refusal == ENOSYS ? "this kernel has no process_madvise(2)"
						   : "CAP_SYS_NICE and CAP_SYS_PTRACE are missing");
}

static bool say(int fd, const struct hak_reclaim_answer *answer)
{
	uint8_t bytes[HAK_RECLAIM_ANSWER_BYTES];

	hak_reclaim_encode_answer(answer, bytes);
	return send(fd, bytes, sizeof bytes, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)sizeof bytes;
}

static bool may_ask(const struct service *service, int fd)
{
	struct ucred peer;
	socklen_t size = sizeof peer;

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
	       (peer.uid == 0 || peer.uid == service->peer_uid);
}

int service_add(struct service *service, int fd)
{
	struct hak_reclaim_answer greeting = {
		.version = HAK_RECLAIM_VERSION,
		.result = service->refusal == 0 ? HAK_RECLAIM_READY : HAK_RECLAIM_UNABLE,
		.error = (uint32_t)service->refusal,
	};
	int i = 0;

	while (i < SERVICE_PEERS_MAX && service->peers[i] >= 0)
		i++;
	if (i == SERVICE_PEERS_MAX || !may_ask(service, fd)) {
		log_say(LOG_WARNING, "Closed a connection: %s.",
			i == SERVICE_PEERS_MAX ? "there are as many as there may be"
					       : "it is of a user who may not ask");
		close(fd);
		return -EPERM;
	}
	/* A daemon that was stopped as soon as it had come: nothing to complain of. */
	if (!say(fd, &greeting)) {
		close(fd);
		return -EPIPE;
	}
	service->peers[i] = fd;
	return 0;
}

/* False, and when it may be asked again, where so much is too much for now. */
static bool take_tokens(struct service *service, uint64_t bytes, uint64_t *wait_ns)
{
	uint64_t now_ns = clock_now_ns();
	double most = (double)service->bytes_per_second;

	service->tokens += (double)(now_ns - service->filled_ns) / 1e9 * most;
	service->filled_ns = now_ns;
	/* One request passes, however low the limit is. */
	if (most < (double)((uint64_t)HAK_RECLAIM_PAGES_MAX << HAK_RECLAIM_PAGE_SHIFT))
		most = (double)((uint64_t)HAK_RECLAIM_PAGES_MAX << HAK_RECLAIM_PAGE_SHIFT);
	if (service->tokens > most)
		service->tokens = most;
	if (service->tokens < (double)bytes) {
		*wait_ns = (uint64_t)(((double)bytes - service->tokens) * 1e9 /
				      (double)service->bytes_per_second) +
			   1000000;
		return false;
	}
	service->tokens -= (double)bytes;
	return true;
}

static uint64_t bytes_of(const struct hak_reclaim_request *request)
{
	uint64_t pages = 0;

	for (uint32_t i = 0; i < request->range_count; i++)
		pages += request->ranges[i].page_count;
	return pages << HAK_RECLAIM_PAGE_SHIFT;
}

static void carry_out(struct service *service, const struct hak_reclaim_request *request, int pidfd,
		      struct hak_reclaim_answer *answer)
{
	pid_t pid = pidfd < 0 ? -1 : target_pid(pidfd);
	enum process_maps maps = pid <= 0 ? PROCESS_MAPS_NO : target_maps_memfd(pid, request);

	answer->number = request->number;
	answer->error = (uint32_t)service->refusal;
	if (pid < 0)
		answer->result = HAK_RECLAIM_REFUSED;
	else if (service->refusal != 0)
		answer->result = HAK_RECLAIM_UNABLE;
	else if (maps == PROCESS_MAPS_NO)
		answer->result = HAK_RECLAIM_GONE;
	else if (maps == PROCESS_MAPS_UNKNOWN)
		answer->result = HAK_RECLAIM_REFUSED;
	else if (!take_tokens(service, bytes_of(request), &answer->wait_ns))
		answer->result = HAK_RECLAIM_LIMITED;
	else
		target_advise(pidfd, pid, request, answer);
}

/* The first descriptor of a message; all others are closed. -1: there is none. */
static int take_descriptor(struct msghdr *message)
{
	int first = -1;

	for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part != NULL;
	     part = CMSG_NXTHDR(message, part)) {
		size_t bytes = part->cmsg_len - CMSG_LEN(0);

		if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t at = 0; at + sizeof(int) <= bytes; at += sizeof(int)) {
			int fd;

			memcpy(&fd, CMSG_DATA(part) + at, sizeof fd);
			if (first < 0)
				first = fd;
			else
				close(fd);
		}
	}
	return first;
}

/* Reads one message and answers it. False: the peer is to be closed. */
static bool serve(struct service *service, int fd)
{
	static uint8_t bytes[HAK_RECLAIM_REQUEST_BYTES_MAX + 1];
	static struct hak_reclaim_request request;
	_Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(int))];
	struct iovec part = {.iov_base = bytes, .iov_len = sizeof bytes};
	struct msghdr message = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof control,
	};
	struct hak_reclaim_answer answer = {.version = HAK_RECLAIM_VERSION};
	ssize_t count = recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	int pidfd;

	if (count <= 0)
		return count < 0 && (errno == EAGAIN || errno == EINTR);
	pidfd = take_descriptor(&message);
	if ((message.msg_flags & MSG_TRUNC) == 0 &&
	    hak_reclaim_decode_request(bytes, (size_t)count, &request)) {
		/* Its default action ends us, even where the kernel waits for something of the
		 * process's: the calls here can be killed, and nothing else ends them. */
		alarm(SERVICE_REQUEST_SECONDS);
		carry_out(service, &request, pidfd, &answer);
		alarm(0);
	} else {
		answer.result = HAK_RECLAIM_REFUSED;
	}
	if (pidfd >= 0)
		close(pidfd);
	return say(fd, &answer);
}

static void greet(struct service *service)
{
	int fd = accept4(service->listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd >= 0)
		(void)service_add(service, fd);
}

/* False: there is nobody left, and nobody can come. */
static bool turn(struct service *service)
{
	struct pollfd watched[SERVICE_PEERS_MAX + 1];
	bool any = service->listening >= 0;

	/* poll(2) passes over what is -1. */
	watched[SERVICE_PEERS_MAX] = (struct pollfd){service->listening, POLLIN, 0};
	for (int i = 0; i < SERVICE_PEERS_MAX; i++) {
		watched[i] = (struct pollfd){service->peers[i], POLLIN, 0};
		any = any || service->peers[i] >= 0;
	}
	if (!any)
		return false;
	if (poll(watched, SERVICE_PEERS_MAX + 1, -1) <= 0)
		return true;
	for (int i = 0; i < SERVICE_PEERS_MAX; i++) {
		if (watched[i].revents == 0 || serve(service, watched[i].fd))
			continue;
		close(watched[i].fd);
		service->peers[i] = -1;
	}
	if (watched[SERVICE_PEERS_MAX].revents != 0)
		greet(service);
	return true;
}

int service_run(struct service *service)
{
	while (turn(service))
		;
	return 0;
}
