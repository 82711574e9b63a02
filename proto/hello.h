/* hello.h - the one message of a client: "here is my page".
 *
 * Sent once over a SOCK_SEQPACKET socket, with the memfd of page.h as its one descriptor
 * (SCM_RIGHTS). Who sends it the daemon learns from the socket, never from the message.
 *
 * Version rule: fields are added at the end and never change their meaning. A reader takes what it
 * knows and ignores the rest; a message shorter than HAK_HELLO_BYTES_MIN is refused. Something that
 * cannot be added so raises `version`, and a reader takes those that are one apart (README.md).
 *
 * Pure; no allocation. Little-endian, offsets in README.md.
 */
#ifndef HAK_PROTO_HELLO_H
#define HAK_PROTO_HELLO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HAK_HELLO_MAGIC 0x4f4c4c45486b6168u /* "hakHELLO" as bytes */
#define HAK_HELLO_VERSION 1
#define HAK_HELLO_BYTES_MIN 40 /* up to what was there at first */
#define HAK_HELLO_EXE_BYTES 256
#define HAK_HELLO_BYTES (HAK_HELLO_BYTES_MIN + HAK_HELLO_EXE_BYTES)
#define HAK_HELLO_BYTES_MAX 512 /* what a reader must be ready to take */

struct hak_hello {
	uint16_t version;
	uint16_t bytes;		  /* of the message */
	uint32_t superslab_count; /* rows of the table: the size of the region */
	uint64_t region_base;	  /* address of SuperSlab 0 in the client */
	uint64_t library_version; /* major << 32 | minor << 16 | patch */
	uint64_t reserved;	  /* 0 */
	/* What the client finds at /proc/self/exe, for a daemon that may not look there: cut off
	 * where it is longer, "" where it is not known. */
	char exe[HAK_HELLO_EXE_BYTES];
};

/* Writes HAK_HELLO_BYTES. */
void hak_hello_encode(const struct hak_hello *hello, uint8_t bytes[HAK_HELLO_BYTES]);

enum hak_hello_error {
	HAK_HELLO_OK,
	HAK_HELLO_SHORT,   /* fewer bytes than it says, or than this version has */
	HAK_HELLO_FOREIGN, /* not this protocol */
	HAK_HELLO_UNKNOWN, /* a version that is more than one apart */
	HAK_HELLO_RANGE,   /* a field that cannot be */
};

/* Reads `count` bytes as they were received. *hello is written only with HAK_HELLO_OK. */
enum hak_hello_error hak_hello_decode(const uint8_t *bytes, size_t count, struct hak_hello *hello);

/* The sentence for an error, for logs. */
const char *hak_hello_error_text(enum hak_hello_error error);

#endif
