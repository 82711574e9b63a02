/* model.h - runs every interleaving of two to four small threads over the library's real code.
 *
 * A test of a lock-free protocol that runs on real processors sees the schedules that happen. This
 * one sees all of them: the code under test is compiled with `-include model.h`, which turns each
 * atomic operation into a scheduling point followed by the operation; the threads are coroutines in
 * one system thread; and model_run() repeats the scenario until every choice at every scheduling
 * point has been made. CMake: hak_model_test() in model.cmake.
 *
 *	static _Atomic uint32_t word;
 *
 *	static void setup(void) { atomic_store(&word, 0); }
 *	static void add(void)   { atomic_fetch_add(&word, 1); }
 *	static void check(void) { MODEL_CHECK(atomic_load(&word) == 2); }
 *
 *	model_run(&(struct model){.setup = setup, .threads = {add, add}, .check = check,
 *				  .preemptions_max = MODEL_ALL});
 *
 * Owns       the stacks, a copy of the program's own thread-local variables for each thread (every
 *            execution begins with fresh ones), and the handlers of SIGABRT and SIGSEGV while it
 *            runs, which add the schedule to whatever the code under test had to say.
 * A thread   runs alone from one atomic operation up to the next; what it does before its first
 *            one is done at once when it starts. So n threads of k operations each have
 *            (nk)! / (k!)^n executions. Plain memory that two threads may race on needs a
 *            model_point() to be split, or better a test under ThreadSanitizer.
 * Waiting    a futex is modelled as it is: model_futex_wait() sleeps until model_futex_wake(), and
 *            which sleeper is woken is a choice like any other, so that a lost wake-up is found as
 *            a deadlock. A wait that polls (a futex wait with a time limit) is model_wait(). A loop
 *            that spins calls model_yield(). hak_os_futex_wait() and hak_os_futex_wake() are
 *            defined in model.c by these, so base/os.c is not among the sources of a model test.
 * Finds      a failed MODEL_CHECK, a deadlock (all who are left wait), a livelock (all who are left
 *            spin, or an execution longer than MODEL_STEPS_MAX), and more executions than
 *            executions_max: a scenario that is too large is a failure and not a silence.
 * Does not   explore weak memory. Operations take effect in the order in which they are run,
 *            whatever memory_order they name. A weak compare-exchange never fails by itself, and
 *            no futex wait returns without a wake.
 * Requires   that an execution depends on nothing but the schedule: setup() puts back all that the
 *            threads changed, memory addresses are not decided upon, no clock, no random numbers.
 *            Checked in part: a scenario that differs when it is repeated is a failure.
 * Threads    one run at a time, from one system thread.
 * Source     Godefroid, "Model Checking for Programming Languages using VeriSoft" (POPL 1997);
 *            Musuvathi & Qadeer, "Iterative Context Bounding" (PLDI 2007) for preemptions_max.
 */
#ifndef HAK_TESTS_MODEL_H
#define HAK_TESTS_MODEL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/single_threaded.h>

/* The C library would say that there is one, as there is. */
#define __libc_single_threaded 0

#define MODEL_THREADS_MAX 4
#define MODEL_STEPS_MAX 4096	/* of one execution; beyond it, a livelock */
#define MODEL_STACK_BYTES 65536 /* of one thread */
#define MODEL_ALL (-1)
#define MODEL_EXECUTIONS_MAX 5000000 /* where a scenario gives no number of its own */

struct model {
	void (*setup)(void);			  /* before each execution; may be NULL */
	void (*threads[MODEL_THREADS_MAX])(void); /* the first NULL ends the list */
	void (*check)(void);			  /* after all threads have ended; may be NULL */
	int preemptions_max;	 /* switches away from a thread that could go on; MODEL_ALL: any */
	uint64_t executions_max; /* 0: MODEL_EXECUTIONS_MAX */
};

enum model_verdict {
	MODEL_PASSED,
	MODEL_CHECK_FAILED,
	MODEL_DEADLOCK,
	MODEL_LIVELOCK,
	MODEL_TOO_MANY,	     /* executions_max were not enough */
	MODEL_NOT_REPEATABLE /* the same choices led elsewhere */
};

struct model_report {
	enum model_verdict verdict;
	uint64_t execution_count; /* the one that failed is counted */
	const char *words;	  /* of a failed check: the condition and its place; never NULL */
	unsigned step_count;	  /* of the execution that failed */
	uint8_t schedule[MODEL_STEPS_MAX]; /* which thread made each of its steps */
};

/* Explores all executions; prints the steps of the first that fails and aborts. Returns how many
 * executions there were. */
