/* stats.h - the heap in numbers: hak_stats_get() of hak/hak.h, and the summary at exit. */
#ifndef HAK_GOVERN_STATS_H
#define HAK_GOVERN_STATS_H

#include "base/config.h"

#include <hak/hak.h>

/* HAK_STATS=1: keeps what fd 2 is now, under another number, for the summary at the end: bytes,
 * SuperSlabs, slabs by class. Nothing is printed where the program closed that as well. */
void hak_stats_init(void);
void hak_stats_print(void);

#endif
