#include "heap/superslab.h"

#include "heap/meta.h"
#include "heap/region.h"

#include <stdatomic.h>

/* Which SuperSlabs are on a shelf: a bit each, and over 64 of these words a bit "word not 0". With
 * each word goes a row of descriptors. */
#define ROW_SUPERSLABS HAK_WORD_BITS
#define GROUP_SUPERSLABS (ROW_SUPERSLABS * HAK_WORD_BITS)
#define GROUPS_MAX (HAK_SUPERSLABS_MAX / GROUP_SUPERSLABS)

static HAK_EARLY struct {
	uint32_t row_count;		    /* rows in use */
	_Atomic uint32_t stocked;	    /* a bit for each shelf that has any */
	uint32_t on_shelf[HAK_SHELF_COUNT]; /* SuperSlabs on each */
} shelves;

/* Aligned: what a small heap uses of the first is in one page. */
static _Alignas(1024) struct group {
	uint64_t summary[HAK_SHELF_COUNT];
	struct hak_superslab *row[HAK_WORD_BITS];
	uint64_t word[HAK_WORD_BITS][HAK_SHELF_COUNT];
} groups[GROUPS_MAX];

static struct group *group_of(uint32_t index)
{
	return &groups[index / GROUP_SUPERSLABS];
}

static struct hak_superslab **row_of(uint32_t index)
{
	return &group_of(index)->row[index / ROW_SUPERSLABS % HAK_WORD_BITS];
}

struct hak_superslab *hak_superslab_at(uint32_t index)
{
	return &(*row_of(index))[index % ROW_SUPERSLABS];
}

bool hak_superslab_has_room(uint32_t index)
{
	if (index == HAK_SUPERSLABS_MAX)
		return false;
	/* By a count: what is read before it is written costs a page fault more. */
	if (index / ROW_SUPERSLABS == shelves.row_count) {
		*row_of(index) = hak_meta_take(ROW_SUPERSLABS * sizeof(struct hak_superslab));
		if (*row_of(index) == NULL)
			return false;
		shelves.row_count++;
	}
	return true;
}

unsigned hak_shelf_for(unsigned unit_count)
{
	if (unit_count <= HAK_SLAB_UNITS_MAX)
		return unit_count;
	return unit_count < 32		    ? HAK_SHELF_17
	       : unit_count < HAK_WORD_BITS ? HAK_SHELF_32
					    : HAK_SHELF_64;
}

unsigned hak_shelf_of(const struct hak_superslab *superslab)
{
	bool is_empty = superslab->free[0] == HAK_WORD_FREE && superslab->free[1] == HAK_WORD_FREE;

	return is_empty ? HAK_SHELF_EMPTY : hak_shelf_for(superslab->longest);
}

uint32_t hak_shelf_stocked(void)
{
	return atomic_load_explicit(&shelves.stocked, memory_order_relaxed);
}

static void change_stocked(unsigned shelf)
{
	atomic_store_explicit(&shelves.stocked, hak_shelf_stocked() ^ (uint32_t)1 << shelf,
			      memory_order_relaxed);
}

/* A shelf's word with the bit of this SuperSlab; its bit number is index % HAK_WORD_BITS. */
static uint64_t *shelf_word(unsigned shelf, uint32_t index)
{
	return &group_of(index)->word[index / HAK_WORD_BITS % HAK_WORD_BITS][shelf];
}

void hak_shelf_add(unsigned shelf, uint32_t index)
{
	unsigned word_number = index / HAK_WORD_BITS % HAK_WORD_BITS;

	*shelf_word(shelf, index) |= (uint64_t)1 << index % HAK_WORD_BITS;
	group_of(index)->summary[shelf] |= (uint64_t)1 << word_number;
	if (shelves.on_shelf[shelf]++ == 0)
		change_stocked(shelf);
}

void hak_shelf_remove(unsigned shelf, uint32_t index)
{
	unsigned word_number = index / HAK_WORD_BITS % HAK_WORD_BITS;

	*shelf_word(shelf, index) &= ~((uint64_t)1 << index % HAK_WORD_BITS);
	if (*shelf_word(shelf, index) == 0)
		group_of(index)->summary[shelf] &= ~((uint64_t)1 << word_number);
	if (--shelves.on_shelf[shelf] == 0)
		change_stocked(shelf);
}

uint32_t hak_shelf_first(unsigned shelf, uint32_t from)
{
	uint32_t word = from / HAK_WORD_BITS;
	uint64_t bits;

	if (from >= hak_region.superslab_count)
		return HAK_SHELF_NO_SUPERSLAB;
	bits = *shelf_word(shelf, from) >> from % HAK_WORD_BITS;
	if (bits != 0)
		return from + (uint32_t)__builtin_ctzl(bits);
	word++;
	for (uint32_t i = word / HAK_WORD_BITS; i * HAK_WORD_BITS < shelves.row_count; i++) {
		const struct group *group = &groups[i];
		uint64_t summary = group->summary[shelf];

		if (i == word / HAK_WORD_BITS)
			summary &= ~(uint64_t)0 << word % HAK_WORD_BITS;
		if (summary == 0)
			continue;
		word = (uint32_t)__builtin_ctzl(summary);
		return (i * HAK_WORD_BITS + word) * HAK_WORD_BITS +
		       (uint32_t)__builtin_ctzl(group->word[word][shelf]);
	}
	return HAK_SHELF_NO_SUPERSLAB;
}

bool hak_superslab_is_valid(uint32_t index)
{
	const struct hak_superslab *superslab = hak_superslab_at(index);
	unsigned shelf = superslab->shelf, own = hak_shelf_of(superslab);

	for (unsigned i = 1; i < HAK_SHELF_COUNT; i++)
		if ((*shelf_word(i, index) >> index % HAK_WORD_BITS & 1) != (i == shelf))
			return false;
	return own == (shelf == HAK_SHELF_RETURNED ? HAK_SHELF_EMPTY : shelf);
}
