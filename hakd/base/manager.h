/* manager.h - messages to the service manager that do not wait for it.
 *
 * sd_notify(3) waits while the manager's queue is full, as it is while hundreds of descriptors are
 * passed to it. One thread.
 */
#ifndef HAKD_BASE_MANAGER_H
#define HAKD_BASE_MANAGER_H

#include <stdbool.h>

#define MANAGER_LINES_BYTES 256

/* Whether there is one: $NOTIFY_SOCKET. */
bool manager_is_there(void);

/* Sends lines of sd_notify(3), with a descriptor where fd is one. 0 or a negative errno; where that
 * is -EAGAIN another time may be a better one. */
int manager_send(const char *lines, int fd);

#endif
