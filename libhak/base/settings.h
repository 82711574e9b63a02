/* settings.h - what the environment may say (HAK_*), read once in the first constructor.
 *
 * A setuid program listens to none of it (AT_SECURE, getauxval(3)). Before the constructor has run
 * the defaults hold. Threads: written once before other threads exist, then only read.
 */
#ifndef HAK_BASE_SETTINGS_H
#define HAK_BASE_SETTINGS_H

#include "base/config.h"

struct hak_settings {
	bool stats; /* HAK_STATS=1: a summary when the program ends by exit(3) */
};

extern HAK_HIDDEN struct hak_settings hak_settings;

/* Reads this environment: the loader's, as that of the C library is not set up so early. An unknown
 * value is one line on fd 2, and the default stays. */
void hak_settings_read(char *const *environment);

#endif