uint64_t model_run(const struct model *model);

/* The same, and silent: for those who expect a failure. Stops at the first one. */
void model_explore(const struct model *model, struct model_report *report);

/* In a thread or in check(): ends the exploration where the condition does not hold. */
#define MODEL_CHECK(condition)                                                                     \
	((condition) ? (void)0 : model_fail(MODEL_PLACE("MODEL_CHECK(" #condition ")")))

/* The number of the thread that runs, 0 for the first. Called from threads only. */
unsigned model_thread(void);

/* A scheduling point of its own, between two accesses to plain memory. */
#define model_point() model_step(NULL, 0, MODEL_PLACE("model_point"))

/* Waits until *word differs from `expected`, looking now and then as a poll does: a change that is
 * undone before the thread looks is not seen. */
#define model_wait(word, expected) model_wait_at((word), (expected), MODEL_PLACE("model_wait"))

/* futex(2): sleeps if *word is `expected`, until woken; wakes up to `count` of those who sleep. */
#define model_futex_wait(word, expected)                                                           \
	model_futex_wait_at((word), (expected), MODEL_PLACE("futex_wait"))
#define model_futex_wake(word, count)                                                              \
	model_futex_wake_at((word), (count), MODEL_PLACE("futex_wake"))

/* Said by a loop that spins, before it looks again: the thread goes on only after another one has
 * changed an atomic word, or where nobody else can go on. Without it a loop that spins has no
 * end. */
void model_yield(void);

/* What the macros stand on. `place` says what is about to happen and where in the source. */
#define MODEL_TEXT_OF(token) #token
#define MODEL_TEXT(token) MODEL_TEXT_OF(token)
#define MODEL_PLACE(operation) operation " at " __FILE__ ":" MODEL_TEXT(__LINE__)

void model_step(const volatile void *word, size_t bytes, const char *place);
void model_wait_at(const _Atomic uint32_t *word, uint32_t expected, const char *place);
void model_futex_wait_at(const _Atomic uint32_t *word, uint32_t expected, const char *place);
void model_futex_wake_at(const _Atomic uint32_t *word, unsigned count, const char *place);
void model_fail(const char *words);

/* The operations of stdatomic.h. One system thread runs them all, so plain reads and writes make
 * them; their arguments are evaluated before the scheduling point, as they are in real life. */
#undef atomic_init
#undef atomic_thread_fence
#undef atomic_load
#undef atomic_load_explicit
#undef atomic_store
#undef atomic_store_explicit
#undef atomic_exchange
#undef atomic_exchange_explicit
#undef atomic_compare_exchange_strong
#undef atomic_compare_exchange_strong_explicit
#undef atomic_compare_exchange_weak
#undef atomic_compare_exchange_weak_explicit
#undef atomic_fetch_add
#undef atomic_fetch_add_explicit
#undef atomic_fetch_sub
#undef atomic_fetch_sub_explicit
#undef atomic_fetch_or
#undef atomic_fetch_or_explicit
#undef atomic_fetch_and
#undef atomic_fetch_and_explicit
#undef atomic_fetch_xor
#undef atomic_fetch_xor_explicit

/* Not modelled, and so refused rather than run unseen. */
#undef atomic_flag_test_and_set
#undef atomic_flag_test_and_set_explicit
#undef atomic_flag_clear
#undef atomic_flag_clear_explicit
#pragma GCC poison atomic_flag_test_and_set atomic_flag_test_and_set_explicit
#pragma GCC poison atomic_flag_clear atomic_flag_clear_explicit

/* The type of *pointer without _Atomic and const. */
#define MODEL_TYPE(pointer) __typeof__((void)0, *(pointer))

#define atomic_init(pointer, value) ((void)(*(pointer) = (value)))

#define atomic_thread_fence(order) ((void)(order), model_step(NULL, 0, MODEL_PLACE("thread_fence")))

#define atomic_load_explicit(pointer, order)                                                       \
	__extension__({                                                                            \
		__auto_type model_load_pointer = (pointer);                                        \
		(void)(order);                                                                     \
		model_step(model_load_pointer, sizeof *model_load_pointer, MODEL_PLACE("load"));   \
		MODEL_TYPE(model_load_pointer) model_load_value = *model_load_pointer;             \
		model_load_value;                                                                  \
	})

#define atomic_store_explicit(pointer, value, order)                                               \
	__extension__({                                                                            \
		__auto_type model_store_pointer = (pointer);                                       \
		MODEL_TYPE(model_store_pointer) model_store_value = (value);                       \
		(void)(order);                                                                     \
		model_step(model_store_pointer, sizeof *model_store_pointer,                       \
			   MODEL_PLACE("store"));                                                  \
		*model_store_pointer = model_store_value;                                          \
		(void)0;                                                                           \
	})

#define MODEL_CHANGE(operation, pointer, value, order, changed)                                    \
	__extension__({                                                                            \
		__auto_type model_change_pointer = (pointer);                                      \
		MODEL_TYPE(model_change_pointer)                                                   \
		model_change_value = (MODEL_TYPE(model_change_pointer))(value);                    \
		(void)(order);                                                                     \
		model_step(model_change_pointer, sizeof *model_change_pointer,                     \
			   MODEL_PLACE(operation));                                                \
		MODEL_TYPE(model_change_pointer) model_change_seen = *model_change_pointer;        \
		*model_change_pointer = (MODEL_TYPE(model_change_pointer))(changed);               \
		model_change_seen;                                                                 \
	})

#define atomic_exchange_explicit(pointer, value, order)                                            \
	MODEL_CHANGE("exchange", pointer, value, order, model_change_value)
#define atomic_fetch_add_explicit(pointer, value, order)                                           \
	MODEL_CHANGE("fetch_add", pointer, value, order, model_change_seen + model_change_value)
#define atomic_fetch_sub_explicit(pointer, value, order)                                           \
	MODEL_CHANGE("fetch_sub", pointer, value, order, model_change_seen - model_change_value)
#define atomic_fetch_or_explicit(pointer, value, order)                                            \
	MODEL_CHANGE("fetch_or", pointer, value, order, model_change_seen | model_change_value)
#define atomic_fetch_and_explicit(pointer, value, order)                                           \
	MODEL_CHANGE("fetch_and", pointer, value, order, (model_change_seen) & (model_change_value))
#define atomic_fetch_xor_explicit(pointer, value, order)                                           \
	MODEL_CHANGE("fetch_xor", pointer, value, order, model_change_seen ^ model_change_value)

#define atomic_compare_exchange_strong_explicit(pointer, expected, desired, order, failure_order)  \
	__extension__({                                                                            \
		__auto_type model_cas_pointer = (pointer);                                         \
		__auto_type model_cas_expected = (expected);                                       \
		MODEL_TYPE(model_cas_pointer) model_cas_desired = (desired);                       \
		(void)(order);                                                                     \
		(void)(failure_order);                                                             \
		model_step(model_cas_pointer, sizeof *model_cas_pointer,                           \
			   MODEL_PLACE("compare_exchange"));                                       \
		MODEL_TYPE(model_cas_pointer) model_cas_seen = *model_cas_pointer;                 \
		bool model_cas_equal = model_cas_seen == *model_cas_expected;                      \
		if (model_cas_equal)                                                               \
			*model_cas_pointer = model_cas_desired;                                    \
		else                                                                               \
			*model_cas_expected = model_cas_seen;                                      \
		model_cas_equal;                                                                   \
	})

#define atomic_compare_exchange_weak_explicit(pointer, expected, desired, order, failure_order)    \
	atomic_compare_exchange_strong_explicit(pointer, expected, desired, order, failure_order)

#define atomic_load(pointer) atomic_load_explicit(pointer, memory_order_seq_cst)
#define atomic_store(pointer, value) atomic_store_explicit(pointer, value, memory_order_seq_cst)
#define atomic_exchange(pointer, value)                                                            \
	atomic_exchange_explicit(pointer, value, memory_order_seq_cst)
#define atomic_fetch_add(pointer, value)                                                           \
	atomic_fetch_add_explicit(pointer, value, memory_order_seq_cst)
#define atomic_fetch_sub(pointer, value)                                                           \
	atomic_fetch_sub_explicit(pointer, value, memory_order_seq_cst)
#define atomic_fetch_or(pointer, value)                                                            \
	atomic_fetch_or_explicit(pointer, value, memory_order_seq_cst)
#define atomic_fetch_and(pointer, value)                                                           \
	atomic_fetch_and_explicit(pointer, value, memory_order_seq_cst)
#define atomic_fetch_xor(pointer, value)                                                           \
	atomic_fetch_xor_explicit(pointer, value, memory_order_seq_cst)
#define atomic_compare_exchange_strong(pointer, expected, desired)                                 \
	atomic_compare_exchange_strong_explicit(pointer, expected, desired, memory_order_seq_cst,  \
						memory_order_seq_cst)
#define atomic_compare_exchange_weak(pointer, expected, desired)                                   \
	atomic_compare_exchange_strong_explicit(pointer, expected, desired, memory_order_seq_cst,  \
						memory_order_seq_cst)

#endif
