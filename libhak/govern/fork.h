/* fork.h - the handlers by which a fork meets a heap at rest. */
#ifndef HAK_GOVERN_FORK_H
#define HAK_GOVERN_FORK_H

/* Registers them with pthread_atfork(3). Called in the first constructor of the process (init.c),
 * so that our prepare runs after those of all other libraries, which may wait for a thread that
 * allocates, and our child handler before theirs. */
void hak_fork_init(void);

#endif
