/* Goal: a handler may fork wherever it interrupts this thread's use of the heap, and the child uses
 * the heap, forks and ends threads as any other.
 *
 * Method: with the trap flag set, the processor raises SIGTRAP after every instruction, and while
 * the instruction is libhak's the handler forks, once for each. The child goes on with what was
 * interrupted, then takes and frees blocks, lets a thread come and go, and forks. Stepped through
 * are: a thread's birth, refills and flushes; frees of a thread without a record; its death, and
 * what it frees and takes after that. Another thread, with blocks in its magazines, sleeps
 * meanwhile. Preloaded, as the program's own code must lie outside.
 */
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>
#include <x86intrin.h>

#define TRAP_FLAG 0x100
#define HANG_SECONDS 20

static uintptr_t text_start, text_end;
static const char *stage;
static unsigned long step_count;
static pid_t first_pid;
static pthread_barrier_t sleeper_ready;
static pthread_key_t late_key;
static void *volatile spare_block;

static int find_text(struct dl_phdr_info *info, size_t size, void *unused)
{
	if (strstr(info->dlpi_name, "libhak") == NULL)
		return 0;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *header = &info->dlpi_phdr[i];

		if (header->p_type != PT_LOAD || (header->p_flags & PF_X) == 0)
			continue;
		text_start = info->dlpi_addr + header->p_vaddr;
		text_end = text_start + header->p_memsz;
	}
	(void)size;
	(void)unused;
	return 1;
}

__attribute__((noreturn)) static void fail(const char *what, int status)
{
	dprintf(2, "%s, step %lu: %s, status %#x\n", stage, step_count, what, (unsigned)status);
	_exit(1);
}

static void *use_heap(void *unused)
{
	for (size_t size = 8; size < 4 << 20; size *= 3) {
		void *volatile block = malloc(size);

		if (block == NULL)
			_exit(3);
		free(block);
	}
	return unused;
}

/* What the child does when it has gone on: a hang ends by SIGALRM. */
static void end_if_child(void)
{
	pthread_t thread;
	int status;
	pid_t pid;

	if (getpid() == first_pid)
		return;
	use_heap(NULL);
	if (pthread_create(&thread, NULL, use_heap, NULL) != 0 || pthread_join(thread, NULL) != 0)
		_exit(4);
	pid = fork();
	if (pid == 0) {
		alarm(HANG_SECONDS);
		use_heap(NULL);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
		_exit(5);
	_exit(0);
}

static void stepped(int signal_number, siginfo_t *info, void *context)
{
	greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
	uintptr_t at = (uintptr_t)registers[REG_RIP];
	int saved_errno = errno;
	int status = 0;
	pid_t pid;

	(void)signal_number;
	(void)info;
	if (at < text_start || at >= text_end)
		return;
	step_count++;
	pid = fork();
	if (pid == 0) {
		alarm(HANG_SECONDS);
		registers[REG_EFL] &= ~TRAP_FLAG;
		errno = saved_errno;
		return;
	}
	if (pid < 0)
		fail("fork", errno);
	while (waitpid(pid, &status, 0) != pid)
		if (errno != EINTR)
			fail("waitpid", errno);
	if (status != 0)
		fail("the child failed", status);
	errno = saved_errno;
}

/* By intrinsics: pushing flags by hand would write below the stack's end. */
static void step(int on)
{
	unsigned long long flags = __readeflags();

	__writeeflags(on ? flags | TRAP_FLAG : flags & ~(unsigned long long)TRAP_FLAG);
}

static void *sleep_with_blocks(void *unused)
{
	void *volatile blocks[50];

	for (size_t i = 0; i < 50; i++)
		blocks[i] = malloc(100);
	for (size_t i = 0; i < 25; i++)
		free(blocks[i]);
	pthread_barrier_wait(&sleeper_ready);
	for (;;)
		pause();
	return unused;
}

/* libhak's key is the older one: its destructor has come before this. */
static void after_death(void *unused)
{
	void *volatile block;

	(void)unused;
	stage = "after a thread's death";
	block = malloc(200);
	free(block);
	step(0);
	end_if_child();
}

static void *live_and_die(void *unused)
{
	void *volatile blocks[40];

	stage = "a thread that only frees";
	step(1);
	free(spare_block);
	step(0);
	end_if_child();

	stage = "a thread's birth, and a refill";
	step(1);
	blocks[0] = malloc(3000);
	step(0);
	end_if_child();

	for (size_t i = 1; i < 40; i++)
		blocks[i] = malloc(3000);
	for (size_t i = 0; i < 39; i++)
		free(blocks[i]);
	if (pthread_setspecific(late_key, &late_key) != 0)
		fail("pthread_setspecific", errno);
	stage = "a thread's death";
	step(1);
	return unused;
}

int main(void)
{
	struct sigaction action = {.sa_sigaction = stepped, .sa_flags = SA_SIGINFO};
	pthread_t sleeper, thread;

	first_pid = getpid();
	stage = "start";
	spare_block = malloc(500);
	dl_iterate_phdr(find_text, NULL);
	if (text_start == 0)
		fail("libhak is not preloaded", 0);
	if (sigaction(SIGTRAP, &action, NULL) != 0 ||
	    pthread_key_create(&late_key, after_death) != 0 ||
	    pthread_barrier_init(&sleeper_ready, NULL, 2) != 0 ||
	    pthread_create(&sleeper, NULL, sleep_with_blocks, NULL) != 0)
		fail("preparing", errno);
	pthread_barrier_wait(&sleeper_ready);
	if (pthread_create(&thread, NULL, live_and_die, NULL) != 0 ||
	    pthread_join(thread, NULL) != 0)
		fail("the thread", errno);
	printf("%lu forks\n", step_count);
	/* The sleeper and its blocks go with the process. */
	return step_count > 500 ? 0 : 1;
}
