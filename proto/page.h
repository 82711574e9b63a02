/* page.h - the memfd that a client shares with the daemon: where what lies.
 *
 *   0      mailbox      written by the daemon, read by the client       (mailbox.h)
 *   4096   telemetry    written by the client, read by the daemon       (telemetry.h)
 *   8192   SuperSlabs   128 bytes each, written by the client           (superslab.h)
 *
 * Its size follows from the number of SuperSlabs in the hello (hak_page_bytes). It is sealed
 * against growing, shrinking and more seals. The client maps it; the daemon maps the mailbox alone,
 * to write it, and copies the rest by pread(2), so that nothing a client does to it can harm the
 * daemon.
 *
 * Each part begins with a sequence, a 64-bit word: odd while the part is being written, and never
 * the same after. A reader takes the sequence, the bytes and the sequence again, and believes the
 * bytes where both are the same even number. (Lamport, "Concurrent reading and writing", 1977.)
 * All words are 64 bits, little-endian, and written whole.
 */
#ifndef HAK_PROTO_PAGE_H
#define HAK_PROTO_PAGE_H

#include <stddef.h>
#include <stdint.h>

#define HAK_PAGE_MAILBOX 0
#define HAK_PAGE_TELEMETRY 4096
#define HAK_PAGE_SUPERSLABS 8192
#define HAK_PAGE_SUPERSLAB_ROW 128

#define HAK_PAGE_SUPERSLAB_BYTES ((uint64_t)2 << 20)
#define HAK_PAGE_UNIT_BYTES ((uint64_t)16 << 10)
#define HAK_PAGE_SUPERSLABS_MAX ((uint32_t)1 << 19) /* a region of 1 TiB */
#define HAK_PAGE_ADDRESS_END ((uint64_t)1 << 47)    /* of a program on x86-64 */

/* The size of the memfd: whole pages of 64 KiB, the largest that Linux has. */
static inline uint64_t hak_page_bytes(uint32_t superslab_count)
{
	uint64_t bytes = HAK_PAGE_SUPERSLABS + (uint64_t)superslab_count * HAK_PAGE_SUPERSLAB_ROW;

	return (bytes + 65535) & ~(uint64_t)65535;
}

#endif
