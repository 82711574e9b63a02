#include "govern/agent.h"

#include "base/os.h"
#include "base/policy.h"
#include "base/report.h"
#include "base/sandbox.h"
#include "govern/attach.h"
#include "govern/lazyfree.h"
#include "govern/purge.h"
#include "govern/sweep.h"
#include "govern/telemetry.h"
#include "govern/watch.h"
#include "heap/shared.h"
#include "heap/thread.h"
#include "proto/mailbox.h"
#include "proto/page.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Of its own need 16 KiB would do; the program's static thread-local storage lies in it as well,
 * and where there is more of that than usual a larger one is tried. */
#define STACK_BYTES ((size_t)256 << 10)
#define STACK_BYTES_LARGE ((size_t)8 << 20)

/* The kernel's sets of signals. Two are the C library's own: by one of them setuid(2) reaches every
 * thread. */
#define SIGNAL_COUNT 64
#define ALL_BUT_ITS_OWN (~((uint64_t)3 << 31))

/* Between two looks at most; a daemon that writes without end gets no more of the processor. */
#define STEP_NS ((uint64_t)1000000)

/* While the program has been at work: looks in a decay, and how many. */
#define LOOKS_A_DECAY 4
#define LOOKS (2 * LOOKS_A_DECAY)
#define PAUSE_NS_MIN ((uint64_t)50000000)

/* Of a larger machine the call fails, and the agent stays where it is. */
#define PROCESSORS_MAX 4096

#define SECOND_NS ((uint64_t)1000000000)
#define RETRY_NS (60 * SECOND_NS)

static _Atomic bool cannot_be;	     /* on this kernel */
static _Atomic(void *) agent;	     /* whose thread pointer this is */
static _Atomic uint32_t was_stirred; /* the program has been at work since the last look */

/* Where it sleeps for longer than that should be noticed in; NULL: it does not. */
static _Atomic(_Atomic uint32_t *) sleeps_at;

/* Wiped by a fork, as is the count: a child begins anew. */
static void put_off_until(uint64_t due_ns)
{
	atomic_store_explicit(&hak_shared_get()->agent_due_ns, due_ns, memory_order_relaxed);
}

/* What it waits on: the lower half of the mailbox's sequence, or without a daemon a word of our
 * own. */
static _Atomic uint32_t *word(void)
{
	unsigned char *page = hak_shared_page();

	if (page == NULL)
		return &was_stirred;
	return (_Atomic uint32_t *)(void *)(page + HAK_PAGE_MAILBOX + HAK_MAILBOX_SEQUENCE);
}

static bool has_more_to_do(uint64_t now_ns)
{
	return hak_telemetry_is_trimming() || hak_lazyfree_is_marking() ||
	       hak_sweep_is_under_way() || hak_purge_has_more(now_ns);
}

static uint64_t pause_ns(void)
{
	uint64_t pause = hak_policy_decay_ns() / LOOKS_A_DECAY;

	if (pause < PAUSE_NS_MIN)
		return PAUSE_NS_MIN;
	return pause < HAK_AGENT_IDLE_NS ? pause : HAK_AGENT_IDLE_NS;
}

static void nap(void)
{
	static _Atomic uint32_t nobody_wakes;

	hak_os_futex_wait(&nobody_wakes, 0, STEP_NS);
}

/* Who stirs right before it has fallen asleep may wake nobody, and tries again at its next look; so
 * long it may be late. */
static void sleep_long(_Atomic uint32_t *at, uint32_t seen, uint64_t timeout_ns)
{
	atomic_store_explicit(&sleeps_at, at, memory_order_relaxed);
	hak_os_futex_wait_shared(at, seen, timeout_ns);
	atomic_store_explicit(&sleeps_at, NULL, memory_order_relaxed);
}

/* The agent's own. */
struct watch {
	unsigned looks_left; /* before it sleeps for long */
	uint64_t stirred_ns; /* when the program was last seen at work */
	uint64_t swept_ns;   /* when all that was free went */
	bool has_swept;	     /* since the program was last at work */
	bool stirred_soon;   /* after that */
};

