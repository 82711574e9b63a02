/* misuse.h - what a program can do wrong with its memory, and what becomes of it.
 *
 * A misuse that is found is one sentence on file descriptor 2:
 *
 *   hak: PROGRAM[PID] CALL of ADDRESS, what is wrong, the block with its class where it is known
 *
 * By default the process then aborts, so that nobody goes on with a heap that may be wrong. Under
 * HAK_MISUSE=report it goes on: hak_misuse_report() returns, its caller does nothing more with the
 * address (a block that was to be freed is leaked), and the count is raised. Nothing here allocates
 * or takes a lock.
 *
 * Threads    any, inside a slow path or outside.
 */
#ifndef HAK_BASE_MISUSE_H
#define HAK_BASE_MISUSE_H

#include "base/config.h"

/* The sentence of each is in misuse.c; tests/crash shows it. */
enum hak_misuse_kind {
	HAK_MISUSE_DOUBLE_FREE, /* a free block; bytes and class_idx are its own */
	HAK_MISUSE_MISALIGNED,
	HAK_MISUSE_INTERIOR,   /* inside the block of bytes and class_idx; class 0 for a run */
	HAK_MISUSE_NOT_IN_USE, /* in the region, where no block is */
	HAK_MISUSE_FOREIGN,    /* nowhere that we know */
	HAK_MISUSE_OVERRUN,    /* secure build: written to behind its end */
	HAK_MISUSE_WRITTEN,    /* secure build: a free block, written to since its free */
	HAK_MISUSE_SIZE,       /* a block of bytes and class_idx that cannot be of said_bytes */
};

struct hak_misuse {
	enum hak_misuse_kind kind;
	unsigned class_idx; /* 0: a run or a huge block, or none is known */
	const char *call;   /* a constant such as "free" */
	const void *address;
	size_t bytes;
	size_t said_bytes;     /* HAK_MISUSE_SIZE: what the program says that the block is */
	size_t said_alignment; /* 1 where it says nothing of it */
};

/* Says the sentence; then aborts, or counts and returns. */
void hak_misuse_report(const struct hak_misuse *misuse);

/* How many were reported in this process since it began, or was forked. */
uint64_t hak_misuse_count(void);

#endif
