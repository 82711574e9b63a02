#include "govern/fork.h"

#include "heap/thread.h"

#include <pthread.h>

void hak_fork_init(void)
{
	/* It fails for want of memory alone. A fork of a threaded program is then as it is with an
	 * allocator that has no handlers, which is no reason to refuse the program its start. */
	(void)pthread_atfork(hak_thread_fork_prepare, hak_thread_fork_parent,
			     hak_thread_fork_child);
}
