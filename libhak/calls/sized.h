/* sized.h - frees that say how large the block is: C23's calls and C++'s sized delete.
 *
 * What they say is compared with the block's class, which costs a look into a table; a block that
 * could not have been allocated so is misuse, found at once.
 */
#ifndef HAK_CALLS_SIZED_H
#define HAK_CALLS_SIZED_H

#include "base/config.h"

/* Frees a block of malloc, calloc or realloc, last of so many bytes. call: whose misuse it is. */
void hak_sized_free(void *block, size_t size, const char *call);

/* The same for a block of an aligned call; alignment is what that was given. */
void hak_sized_free_aligned(void *block, size_t alignment, size_t size, const char *call);

#endif
