#include "serve/socket.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

static bool address_of(const char *path, struct sockaddr_un *address)
{
	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	return (size_t)snprintf(address->sun_path, sizeof address->sun_path, "%s", path) <
	       sizeof address->sun_path;
}

/* 0 where nothing answers at the path, which is free then, else a negative errno. */
static int clear(const struct sockaddr_un *address, int type)
{
	const char *path = address->sun_path;
	int fd, error;

	fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	error = connect(fd, (const struct sockaddr *)address, sizeof *address) == 0 ? 0 : errno;
	close(fd);
	if (error == ENOENT)
		return 0;
	/* EAGAIN: its queue is full, so there is somebody whose queue it is. EPROTOTYPE: it is
	 * somebody's socket of another type. */
	if (error == 0 || error == EAGAIN || error == EPROTOTYPE) {
		log_say(LOG_ERR, "Another daemon answers at %s; it is left alone.", path);
		return -EADDRINUSE;
	}
	if (error == ECONNREFUSED) {
		struct stat status;

		/* A file that is no socket refuses too. */
		if (lstat(path, &status) == 0 && S_ISSOCK(status.st_mode) && unlink(path) == 0) {
			log_say(LOG_INFO, "Replaced %s, which a daemon had left behind.", path);
			return 0;
		}
		log_say(LOG_ERR, "%s is in the way and cannot be removed.", path);
		return -EADDRINUSE;
	}
	log_say(LOG_ERR, "Cannot look at %s: %s.", path, strerror(error));
	return -error;
}

int socket_listen(const char *path, int type, mode_t mode, int *result)
{
	struct sockaddr_un address;
	int fd, error;
	mode_t mask;

	if (!address_of(path, &address)) {
		log_say(LOG_ERR, "%s is too long for the path of a socket (%zu bytes at most).",
			path, sizeof address.sun_path - 1);
		return -ENAMETOOLONG;
	}
	error = clear(&address, type);
	if (error != 0)
		return error;
	fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	/* Nobody may connect before its mode is right. */
	mask = umask(0777);
	error = bind(fd, (const struct sockaddr *)&address, sizeof address) == 0 ? 0 : -errno;
	umask(mask);
	if (error == 0 && (chmod(path, mode) != 0 || listen(fd, SOCKET_BACKLOG) != 0)) {
		error = -errno;
		unlink(path);
	}
	if (error != 0) {
		log_say(LOG_ERR, "Cannot listen at %s: %s.", path, strerror(-error));
		close(fd);
		return error;
	}
	*result = fd;
	return 0;
}

bool socket_adopt(int fd, int type, bool unix_only)
{
	int flags = fcntl(fd, F_GETFL);

	return sd_is_socket(fd, unix_only ? AF_UNIX : AF_UNSPEC, type, 1) > 0 && flags >= 0 &&
	       fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0;
}
