#include "model.h"

#include "base/os.h"

#include <link.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#define SCHEDULER MODEL_THREADS_MAX /* who runs where no thread does */
#define NOBODY (MODEL_THREADS_MAX + 1)
#define WORD_BYTES_MAX 16
#define TLS_BYTES_MAX 8192
#define STEPS_PRINTED_MAX 200			  /* of a failed execution, the last ones */
#define DECISIONS_OF_A_STEP_MAX MODEL_THREADS_MAX /* who goes on, and who else is woken */
/* So often may all spin together before it is a livelock: more than any bounded spin. */
#define IDLE_TURNS_MAX 1000

enum state {
	READY,	  /* before the operation `place` */
	POLLING,  /* in model_wait(), until *word != expected */
	SLEEPING, /* in model_futex_wait(), until woken */
	DONE
};

struct thread {
	enum state state;
	const char *place;
	const _Atomic uint32_t *word; /* of a wait */
	uint32_t expected;
	bool yielded; /* spins: goes on when changes differs from this */
	uint64_t changes_seen;
	/* The word of its last operation, and what it held before. */
	const volatile uint8_t *touched;
	size_t touched_bytes;
	uint8_t before[WORD_BYTES_MAX];
};

/* A point where more than one thread could go on. The decisions of an execution are the path from
 * the root of the tree of executions; `left` are the branches not yet taken. */
struct decision {
	uint8_t options, left, chosen;
};

static struct {
	const struct model *model;
	struct model_report *report;
	unsigned thread_count;
	struct decision decisions[MODEL_STEPS_MAX * DECISIONS_OF_A_STEP_MAX];
	unsigned decision_known_count; /* the path that is being repeated */
	unsigned decision_count;       /* so far in this execution */
	const char *places[MODEL_STEPS_MAX];
	struct thread threads[MODEL_THREADS_MAX];
	unsigned running;  /* a thread or SCHEDULER */
	unsigned previous; /* the thread of the last step, or NOBODY */
	bool starting;	   /* threads run up to their first operation, one after the other */
	int preemption_count;
	uint64_t changes; /* operations that changed their word */
	uint64_t idle_at;
	unsigned idle_turns;
} run = {.running = SCHEDULER};

static struct {
	char *stacks; /* NULL until the first exploration */
	size_t stack_distance;
	ucontext_t contexts[MODEL_THREADS_MAX + 1];
	/* The program's own thread-local variables: where they are, and what a thread begins
	 * with. */
	void *tls;
	const void *tls_initial;
	size_t tls_bytes, tls_initial_bytes;
	uint8_t tls_copies[MODEL_THREADS_MAX + 1][TLS_BYTES_MAX];
} machine;

static const char *const verdict_words[] = {
	[MODEL_PASSED] = "passed",
	[MODEL_CHECK_FAILED] = "failed check",
	[MODEL_DEADLOCK] = "deadlock",
	[MODEL_LIVELOCK] = "livelock",
	[MODEL_TOO_MANY] = "too many executions",
	[MODEL_NOT_REPEATABLE] = "not repeatable",
};

/* ---- the machine: stacks, contexts, thread-local variables ---- */

static int find_tls(struct dl_phdr_info *object, size_t bytes, void *unused)
{
	(void)bytes;
	(void)unused;
	for (unsigned i = 0; i < object->dlpi_phnum; i++) {
		const ElfW(Phdr) *header = &object->dlpi_phdr[i];

		if (header->p_type != PT_TLS)
			continue;
		machine.tls = object->dlpi_tls_data;
		machine.tls_bytes = header->p_memsz;
		machine.tls_initial = (const void *)(object->dlpi_addr + header->p_vaddr);
		machine.tls_initial_bytes = header->p_filesz;
	}
	return 1; /* the program itself comes first; libraries keep theirs */
}

static void die(const char *words)
{
	fprintf(stderr, "model: %s\n", words);
	abort();
}

/* Stacks with a page below each that may not be touched; made once, kept for good. */
static void make_machine(void)
{
	size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);

	if (machine.stacks != NULL)
		return;
	dl_iterate_phdr(find_tls, NULL);
	if (machine.tls_bytes > TLS_BYTES_MAX)
		die("the program has too many thread-local variables");
	machine.stack_distance = MODEL_STACK_BYTES + page_bytes;
	machine.stacks = mmap(NULL, machine.stack_distance * MODEL_THREADS_MAX,
			      PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (machine.stacks == MAP_FAILED)
		die("no memory for stacks");
	machine.stacks += page_bytes;
	for (unsigned i = 0; i < MODEL_THREADS_MAX; i++) {
		char *stack = machine.stacks + i * machine.stack_distance;

		if (mprotect(stack - page_bytes, page_bytes, PROT_NONE) != 0)
			die("no guard page for a stack");
	}
}

