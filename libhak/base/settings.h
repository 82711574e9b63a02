/* settings.h - what the environment may say (HAK_*), read once in the first constructor.
 *
 * A setuid program listens to none of it (AT_SECURE, getauxval(3)). Before the constructor has run
 * the defaults hold. Threads: written once before other threads exist, then only read.
 */
#ifndef HAK_BASE_SETTINGS_H
#define HAK_BASE_SETTINGS_H

#include "base/config.h"

/* HAK_REGISTER: never; unless a seccomp filter is at work; always. */
enum hak_registration {
	HAK_REGISTRATION_AUTO,
	HAK_REGISTRATION_NEVER,
	HAK_REGISTRATION_ALWAYS,
};

/* A unix socket's path with its NUL, sockaddr_un's sun_path. */
#define HAK_SOCKET_PATH_BYTES 108

struct hak_settings {
	enum hak_registration registration;
	char socket[HAK_SOCKET_PATH_BYTES]; /* HAK_SOCKET: the daemon's socket for clients */
	bool stats; /* HAK_STATS=1: a summary when the program ends by exit(3) */
};

extern HAK_HIDDEN struct hak_settings hak_settings;

/* Reads this environment: the loader's, as that of the C library is not set up so early. An unknown
 * value is one line on fd 2, and the default stays. */
void hak_settings_read(char *const *environment);

#endif
