#include "base/manager.h"

#include "base/pass.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

bool manager_is_there(void)
{
	return getenv("NOTIFY_SOCKET") != NULL;
}

/* Its length, or 0: a kind of address that is not known here. */
static socklen_t find_address(struct sockaddr_un *address)
{
	const char *path = getenv("NOTIFY_SOCKET");
	size_t count = path != NULL ? strlen(path) : 0;

	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (count < 2 || count >= sizeof address->sun_path || (path[0] != '/' && path[0] != '@'))
		return 0;
	memcpy(address->sun_path, path, count);
	/* One in the abstract name space: its first byte is 0, and none is at its end. */
	if (path[0] == '@')
		address->sun_path[0] = '\0';
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + count + (path[0] == '/'));
}

static int send_over(int over, const char *lines, int fd)
{
	char text[MANAGER_LINES_BYTES];
	struct sockaddr_un address;
	struct iovec part = {.iov_base = text, .iov_len = strlen(lines)};
	struct msghdr message = {
		.msg_name = &address,
		.msg_namelen = find_address(&address),
		.msg_iov = &part,
		.msg_iovlen = 1,
	};

	if (message.msg_namelen == 0)
		return -EAFNOSUPPORT;
	if (part.iov_len > sizeof text)
		return -EMSGSIZE;
	memcpy(text, lines, part.iov_len);
	if (pass_send(over, &message, fd) >= 0)
		return 0;
	/* Too many descriptors of ours are on their way (unix(7)): that passes, too. */
	return errno == ETOOMANYREFS || errno == ENOBUFS || errno == EINTR ? -EAGAIN : -errno;
}

int manager_send(const char *lines, int fd)
{
	int over = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), error;

	if (over < 0)
		return -errno;
	error = send_over(over, lines, fd);
	close(over);
	return error;
}
