/* limit.h - what happens at the budgets of hak/hak.h.
 *
 * Threads    any, outside the gate but where it says so.
 */
#ifndef HAK_GOVERN_LIMIT_H
#define HAK_GOVERN_LIMIT_H

#include "base/config.h"

/* Bytes that budgets are about: in use and cached, huge blocks and cached mappings as well. */
uint64_t hak_limit_used(void);

/* Makes room for so many bytes under the hard budget: first all that is free goes back, then the
 * program's callback is asked. True: there is room now. False as well where it was not the budget
 * that refused this thread. */
bool hak_limit_relieve(size_t bytes);

/* Inside the gate, on some slow paths: above the soft budget, or where the daemon asks for a level
 * of purging, takes the next step of giving free memory back. */
void hak_limit_look(uint64_t now_ns);

/* How often the heap came above the daemon's hard budget. */
uint64_t hak_limit_exceeded_count(void);

/* In the child of a fork: whoever was in the callback is gone, unless it is the one that forked. */
void hak_limit_fork_child(void);

#endif
