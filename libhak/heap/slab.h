/* slab.h - slabs: blocks of one class that belong to nobody; any thread gives to any slab.
 *
 *   states of a slab, and who moves it:
 *
 *      pool --take--> leased --unlease--> full   --a give-->  listed --lease--> leased
 *                        |                 |                    |
 *                        +--unlease, all free, or the last give-+--> EMPTY: retired, to the pool
 *
 * The protocol. Taking reserves first: the count goes down by CAS, then that many bits are claimed.
 * Giving sets the bits first, then adds to the count. So popcount(bits) >= count at every moment,
 * a reservation always finds its bits, and count == blocks means that all are really there. Who
 * moves {all free, not leased} to neither-slab-nor-run by CAS owns the units alone: it takes the
 * slab off its list, clears class bytes and bits, and gives the units to the pool. Nobody touches a
 * descriptor after its own add, except by a CAS on the same generation.
 *
 *   who meets whom   | take (the lessee)      | give                     | lease, unlease
 *   take             | one lessee at a time   | own bits, count by CAS   | same thread
 *   give             |                        | own bits, count by add   | the later one settles:
 *   settle           | fails on "leased"      | one CAS wins             | lists, retires or
 *   neither
 *
 * Threads    any; inside the fork gate. CLASS is held to link and unlink alone, POOL never inside.
 * Errors     HAK_POOL_NONE or 0 blocks: no memory. Misuse found here is reported (misuse.h).
 */
#ifndef HAK_HEAP_SLAB_H
#define HAK_HEAP_SLAB_H

#include "base/config.h"
#include "base/size_class.h"
#include "heap/control.h"
#include "heap/pool.h"

/* A slab of the class with free blocks, leased to the caller: a listed one, else a new one from the
 * pool. Returns its first unit. */
uint32_t hak_slab_lease(unsigned class_idx);

/* Ends the lease; the slab is listed, retired or left full. */
void hak_slab_unlease(uint32_t unit);

/* Takes up to `count` blocks from a slab that the caller leases: those of the lowest addresses, and
 * the lowest of them last. Returns how many, 0 where none is free. */
unsigned hak_slab_take(uint32_t unit, unsigned count, void **blocks);

/* Gives `count` blocks of one class back to their slabs. A block that is not a block of that class
 * in use is misuse, and left alone. */
void hak_slab_give(unsigned class_idx, void *const *blocks, unsigned count);

/* Claims all blocks of a slab of this generation that are free now, a bit each. Returns how many.
 * While they are the caller's the slab cannot be retired, and whoever wants one of them takes from
 * another slab. Then gives them back. */
unsigned hak_slab_claim_free(uint32_t unit, uint32_t generation, uint64_t claimed[HAK_SLAB_WORDS]);
void hak_slab_unclaim(uint32_t unit, const uint64_t claimed[HAK_SLAB_WORDS], unsigned count);

/* Whether a block begins at this address in a slab of this class, whose first unit is given. */
HAK_INLINE bool hak_slab_has_start(unsigned class_idx, uint32_t unit, const void *block)
{
	const struct hak_size_class *size_class = &hak_size_classes[class_idx];
	size_t offset = (size_t)((const char *)block - hak_region_address(unit));
	unsigned index = hak_size_class_index(class_idx, offset);

	return index * (size_t)size_class->block_bytes == offset && index < size_class->block_count;
}

/* What a slab block's pointer says of it, checked: its first byte is a block's first byte. False:
 * it is not, and that was reported as misuse by `call`. */
bool hak_slab_check_block(unsigned class_idx, const void *block, const char *call);

/* Reports that a block was freed twice, or that it never was a block. */
void hak_slab_report_double_free(unsigned class_idx, const void *block);

#endif
