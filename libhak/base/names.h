/* names.h - the C library's names for our calls.
 *
 * Each story ends with the names it is known by. A name is a second symbol for the same code and no
 * function of its own: the jump from one to the other cost random_mixed 5 % of its time. Tests are
 * built without the names, beside the C library's own malloc; so are sanitizers, which bring one.
 */
#ifndef HAK_BASE_NAMES_H
#define HAK_BASE_NAMES_H

#include "base/config.h"

#if HAK_OVERRIDE
#define HAK_NAME(name, twin)                                                                       \
	extern __typeof__(twin) name __attribute__((alias(#twin), copy(twin))) HAK_EXPORT
#else
#define HAK_NAME(name, twin) static_assert(true, "no names")
#endif

#endif
