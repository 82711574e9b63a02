/* superslab.h - a row of the table: what the 128 units of one SuperSlab are.
 *
 *   0    sequence (page.h), 0 where the SuperSlab was never opened
 *   8    used, 128 bits: units in slabs and runs
 *   24   free, 128 bits: units that are free and may hold memory
 *   40   lazyfree, 512 bits: pages of 4 KiB that are marked MADV_FREE, in free units and in slabs
 *   104  reserved, 24 bytes
 *
 * Bit i of a set is bit i % 64 of word i / 64. A unit that is neither used nor free holds no
 * memory. A bit of lazyfree falls before the program can use the page, and rises after the kernel
 * was told; it stays where the kernel, or somebody else by process_madvise(2), has taken the page
 * meanwhile. Pure; no allocation.
 */
#ifndef HAK_PROTO_SUPERSLAB_H
#define HAK_PROTO_SUPERSLAB_H

#include <stdint.h>

struct hak_superslab_row {
	uint64_t sequence;
	uint64_t used[2];
	uint64_t free[2];
	uint64_t lazyfree[8];
	uint64_t reserved[3];
};

#define HAK_SUPERSLAB_ROW_BYTES 128

void hak_superslab_row_encode(const struct hak_superslab_row *row,
			      uint8_t bytes[HAK_SUPERSLAB_ROW_BYTES]);
void hak_superslab_row_decode(const uint8_t bytes[HAK_SUPERSLAB_ROW_BYTES],
			      struct hak_superslab_row *row);

#endif
