#include "govern/fork.h"

#include "govern/attach.h"
#include "heap/thread.h"

#include <pthread.h>

static void begin_anew(void)
{
	hak_attach_fork_child();
	hak_thread_fork_child();
}

void hak_fork_init(void)
{
	/* It fails for want of memory alone. A fork of a threaded program is then as it is with an
	 * allocator that has no handlers, which is no reason to refuse the program its start. */
	(void)pthread_atfork(hak_thread_fork_prepare, hak_thread_fork_parent, begin_anew);
}
