#include "heap/thread.h"

#include "base/lock.h"
#include "base/report.h"
#include "heap/advice.h"
#include "heap/meta.h"
#include "heap/region.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static HAK_EARLY struct hak_gate gate;
static HAK_EARLY struct hak_gate_pass visitors; /* the pass of all threads that have no record */

/* The fewest births between two looks at the records for threads that ended without a word. */
#define LOOK_AT_LEAST 64

/* The lock guards all of these and the `alive` of every record; `all` only grows, by release. */
static struct hak_lock thread_lock = HAK_LOCK_OF(HAK_LOCK_THREAD);
static HAK_EARLY _Atomic(struct hak_thread *) all;
static HAK_EARLY struct hak_thread *spare;
static uint32_t births_to_look = LOOK_AT_LEAST;

static HAK_EARLY _Atomic uint32_t shed_count; /* how often all magazines were asked for */

static HAK_EARLY pthread_key_t key;
static HAK_EARLY _Atomic enum { KEY_TO_COME, KEY_MADE, KEY_REFUSED } key_state;

/* This thread; one piece, since static TLS has no room for holes. */
static __thread struct {
	struct hak_thread *record;
	struct hak_gate_pass pass; /* without a record: for a fork */
	uint32_t looked_ms;	   /* when it last looked at the clock, of 2^20 ns */
	uint16_t hits_to_look;	   /* how many hits it was to be from then */
	uint16_t give_count;	   /* without a record: blocks given so far */
	bool is_over;		   /* its time for having a record */
	uint8_t nested_fork_count; /* made by signal handlers while it holds the gate for one */
	/* Without a record: visits under way, and how often it has become a child. */
	volatile uint8_t visit_count;
	volatile uint8_t child_count;
} self;

static_assert(sizeof(struct hak_magazine_heads) + sizeof self + sizeof(void *) + sizeof(int64_t) +
			      3 * sizeof(uint32_t) <=
		      HAK_TLS_BYTES_MAX,
	      "what libhak keeps in static TLS");

_Atomic bool hak_thread_has_errand;

static void die(void *record);

void hak_thread_init(void)
{
	bool made = pthread_key_create(&key, die) == 0;

	/* Refused only where the program has 1,024 keys: threads then live without records. */
	atomic_store_explicit(&key_state, made ? KEY_MADE : KEY_REFUSED, memory_order_release);
}

/* The pass by which this thread holds the gate closed while it forks, and which nobody shares. */
static struct hak_gate_pass *forking_pass(void)
{
	return self.record != NULL ? &self.record->pass : &self.pass;
}

static bool holds_gate(void)
{
	return hak_gate_is_closed_by(&gate, forking_pass());
}

/* A handler may fork between any two instructions of a visit, and its child goes on here: by then
 * the visits are counted in one place, and in the other or not. This thread is the only one. */
static void recount_if_child(uint8_t last_child_count)
{
	if (hak_unlikely(self.child_count != last_child_count))
		atomic_store_explicit(&visitors.inside_count, self.visit_count,
				      memory_order_relaxed);
}

static void enter_as_visitor(void)
{
	uint8_t last_child_count = self.child_count;

	if (holds_gate()) {
		hak_gate_enter(&gate, &self.pass);
		return;
	}
	self.visit_count++;
	hak_gate_enter(&gate, &visitors);
	recount_if_child(last_child_count);
}

static void leave_as_visitor(void)
{
	uint8_t last_child_count = self.child_count;

	if (holds_gate()) {
		hak_gate_leave(&self.pass);
		return;
	}
	hak_gate_leave(&visitors);
	self.visit_count--;
	recount_if_child(last_child_count);
}

/* A thread holds the mutex of its record. It is a robust one: where the thread ends without a word,
 * the kernel makes it say so. Made anew for each thread, as the child of _Fork(3) has one that its
 * parent holds. */
static void begin_life(struct hak_thread *thread)
{
	pthread_mutexattr_t robust;

	pthread_mutexattr_init(&robust);
	pthread_mutexattr_setrobust(&robust, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&thread->life, &robust);
	(void)pthread_mutex_trylock(&thread->life);
}

