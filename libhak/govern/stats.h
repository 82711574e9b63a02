/* stats.h - the heap in numbers: hak_stats_get() of hak/hak.h, and the summary at exit. */
#ifndef HAK_GOVERN_STATS_H
#define HAK_GOVERN_STATS_H

#include "base/config.h"

#include "heap/tally.h"

#include <hak/hak.h>

/* The numbers of hak_stats_get(), for a caller inside the gate, and the sums that they were made
 * of. Returns how many tallies there are, which is what it costs. */
unsigned hak_stats_collect(struct hak_stats *stats, struct hak_tally_sums *sums);

/* HAK_STATS=1: keeps what fd 2 is now, under another number, for the summary at the end: bytes,
 * SuperSlabs, slabs by class. Nothing is printed where the program closed that as well. */
void hak_stats_init(void);
void hak_stats_print(void);

/* The same to a file that is open now. Outside the gate. */
void hak_stats_print_to(int fd);

#endif