static void note_stir(struct watch *watch, uint64_t now_ns)
{
	if (watch->has_swept)
		watch->stirred_soon = now_ns < watch->swept_ns + HAK_SWEEP_SOON_NS;
	watch->has_swept = false;
	watch->stirred_ns = now_ns;
	watch->looks_left = LOOKS;
}

static void sweep_when_still(struct watch *watch, uint64_t now_ns)
{
	if (watch->has_swept)
		return;
	watch->has_swept = hak_sweep_all(now_ns - watch->stirred_ns, watch->stirred_soon);
	watch->swept_ns = now_ns;
}

/* One look, and the wait for the next. */
static void make_round(struct watch *watch)
{
	_Atomic uint32_t *at = word();
	/* Before the look: a change that comes while it lasts ends the wait at once. acquire: the
	 * look is to see what the daemon wrote before. */
	uint32_t seen = atomic_load_explicit(at, memory_order_acquire);
	bool stirred = atomic_exchange_explicit(&was_stirred, 0, memory_order_relaxed) != 0;
	uint64_t now_ns = hak_os_now_ns();

	if (stirred)
		note_stir(watch, now_ns);
	sweep_when_still(watch, now_ns);
	hak_thread_look();
	nap();
	if (has_more_to_do(hak_os_now_ns()))
		return;
	if (watch->looks_left == 0 && !hak_purge_is_pending() && !hak_sweep_is_pending()) {
		sleep_long(at, seen, HAK_AGENT_IDLE_NS);
		/* Whatever it was, it may have begun what takes time. */
		if (atomic_load_explicit(at, memory_order_relaxed) != seen)
			watch->looks_left = LOOKS;
		return;
	}
	hak_os_futex_wait_shared(at, seen, pause_ns());
	if (watch->looks_left != 0)
		watch->looks_left--;
}

static void say_that_it_cannot(int error)
{
	static _Atomic bool is_said;
	struct hak_line line;

	if (atomic_exchange_explicit(&is_said, true, memory_order_relaxed))
		return;
	hak_line_begin(&line);
	hak_line_put(&line, "a thread of the agent cannot be started (errno ");
	hak_line_put_number(&line, (uint64_t)error);
	hak_line_put(&line, "); going on without");
	hak_line_write(&line);
}

/* The attributes hold nothing that is to be destroyed. */
static int create_with(size_t stack_bytes, void *(*function)(void *))
{
	pthread_attr_t attributes;
	pthread_t thread;
	int error = pthread_attr_init(&attributes);

	if (error == 0)
		error = pthread_attr_setstacksize(&attributes, stack_bytes);
	if (error == 0)
		error = pthread_create(&thread, &attributes, function, NULL);
	return error;
}

/* 0 or an errno that has been said. The thread inherits the signal mask. */
static int create(void *(*function)(void *))
{
	int error = create_with(STACK_BYTES, function);

	if (error == EINVAL)
		error = create_with(STACK_BYTES_LARGE, function);
	if (error != 0)
		say_that_it_cannot(error);
	return error;
}

/* Looks of its own are far between then; what the program has stirred up is forgotten. */
static void rest(void)
{
	if (atomic_exchange_explicit(&was_stirred, 0, memory_order_relaxed) == 0)
		sleep_long(&was_stirred, 0, HAK_AGENT_IDLE_NS);
}

/* Where the first thread may run, as any other that nobody has pinned: who had the first look may
 * be a worker that has a processor for itself. */
static void unpin(void)
{
	uint64_t processors[PROCESSORS_MAX / 64];
	long bytes = syscall(SYS_sched_getaffinity, syscall(SYS_getpid), sizeof processors,
			     processors);

	if (bytes > 0)
		(void)syscall(SYS_sched_setaffinity, 0, bytes, processors);
}

static void *run(void *context)
{
	static const struct sched_param plain = {.sched_priority = 0};
	struct watch watch = {.looks_left = LOOKS, .stirred_ns = hak_os_now_ns()};
	unsigned ours = 1;

	atomic_store_explicit(&agent, __builtin_thread_pointer(), memory_order_relaxed);
	/* Not by prctl(3), which is ours and listens. */
	(void)syscall(SYS_prctl, PR_SET_NAME, "hak-agent", 0, 0, 0);
	(void)syscall(SYS_sched_setscheduler, 0, SCHED_OTHER, &plain);
	unpin();
	if (hak_watch_is_asked_for() && create(hak_watch_run) == 0)
		ours++;
	do {
		if (hak_policy_has_agent())
			make_round(&watch);
		else
			rest();
	} while (watch.looks_left != 0 || hak_sandbox_is_noted() || !hak_os_is_left_with(ours));
	return context;
}

