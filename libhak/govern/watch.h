/* watch.h - memory pressure as systemd and others tell of it: $MEMORY_PRESSURE_WATCH.
 *
 * Of a process with an agent (agent.h). The variable is the path of
 *
 *   a pressure file   of the kernel's (PSI): POLLPRI. Other regular files are refused, since what
 *                     is written to them would stay
 *   a FIFO            POLLIN; what comes is read and dropped
 *   a unix socket     a stream, connected to: the same
 *   /dev/null         nothing, as if it were not set
 *
 * and what $MEMORY_PRESSURE_WRITE says in base64 is written there once it is open. With each event
 * all goes back that can (hak_trim), once a second at most. Values that mean nothing are one line
 * on fd 2; so is, the first time, what cannot be opened, which is tried again each
 * HAK_WATCH_RETRY_NS.
 *
 * futex(2) and poll(2) cannot be waited for together, so this is a thread beside the agent, with
 * one descriptor, and only where the variable is set. A program may close all descriptors: which
 * file it is, is looked at before each use. A child of a fork closes its copy.
 *
 * Threads    one, which the agent starts.
 * Source     systemd.io/MEMORY_PRESSURE, the kernel's accounting/psi.rst.
 */
#ifndef HAK_GOVERN_WATCH_H
#define HAK_GOVERN_WATCH_H

#include "base/config.h"

#define HAK_WATCH_RETRY_NS ((uint64_t)10000000000)

/* True: there is something to watch. Else nothing is, or that it means nothing was said. */
bool hak_watch_is_asked_for(void);

/* The thread's life. */
void *hak_watch_run(void *context);

/* How often memory was given back for it. */
uint64_t hak_watch_event_count(void);

/* In the child of a fork, where no such thread is. */
void hak_watch_fork_child(void);

/* Bytes of a text in base64 (RFC 4648), `size` at most. False: it is none, or longer. */
bool hak_watch_decode(const char *text, uint8_t *bytes, size_t size, size_t *count);

#endif
