#include "heap/thread.h"

#include "base/lock.h"
#include "base/report.h"
#include "heap/meta.h"
#include "heap/region.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>

static struct hak_gate gate;
static struct hak_gate_pass visitors; /* the pass of all threads that have no record */

/* The lock guards spare and the `alive` of every record; `all` only grows, by release. */
static struct hak_lock thread_lock = HAK_LOCK_OF(HAK_LOCK_THREAD);
static _Atomic(struct hak_thread *) all;
static struct hak_thread *spare;

static pthread_key_t key;
static _Atomic bool key_is_made;

/* This thread: its record, and whether its time for having one is over. */
static __thread struct hak_thread *self;
static __thread bool is_over;

static_assert(sizeof(struct hak_magazine_heads) + sizeof(void *) + 2 * sizeof(bool) +
			      sizeof(uint32_t) <=
		      HAK_TLS_BYTES_MAX,
	      "what libhak keeps in static TLS");

static_assert(HAK_DESTRUCTOR_ROUND <= PTHREAD_DESTRUCTOR_ITERATIONS, "there is such a round");

static void die(void *record);

void hak_thread_init(void)
{
	/* Without a key no thread ever flushes its magazines: they stay for its record's next
	 * owner, which there is none of. Only a program with 1,024 keys gets here. */
	if (pthread_key_create(&key, die) == 0)
		atomic_store_explicit(&key_is_made, true, memory_order_release);
}

/* A record for the calling thread, or NULL: no memory. */
static struct hak_thread *take_record(void)
{
	struct hak_thread *thread;

	hak_gate_enter(&gate, &visitors);
	hak_lock_take(&thread_lock);
	thread = spare;
	if (thread != NULL) {
		spare = thread->next_spare;
	} else {
		thread = hak_meta_take(sizeof *thread);
		if (thread != NULL) {
			thread->next = atomic_load_explicit(&all, memory_order_relaxed);
			/* release: pairs with the acquires of those who walk the list */
			atomic_store_explicit(&all, thread, memory_order_release);
		}
	}
	if (thread != NULL) {
		hak_magazine_birth(&thread->magazines);
		thread->has_destructor = false;
		thread->destructor_round = 0;
		thread->alive = true;
	}
	hak_lock_give(&thread_lock);
	hak_gate_leave(&visitors);
	return thread;
}

/* Asks for the destructor. This may allocate, and so it is the last thing of a birth, outside every
 * lock and the gate. Threads born before the constructor ran ask on a later slow path. */
static void ask_for_destructor(struct hak_thread *thread)
{
	if (!atomic_load_explicit(&key_is_made, memory_order_acquire))
		return;
	int saved_errno = errno;

	thread->has_destructor = true;
	(void)pthread_setspecific(key, thread);
	errno = saved_errno;
}

static struct hak_thread *enter_first(void)
{
	struct hak_thread *thread = NULL;

	if (hak_region_init() && !is_over)
		thread = take_record();
	if (thread == NULL) {
		hak_gate_enter(&gate, &visitors);
		return NULL;
	}
	self = thread;
	ask_for_destructor(thread);
	hak_gate_enter(&gate, &thread->pass);
	return thread;
}

struct hak_thread *hak_thread_enter(void)
{
	struct hak_thread *thread = self;

	if (hak_unlikely(thread == NULL))
		return enter_first();
	if (hak_unlikely(atomic_load_explicit(&thread->pass.inside_count, memory_order_relaxed) !=
			 0))
		hak_report_broken("malloc or free was called by a signal handler that interrupted "
				  "malloc or free");
	if (hak_unlikely(!thread->has_destructor))
		ask_for_destructor(thread);
	hak_gate_enter(&gate, &thread->pass);
	return thread;
}

void hak_thread_leave(struct hak_thread *thread)
{
	hak_thread_slow_passed();
	hak_gate_leave(thread != NULL ? &thread->pass : &visitors);
}

