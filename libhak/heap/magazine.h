/* magazine.h - the free blocks that a thread keeps for itself, one array for each class.
 *
 *   bottom      bottom + 1                 top                      limit
 *   | NULL      | oldest ... newest        | room ...               |
 *
 * pop and push are the whole of most mallocs and frees, but for a count of the blocks taken: no
 * lock, no atomic operation, no touch of the block. The NULL below the first slot makes "empty" one
 * test of what would be popped. The store of top commits, so a thread may be stopped or copied by
 * fork anywhere between.
 *
 * The heads (top and limit) lie in thread-local storage, so a thread needs no look-up and no test
 * whether it was born: until its class is first used, and after the thread's death, a head is an
 * empty and full magazine, and both calls go the slow way. So do frees of HAK_CLASS_NONE and of
 * runs, for ever. Birth and death thus cost nothing for the classes that a thread never touched.
 *
 * Misses make a magazine grow (config.h), to a bound in slots and bytes. When one is full its
 * oldest half goes to the depot, else to the slabs; when it is empty half a magazine comes from the
 * depot, else from the slab that the thread leases for the class.
 *
 *   invariant   bottom < top <= limit;  every slot in [bottom + 1, top) is a free block of the
 *   class
 *
 * Threads    heads and pop, push: the owner's. The calls below: the owner's, inside the fork gate;
 *            or anybody's for a thread that is gone (a fork's child). Statistics read top, relaxed.
 */
#ifndef HAK_HEAP_MAGAZINE_H
#define HAK_HEAP_MAGAZINE_H

#include "base/config.h"

#include <stdatomic.h>

struct hak_magazine_heads {
	void **volatile top[HAK_CLASS_BYTES]; /* written by the owner alone, read by all */
	void **limit[HAK_CLASS_BYTES];
	int32_t hits_left; /* blocks to take from magazines until the thread looks at the clock */
};

extern HAK_HIDDEN __thread struct hak_magazine_heads hak_magazine_heads;

/* What a thread's magazines need beyond the heads: part of its record, never moved. */
struct hak_magazines {
	struct hak_magazine_heads *heads; /* in the owner's thread-local storage */
	_Atomic uint64_t open_classes;	  /* bit i: class i has a magazine, blocks and a lease */
	_Atomic(void **) bottom[HAK_CLASS_COUNT + 1];
	uint32_t lease[HAK_CLASS_COUNT + 1]; /* first unit of the slab leased, + 1 */
	uint8_t log2[HAK_CLASS_COUNT + 1];   /* of the array's words; 0: there is none yet */
	uint8_t miss_count[HAK_CLASS_COUNT + 1];
	bool is_first; /* of all records of the process */
};

/* The owner's load and store of a top. Both are relaxed atomic accesses in effect, one mov each.
 * But gcc builds a pointer for every atomic access to thread-local storage, two instructions more
 * in each malloc and free, and addresses a volatile one directly; only TSan must be told the
 * truth. */
#if defined(__SANITIZE_THREAD__)
#define HAK_MAGAZINE_TOP_LOAD(top) __atomic_load_n(&(top), __ATOMIC_RELAXED)
#define HAK_MAGAZINE_TOP_STORE(top, to) __atomic_store_n(&(top), (to), __ATOMIC_RELAXED)
#else
#define HAK_MAGAZINE_TOP_LOAD(top) (top)
#define HAK_MAGAZINE_TOP_STORE(top, to) ((top) = (to))
#endif

/* Takes the newest block, or NULL where there is none. */
HAK_INLINE void *hak_magazine_pop(size_t class_idx)
{
	void **top = HAK_MAGAZINE_TOP_LOAD(hak_magazine_heads.top[class_idx]);
	void *block = top[-1];

	if (hak_likely(block != NULL))
		HAK_MAGAZINE_TOP_STORE(hak_magazine_heads.top[class_idx], top - 1);
	return block;
}

/* To be asked after a block was taken on the fast path. True: a look at the clock is due
 * (hak_thread_look), which a thread would else never take whose magazines have all it needs. */
HAK_INLINE bool hak_magazine_is_to_look(void)
{
	return --hak_magazine_heads.hits_left < 0;
}

/* Keeps a block. False: there is no room, or the block is the newest one already. */
HAK_INLINE bool hak_magazine_push(size_t class_idx, void *block)
{
	void **top = HAK_MAGAZINE_TOP_LOAD(hak_magazine_heads.top[class_idx]);

	if (hak_unlikely(top == hak_magazine_heads.limit[class_idx]) ||
	    hak_unlikely(top[-1] == block))
		return false;
	/* Atomic for hak_magazine_visit(), a plain mov all the same. */
	__atomic_store_n(top, block, __ATOMIC_RELAXED);
	/* A fork copies the thread as it stands: the block is there before the top says so. */
	atomic_signal_fence(memory_order_release);
	HAK_MAGAZINE_TOP_STORE(hak_magazine_heads.top[class_idx], top + 1);
	return true;
}

/* True for the block that would be popped next: freed once more, it was freed twice in a row. */
HAK_INLINE bool hak_magazine_is_newest(size_t class_idx, const void *block)
{
	return HAK_MAGAZINE_TOP_LOAD(hak_magazine_heads.top[class_idx])[-1] == block;
}

/* Makes these the calling thread's magazines, all of them closed. */
void hak_magazine_birth(struct hak_magazines *magazines);

/* Gives all blocks and leases back and leaves the owner's heads as before its birth. Costs in
 * proportion to the classes that were used. */
void hak_magazine_death(struct hak_magazines *magazines);

/* Where the owner ended without its death: its heads are gone, and with them how many blocks there
 * were. The leases are given back. */
void hak_magazine_lose(struct hak_magazines *magazines);

/* As death, but past the depots, and the thread goes on: a trim wants the slabs to become empty. */
void hak_magazine_shed(struct hak_magazines *magazines);

/* Fills an empty magazine and takes one block from it. NULL: no memory. */
void *hak_magazine_refill(struct hak_magazines *magazines, unsigned class_idx);

/* Makes room in a full magazine and keeps a block in it. */
void hak_magazine_flush(struct hak_magazines *magazines, unsigned class_idx, void *block);

/* The same without a magazine, for threads that have none: straight from and to the slabs. */
void *hak_magazine_take_direct(unsigned class_idx);
void hak_magazine_give_direct(unsigned class_idx, void *block);

/* Shows a thread's cached blocks, an array for each class in use. With the gate closed: arrays stay
 * where they are, though their owner may push and pop. */
typedef void (*hak_cached_visitor)(void *context, void *const *blocks, unsigned count);
void hak_magazine_visit(const struct hak_magazines *magazines, hak_cached_visitor visitor,
			void *context);

/* Blocks of the class in a thread's magazine. */
size_t hak_magazine_count(const struct hak_magazines *magazines, unsigned class_idx);

bool hak_magazine_is_valid(const struct hak_magazines *magazines);

#endif
