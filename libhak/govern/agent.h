/* agent.h - a thread that answers for a program that stands still; only where it is asked for.
 *
 * All that libhak does besides serving calls it does on the program's own slow paths. Who makes
 * none keeps what it has freed last, and hears of a trim when it wakes up. With HAK_AGENT=1, or the
 * daemon's policy agent=yes, one thread makes slow paths of its own: a look (heap/thread.h) when
 * the mailbox changes, some in the decay after the program has been at work and while something is
 * yet to age, and one in HAK_AGENT_IDLE_NS else. Of a program that has stood still for a quarter of
 * the decay all goes back that is free (sweep.h). What lies in the magazines of other threads is
 * theirs, and stays until they come to a slow path.
 *
 * When: on a slow path, once the process would register (attach.h), so that short commands and
 * daemons that are about to fork have none; not from a signal handler, nor while a fork is under
 * way, nor under a seccomp filter unless HAK_REGISTER=1. A child of a fork has none until a slow
 * path of its own starts one, the child of a vfork(2) never does. Where nobody asks for it any more
 * it sleeps until somebody does. Where it is alone with the zombie of the first thread it ends, so
 * that the process ends as it would without.
 *
 * How: pthread_create(3), so that setuid(2) and the like reach it; all signals blocked, a stack of
 * its own, of the usual scheduling policy, named hak-agent. It waits by futex(2) on the sequence of
 * the mailbox, which the daemon wakes after each change. Where it cannot be started that is one
 * line on fd 2, and all goes on as without. A second thread may watch for pressure (watch.h).
 *
 * Threads    any.
 * Source     proto/mailbox.h, futex(2), pthreads(7).
 */
#ifndef HAK_GOVERN_AGENT_H
#define HAK_GOVERN_AGENT_H

#include "base/config.h"

#define HAK_AGENT_IDLE_NS ((uint64_t)5000000000)

/* Inside the gate, on the way out of a slow path: lets it know that the program is at work, or has
 * it started by the next call that gets a block (heap/thread.h). */
void hak_agent_tend(uint64_t now_ns);

/* Outside the gate. Not by free(3), which the C library calls with locks of its own held that
 * pthread_create(3) takes, too: where it frees the stacks of threads that have ended. */
void hak_agent_start(void);

#endif
