#include "govern/fork.h"

#include "govern/attach.h"
#include "govern/lazyfree.h"
#include "govern/limit.h"
#include "govern/watch.h"
#include "heap/advice.h"
#include "heap/thread.h"

#include <pthread.h>
#include <stdint.h>
#include <sys/single_threaded.h>

/* glibc's lock of the list of all streams, which a thread may take more than once. */
extern void _IO_list_lock(void) __attribute__((weak));
extern void _IO_list_unlock(void) __attribute__((weak));
extern void _IO_list_resetlock(void) __attribute__((weak));

/* How often this thread holds it for a fork: more than once where a handler forks, too. */
static __thread uint8_t streams_count;

/* fork(3) takes that lock itself, after all handlers. Who has it, in fflush(NULL) or exit(3), may
 * wait for a stream, and whose stream that is may allocate for it, and then waits for our gate for
 * ever. So the lock comes before the gate. A fork of a single thread takes no locks, and its child
 * is not given any anew. */
static void hold_streams(void)
{
	if (_IO_list_lock == NULL || __libc_single_threaded)
		return;
	_IO_list_lock();
	streams_count++;
}

static void prepare(void)
{
	hold_streams();
	hak_advice_note_fork();
	hak_thread_fork_prepare();
}

static void go_on(void)
{
	hak_thread_fork_parent();
	if (streams_count == 0)
		return;
	streams_count--;
	_IO_list_unlock();
}

static void begin_anew(void)
{
	hak_attach_fork_child();
	hak_lazyfree_fork_child();
	hak_limit_fork_child();
	hak_watch_fork_child();
	hak_thread_fork_child();
	/* fork(3) has opened it for the child already, however often it was held. */
	if (streams_count != 0)
		_IO_list_resetlock();
	streams_count = 0;
}

void hak_fork_init(void)
{
	/* It fails for want of memory alone. A fork of a threaded program is then as it is with an
	 * allocator that has no handlers, which is no reason to refuse the program its start. */
	(void)pthread_atfork(prepare, go_on, begin_anew);
}
