/* telemetry.h - the numbers on the page, and what the daemon asks for there.
 *
 * Looked at on the way out of slow paths. Numbers are written down when 10 ms have passed since the
 * last time, and at once when this thread has taken or given so much that what is told would be
 * more than 0.4 % or 512 KiB from the truth. What a program does not do is not told: one that
 * stands still wakes for nobody.
 *
 * A trim that the daemon asked for is carried out here, a step on each slow path (purge.h).
 *
 * Threads    any, inside the fork gate; one at a time, the others pass by.
 * Source     proto/telemetry.h, proto/mailbox.h.
 */
#ifndef HAK_GOVERN_TELEMETRY_H
#define HAK_GOVERN_TELEMETRY_H

#include "base/config.h"
#include "heap/shared.h"

/* True where it cannot wait for a look at the clock: much has moved, or the daemon asks. A load
 * where nobody reads the page. */
bool hak_telemetry_has_news(unsigned char *page);

HAK_INLINE bool hak_telemetry_is_urgent(void)
{
	unsigned char *page = hak_shared_page();

	return page != NULL && hak_telemetry_has_news(page);
}

/* A trim is under way: the next look goes on with it. */
bool hak_telemetry_is_trimming(void);

/* Called on the way out of slow paths, not of each. */
void hak_telemetry_if_due(uint64_t now_ns);

#endif
