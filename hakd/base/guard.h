/* guard.h - memory that may not be there: a mapped file of which somebody else can take pages away,
 * or for which the system has none left. Touching it then raises SIGBUS, which ends a process; here
 * it ends the one function that touched it.
 *
 * One thread, one function at a time. Source: mmap(2), SIGBUS; sigsetjmp(3).
 */
#ifndef HAKD_BASE_GUARD_H
#define HAKD_BASE_GUARD_H

#include <stdbool.h>

/* Calls act(context), which does nothing but read and write memory. False: a page was not there,
 * and it was left in the midst. */
bool guard_call(void (*act)(void *context), void *context);

#endif
