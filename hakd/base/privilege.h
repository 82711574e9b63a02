/* privilege.h - the capabilities of this process: capabilities(7), by the system calls themselves.
 *
 * A set is a bit for each capability below 32, PRIVILEGE_ADVICE being what process_madvise(2) on
 * other users' processes takes.
 */
#ifndef HAKD_BASE_PRIVILEGE_H
#define HAKD_BASE_PRIVILEGE_H

#include <linux/capability.h>
#include <stdbool.h>
#include <stdint.h>

#define PRIVILEGE_ADVICE ((uint32_t)1 << CAP_SYS_NICE | (uint32_t)1 << CAP_SYS_PTRACE)

/* Whether all of the set are in effect. */
bool privilege_has(uint32_t set);

/* Gives up all others for good, of programs that this process may yet become as well. 0 or a
 * negative errno. */
int privilege_keep(uint32_t set);

#endif