static bool has_ended(struct hak_thread *thread)
{
	if (pthread_mutex_trylock(&thread->life) != EOWNERDEAD)
		return false;
	(void)pthread_mutex_consistent(&thread->life);
	(void)pthread_mutex_unlock(&thread->life);
	return true;
}

static void make_spare_locked(struct hak_thread *thread)
{
	HAK_ASSERT(hak_lock_is_mine(&thread_lock));
	thread->alive = false;
	thread->next_spare = spare;
	spare = thread;
}

/* Of a thread that first came to the heap in the last of the destructors' rounds, so that ours was
 * never called: the heads are gone with its storage. */
static void bury_locked(struct hak_thread *thread)
{
	hak_magazine_lose(&thread->magazines);
	make_spare_locked(thread);
}

/* Returns how many live on. */
static uint32_t bury_ended_locked(void)
{
	uint32_t alive_count = 0;

	for (struct hak_thread *thread = atomic_load_explicit(&all, memory_order_acquire);
	     thread != NULL; thread = thread->next) {
		if (thread->alive && thread != self.record && has_ended(thread))
			bury_locked(thread);
		alive_count += thread->alive ? 1 : 0;
	}
	return alive_count;
}

static struct hak_thread *make_record_locked(void)
{
	struct hak_thread *thread = hak_meta_take(sizeof *thread);

	if (thread == NULL)
		return NULL;
	thread->next = atomic_load_explicit(&all, memory_order_relaxed);
	thread->magazines.is_first = thread->next == NULL;
	/* release: pairs with the acquires of those who walk the list */
	atomic_store_explicit(&all, thread, memory_order_release);
	return thread;
}

/* A record for the calling thread, or NULL: no memory. Inside the gate, as a visitor. */
static struct hak_thread *take_record(void)
{
	struct hak_thread *thread;

	hak_lock_take(&thread_lock);
	/* A look at each record for a birth. */
	if (births_to_look != 0)
		births_to_look--;
	else if (spare == NULL)
		births_to_look = LOOK_AT_LEAST + bury_ended_locked();
	thread = spare;
	if (thread != NULL)
		spare = thread->next_spare;
	else
		thread = make_record_locked();
	if (thread != NULL) {
		begin_life(thread);
		hak_magazine_birth(&thread->magazines);
		thread->has_destructor = false;
		thread->shed_count = atomic_load_explicit(&shed_count, memory_order_relaxed);
		thread->alive = true;
	}
	hak_lock_give(&thread_lock);
	return thread;
}

/* The end of a record's life with this thread, which goes on without one. */
static void give_record(struct hak_thread *thread)
{
	hak_gate_enter(&gate, &thread->pass);
	self.is_over = true;
	hak_magazine_death(&thread->magazines);
	hak_tally_use(NULL);
	hak_gate_leave(&thread->pass);
	/* Not before: by self.record a fork in a handler knows whose pass it need not wait for. */
	self.record = NULL;
	/* As a visitor: once the record is spare its pass is the next owner's. */
	enter_as_visitor();
	hak_lock_take(&thread_lock);
	(void)pthread_mutex_unlock(&thread->life);
	make_spare_locked(thread);
	hak_lock_give(&thread_lock);
	leave_as_visitor();
}

/* The destructor of thread-specific data. It is not put off to the last round, so that others still
 * found magazines: a thread may first come to the heap in such a round, and would not come back to
 * us. Its record would then point into storage that is gone. */
static void die(void *record)
{
	give_record(record);
}

/* Makes sure that the record does not outlive the thread. False: it was given back, since nobody
 * would tell us of the thread's end. setspecific may allocate, and so this is outside every lock
 * and the gate. The one thread that lives without, until the constructor comes, is the first. */
static bool ask_for_destructor(struct hak_thread *thread)
{
	int state = atomic_load_explicit(&key_state, memory_order_acquire);
	int saved_errno = errno;

	if (state == KEY_TO_COME)
		return true;
	thread->has_destructor = true;
	bool asked = state == KEY_MADE && pthread_setspecific(key, thread) == 0;

	errno = saved_errno;
	if (!asked)
		give_record(thread);
	return asked;
}

/* The way in of a thread without a record: with its birth, where that can be. A thread that holds
 * the gate keeps the pass that it holds it by. */
