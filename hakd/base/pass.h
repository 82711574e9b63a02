/* pass.h - a message with a descriptor in it. Source: unix(7), cmsg(3). */
#ifndef HAKD_BASE_PASS_H
#define HAKD_BASE_PASS_H

#include <sys/socket.h>

/* Sends the message, with the descriptor where it is one, and waits for nobody. As sendmsg(2). */
ssize_t pass_send(int over, struct msghdr *message, int fd);

#endif
