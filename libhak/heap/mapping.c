#include "heap/mapping.h"

#include "base/os.h"
#include "base/probe.h"
#include "heap/meta.h"

#include <stdatomic.h>
#include <string.h>

#define PIECES_MAX HAK_MAPPING_PIECES_MAX
#define MAPPING_LOG2 4
static_assert(sizeof(struct hak_mapping) <= sizeof(void *) << MAPPING_LOG2, "it fits its array");

/* Mappings of several pieces that there may be at once: of the 65,530 that a process may have. */
#define GATHERED_MAX 512

static _Atomic int gathered_count; /* of several pieces */

bool hak_mapping_may_gather(void)
{
	return atomic_load_explicit(&gathered_count, memory_order_relaxed) < GATHERED_MAX;
}

static struct hak_mapping *take_record(void)
{
	return (struct hak_mapping *)(void *)hak_meta_take_array(MAPPING_LOG2);
}

static void give_record(struct hak_mapping *mapping)
{
	hak_meta_give_array((void **)(void *)mapping, MAPPING_LOG2);
}

static size_t piece_bytes(const struct hak_mapping *mapping, unsigned i)
{
	return mapping->piece_count == 1 ? mapping->bytes
					 : mapping->piece_pages[i] * hak_os_page_bytes();
}

static void set_piece_count(struct hak_mapping *mapping, unsigned was, unsigned count)
{
	int change = (count > 1) - (was > 1);

	mapping->piece_count = (uint8_t)count;
	if (hak_unlikely(change != 0))
		atomic_fetch_add_explicit(&gathered_count, change, memory_order_relaxed);
}

/* True: the budget has room for so many bytes more of a mapping, and they are held. */
static bool reserve(struct hak_mapping *mapping, size_t bytes)
{
	size_t held;

	if (!hak_budget_reserve(bytes, &held))
		return false;
	mapping->held_bytes += held;
	return true;
}

/* So many bytes are not needed after all. */
static void take_back(struct hak_mapping *mapping, size_t bytes)
{
	size_t held = mapping->held_bytes < bytes ? mapping->held_bytes : bytes;

	hak_budget_release(held);
	mapping->held_bytes -= held;
}

/* The record goes; the memory has gone already, or elsewhere. */
static void forget(struct hak_mapping *mapping)
{
	hak_mapping_arrive(mapping);
	set_piece_count(mapping, mapping->piece_count, 1);
	give_record(mapping);
}

/* Fresh memory at a multiple of `alignment`: map more, cut both ends off. */
static char *map_aligned(size_t bytes, size_t alignment)
{
	size_t mapped = bytes + alignment;
	char *start;

	if (alignment <= hak_os_page_bytes())
		return hak_os_map(bytes);
	if (mapped < bytes || (start = hak_os_map(mapped)) == NULL)
		return NULL;
	size_t before = (size_t)(-(uintptr_t)start & (alignment - 1));

	if (before != 0)
		hak_os_unmap(start, before);
	if (before != alignment)
		hak_os_unmap(start + before + bytes, alignment - before);
	return start + before;
}

struct hak_mapping *hak_mapping_make(size_t bytes, size_t alignment)
{
	struct hak_mapping *mapping = take_record();

	if (mapping == NULL)
		return NULL;
	*mapping = (struct hak_mapping){.bytes = bytes, .piece_count = 1};
	if (reserve(mapping, bytes))
		mapping->start = map_aligned(bytes, alignment);
	if (mapping->start == NULL) {
		forget(mapping);
		return NULL;
	}
	HAK_PROBE(huge_map, mapping->start, bytes);
	return mapping;
}

void hak_mapping_unmap(struct hak_mapping *mapping)
{
	/* First: what is on its way out is in nobody's way. */
	hak_mapping_arrive(mapping);
	hak_os_unmap(mapping->start, mapping->bytes);
	HAK_PROBE(huge_unmap, mapping->start, mapping->bytes);
	forget(mapping);
}

/* Shortens the list of pieces to what lies in the first `bytes`; what lies behind is the tail's. */
static void cut_pieces(struct hak_mapping *mapping, size_t bytes, struct hak_mapping *tail)
{
	size_t page_bytes = hak_os_page_bytes();
	unsigned was = mapping->piece_count, count = 0, tail_count = 0;
	size_t at = 0;

	for (unsigned i = 0; i < was && was > 1; i++) {
		size_t end = at + piece_bytes(mapping, i);

		if (end > bytes)
			tail->piece_pages[tail_count++] =
				(uint32_t)((end - (at > bytes ? at : bytes)) / page_bytes);
		if (at < bytes) {
			mapping->piece_pages[i] = (uint32_t)(((end < bytes ? end : bytes) - at) /
							     page_bytes);
			count++;
		}
		at = end;
	}
	set_piece_count(mapping, was, was > 1 ? count : 1);
	set_piece_count(tail, 1, was > 1 ? tail_count : 1);
	tail->start = mapping->start + bytes;
	tail->bytes = mapping->bytes - bytes;
	tail->held_bytes = mapping->held_bytes > bytes ? mapping->held_bytes - bytes : 0;
	mapping->held_bytes -= tail->held_bytes;
	mapping->bytes = bytes;
}