static struct hak_thread *enter_first(void)
{
	struct hak_thread *thread = NULL;

	enter_as_visitor();
	if (hak_region_init() && !self.is_over && !holds_gate())
		thread = take_record();
	if (thread == NULL)
		return NULL;
	self.record = thread;
	hak_tally_use(&thread->tally);
	leave_as_visitor();
	if (!ask_for_destructor(thread)) {
		enter_as_visitor();
		return NULL;
	}
	hak_gate_enter(&gate, &thread->pass);
	return thread;
}

struct hak_thread *hak_thread_enter(void)
{
	struct hak_thread *thread = self.record;

	if (hak_unlikely(thread == NULL))
		return enter_first();
	if (hak_unlikely(atomic_load_explicit(&thread->pass.inside_count, memory_order_relaxed) !=
			 0))
		hak_report_broken("malloc or free was called by a signal handler that interrupted "
				  "malloc or free");
	if (hak_unlikely(!thread->has_destructor) && !ask_for_destructor(thread)) {
		enter_as_visitor();
		return NULL;
	}
	hak_gate_enter(&gate, &thread->pass);
	return thread;
}

struct hak_thread *hak_thread_enter_to_give(void)
{
	if (self.record != NULL || self.give_count == HAK_GIVES_TO_BIRTH)
		return hak_thread_enter();
	self.give_count++;
	enter_as_visitor();
	return NULL;
}

static void shed_if_asked(struct hak_thread *thread)
{
	uint32_t asked = atomic_load_explicit(&shed_count, memory_order_relaxed);

	if (hak_likely(thread->shed_count == asked))
		return;
	thread->shed_count = asked;
	hak_magazine_shed(&thread->magazines);
}

void hak_thread_shed(void)
{
	atomic_fetch_add_explicit(&shed_count, 1, memory_order_relaxed);
	if (self.record != NULL)
		shed_if_asked(self.record);
}

HAK_INLINE void leave(struct hak_thread *thread, bool must_look)
{
	if (hak_unlikely(thread == NULL)) {
		hak_thread_slow_passed(must_look);
		leave_as_visitor();
		return;
	}
	shed_if_asked(thread);
	hak_thread_slow_passed(must_look);
	hak_gate_leave_own(&thread->pass);
}

void hak_thread_leave(struct hak_thread *thread)
{
	leave(thread, false);
}

void hak_thread_look(void)
{
	int saved_errno = errno;
	struct hak_thread *thread = hak_thread_enter();

	leave(thread, true);
	errno = saved_errno;
}

/* A look costs as much as thirty hits. */
#define HITS_MAX 16384
#define HITS_MAX_PENDING 1024

void hak_thread_looked(uint64_t now_ns, bool is_pending)
{
	uint32_t now_ms = (uint32_t)(now_ns >> 20);

	if (!is_pending)
		self.hits_to_look = HITS_MAX;
	else if (now_ms != self.looked_ms)
		self.hits_to_look = (uint16_t)(self.hits_to_look / 4 + 1);
	else
		self.hits_to_look = (uint16_t)(self.hits_to_look * 2);
	if (is_pending && self.hits_to_look > HITS_MAX_PENDING)
		self.hits_to_look = HITS_MAX_PENDING;
	self.looked_ms = now_ms;
	hak_magazine_heads.hits_left = self.hits_to_look;
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
	struct hak_thread *thread = hak_thread_enter_to_give();

	if (hak_likely(thread != NULL))
		hak_magazine_flush(&thread->magazines, class_idx, block);
	else
		hak_magazine_give_direct(class_idx, block);
	hak_thread_leave(thread);
}

/* fork(2) may be called by a signal handler, malloc may not. Where the handler has interrupted a
 * slow path of its own thread there is nothing to wait for: another thread may wait for a lock that
 * this one holds. The child then goes on with what was interrupted, as the parent does; what the
 * other threads had in their hands is lost to it, a lock that one of them held as well. */
static bool is_inside(void)
{
	return self.visit_count != 0 ||
	       atomic_load_explicit(&forking_pass()->inside_count, memory_order_relaxed) != 0;
}

bool hak_thread_is_at_ease(void)
{
	return self.record != NULL && !holds_gate() && !is_inside();
}

