/* stats.h - the heap in numbers: hak_stats_get() of hak/hak.h, and the summary at exit. */
#ifndef HAK_GOVERN_STATS_H
#define HAK_GOVERN_STATS_H

#include "base/config.h"

#include <hak/hak.h>

/* Writes the summary of HAK_STATS=1 to fd 2: bytes, SuperSlabs, slabs by class. */
void hak_stats_print(void);

#endif
