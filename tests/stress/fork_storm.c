/* Goal: a fork at any moment leaves both sides with a heap that works, however busy the other
 * threads are.
 *
 * Method: threads allocate, check and free without pause, handing blocks to each other and to the
 * threads that fork. Each child is alone in a copy of that heap: it verifies blocks that others
 * allocated before the fork, frees half of them, allocates and frees anew, reads the statistics and
 * ends with _exit(); one in 32 forks once more and does the same there. Handlers of fork that
 * allocate are registered before and after libhak's own, so that some of them run while libhak
 * holds its gate closed. A child that does not end is killed by its alarm and the main thread,
 * which never allocates, watches the others' progress: both call what they see a deadlock.
 *
 *	stress_fork_storm [FORKS [ALLOCATORS [FORKERS [SEED]]]]
 *
 * FORKS is the number for all FORKERS together.
 */
#include "stress.h"

#include <hak/hak.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define THREADS_MAX 16
#define BLOCKS 32		     /* that each thread holds, and mailboxes for all */
#define BYTES_MAX ((size_t)48 << 10) /* some are runs */
#define HUGE_BYTES ((size_t)5 << 18)
#define CHILD_SECONDS 10
#define STALL_SECONDS 20 /* without progress of some thread; more than a child may take */
#define HANDLER_PAIRS 2
#define RUSH_BLOCKS 24
/* Then an allocating thread pauses: where there are fewer processors than threads the forks would
 * otherwise wait for a turn, not for the allocator. */
#define OPERATIONS_IN_A_ROW 8
#define PAUSE_NS 20000

struct worker {
	pthread_t thread;
	unsigned number;
	_Atomic uint64_t progress;
	_Atomic bool done;
	struct stress_block blocks[BLOCKS];
	struct stress_block *held[BLOCKS];
};

static struct worker workers[THREADS_MAX];
static struct stress_block spare[BLOCKS];
static _Atomic(struct stress_block *) mailboxes[BLOCKS];
static uint64_t fork_count;
static unsigned allocator_count, forker_count;
static _Atomic uint64_t forks_begun;
static _Atomic bool over;

/* ---- the watch over a child ---- */

/* Only write and _exit: the child may be anywhere inside the allocator. */
static void say_stuck(int unused)
{
	static const char words[] = "fork_storm: deadlock: a child did not end in time\n";

	(void)unused;
	if (write(STDERR_FILENO, words, sizeof words - 1) < 0)
		_exit(3);
	_exit(4);
}

/* The first thing that a child does: whatever hangs later, it is not left behind. */
static void limit_child(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGALRM, say_stuck);
	alarm(CHILD_SECONDS);
}

/* ---- fork handlers that allocate ---- */

/* prepare allocates; parent and child, each on its own copy, verify and free. Forks of several
 * threads overlap, so each has its own. */
static __thread struct stress_block handler_blocks[HANDLER_PAIRS];

static void handler_take(unsigned pair)
{
	stress_make(&handler_blocks[pair], 1 + stress_random_below(BYTES_MAX));
}

static void handler_give(unsigned pair)
{
	STRESS_CHECK(handler_blocks[pair].address != NULL);
	stress_release(&handler_blocks[pair]);
}

static void early_take(void)
{
	handler_take(0);
}

static void early_give(void)
{
	handler_give(0);
}

static void early_give_in_child(void)
{
	limit_child();
	handler_give(0);
}

static void late_take(void)
{
	handler_take(1);
}

static void late_give(void)
{
	handler_give(1);
}

/* Before all constructors, and so before libhak registers: prepare handlers run in the reverse
 * order of their registration, the others in its order, so these run inside libhak's. */
static void register_early(void)
{
	(void)pthread_atfork(early_take, early_give, early_give_in_child);
}

__attribute__((section(".preinit_array"),
	       used)) static void (*const at_start)(void) = register_early;

/* ---- work that both sides do ---- */

