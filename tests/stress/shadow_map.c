#include "shadow_map.h"

#include "stress.h"

#include <stdatomic.h>
#include <sys/mman.h>

#define ADDRESS_BITS 47
#define GRAIN_SHIFT 4
#define LEAF_SHIFT 30
#define WORD_BITS 64
#define LEAF_WORDS ((size_t)1 << (LEAF_SHIFT - GRAIN_SHIFT - 6))
#define LEAVES ((size_t)1 << (ADDRESS_BITS - LEAF_SHIFT))

typedef _Atomic uint64_t shadow_word;

static _Atomic(shadow_word *) leaves[LEAVES];
static _Atomic size_t marked_count;

static shadow_word *leaf_of(size_t index)
{
	/* acquire, release: a leaf is zeroed by the kernel before anybody sees it */
	shadow_word *leaf = atomic_load_explicit(&leaves[index], memory_order_acquire);

	if (leaf != NULL)
		return leaf;
	shadow_word *fresh = mmap(NULL, LEAF_WORDS * sizeof(shadow_word), PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (fresh == MAP_FAILED)
		stress_fail("no memory for the shadow map");
	if (atomic_compare_exchange_strong_explicit(&leaves[index], &leaf, fresh,
						    memory_order_acq_rel, memory_order_acquire))
		return fresh;
	munmap(fresh, LEAF_WORDS * sizeof(shadow_word));
	return leaf;
}

/* Sets or clears; returns how many bits were changed. */
static size_t change_word(size_t word, uint64_t mask, bool mark)
{
	shadow_word *leaf = leaf_of(word / LEAF_WORDS);
	shadow_word *at = &leaf[word % LEAF_WORDS];
	uint64_t seen = mark ? atomic_fetch_or_explicit(at, mask, memory_order_relaxed)
			     : atomic_fetch_and_explicit(at, ~mask, memory_order_relaxed);

	return (size_t)__builtin_popcountl(mark ? ~seen & mask : seen & mask);
}

/* Returns true if every grain of the range was changed. */
static bool change(const void *address, size_t bytes, bool mark)
{
	uintptr_t first_byte = (uintptr_t)address;
	size_t grain = first_byte >> GRAIN_SHIFT;
	size_t end = ((first_byte + (bytes != 0 ? bytes : 1) - 1) >> GRAIN_SHIFT) + 1;
	size_t wanted = end - grain, changed = 0;

	if ((first_byte + bytes) >> ADDRESS_BITS != 0)
		stress_fail("%p, %zu bytes, is no address of a program", address, bytes);
	while (grain < end) {
		size_t bit = grain % WORD_BITS;
		size_t count = end - grain < WORD_BITS - bit ? end - grain : WORD_BITS - bit;

		changed += change_word(grain / WORD_BITS,
				       (~(uint64_t)0 >> (WORD_BITS - count)) << bit, mark);
		grain += count;
	}
	if (mark)
		atomic_fetch_add_explicit(&marked_count, changed, memory_order_relaxed);
	else
		atomic_fetch_sub_explicit(&marked_count, changed, memory_order_relaxed);
	return changed == wanted;
}

bool shadow_map_mark(const void *address, size_t bytes)
{
	return change(address, bytes, true);
}

bool shadow_map_clear(const void *address, size_t bytes)
{
	return change(address, bytes, false);
}

size_t shadow_map_count(void)
{
	return atomic_load_explicit(&marked_count, memory_order_relaxed);
}
