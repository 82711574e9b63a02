/* settings.h - what may be set: by the environment (HAK_*), read once in the first constructor, and
 * some of it by the program later.
 *
 * settings.def has a row for each. A setuid program listens to no environment (AT_SECURE,
 * getauxval(3)). Before the constructor has run the defaults hold.
 *
 * Threads    what only the environment sets is written once before other threads exist; the rest is
 *            atomic.
 */
#ifndef HAK_BASE_SETTINGS_H
#define HAK_BASE_SETTINGS_H

#include "base/config.h"

#include <stdatomic.h>

/* HAK_REGISTER, in the order of the words in settings.c. */
enum hak_registration {
	HAK_REGISTRATION_AUTO, /* unless a seccomp filter is at work */
	HAK_REGISTRATION_NEVER,
	HAK_REGISTRATION_ALWAYS,
};

/* HAK_MISUSE, likewise. */
enum hak_on_misuse {
	HAK_ON_MISUSE_ABORT,
	HAK_ON_MISUSE_REPORT,
};

/* A unix socket's path with its NUL, sockaddr_un's sun_path. */
#define HAK_PATH_BYTES 108

typedef bool hak_setting_yes_no;
typedef enum hak_registration hak_setting_registration;
typedef enum hak_on_misuse hak_setting_misuse;
typedef char hak_setting_path[HAK_PATH_BYTES];
typedef _Atomic uint64_t hak_setting_number; /* bytes, or milliseconds */

#define HAK_KIND_YES_NO hak_setting_yes_no
#define HAK_KIND_REGISTRATION hak_setting_registration
#define HAK_KIND_MISUSE hak_setting_misuse
#define HAK_KIND_PATH hak_setting_path
#define HAK_KIND_SIZE hak_setting_number
#define HAK_KIND_MILLISECONDS hak_setting_number

struct hak_settings {
#define SETTING(name, field, kind, at_start, default_text, help) HAK_KIND_##kind field;
#include "base/settings.def"
#undef SETTING
};

extern HAK_HIDDEN struct hak_settings hak_settings;

/* What the system's manager says of memory pressure (govern/watch.h): $MEMORY_PRESSURE_WATCH and
 * _WRITE as they stood at the start, since programs write over their environment. "" is none. */
#define HAK_PRESSURE_WATCH_BYTES 4096
#define HAK_PRESSURE_WRITE_BYTES 512

struct hak_pressure_words {
	bool is_too_long;
	char watch[HAK_PRESSURE_WATCH_BYTES];
	char write[HAK_PRESSURE_WRITE_BYTES];
};

extern HAK_HIDDEN struct hak_pressure_words hak_pressure_words;

HAK_INLINE uint64_t hak_setting(const _Atomic uint64_t *number)
{
	return atomic_load_explicit(number, memory_order_relaxed);
}

/* Reads this environment: the loader's, as that of the C library is not set up so early. A value or
 * a name that means nothing is one line on fd 2, and the default stays. */
void hak_settings_read(char *const *environment);

/* Why a setting was not set. */
enum hak_settings_refusal {
	HAK_SETTINGS_DONE,
	HAK_SETTINGS_UNKNOWN,  /* there is none of that name */
	HAK_SETTINGS_AT_START, /* only the environment sets it */
	HAK_SETTINGS_BAD,      /* the value is none for it */
};

/* One setting by its name, while the program runs. */
enum hak_settings_refusal hak_settings_set(const char *name, const char *text);

/* All settings with their defaults and what they do, on fd 2. */
void hak_settings_print(void);

#endif
