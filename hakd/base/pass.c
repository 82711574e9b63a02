#include "base/pass.h"

#include <string.h>

ssize_t pass_send(int over, struct msghdr *message, int fd)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {.header = {.cmsg_level = SOL_SOCKET,
				.cmsg_type = SCM_RIGHTS,
				.cmsg_len = CMSG_LEN(sizeof(int))}};

	if (fd >= 0) {
		memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
		message->msg_control = &control;
		message->msg_controllen = sizeof control;
	}
	return sendmsg(over, message, MSG_NOSIGNAL | MSG_DONTWAIT);
}
