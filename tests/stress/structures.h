/* structures.h - the heap's own judgement of itself: every x_is_valid() of libhak/heap/.
 *
 * Exact only where no other thread is at work. A failure is one of the test (stress.h).
 */
#ifndef HAK_TESTS_STRUCTURES_H
#define HAK_TESTS_STRUCTURES_H

/* The pool, the huge blocks, the depots, and each slab and run of the region. */
void structures_check(void);

#endif
