/* arguments.h - what the commands take from their command lines, and what they end with.
 *
 * Errors are told on stderr here, in one sentence with the program's name; the caller only ends.
 * One thread. Nothing is kept: texts belong to argv or the environment.
 */
#ifndef HAK_CLI_ARGUMENTS_H
#define HAK_CLI_ARGUMENTS_H

#include <hak/hak.h>

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* What a program ends with; the manuals list the same. Numbers are only ever added. */
enum exit_code {
	EXIT_CODE_OK = 0,
	EXIT_CODE_FAILED = 1,
	EXIT_CODE_USAGE = 2,
	EXIT_CODE_NO_DAEMON = 3,
	EXIT_CODE_NO_PROCESS = 4,
	EXIT_CODE_NO_PERMISSION = 5,
	EXIT_CODE_TIMED_OUT = 6,
	/* hak-run's, as those of env(1): 1 to 124 are its command's own */
	EXIT_CODE_CANNOT_PRELOAD = 125,
	EXIT_CODE_CANNOT_RUN = 126,
	EXIT_CODE_NOT_FOUND = 127,
};

#define ARGUMENTS_TEXT_OF(number) #number
#define ARGUMENTS_VERSION_OF(major, minor, patch)                                                  \
	ARGUMENTS_TEXT_OF(major) "." ARGUMENTS_TEXT_OF(minor) "." ARGUMENTS_TEXT_OF(patch)
#define ARGUMENTS_VERSION                                                                          \
	ARGUMENTS_VERSION_OF(HAK_VERSION_MAJOR, HAK_VERSION_MINOR, HAK_VERSION_PATCH)

#define ARGUMENTS_RUNTIME_DIR "/run/hak"
#define ARGUMENTS_TIMEOUT_MS 5000

/* $HAK_RUNTIME_DIR, or else /run/hak. */
const char *arguments_runtime_dir(void);

/* Each reads all of `text` and says what is wrong with it where it gives false. */
bool arguments_pid(const char *text, pid_t *pid);

/* Seconds, with a fraction if need be; more than 0, a day at most. */
bool arguments_timeout(const char *text, int64_t *timeout_ms);

/* A time with s, min (or m), h or d behind, or of seconds: 90, 1.5h; more than 0, at most a
 * year. */
bool arguments_duration(const char *text, int64_t *duration_ms);

/* A whole number of bytes, or one with K, M, G or T, which are powers of 1024, with or without B
 * or iB behind: 200M, 1.5GiB. More than 0. */
bool arguments_size(const char *text, uint64_t *size_bytes);

/* Says "PROGRAM: sentence" on stderr. */
void arguments_complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Says how to get help, for what getopt or one of the above has complained about. */
enum exit_code arguments_refuse(void);

/* `memory`, or the end of the program where it is NULL: there is nothing to be saved. */
void *arguments_must(void *memory);

/* What was printed has reached its file: a full disk or a closed pipe is a failure. */
enum exit_code arguments_finish(enum exit_code code);

#endif