bool hak_thread_is_of_another(void)
{
	return self.record != NULL && self.record->life.__data.__owner != (int)syscall(SYS_gettid);
}

/* A handler may also strike between any two instructions of these three, and fork: the gate says
 * whether this thread holds it, and the count how often it is to be given back first. */
void hak_thread_fork_prepare(void)
{
	if (holds_gate())
		self.nested_fork_count++;
	else if (!is_inside())
		hak_gate_close(&gate, forking_pass());
	if (is_inside())
		return;
	/* Births and deaths are visits, so the list is complete once there is none. acquire: pairs
	 * with the release in take_record() */
	hak_gate_close_pass(&visitors);
	for (struct hak_thread *thread = atomic_load_explicit(&all, memory_order_acquire);
	     thread != NULL; thread = thread->next)
		if (thread != self.record)
			hak_gate_close_pass(&thread->pass);
}

void hak_thread_fork_parent(void)
{
	if (!holds_gate())
		return;
	if (self.nested_fork_count != 0)
		self.nested_fork_count--;
	else
		hak_gate_open(&gate);
}

/* What a thread that is not in this child kept is given back; it was at rest. */
static void forget_locked(struct hak_thread *thread)
{
	if (has_ended(thread)) {
		bury_locked(thread);
		return;
	}
	hak_magazine_death(&thread->magazines);
	make_spare_locked(thread);
}

/* The others are gone. Where nobody waited until they were at rest, their records are left alone
 * for ever. Nobody is inside any more but this thread. */
static void forget_others(bool were_at_rest)
{
	if (were_at_rest)
		hak_lock_take(&thread_lock);
	for (struct hak_thread *thread = atomic_load_explicit(&all, memory_order_acquire);
	     thread != NULL; thread = thread->next) {
		if (thread == self.record)
			continue;
		atomic_store_explicit(&thread->pass.inside_count, 0, memory_order_relaxed);
		if (thread->alive && were_at_rest)
			forget_locked(thread);
		thread->alive = false;
	}
	if (were_at_rest)
		hak_lock_give(&thread_lock);
	if (self.record != NULL)
		begin_life(self.record);
	atomic_store_explicit(&visitors.inside_count, self.visit_count, memory_order_relaxed);
}

void hak_thread_fork_child(void)
{
	struct hak_gate_pass *mine = forking_pass();

	self.child_count++;
	/* By a thread that was about to fork, and is gone. */
	if (hak_gate_is_closed(&gate) && !holds_gate())
		hak_gate_open(&gate);
	if (holds_gate() && !is_inside()) {
		hak_gate_enter(&gate, mine);
		forget_others(true);
		hak_gate_leave(mine);
	} else {
		forget_others(false);
	}
	hak_thread_fork_parent();
}

void hak_thread_count(uint64_t counts[HAK_CLASS_COUNT + 1])
{
	hak_lock_take(&thread_lock);
	(void)bury_ended_locked();
	for (const struct hak_thread *thread = atomic_load_explicit(&all, memory_order_acquire);
	     thread != NULL; thread = thread->next) {
		if (!thread->alive)
			continue;
		for (unsigned class_idx = 1; class_idx <= HAK_CLASS_COUNT; class_idx++)
			counts[class_idx] += hak_magazine_count(&thread->magazines, class_idx);
	}
	hak_lock_give(&thread_lock);
}

void hak_thread_visit_cached(hak_cached_visitor visitor, void *context)
{
	hak_lock_take(&thread_lock);
	(void)bury_ended_locked();
	hak_lock_give(&thread_lock);
	for (const struct hak_thread *thread = atomic_load_explicit(&all, memory_order_acquire);
	     thread != NULL; thread = thread->next)
		if (thread->alive)
			hak_magazine_visit(&thread->magazines, visitor, context);
}

unsigned hak_thread_tally(struct hak_tally_sums *sums)
{
	unsigned count = 1;

	memset(sums, 0, sizeof *sums);
	hak_tally_sum(NULL, sums);
	for (const struct hak_thread *thread = atomic_load_explicit(&all, memory_order_acquire);
	     thread != NULL; thread = thread->next) {
		hak_tally_sum(&thread->tally, sums);
		count++;
	}
	return count;
}