static void make_context(unsigned thread, void (*function)(void))
{
	ucontext_t *context = &machine.contexts[thread];

	getcontext(context);
	context->uc_stack.ss_sp = machine.stacks + thread * machine.stack_distance;
	context->uc_stack.ss_size = MODEL_STACK_BYTES;
	context->uc_link = NULL;
	makecontext(context, function, 0);
}

static void reset_tls(unsigned thread)
{
	uint8_t *copy = machine.tls_copies[thread];

	memset(copy, 0, machine.tls_bytes);
	if (machine.tls_initial_bytes != 0)
		memcpy(copy, machine.tls_initial, machine.tls_initial_bytes);
}

/* Goes on with `next`; returns when somebody goes on with the caller. */
static void switch_to(unsigned next)
{
	unsigned self = run.running;

	if (next == self)
		return;
	if (machine.tls_bytes != 0) {
		memcpy(machine.tls_copies[self], machine.tls, machine.tls_bytes);
		memcpy(machine.tls, machine.tls_copies[next], machine.tls_bytes);
	}
	run.running = next;
	swapcontext(&machine.contexts[self], &machine.contexts[next]);
}

/* ---- failure ---- */

static void fail(enum model_verdict verdict, const char *words)
{
	if (run.report == NULL)
		die(words); /* a MODEL_CHECK where nothing is explored */
	if (run.report->verdict != MODEL_PASSED)
		return; /* what follows from the first failure is of no interest */
	run.report->verdict = verdict;
	run.report->words = words;
}

void model_fail(const char *words)
{
	fail(MODEL_CHECK_FAILED, words);
	if (run.running != SCHEDULER)
		switch_to(SCHEDULER); /* for good */
}

static void print_steps(void)
{
	unsigned count = run.report->step_count;
	unsigned first = count > STEPS_PRINTED_MAX ? count - STEPS_PRINTED_MAX : 0;

	if (first != 0)
		dprintf(STDERR_FILENO, "  (%u steps before these are left out)\n", first);
	for (unsigned i = first; i < count; i++)
		dprintf(STDERR_FILENO, "  thread %d: %s\n", run.report->schedule[i], run.places[i]);
	for (unsigned i = 0; i < run.thread_count; i++)
		if (run.threads[i].state != DONE)
			dprintf(STDERR_FILENO, "  thread %u has not ended; next or waiting: %s\n",
				i, run.threads[i].place);
	dprintf(STDERR_FILENO, "  schedule:");
	for (unsigned i = first; i < count; i++)
		dprintf(STDERR_FILENO, " %d", run.report->schedule[i]);
	dprintf(STDERR_FILENO, "\n");
}

/* The code under test has aborted or crashed. */
static void on_crash(int signal_number)
{
	dprintf(STDERR_FILENO, "model: signal %d in execution %llu, in %s, after\n", signal_number,
		(unsigned long long)run.report->execution_count + 1,
		run.running == SCHEDULER ? "setup or check" : "the thread of the last step");
	print_steps();
	raise(signal_number); /* the handler was reset: this ends the process on return */
}

static void catch_crashes(struct sigaction saved[2])
{
	static uint8_t handler_stack[MODEL_STACK_BYTES];
	stack_t stack = {.ss_sp = handler_stack, .ss_size = sizeof handler_stack};
	struct sigaction action = {.sa_flags = (int)(SA_ONSTACK | SA_RESETHAND)};

	action.sa_handler = on_crash;
	sigaltstack(&stack, NULL);
	sigaction(SIGABRT, &action, &saved[0]);
	sigaction(SIGSEGV, &action, &saved[1]);
}

static void uncatch_crashes(const struct sigaction saved[2])
{
	sigaction(SIGABRT, &saved[0], NULL);
	sigaction(SIGSEGV, &saved[1], NULL);
}

/* ---- the scheduler ---- */

static unsigned lowest(unsigned set)
{
	return (unsigned)__builtin_ctz(set);
}

/* One of the options: as before where this execution repeats an earlier one, else `preferred`, the
 * others being left for later executions. */
