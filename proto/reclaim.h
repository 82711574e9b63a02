/* reclaim.h - what hakd asks of hakd-advisor, and what that answers: advice to the kernel on pages
 * of a client.
 *
 * A request is one message over a SOCK_SEQPACKET socket, with the client's pidfd as its one
 * descriptor (SCM_RIGHTS). It names the client's memfd (page.h) as /proc shows it, which the
 * advisor looks for in that process itself, and ranges of pages in the client's region, in
 * ascending order. Each request has one answer. An answer with the number 0 comes unasked: first of
 * all, and whenever the advisor has begun anew, having forgotten what it was asked; it tells
 * whether the advisor can do anything at all.
 *
 * Version rule: both programs are of one package, so a version that is not known is refused.
 * Pure; no allocation. Little-endian, offsets in README.md.
 */
#ifndef HAK_PROTO_RECLAIM_H
#define HAK_PROTO_RECLAIM_H

#include "proto/page.h"

#include <stdbool.h>

#define HAK_RECLAIM_VERSION 1
#define HAK_RECLAIM_REQUEST_MAGIC 0x53495644416b6168u /* "hakADVIS" as bytes */
#define HAK_RECLAIM_ANSWER_MAGIC 0x594c5045526b6168u  /* "hakREPLY" as bytes */

#define HAK_RECLAIM_PAGE_SHIFT 12
#define HAK_RECLAIM_RANGES_MAX 1024
#define HAK_RECLAIM_PAGES_MAX                                                                      \
	1024 /* of all ranges together: 4 MiB, one call of process_madvise(2) */
#define HAK_RECLAIM_RANGE_BYTES 8
#define HAK_RECLAIM_REQUEST_BYTES 56 /* without ranges */
#define HAK_RECLAIM_REQUEST_BYTES_MAX                                                              \
	(HAK_RECLAIM_REQUEST_BYTES + HAK_RECLAIM_RANGES_MAX * HAK_RECLAIM_RANGE_BYTES)
#define HAK_RECLAIM_ANSWER_BYTES 72

enum hak_reclaim_advice {
	HAK_RECLAIM_LOOK, /* no advice, no ranges: does the process still map the memfd? */
	HAK_RECLAIM_PAGEOUT,
	HAK_RECLAIM_COLD,
	HAK_RECLAIM_COLLAPSE,
	HAK_RECLAIM_ADVICE_COUNT,
};

struct hak_reclaim_range {
	uint32_t first_page; /* of 4 KiB, counted from the region's base */
	uint32_t page_count;
};

struct hak_reclaim_request {
	uint16_t version;
	uint16_t advice; /* enum hak_reclaim_advice */
	uint32_t range_count;
	uint64_t number;       /* comes back with the answer; not 0 */
	uint32_t device_major; /* of the memfd */
	uint32_t device_minor;
	uint64_t inode;
	uint64_t region_base; /* as in the hello */
	uint32_t superslab_count;
	uint32_t reserved; /* 0 */
	struct hak_reclaim_range ranges[HAK_RECLAIM_RANGES_MAX];
};

enum hak_reclaim_result {
	HAK_RECLAIM_READY,   /* unasked: it is there and able */
	HAK_RECLAIM_DONE,    /* as far as ranges were not dropped */
	HAK_RECLAIM_GONE,    /* the process has ended, or does not map the memfd (any more) */
	HAK_RECLAIM_LIMITED, /* too many bytes a second: nothing was done, again after wait_ns */
	HAK_RECLAIM_REFUSED, /* the request is none; no descriptor, or not a pidfd */
	HAK_RECLAIM_UNABLE,  /* the kernel has no such call, or does not let the advisor: `error` */
	HAK_RECLAIM_RESULT_COUNT,
};

struct hak_reclaim_answer {
	uint16_t version;
	uint16_t result;	/* enum hak_reclaim_result */
	uint32_t dropped_count; /* ranges that the kernel did not take, or only a part of them */
	uint64_t number;
	uint64_t advised_bytes;
	uint64_t released_bytes; /* by which the process's resident memory fell, advised at most */
	uint64_t swapped_bytes;	 /* by which its swapped memory rose, advised at most */
	uint64_t wait_ns;
	uint64_t duration_ns;
	uint32_t error;	   /* the errno of the last range that was dropped, or of UNABLE */
	uint32_t reserved; /* 0 */
};

/* Returns the length of the message. `bytes` has room for HAK_RECLAIM_REQUEST_BYTES_MAX. */
size_t hak_reclaim_encode_request(const struct hak_reclaim_request *request, uint8_t *bytes);
void hak_reclaim_encode_answer(const struct hak_reclaim_answer *answer,
			       uint8_t bytes[HAK_RECLAIM_ANSWER_BYTES]);

/* Read `count` bytes as they were received. False: not such a message, or one that says what cannot
 * be (bounds of the region, of ranges and their sum; order); what was passed is left alone then. */
bool hak_reclaim_decode_request(const uint8_t *bytes, size_t count,
				struct hak_reclaim_request *request);
bool hak_reclaim_decode_answer(const uint8_t *bytes, size_t count,
			       struct hak_reclaim_answer *answer);

/* "pageout", "done" and so on, for logs and metrics. */
const char *hak_reclaim_advice_text(enum hak_reclaim_advice advice);
const char *hak_reclaim_result_text(enum hak_reclaim_result result);

#endif
