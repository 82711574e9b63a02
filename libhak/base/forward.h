/* forward.h - standing aside: the calls of the next malloc in this process.
 *
 * Under HAK_DISABLE=1, and where a tool that replaces malloc itself is at work (AddressSanitizer,
 * valgrind's memcheck and the like), libhak serves nobody: no thread gets magazines, so every call
 * takes its slow way, and there it is handed on to the malloc that comes after libhak in the
 * loader's order. The fast paths know nothing of it. What libhak gave out before (the loader
 * allocates ahead of all constructors) stays its own, and is told by its address.
 *
 * Threads    written once in the first constructor, then only read.
 */
#ifndef HAK_BASE_FORWARD_H
#define HAK_BASE_FORWARD_H

#include "base/config.h"

#include <stdio.h>

struct mallinfo2; /* malloc.h, which also declares what libhak defines */

struct hak_forward {
	bool is_on;
	void *(*malloc)(size_t size);
	void (*free)(void *block);
	void *(*realloc)(void *block, size_t size);
	void *(*memalign)(size_t alignment, size_t size);
	size_t (*malloc_usable_size)(const void *block); /* const is ours: it only looks */
	int (*malloc_trim)(size_t pad);
	int (*mallopt)(int parameter, int value);
	int (*malloc_info)(int options, FILE *stream);
	void (*malloc_stats)(void);
	struct mallinfo2 (*mallinfo2)(void);
};

extern HAK_HIDDEN struct hak_forward hak_forward;

/* Stands aside from here on. Where there is no other malloc, as in a static program, it says so and
 * nothing changes. */
void hak_forward_start(void);

/* The sanitizer that is in this process and replaces malloc, or NULL. */
const char *hak_forward_sanitizer(void);

/* True where valgrind runs this program, whatever its tool replaces. */
bool hak_forward_on_valgrind(void);

#endif