/* The C library allocates for it. No handler of the program ever runs in it. */
static void start(void)
{
	static const uint64_t all = ALL_BUT_ITS_OWN;
	int saved_errno = errno, error;
	uint64_t before;

	(void)syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &before, sizeof before);
	atomic_store_explicit(&sleeps_at, NULL, memory_order_relaxed);
	error = create(run);
	(void)syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, sizeof before);
	if (error != 0) {
		put_off_until(hak_os_now_ns() + RETRY_NS);
		atomic_store_explicit(&hak_shared_get()->agent_count, 0, memory_order_relaxed);
	}
	errno = saved_errno;
}

/* Where malloc is called by a signal handler, that may have come in the midst of pthread_create()
 * itself. Such a thread has a signal blocked that has a handler, as few others do; who always has
 * leaves it to them. By system calls, as sigaction(2) may be somebody else's, and each name that
 * the library asks for is looked up at every program's start. */
static bool may_be_handling_a_signal(void)
{
	uint64_t blocked = 0;

	(void)syscall(SYS_rt_sigprocmask, SIG_SETMASK, NULL, &blocked, sizeof blocked);
	for (unsigned i = 0; i < SIGNAL_COUNT; i++) {
		/* the kernel's struct sigaction, the handler first */
		uintptr_t action[8] = {0};

		if ((blocked >> i & 1) != 0 &&
		    syscall(SYS_rt_sigaction, i + 1, NULL, action, sizeof blocked) == 0 &&
		    action[0] != (uintptr_t)SIG_DFL && action[0] != (uintptr_t)SIG_IGN)
			return true;
	}
	return false;
}

static bool is_due(uint64_t now_ns)
{
	if (atomic_load_explicit(&cannot_be, memory_order_relaxed) || !hak_attach_is_of_age(now_ns))
		return false;
	if (!hak_attach_share()) {
		atomic_store_explicit(&cannot_be, true, memory_order_relaxed);
		return false;
	}
	return now_ns >=
	       atomic_load_explicit(&hak_shared_get()->agent_due_ns, memory_order_relaxed);
}

static bool may_start(void)
{
	enum hak_sandbox sandbox = hak_attach_sandbox();

	if (sandbox == HAK_SANDBOX_FILTERED)
		put_off_until(UINT64_MAX);
	return sandbox == HAK_SANDBOX_NONE && hak_thread_is_at_ease() &&
	       hak_attach_is_own_memory() && !may_be_handling_a_signal();
}

void hak_agent_start(void)
{
	int saved_errno = errno;
	uint32_t none = 0;

	if (may_start() &&
	    atomic_compare_exchange_strong_explicit(&hak_shared_get()->agent_count, &none, 1,
						    memory_order_relaxed, memory_order_relaxed))
		start();
	errno = saved_errno;
}

static void start_if_due(uint64_t now_ns)
{
	int saved_errno = errno;

	if (is_due(now_ns)) {
		put_off_until(now_ns + SECOND_NS);
		atomic_store_explicit(&hak_thread_has_errand, true, memory_order_relaxed);
	}
	errno = saved_errno;
}

/* The program is at work. */
static void stir(void)
{
	_Atomic uint32_t *at = atomic_load_explicit(&sleeps_at, memory_order_relaxed);

	if (atomic_load_explicit(&agent, memory_order_relaxed) == __builtin_thread_pointer())
		return;
	if (atomic_load_explicit(&was_stirred, memory_order_relaxed) == 0)
		atomic_store_explicit(&was_stirred, 1, memory_order_relaxed);
	if (at != NULL)
		hak_os_futex_wake_shared(at);
}

void hak_agent_tend(uint64_t now_ns)
{
	struct hak_shared *page = hak_shared_get();

	if (page != NULL && atomic_load_explicit(&page->agent_count, memory_order_relaxed) != 0)
		stir();
	else
		start_if_due(now_ns);
}
