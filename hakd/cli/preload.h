/* preload.h - libhak for a program that is about to be run: found, tried, and put into LD_PRELOAD.
 *
 * Whether the library loads is asked of the program's own loader (`ld.so --list`, as ldd(1) does):
 * it maps the library and what both need and runs neither. Only that knows of other C libraries'
 * versions, of noexec mounts and of what else may be in the way.
 *
 * Errors are told on stderr. One thread. Source: ld.so(8).
 */
#ifndef HAK_CLI_PRELOAD_H
#define HAK_CLI_PRELOAD_H

#include "cli/program.h"

/* The library's whole path: as given, or where it lies beside this program, installed or built.
 * EXIT_CODE_CANNOT_PRELOAD: said why. */
enum exit_code preload_find(const char *given, bool is_secure, char path[PATH_MAX]);

/* Puts the library first into LD_PRELOAD; another libhak there makes way, the rest stays. */
void preload_set(const char *path);

/* Whether this program will run on this library, as LD_PRELOAD is set now.
 * EXIT_CODE_CANNOT_PRELOAD: said why not. */
enum exit_code preload_check(const struct program *program, const char *path);

#endif