static unsigned decide(unsigned options, unsigned preferred)
{
	struct decision *decision = &run.decisions[run.decision_count];

	if ((options & (options - 1)) == 0)
		return lowest(options);
	if (run.decision_count++ < run.decision_known_count) {
		if (decision->options != options)
			fail(MODEL_NOT_REPEATABLE, "the same choices led to other options");
		return decision->chosen;
	}
	decision->options = (uint8_t)options;
	decision->chosen = (uint8_t)preferred;
	decision->left = (uint8_t)(options & ~(1u << preferred));
	return preferred;
}

/* Turns to the next path, depth first. False where all have been taken. */
static bool next_path(void)
{
	unsigned count = run.decision_count;

	while (count != 0 && run.decisions[count - 1].left == 0)
		count--;
	run.decision_known_count = count;
	if (count == 0)
		return false;
	struct decision *decision = &run.decisions[count - 1];

	decision->chosen = (uint8_t)lowest(decision->left);
	decision->left &= (uint8_t)(decision->left - 1);
	return true;
}

static bool can_go_on(const struct thread *thread)
{
	switch (thread->state) {
	case READY:
		return !thread->yielded || thread->changes_seen != run.changes;
	case POLLING:
		return *thread->word != thread->expected;
	default:
		return false;
	}
}

/* All who are left spin or wait. Spinning may be bounded and followed by something better, so those
 * who spin get turns, one after the other: as nothing changes, their order makes no difference. */
static unsigned pick_idle(void)
{
	if (run.idle_at != run.changes) {
		run.idle_at = run.changes;
		run.idle_turns = 0;
	}
	for (unsigned i = 0; i < run.thread_count; i++) {
		unsigned next = (run.idle_turns + i) % run.thread_count;

		if (run.threads[next].state != READY)
			continue;
		run.idle_turns += i + 1;
		if (run.idle_turns <= IDLE_TURNS_MAX)
			return next;
		fail(MODEL_LIVELOCK, "all threads that are left spin");
		return SCHEDULER;
	}
	for (unsigned i = 0; i < run.thread_count; i++)
		if (run.threads[i].state != DONE)
			fail(MODEL_DEADLOCK, "all threads that are left wait");
	return SCHEDULER;
}

/* Who makes the next step; SCHEDULER where the execution is over. */
static unsigned pick(void)
{
	unsigned options = 0, next;

	if (run.report->step_count == MODEL_STEPS_MAX) {
		fail(MODEL_LIVELOCK, "the execution does not end");
		return SCHEDULER;
	}
	for (unsigned i = 0; i < run.thread_count; i++)
		if (can_go_on(&run.threads[i]))
			options |= 1u << i;
	if (options == 0) {
		next = pick_idle();
	} else {
		bool may_stay = run.previous != NOBODY && (options >> run.previous & 1) != 0;

		if (may_stay && run.preemption_count == run.model->preemptions_max)
			options = 1u << run.previous;
		next = decide(options, may_stay ? run.previous : lowest(options));
		if (may_stay && next != run.previous)
			run.preemption_count++;
	}
	if (run.report->verdict != MODEL_PASSED || next == SCHEDULER)
		return SCHEDULER;
	run.places[run.report->step_count] = run.threads[next].place;
	run.report->schedule[run.report->step_count++] = (uint8_t)next;
	run.previous = next;
	return next;
}

/* Notes whether the thread's last operation changed its word: only this thread ran since. */
static void settle(struct thread *self)
{
	for (size_t i = 0; i < self->touched_bytes; i++) {
		if (self->touched[i] != self->before[i]) {
			run.changes++;
			break;
		}
	}
	self->touched_bytes = 0;
}

/* The thread stands before its next operation, or waits, or is done: lets whoever is next go on.
 * Returns when it is this thread's turn. */
static void park(struct thread *self)
{
	settle(self);
	switch_to(run.starting ? SCHEDULER : pick());
	self->yielded = false;
	self->state = READY;
}

/* ---- what the code under test calls; setup and check make no steps ---- */

void model_step(const volatile void *word, size_t bytes, const char *place)
{
	struct thread *self = &run.threads[run.running];

	if (run.running == SCHEDULER)
		return;
	if (bytes > WORD_BYTES_MAX)
		die("an atomic word is larger than expected");
	self->place = place;
	park(self);
	self->touched = word;
	self->touched_bytes = bytes;
	for (size_t i = 0; i < bytes; i++)
		self->before[i] = self->touched[i];
}

void model_yield(void)
{
	struct thread *self = &run.threads[run.running];

	if (run.running == SCHEDULER)
		return;
	settle(self);
	self->yielded = true;
	self->changes_seen = run.changes;
}