void *hak_thread_take(unsigned class_idx)
{
	struct hak_thread *thread = hak_thread_enter();
	void *block = NULL;

	if (hak_likely(thread != NULL)) {
		/* The birth itself may have filled this magazine: its setspecific allocates. */
		block = hak_magazine_pop(class_idx);
		if (hak_likely(block == NULL))
			block = hak_magazine_refill(&thread->magazines, class_idx);
	} else if (hak_region_is_born()) {
		block = hak_magazine_take_direct(class_idx);
	}
	hak_thread_leave(thread);
	return block;
}

void hak_thread_give(unsigned class_idx, void *block)
{
	struct hak_thread *thread = hak_thread_enter();

	if (hak_likely(thread != NULL))
		hak_magazine_flush(&thread->magazines, class_idx, block);
	else
		hak_magazine_give_direct(class_idx, block);
	hak_thread_leave(thread);
}

/* The destructor of thread-specific data: waits for the last round, then ends the thread's
 * record. */
static void die(void *record)
{
	struct hak_thread *thread = record;

	if (++thread->destructor_round < HAK_DESTRUCTOR_ROUND &&
	    pthread_setspecific(key, thread) == 0)
		return;
	hak_gate_enter(&gate, &thread->pass);
	is_over = true;
	self = NULL;
	hak_magazine_death(&thread->magazines);
	hak_gate_leave(&thread->pass);
	/* As a visitor: once the record is spare its pass is the next owner's. */
	hak_gate_enter(&gate, &visitors);
	hak_lock_take(&thread_lock);
	thread->alive = false;
	thread->next_spare = spare;
	spare = thread;
	hak_lock_give(&thread_lock);
	hak_gate_leave(&visitors);
}

/* fork(2) may be called by a signal handler, malloc may not. Where the handler has interrupted a
 * slow path of its own thread there is nothing to wait for: another thread may wait for a lock that
 * this one holds. The child then goes on with what was interrupted, as the parent does; what the
 * other threads had in their hands is lost to it, a lock that one of them held as well. */
static bool is_inside(void)
{
	return self != NULL &&
	       atomic_load_explicit(&self->pass.inside_count, memory_order_relaxed) != 0;
}

void hak_thread_fork_prepare(void)
{
	if (is_inside())
		return;
	/* The forking thread needs a pass that is its own alone; birth gives it one. A thread after
	 * its end shares the visitors' pass: another of that kind could then be inside while it
	 * forks, which takes a fork inside the last destructors of two threads at once. */
	hak_thread_leave(hak_thread_enter());
	struct hak_gate_pass *mine = self != NULL ? &self->pass : &visitors;

	hak_gate_close(&gate, mine);
	if (mine != &visitors)
		hak_gate_close_pass(&visitors);
	/* Births go through the visitors' pass, so the list is complete from here on. acquire:
	 * pairs with the release in take_record() */
	for (struct hak_thread *thread = atomic_load_explicit(&all, memory_order_acquire);
	     thread != NULL; thread = thread->next)
		if (&thread->pass != mine)
			hak_gate_close_pass(&thread->pass);
}

void hak_thread_fork_parent(void)
{
	if (!is_inside())
		hak_gate_open(&gate);
}

void hak_thread_fork_child(void)
{
	if (is_inside()) {
		/* Another thread may have been about to fork: it is gone, and its gate with it. */
		if (hak_gate_is_closed(&gate))
			hak_gate_open(&gate);
		return;
	}
	for (struct hak_thread *thread = atomic_load_explicit(&all, memory_order_acquire);
	     thread != NULL; thread = thread->next) {
		if (thread == self || !thread->alive)
			continue;
		hak_magazine_death(&thread->magazines);
		thread->alive = false;
		thread->next_spare = spare;
		spare = thread;
	}
	hak_gate_open(&gate);
}

void hak_thread_count(uint64_t counts[HAK_CLASS_COUNT + 1])
{
	hak_lock_take(&thread_lock);
	for (const struct hak_thread *thread = atomic_load_explicit(&all, memory_order_acquire);
	     thread != NULL; thread = thread->next) {
		if (!thread->alive)
			continue;
		for (unsigned class_idx = 1; class_idx <= HAK_CLASS_COUNT; class_idx++)
			counts[class_idx] += hak_magazine_count(&thread->magazines, class_idx);
	}
	hak_lock_give(&thread_lock);
}