/* Mostly small: every page that is written after a fork is copied, and the forks are the point. */
static size_t random_size(void)
{
	uint64_t kind = stress_random_below(5000);

	if (kind == 0)
		return HUGE_BYTES;
	return kind < 4700 ? stress_random_below(513) : stress_random_size(BYTES_MAX);
}

static void churn(unsigned count)
{
	struct stress_block blocks[16] = {{.address = NULL}};
	struct stress_block *block;

	for (unsigned i = 0; i < count; i++) {
		block = &blocks[stress_random_below(16)];
		if (block->address != NULL)
			stress_release(block);
		else
			stress_make(block, random_size());
	}
	for (block = blocks; block < blocks + 16; block++)
		if (block->address != NULL)
			stress_release(block);
}

/* Almost every call goes the slow way here: magazines of such sizes are short, and runs have none.
 * So it is here that a fork finds the others inside. The blocks are not touched, which would cost a
 * copy of each page and leave less time for the allocator. */
static void rush(void)
{
	void *blocks[RUSH_BLOCKS];

	for (unsigned i = 0; i < RUSH_BLOCKS; i++) {
		blocks[i] = hak_malloc(2048 + stress_random_below(BYTES_MAX - 2048));
		STRESS_CHECK(blocks[i] != NULL);
	}
	for (unsigned i = 0; i < RUSH_BLOCKS; i++)
		hak_free(blocks[i]);
}

/* One operation on a random block that the worker holds: made, released, or swapped for what lies
 * in a mailbox. */
static void operate(struct worker *worker)
{
	struct stress_block **slot = &worker->held[stress_random_below(BLOCKS)];

	stress_position.operation++;
	if ((*slot)->address == NULL) {
		stress_make(*slot, random_size());
	} else if (stress_random_below(2) == 0) {
		stress_release(*slot);
	} else {
		stress_verify(*slot);
		/* acq_rel: what is in the block goes with it */
		*slot = atomic_exchange_explicit(&mailboxes[stress_random_below(BLOCKS)], *slot,
						 memory_order_acq_rel);
	}
}

static void *allocate(void *argument)
{
	struct timespec pause = {.tv_nsec = PAUSE_NS};
	struct worker *worker = argument;

	stress_begin_thread(worker->number);
	stress_position.name = "allocate";
	while (!atomic_load_explicit(&over, memory_order_relaxed)) {
		operate(worker);
		atomic_fetch_add_explicit(&worker->progress, 1, memory_order_relaxed);
		if (stress_position.operation % OPERATIONS_IN_A_ROW == 0) {
			rush();
			nanosleep(&pause, NULL);
		}
	}
	atomic_store(&worker->done, true);
	return NULL;
}

/* ---- children ---- */

static void wait_for(pid_t pid, uint64_t number)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		STRESS_CHECK(errno == EINTR);
	if (WIFSIGNALED(status))
		stress_fail("child %llu died of signal %d", (unsigned long long)number,
			    WTERMSIG(status));
	if (WEXITSTATUS(status) == 4)
		stress_fail("child %llu: deadlock", (unsigned long long)number);
	if (WEXITSTATUS(status) != 0)
		stress_fail("child %llu ended with %d", (unsigned long long)number,
			    WEXITSTATUS(status));
}

static void use_heap(struct worker *worker, uint64_t number)
{
	struct hak_stats stats;

	for (unsigned i = 0; i < BLOCKS; i++) {
		if (worker->held[i]->address == NULL)
			continue;
		stress_verify(worker->held[i]);
		if (i % 2 == 0)
			stress_release(worker->held[i]);
	}
	churn(64);
	rush();
	if (number % 8 == 0)
		STRESS_CHECK(hak_stats_get(&stats, sizeof stats) == 0);
}

static _Noreturn void be_child(struct worker *worker, uint64_t number)
{
	stress_position.name = "child";
	stress_position.operation = number;
	use_heap(worker, number);
	if (number % 32 == 0) {
		pid_t pid = fork();

		STRESS_CHECK(pid >= 0);
		if (pid == 0) {
			stress_position.name = "grandchild";
			use_heap(worker, number);
			_exit(0);
		}
		wait_for(pid, number);
		churn(16);
	}
	_exit(0);
}

