/* keep.h - what of govern/ is written down for the hakd that comes after this one: what was
 * released and counted, the last actions, and until when nothing is to be done. How each client
 * took its releases stays with the client (fleet/record.h).
 */
#ifndef HAKD_GOVERN_KEEP_H
#define HAKD_GOVERN_KEEP_H

#include "base/state.h"
#include "govern/advisor.h"
#include "govern/effects.h"

/* Names the sections of both, which must stay where they are, and must have been made. */
void keep_sections(struct state *state, struct effects *effects, struct advisor *advisor);

#endif
