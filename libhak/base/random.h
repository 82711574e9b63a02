/* random.h - numbers that an attacker does not know, for the secure build.
 *
 * The secret comes from the kernel (AT_RANDOM, getauxval(3)) at first use and is never shown. The
 * sequence is SplitMix64 over it: hard to guess from outside the process, no cipher. A child of a
 * fork goes on with its parent's.
 *
 * Threads    any.
 */
#ifndef HAK_BASE_RANDOM_H
#define HAK_BASE_RANDOM_H

#include "base/config.h"

uint64_t hak_random_secret(void);

/* The next number of the sequence. */
uint64_t hak_random_next(void);

#endif
