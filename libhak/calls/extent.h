/* extent.h - what a pointer says of its block: its kind and its bytes.
 *
 * Threads    any, outside the fork gate: it is entered here where it must be.
 */
#ifndef HAK_CALLS_EXTENT_H
#define HAK_CALLS_EXTENT_H

#include "base/config.h"

/* Three kinds of block, as config.h has them; the next malloc's where libhak stands aside; and what
 * is no block. */
enum hak_extent_kind {
	HAK_EXTENT_SMALL,
	HAK_EXTENT_RUN,
	HAK_EXTENT_HUGE,
	HAK_EXTENT_FORWARDED,
	HAK_EXTENT_MISUSED,
};

struct hak_extent {
	enum hak_extent_kind kind;
	size_t bytes;
};

/* The block that begins at this address. Misuse by `call`, and reported as such, where none does.
 * */
struct hak_extent hak_extent_of(const void *block, const char *call);

#endif
