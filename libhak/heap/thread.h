/* thread.h - the threads: their records, their way into and out of slow paths, birth and death.
 *
 * Each thread that allocates has a record from meta.h with its magazines and its pass through the
 * fork gate. Records of dead threads wait for new ones: birth and death neither map nor unmap, and
 * a process holds as many records as it ever had threads at once.
 *
 * Birth is the first slow path of a thread that takes, or a later one of a thread that only gives
 * (HAK_GIVES_TO_BIRTH). Death is the destructor of our thread-specific data; what a thread
 * allocates or frees after that goes straight to the slabs, as it does where there is no memory for
 * a record, or where the C library would not tell us of its end. The heads that a record points to
 * lie in the thread's storage: a thread whose very first use of the heap is in the last of the
 * destructors' rounds (PTHREAD_DESTRUCTOR_ITERATIONS) ends without ours, and its record is known by
 * a robust mutex as one whose heads are gone. What its magazines held is lost.
 *
 * Threads    every call is for the calling thread, but where it says "all".
 * Source     pthread_key_create(3), pthread_atfork(3), pthread_mutexattr_setrobust(3).
 */
#ifndef HAK_HEAP_THREAD_H
#define HAK_HEAP_THREAD_H

#include "base/config.h"
#include "base/gate.h"
#include "heap/magazine.h"
#include "heap/tally.h"

#include <pthread.h>

struct hak_thread {
	struct hak_gate_pass pass;
	struct hak_thread *next;       /* all records ever made */
	struct hak_thread *next_spare; /* those without a thread */
	bool alive;
	bool has_destructor;
	uint32_t shed_count;  /* of hak_thread_shed() calls that it has heard */
	pthread_mutex_t life; /* its thread holds it; robust */
	struct hak_magazines magazines;
	struct hak_tally tally;
};

/* The one upward call of heap/: on the way out of a slow path, still inside the gate, govern/ may
 * look whether something is due; and does so where the path was for nothing else. init.c says who
 * that is. */
extern HAK_HIDDEN void (*const hak_thread_slow_passed)(bool must_look);

/* Creates the key for the destructor. Called once, from the constructor. */
void hak_thread_init(void);

/* Enters a slow path: waits while a fork is under way, gives birth to the thread where needed. The
 * heap is born after this, or the result is NULL and hak_region.born false: no memory. NULL also
 * for a thread without a record. A signal handler that enters while its thread is inside aborts. */
struct hak_thread *hak_thread_enter(void);

/* The same for a call that only gives back or asks: it does not give birth at once, since the C
 * library frees after a thread's death. The caller knows that the heap is born. */
struct hak_thread *hak_thread_enter_to_give(void);

void hak_thread_leave(struct hak_thread *thread);

/* A block of the class, by way of this thread's magazine. NULL: no memory. */
void *hak_thread_take(unsigned class_idx);

/* Empties this thread's magazines into their slabs, and asks every other thread to do so on the way
 * out of its next slow path. Inside the gate. */
void hak_thread_shed(void);

/* A slow path for nothing but a look at the clock (hak_magazine_is_to_look). */
void hak_thread_look(void);

/* Something is best done by who has just got a block, outside the gate and with no lock of
 * anybody's held, as free(3) is called with by the C library itself: the next that gets one on a
 * slow path does it (calls/malloc.h). */
extern HAK_HIDDEN _Atomic bool hak_thread_has_errand;

/* This thread has a record, is on no slow path that it was called from, and not about to fork. */
bool hak_thread_is_at_ease(void);

/* The record that this thread finds for its own is of a thread with another number: it is the child
 * of a vfork(2), in its parent's memory, or of a clone(2) past all handlers. */
bool hak_thread_is_of_another(void);

/* After a look: says when this thread takes the next, in blocks taken. Seldom, but where something
 * is pending: the less often the sooner the last one was. */
void hak_thread_looked(uint64_t now_ns, bool is_pending);

/* Gives a block back where hak_magazine_push() said no. */
void hak_thread_give(unsigned class_idx, void *block);

/* Fork: closes the gate and waits until all others are outside; opens it again in the parent; in
 * the child gives the magazines and leases of all others back first, since they are gone. */
void hak_thread_fork_prepare(void);
void hak_thread_fork_parent(void);
void hak_thread_fork_child(void);

/* Blocks of each class in the magazines of all threads: adds to counts. Inside the gate. */
void hak_thread_count(uint64_t counts[HAK_CLASS_COUNT + 1]);

/* Shows what is in the magazines of all threads. With the gate closed (magazine.h). */
void hak_thread_visit_cached(hak_cached_visitor visitor, void *context);

/* All tallies, those of dead threads and the shared one as well. Returns how many there are. */
unsigned hak_thread_tally(struct hak_tally_sums *sums);

#endif
