/* gate.h - the fork gate: lets a fork happen only while nobody is inside a slow path.
 *
 * fork(2) copies one thread and all memory. Whatever the other threads were in the middle of stays
 * so for ever in the child: claimed bits in no magazine, a count not added yet, a lock held. So
 * each slow path runs between hak_gate_enter() and hak_gate_leave(), and the fork handler closes
 * the gate and waits until all others have left. One of them may still come in by mistake: it sees
 * the gate closed, backs out and sleeps, and touches nothing in between but its pass. Fast paths
 * need no gate: their one commit is one store.
 *
 * A pass counts who is inside under it: 0 or 1 for a thread's own pass, any number for the shared
 * pass of threads that have none of their own. The thread that holds the gate closed passes it, as
 * other libraries' fork handlers may allocate.
 *
 *              | enter (same pass)  | enter (another)   | close
 *   enter      | -                  | both go in        | one goes first: enter backs out and waits
 *   leave      | -                  | independent       | close sees the pass empty, in time
 *   close      | closer goes in     | waits till open   | the second waits till open
 *
 * Order: enter writes its pass and then reads `closer`; close writes `closer` and then reads the
 * passes. Both are sequentially consistent, so one of them sees the other (Dekker 1965).
 */
#ifndef HAK_BASE_GATE_H
#define HAK_BASE_GATE_H

#include "base/config.h"

#include <stdatomic.h>
#include <sys/single_threaded.h>

struct hak_gate_pass {
	_Atomic uint32_t inside_count;
};

struct hak_gate {
	_Atomic(struct hak_gate_pass *) closer; /* NULL: open */
	_Atomic uint32_t turn_count;		/* futex word: rises when the gate opens */
};

/* Waits while the gate is closed by another pass. */
void hak_gate_wait(struct hak_gate *gate, struct hak_gate_pass *pass);

HAK_INLINE bool hak_gate_is_closed(struct hak_gate *gate)
{
	return atomic_load_explicit(&gate->closer, memory_order_seq_cst) != NULL;
}

HAK_INLINE bool hak_gate_is_closed_by(struct hak_gate *gate, struct hak_gate_pass *pass)
{
	return atomic_load_explicit(&gate->closer, memory_order_seq_cst) == pass;
}

HAK_INLINE void hak_gate_enter(struct hak_gate *gate, struct hak_gate_pass *pass)
{
	if (__libc_single_threaded) {
		/* Nobody else can close it, nor come in by this pass. */
		uint32_t inside = atomic_load_explicit(&pass->inside_count, memory_order_relaxed);

		atomic_store_explicit(&pass->inside_count, inside + 1, memory_order_relaxed);
		return;
	}
	atomic_fetch_add_explicit(&pass->inside_count, 1, memory_order_seq_cst);
	if (hak_unlikely(hak_gate_is_closed(gate)))
		hak_gate_wait(gate, pass);
}

HAK_INLINE void hak_gate_leave(struct hak_gate_pass *pass)
{
	/* release: pairs with the acquire in hak_gate_close_pass(); the closer polls, so that
	 * leaving needs no look at the gate */
	atomic_fetch_sub_explicit(&pass->inside_count, 1, memory_order_release);
}

/* The same by a pass that one thread alone goes in by, once at a time: a store. */
HAK_INLINE void hak_gate_leave_own(struct hak_gate_pass *pass)
{
	/* release: as above */
	atomic_store_explicit(&pass->inside_count, 0, memory_order_release);
}

/* Closes the gate for everybody but `mine`, after waiting for another closer. The caller is inside
 * no slow path. The caller then waits, pass by pass, until each is empty. */
void hak_gate_close(struct hak_gate *gate, struct hak_gate_pass *mine);
void hak_gate_close_pass(struct hak_gate_pass *pass);

/* Opens it again: in the parent, and in the child, where no one else is left. */
void hak_gate_open(struct hak_gate *gate);

#endif
