/* bitmap.h - words of free bits: what is set is free. One idea for blocks and for units.
 *
 * Blocks of a slab are claimed and given back by any thread at any time, with one atomic operation
 * a word. Units of a SuperSlab are found as runs inside one word; the pool's lock is held there.
 *
 *   take x give    independent bits; the acquire of take pairs with the release of give, so that
 *                  what the last owner wrote to a block is seen before the next one writes
 *   take x take    each bit goes to one of them
 *   give x give    each reports the bits of its own mask that were free already
 */
#ifndef HAK_BASE_BITMAP_H
#define HAK_BASE_BITMAP_H

#include "base/solo.h"

/* The lowest `count` bits that are set in word, all of them where it has fewer. */
HAK_INLINE uint64_t hak_bitmap_lowest(uint64_t word, unsigned count)
{
	uint64_t rest = word;

	if (count >= HAK_WORD_BITS)
		return word;
	for (; count != 0 && rest != 0; count--)
		rest &= rest - 1;
	return word ^ rest;
}

/* Claims up to `count` free bits, lowest first. Returns the bits that are now the caller's. */
HAK_INLINE uint64_t hak_bitmap_take(_Atomic uint64_t *word, unsigned count)
{
	uint64_t seen = atomic_load_explicit(word, memory_order_relaxed);

	for (;;) {
		uint64_t wanted = hak_bitmap_lowest(seen, count);

		if (wanted == 0)
			return 0;
		/* acquire: pairs with the release in hak_bitmap_give() */
		seen = hak_solo_and(word, ~wanted, memory_order_acquire);
		if ((seen & wanted) != 0)
			return seen & wanted;
		/* Somebody took all of them in between: rare, and what is there now is in
		 * `seen`. */
	}
}

/* The same for the secure build: the first of them from bit `from` on, around the word's end. */
HAK_INLINE uint64_t hak_bitmap_take_from(_Atomic uint64_t *word, unsigned count, unsigned from)
{
	uint64_t seen = atomic_load_explicit(word, memory_order_relaxed);

	for (;;) {
		uint64_t rotated = seen >> from | (from != 0 ? seen << (HAK_WORD_BITS - from) : 0);
		uint64_t lowest = hak_bitmap_lowest(rotated, count);
		uint64_t wanted = lowest << from |
				  (from != 0 ? lowest >> (HAK_WORD_BITS - from) : 0);

		if (wanted == 0)
			return 0;
		/* acquire: as in hak_bitmap_take() */
		seen = hak_solo_and(word, ~wanted, memory_order_acquire);
		if ((seen & wanted) != 0)
			return seen & wanted;
	}
}

/* Gives bits back. Returns those of them that were free already: 0 unless somebody gave twice. */
HAK_INLINE uint64_t hak_bitmap_give(_Atomic uint64_t *word, uint64_t mask)
{
	/* release: pairs with the acquire in hak_bitmap_take() */
	return hak_solo_or(word, mask, memory_order_release) & mask;
}

/* A mask of `count` (1..64) bits from bit `first` on; first + count <= 64. */
HAK_INLINE uint64_t hak_bitmap_mask(unsigned first, unsigned count)
{
	return (~(uint64_t)0 >> (HAK_WORD_BITS - count)) << first;
}

/* Where `count` (1..64) set bits in a row begin, each start noted by its lowest bit. */
HAK_INLINE uint64_t hak_bitmap_run_starts(uint64_t word, unsigned count)
{
	unsigned have = 1;

	/* Invariant: bit i of word is set iff `have` bits in a row are set from i on. */
	while (have < count && word != 0) {
		unsigned step = count - have < have ? count - have : have;

		word &= word >> step;
		have += step;
	}
	return word;
}

/* The groups of `count` bits, each at a multiple of it, of which all are set; each bit where count
 * is 0 or 1. A power of two to 64. */
HAK_INLINE uint64_t hak_bitmap_groups(uint64_t word, unsigned count)
{
	if (hak_likely(count <= 1))
		return word;
	uint64_t group = hak_bitmap_mask(0, count);

	return (hak_bitmap_run_starts(word, count) & UINT64_MAX / group) * group;
}

/* The longest row of set bits, 0..64, by halves: rows of 2^i bits for every i, then the longest
 * made up of those. */
HAK_INLINE unsigned hak_bitmap_longest_run(uint64_t word)
{
	uint64_t starts[6] = {word}; /* starts[i]: where 2^i set bits in a row begin */
	unsigned top = 0, length;

	if (word == 0 || word == UINT64_MAX)
		return word == 0 ? 0 : HAK_WORD_BITS;
	while (top < 5 && (starts[top + 1] = starts[top] & starts[top] >> (1u << top)) != 0)
		top++;
	word = starts[top];
	length = 1u << top;
	while (top-- > 0) {
		uint64_t longer = word & starts[top] >> length;

		if (longer != 0) {
			word = longer;
			length += 1u << top;
		}
	}
	return length;
}

#endif
