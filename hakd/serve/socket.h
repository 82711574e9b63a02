/* socket.h - the daemon's listening sockets: made in the file system, or passed by systemd.
 *
 * A socket that a daemon has left behind, killed, refuses connections: it is replaced. One that
 * answers belongs to a daemon that lives, and is left alone.
 */
#ifndef HAKD_SERVE_SOCKET_H
#define HAKD_SERVE_SOCKET_H

#include <stdbool.h>
#include <sys/types.h>

#define SOCKET_BACKLOG 1024

/* Makes a listening unix socket of a type (SOCK_SEQPACKET, SOCK_STREAM) and mode at path. 0 or a
 * negative errno, which has been said. */
int socket_listen(const char *path, int type, mode_t mode, int *fd);

/* Whether fd is a listening socket of this type; unix_only: in the unix domain. Makes it
 * non-blocking. */
bool socket_adopt(int fd, int type, bool unix_only);

#endif
