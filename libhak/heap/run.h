/* run.h - runs: blocks over 32 KiB up to 1 MiB, each some whole units of one SuperSlab.
 *
 * The first unit's class byte is HAK_CLASS_RUN_HEAD, the others' HAK_CLASS_RUN_TAIL; the control
 * word of the first says how many they are. Runs go straight to the pool and back.
 *
 * Threads    any; inside the fork gate.
 * Errors     NULL: no memory.
 */
#ifndef HAK_HEAP_RUN_H
#define HAK_HEAP_RUN_H

#include "base/config.h"

/* Units that a block of so many bytes takes, 1..64, without a guard; size <= HAK_RUN_BYTES_MAX. */
HAK_INLINE unsigned hak_run_units(size_t size)
{
	return size == 0 ? 1 : (unsigned)((size + HAK_UNIT_BYTES - 1) >> HAK_UNIT_SHIFT);
}

/* A run of at least size bytes, aligned to a power of two up to 1 MiB. *zeroed: it reads as 0. */
void *hak_run_take(size_t size, size_t alignment, bool *zeroed);

/* Gives a run back. Anything but the first byte of a run in use is reported as misuse. */
void hak_run_give(void *block);

/* The bytes of the run that begins here. 0: none does, and that was reported as misuse by `call`.
 * */
size_t hak_run_bytes(const void *block, const char *call);

/* Makes a run shorter in place, giving its last units back. */
void hak_run_shrink(void *block, size_t size);

/* Reports a pointer that lies in a run but is not its first byte. */
void hak_run_report_interior(const void *block, const char *call);

#endif