static void *fork_often(void *argument)
{
	struct worker *worker = argument;
	uint64_t number;

	stress_begin_thread(worker->number);
	stress_position.name = "fork";
	while ((number = atomic_fetch_add(&forks_begun, 1)) < fork_count) {
		operate(worker);
		operate(worker);
		pid_t pid = fork();

		STRESS_CHECK(pid >= 0);
		if (pid == 0)
			be_child(worker, number);
		wait_for(pid, number);
		atomic_fetch_add_explicit(&worker->progress, 1, memory_order_relaxed);
	}
	atomic_store(&worker->done, true);
	return NULL;
}

/* ---- the parent ---- */

static bool forkers_are_done(void)
{
	for (unsigned i = 0; i < forker_count; i++)
		if (!atomic_load(&workers[i].done))
			return false;
	return true;
}

/* Fails for the first worker that has stood still for STALL_SECONDS. */
static void watch(void)
{
	struct timespec pause = {.tv_nsec = 20000000};
	uint64_t seen[THREADS_MAX] = {0};
	time_t since[THREADS_MAX], now = time(NULL);

	for (unsigned i = 0; i < THREADS_MAX; i++)
		since[i] = now;
	while (!forkers_are_done()) {
		nanosleep(&pause, NULL);
		now = time(NULL);
		for (unsigned i = 0; i < forker_count + allocator_count; i++) {
			uint64_t progress = atomic_load(&workers[i].progress);

			if (progress != seen[i] || atomic_load(&workers[i].done))
				since[i] = now;
			else if (now - since[i] > STALL_SECONDS)
				stress_fail("deadlock: thread %u (%s) stands still after %llu "
					    "forks of all",
					    workers[i].number,
					    i < forker_count ? "forks" : "allocates",
					    (unsigned long long)atomic_load(&forks_begun));
			seen[i] = progress;
		}
	}
}

static void start(void)
{
	for (unsigned i = 0; i < BLOCKS; i++)
		atomic_store(&mailboxes[i], &spare[i]);
	for (unsigned i = 0; i < forker_count + allocator_count; i++) {
		struct worker *worker = &workers[i];

		worker->number = i + 1;
		for (unsigned j = 0; j < BLOCKS; j++)
			worker->held[j] = &worker->blocks[j];
		STRESS_CHECK(pthread_create(&worker->thread, NULL,
					    i < forker_count ? fork_often : allocate, worker) == 0);
	}
}

static void finish(void)
{
	atomic_store(&over, true);
	for (unsigned i = 0; i < forker_count + allocator_count; i++)
		STRESS_CHECK(pthread_join(workers[i].thread, NULL) == 0);
	for (unsigned i = 0; i < forker_count + allocator_count; i++)
		for (unsigned j = 0; j < BLOCKS; j++)
			if (workers[i].held[j]->address != NULL)
				stress_release(workers[i].held[j]);
	for (unsigned i = 0; i < BLOCKS; i++)
		if (atomic_load(&mailboxes[i])->address != NULL)
			stress_release(atomic_load(&mailboxes[i]));
	stress_expect_nothing_live();
}

int main(int argc, char **argv)
{
	struct rlimit core = {0, 0};

	fork_count = stress_argument(argc, argv, 1, 10000);
	allocator_count = (unsigned)stress_argument(argc, argv, 2, 3);
	forker_count = (unsigned)stress_argument(argc, argv, 3, 1);
	stress_set_seed(stress_argument(argc, argv, 4, 1));
	STRESS_CHECK(forker_count >= 1 && allocator_count <= THREADS_MAX &&
		     forker_count + allocator_count <= THREADS_MAX);
	setrlimit(RLIMIT_CORE, &core); /* thousands of children may fail at once */
	STRESS_CHECK(pthread_atfork(late_take, late_give, late_give) == 0);
	start();
	watch();
	finish();
	return 0;
}
