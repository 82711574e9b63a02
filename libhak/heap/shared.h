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
 * Threads    any. The rows are written under the pool's lock.
 * Source     proto/page.h, madvise(2).
 */
#ifndef HAK_HEAP_SHARED_H
#define HAK_HEAP_SHARED_H

#include "base/config.h"

#include <stdatomic.h>

struct hak_shared {
	_Atomic(unsigned char *) page; /* the mapping, proto/page.h; NULL: nobody reads it */
	unsigned char *mapping;	       /* the same, kept for the next daemon; attach.c's own */
};

/* NULL until the process has such a page. */
extern HAK_HIDDEN _Atomic(struct hak_shared *) hak_shared;

/* acquire: pairs with the releases of who attached */
HAK_INLINE unsigned char *hak_shared_page(void)
{
	struct hak_shared *shared = atomic_load_explicit(&hak_shared, memory_order_acquire);

	return shared == NULL ? NULL : atomic_load_explicit(&shared->page, memory_order_acquire);
}

/* A word of the page. */
HAK_INLINE _Atomic uint64_t *hak_shared_word(unsigned char *page, size_t offset)
{
	return (_Atomic uint64_t *)(void *)(page + offset);
}

/* Writes a part of the page under its sequence, its first word; `bytes` is what a codec of proto/
 * made, its own first word aside. One writer at a time. */
void hak_shared_write(unsigned char *page, size_t offset, const uint8_t *bytes, size_t byte_count);

/* Writes the row of one SuperSlab. Under the pool's lock. */
void hak_shared_write_superslab(unsigned char *page, uint32_t superslab,
				const uint64_t used[HAK_SUPERSLAB_WORDS],
				const uint64_t free[HAK_SUPERSLAB_WORDS]);

#endif
