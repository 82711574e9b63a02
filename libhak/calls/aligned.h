/* aligned.h - which class serves an aligned block. */
#ifndef HAK_CALLS_ALIGNED_H
#define HAK_CALLS_ALIGNED_H

#include "base/config.h"

/* The smallest class of at least size bytes whose blocks are so aligned; size is a small block's.
 * There is one for every power of two to HAK_UNIT_BYTES, since each is a class itself. */
unsigned hak_aligned_class(size_t size, size_t alignment);

#endif