static void unmap_tail(struct hak_mapping *mapping, size_t bytes)
{
	struct hak_mapping tail;

	cut_pieces(mapping, bytes, &tail);
	hak_os_unmap(tail.start, tail.bytes);
	hak_mapping_arrive(&tail);
	set_piece_count(&tail, tail.piece_count, 1);
}

struct hak_mapping *hak_mapping_cut(struct hak_mapping *mapping, size_t bytes)
{
	struct hak_mapping *tail = mapping->bytes - bytes > HAK_RUN_BYTES_MAX ? take_record()
									      : NULL;

	if (tail == NULL)
		unmap_tail(mapping, bytes);
	else
		cut_pieces(mapping, bytes, tail);
	return tail;
}

/* An address range that pieces are moved into. */
struct range {
	char *start;
	size_t bytes, filled;
	uint32_t piece_pages[PIECES_MAX];
	unsigned piece_count;
};

/* A piece was not moved. All that was to be gathered goes but for the addresses where the piece was
 * to lie: mremap(2) clears them first, and so they may be another's by now. */
static void drop(const struct range *range, size_t piece, char *rest, size_t rest_bytes)
{
	size_t behind = range->filled + piece;

	hak_os_unmap(rest, rest_bytes);
	if (range->filled != 0)
		hak_os_unmap(range->start, range->filled);
	if (behind != range->bytes)
		hak_os_unmap(range->start + behind, range->bytes - behind);
}

/* False: range and mapping are gone. */
static bool move(const struct hak_mapping *from, struct range *range)
{
	size_t moved = 0;

	for (unsigned i = 0; i < from->piece_count; i++) {
		size_t piece = piece_bytes(from, i);

		if (!hak_os_move(from->start + moved, piece, range->start + range->filled)) {
			drop(range, piece, from->start + moved, from->bytes - moved);
			return false;
		}
		range->piece_pages[range->piece_count++] = (uint32_t)(piece / hak_os_page_bytes());
		range->filled += piece;
		moved += piece;
	}
	return true;
}

/* Into a range as long as all of them or longer. False: all are gone. */
static bool move_all(struct hak_mapping *const *mappings, unsigned count, struct range *range)
{
	bool moved = range->start != NULL;

	for (unsigned i = 0; i < count; i++) {
		if (moved)
			moved = move(mappings[i], range);
		else
			hak_os_unmap(mappings[i]->start, mappings[i]->bytes);
	}
	for (unsigned i = 1; i < count; i++) {
		mappings[0]->held_bytes += mappings[i]->held_bytes;
		mappings[i]->held_bytes = 0;
		forget(mappings[i]);
	}
	return moved;
}

struct hak_mapping *hak_mapping_gather(struct hak_mapping *const *mappings, unsigned count,
				       size_t bytes)
{
	struct hak_mapping *whole = mappings[0];
	struct range range = {.bytes = bytes};
	size_t have = 0;

	for (unsigned i = 0; i < count; i++)
		have += mappings[i]->bytes;
	if (have >= bytes || reserve(whole, bytes - have))
		range.start = hak_os_map(bytes);
	if (!move_all(mappings, count, &range)) {
		forget(whole);
		return NULL;
	}
	if (range.filled < bytes)
		range.piece_pages[range.piece_count++] = (uint32_t)((bytes - range.filled) /
								    hak_os_page_bytes());
	HAK_PROBE(huge_resize, whole->start, range.start, whole->bytes, bytes);
	set_piece_count(whole, whole->piece_count, range.piece_count);
	memcpy(whole->piece_pages, range.piece_pages, sizeof range.piece_pages);
	whole->start = range.start;
	whole->bytes = bytes;
	return whole;
}

/* Several pieces become one, by a copy: what grows once may go on growing, and then moves by its
 * pages. NULL: no memory. */
static char *copy(struct hak_mapping *mapping, size_t bytes)
{
	char *start = hak_os_map(bytes);

	if (start == NULL)
		return NULL;
	memcpy(start, mapping->start, mapping->bytes);
	hak_os_unmap(mapping->start, mapping->bytes);
	set_piece_count(mapping, mapping->piece_count, 1);
	return start;
}

bool hak_mapping_resize(struct hak_mapping *mapping, size_t bytes)
{
	char *start;

	if (bytes < mapping->bytes) {
		unmap_tail(mapping, bytes);
		return true;
	}
	if (!reserve(mapping, bytes - mapping->bytes))
		return false;
	start = mapping->piece_count > 1 ? copy(mapping, bytes)
					 : hak_os_remap(mapping->start, mapping->bytes, bytes);
	if (start == NULL) {
		take_back(mapping, bytes - mapping->bytes);
		return false;
	}
	HAK_PROBE(huge_resize, mapping->start, start, mapping->bytes, bytes);
	mapping->start = start;
	mapping->bytes = bytes;
	return true;
}

bool hak_mapping_is_valid(const struct hak_mapping *mapping)
{
	size_t bytes = 0;

	for (unsigned i = 0; i < mapping->piece_count; i++)
		bytes += piece_bytes(mapping, i);
	return bytes == mapping->bytes && mapping->piece_count <= PIECES_MAX &&
	       (uintptr_t)mapping->start % hak_os_page_bytes() == 0;
}
