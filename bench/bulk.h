/* bulk.h - a large heap of small blocks for a moment, which is mostly freed and then hardly used.
 *
 * What burst.c and purge.c both do to a heap: blocks of 16 to 4,096 bytes, whose sizes and draws
 * follow from the seed alone.
 */
#ifndef BENCH_BULK_H
#define BENCH_BULK_H

#include <stddef.h>
#include <stdint.h>

struct bulk_slot {
	char *block; /* NULL: freed */
	size_t size;
};

struct bulk {
	struct bulk_slot *slots;
	size_t slot_count;
};

/* As many slots as blocks of random sizes are byte_count bytes, in memory that is not malloc's. */
struct bulk bulk_plan(uint64_t byte_count, uint64_t seed);

/* Frees `percent` of the blocks, drawn at random. */
void bulk_free(struct bulk *bulk, uint64_t percent, uint64_t seed);

/* Allocates and frees BULK_LIGHT_BLOCKS of such sizes; and does so a hundred times a second. */
#define BULK_LIGHT_BLOCKS 64u
void bulk_work_once(uint64_t *random);
void bulk_work_lightly(double seconds, uint64_t seed);

#endif