void model_wait_at(const _Atomic uint32_t *word, uint32_t expected, const char *place)
{
	struct thread *self = &run.threads[run.running];

	if (run.running == SCHEDULER)
		die("a wait outside the threads");
	self->place = place;
	self->word = word;
	self->expected = expected;
	self->state = POLLING;
	park(self);
}

void model_futex_wait_at(const _Atomic uint32_t *word, uint32_t expected, const char *place)
{
	struct thread *self = &run.threads[run.running];

	if (run.running == SCHEDULER)
		die("a wait outside the threads");
	model_step(NULL, 0, place);
	if (*word != expected)
		return;
	self->word = word;
	self->state = SLEEPING;
	park(self);
}

void model_futex_wake_at(const _Atomic uint32_t *word, unsigned count, const char *place)
{
	model_step(NULL, 0, place);
	for (; count != 0; count--) {
		unsigned sleepers = 0;

		for (unsigned i = 0; i < run.thread_count; i++)
			if (run.threads[i].state == SLEEPING && run.threads[i].word == word)
				sleepers |= 1u << i;
		if (sleepers == 0)
			return;
		/* Where all of them are woken, the order makes no difference. */
		bool all = (unsigned)__builtin_popcount(sleepers) <= count;

		run.threads[all ? lowest(sleepers) : decide(sleepers, lowest(sleepers))].state =
			READY;
	}
}

unsigned model_thread(void)
{
	return run.running;
}

/* A time limit means that the caller polls and nobody needs to wake it. */
void hak_os_futex_wait(_Atomic uint32_t *word, uint32_t expected, uint64_t timeout_ns)
{
	if (timeout_ns != 0)
		model_wait(word, expected);
	else
		model_futex_wait(word, expected);
}

void hak_os_futex_wake(_Atomic uint32_t *word, int waiter_count)
{
	model_futex_wake(word, (unsigned)waiter_count);
}

/* ---- executions ---- */

/* A thread's stack and context live through all executions. */
static void thread_main(void)
{
	struct thread *self = &run.threads[run.running];

	for (;;) {
		run.model->threads[run.running]();
		self->state = DONE;
		settle(self);
		switch_to(run.starting ? SCHEDULER : pick()); /* until the next execution */
	}
}

static void start_threads(void)
{
	run.starting = true;
	for (unsigned i = 0; i < run.thread_count; i++) {
		reset_tls(i);
		memset(&run.threads[i], 0, sizeof run.threads[i]);
		run.threads[i].place = "start";
	}
	for (unsigned i = 0; i < run.thread_count; i++)
		if (run.report->verdict == MODEL_PASSED)
			switch_to(i);
	run.starting = false;
}

static void execute(void)
{
	const struct model *model = run.model;

	run.report->step_count = 0;
	run.decision_count = 0;
	run.previous = NOBODY;
	run.preemption_count = 0;
	run.changes = 0;
	run.idle_turns = 0;
	run.running = SCHEDULER;
	if (model->setup != NULL)
		model->setup();
	start_threads();
	if (run.report->verdict == MODEL_PASSED)
		switch_to(pick());
	if (run.report->verdict == MODEL_PASSED && run.decision_count < run.decision_known_count)
		fail(MODEL_NOT_REPEATABLE, "the same choices led to an earlier end");
	if (run.report->verdict == MODEL_PASSED && model->check != NULL)
		model->check();
}

void model_explore(const struct model *model, struct model_report *report)
{
	uint64_t executions_max = model->executions_max != 0 ? model->executions_max
							     : MODEL_EXECUTIONS_MAX;
	struct sigaction saved[2];

	make_machine();
	memset(report, 0, sizeof *report);
	report->words = "";
	run.model = model;
	run.report = report;
	run.decision_known_count = 0;
	run.thread_count = 0;
	while (run.thread_count < MODEL_THREADS_MAX && model->threads[run.thread_count] != NULL)
		run.thread_count++;
	for (unsigned i = 0; i < run.thread_count; i++)
		make_context(i, thread_main);
	catch_crashes(saved);
	do {
		if (report->execution_count == executions_max) {
			fail(MODEL_TOO_MANY, "the scenario is larger than its executions_max");
			break;
		}
		execute();
		report->execution_count++;
	} while (report->verdict == MODEL_PASSED && next_path());
	uncatch_crashes(saved);
}

uint64_t model_run(const struct model *model)
{
	static struct model_report report;

	model_explore(model, &report);
	if (report.verdict == MODEL_PASSED)
		return report.execution_count;
	dprintf(STDERR_FILENO, "model: %s in execution %llu: %s\n", verdict_words[report.verdict],
		(unsigned long long)report.execution_count, report.words);
	print_steps();
	abort();
}
