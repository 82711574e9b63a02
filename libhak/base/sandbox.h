/* sandbox.h - whether a seccomp filter may kill this process for an unusual system call.
 *
 * An allocator's usual calls (mmap, munmap, mremap, mprotect, madvise, futex) are what every filter
 * must allow. All else that libhak does, registering and reading the control group's limit, asks
 * here first. Asking the kernel would itself be such a call, so the answer has two parts:
 *
 *   a filter that the program installs itself   libhak stands before prctl(2): unless it is root, a
 *                                               program says PR_SET_NO_NEW_PRIVS there first, and
 *                                               PR_SET_SECCOMP as well or seccomp(2) later
 *   one that it was started with                /proc/self/status tells: opening and reading files
 *                                               is what the loader did under that filter, too
 *
 * Where prctl is somebody else's, as for a libhak that came by dlopen(3), a filter could come
 * unheard: it counts as being there from the beginning.
 *
 * Threads    any. errno is kept.
 * Source     seccomp(2), prctl(2), proc(5).
 */
#ifndef HAK_BASE_SANDBOX_H
#define HAK_BASE_SANDBOX_H

#include "base/config.h"

enum hak_sandbox {
	HAK_SANDBOX_NONE,
	HAK_SANDBOX_FILTERED, /* or soon to be, and for ever: no filter can be taken off */
	HAK_SANDBOX_UNKNOWN,  /* /proc cannot be read now */
};

/* Whether libhak stands before the program's prctl(2). For the constructor. */
bool hak_sandbox_hears(void);

/* From now on there is a filter, as far as we are concerned. */
void hak_sandbox_note(void);

/* Whether the program has begun to install one, as far as we know: no system call is made for
 * this. */
bool hak_sandbox_is_noted(void);

/* Costs some system calls where there is no filter. */
enum hak_sandbox hak_sandbox_look(void);

#endif
