/* shared.h - the page that a daemon reads, where this process has given one away.
 *
 * govern/attach.c makes it; whoever changes something that is told there asks for it before each
 * store. The pointer to it lies in a page of its own that every kind of fork wipes
 * (MADV_WIPEONFORK), and the mapping is not passed on (MADV_DONTFORK): a child, even one of a raw
 * clone(2), finds none and writes nothing.
 *
 * Once made, the mapping stays at its address for the life of the process; a new daemon gets a new
 * memfd that is mapped over the old one.
 *
 * A row of the table says which units are used and free, and which pages are marked MADV_FREE. The
 * pool knows the first two and the marks of free units; the marks in slabs lie in the descriptors
 * (advice.h), which change without a lock. So there is one for rows alone:
 *
 *   who                       | holds       | writes
 *   the pool, with a change   | POOL, ROW   | used, free, and the marks of free units; those of
 *                             |             | units that were used and still are stay as they are
 *   who changed a slab's bits | ROW         | the marks of this slab, as in its descriptor then
 *   who gives the page away   | POOL, ROW   | all, from pool and descriptors
 *
 * Bits fall before memory may be taken: whoever takes a block changes the descriptor and then the
 * row before it uses the block, and units leave the pool under its lock. They rise after the
 * madvise(2). Nobody's change is lost where a page is given away meanwhile: a change of bits comes
 * before the look whether there is a page, the giving before the look at the bits, and all four are
 * sequentially consistent, so one of the two sees the other (Dekker 1965).
 *
 * The memory of the page comes as it is needed, some dozens of rows at a time, and is asked for
 * before it is touched: shared memory is not there for good once it is mapped (shared.c, has_row).
 *
 * What the daemon may have scribbled into a row is kept, and misleads the daemon alone.
 *
 * Threads    any.
 * Source     proto/page.h, madvise(2).
 */
#ifndef HAK_HEAP_SHARED_H
#define HAK_HEAP_SHARED_H

#include "base/config.h"
#include "heap/control.h"

#include <stdatomic.h>

struct hak_shared {
	_Atomic(unsigned char *) page; /* the mapping, proto/page.h; NULL: nobody reads it */
	unsigned char *mapping;	       /* the same, kept for the next daemon; attach.c's own */
	_Atomic uint32_t agent_count;  /* 0 or 1 threads of ours (govern/agent.h) */
	_Atomic uint64_t agent_due_ns; /* when one may be started; agent.c's own */
	_Atomic int pid;	       /* whose memory it is; 0: not known yet */
};

/* NULL until the process has such a page; it is read by hak_shared_get() alone. */
extern HAK_HIDDEN _Atomic(struct hak_shared *) hak_shared;

HAK_INLINE struct hak_shared *hak_shared_get(void)
{
	/* acquire: pairs with the release in hak_attach_share(), which wrote to the page before */
	return atomic_load_explicit(&hak_shared, memory_order_acquire);
}

/* seq_cst: an acquire, which pairs with the releases of who attached, and for those who changed a
 * slab's bits the half of the above */
HAK_INLINE unsigned char *hak_shared_page(void)
{
	struct hak_shared *shared = hak_shared_get();

	return shared == NULL ? NULL : atomic_load_explicit(&shared->page, memory_order_seq_cst);
}

/* A word of the page. */
HAK_INLINE _Atomic uint64_t *hak_shared_word(unsigned char *page, size_t offset)
{
	return (_Atomic uint64_t *)(void *)(page + offset);
}

/* CLOCK_MONOTONIC, as the daemon has it, when it last took marked pages; 0: never. */
uint64_t hak_shared_reclaimed_ns(void);

/* Writes a part of the page under its sequence, its first word; `bytes` is what a codec of proto/
 * made, its own first word aside. One writer at a time. */
void hak_shared_write(unsigned char *page, size_t offset, const uint8_t *bytes, size_t byte_count);

/* What the pool knows of one SuperSlab: sets of HAK_SUPERSLAB_WORDS words, a bit for each unit. */
struct hak_shared_units {
	const uint64_t *free;
	const uint64_t *untouched; /* free, and hold no memory */
	const uint64_t *lazy;	   /* free, and marked MADV_FREE */
};

/* A page is about to be given away, of which no row is there yet. Under the pool's lock. */
void hak_shared_begin_rows(void);

/* Writes the row of one SuperSlab, after a change; the first time on a page (`is_new`) with the
 * marks that slabs have. Under the pool's lock. False: there is no memory for the row, and the page
 * tells half of it: it is to be given up. */
bool hak_shared_write_superslab(unsigned char *page, uint32_t superslab,
				const struct hak_shared_units *units, bool is_new);

/* Writes the marks of a slab, after its lazy_pages changed (by
 * seq_cst). The caller has blocks of it. Does nothing where nobody reads. */
void hak_shared_write_slab(const struct hak_slab *slab);

#endif
