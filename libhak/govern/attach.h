/* attach.h - how a process tells the daemon of its heap: one memfd, one message, and no descriptor
 * or thread that stays.
 *
 * When: on a slow path, once the heap holds 8 MiB or the process is a second old, so that short
 * commands never do. Again when the daemon is gone, which its counter in the mailbox tells: after
 * 5 s, then 1, 2, 5, 5, ... s apart; where none was ever there 1, 5, 30, 300, 300, ... s. A child
 * of a fork is a process of its own.
 *
 * How: connect, never waiting; memfd, sealed and mapped (heap/shared.h); one message; both closed.
 * By raw system calls, so that no interposed function is called and nothing is a cancellation
 * point. Never under a seccomp filter unless HAK_REGISTER=1, since it may kill for socket(2); never
 * in a setuid program. Whatever fails leaves the program as it was.
 *
 * Threads    any, inside the fork gate, no lock held; one at a time (the caller sees to that).
 * Source     memfd_create(2), fcntl(2), unix(7), madvise(2); proto/hello.h.
 */
#ifndef HAK_GOVERN_ATTACH_H
#define HAK_GOVERN_ATTACH_H

#include "base/sandbox.h"

/* True where the process is old or large enough to be worth a daemon's. Cheap. */
bool hak_attach_is_of_age(uint64_t now_ns);

/* Whether a seccomp filter may kill for more than an allocator's usual calls, unless HAK_REGISTER=1
 * says that it does not. Some system calls. */
enum hak_sandbox hak_attach_sandbox(void);

/* Makes the page that every fork wipes (heap/shared.h), where there is none yet; by any number of
 * threads at once. False: not on this kernel. */
bool hak_attach_share(void);

/* Whether the memory is this process's, and not that of the parent, who waits for the end of a
 * vfork(2). A fork has wiped whose it was. After hak_attach_share. */
bool hak_attach_is_own_memory(void);

/* True where the process has no page and it is time to try. Cheap. */
bool hak_attach_is_due(uint64_t now_ns);

/* Connects and makes the page, with the rows of all SuperSlabs. NULL: no daemon, or no means. */
unsigned char *hak_attach_begin(uint64_t now_ns);

/* Sends the page, on which the first telemetry was written. */
void hak_attach_finish(void);

/* Looks at the daemon's counter. True: it is gone, or another one has come; attach anew. */
bool hak_attach_is_orphan(unsigned char *page, uint64_t now_ns);

/* Inside the gate: the daemon's counter has stood still for so long, as far as this process has
 * looked; what the daemon asked for is no more to be heeded then. Any thread. */
bool hak_attach_is_silent(uint64_t now_ns);

/* In the child of a fork: all of this begins again. */
void hak_attach_fork_child(void);

#endif
