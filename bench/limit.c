/* limit.c - a malloc that does next to nothing: a line to measure allocators by.
 *
 * Goal     how far an allocator is from what the machine allows, beside how far from its peers.
 * Method   a library to be preloaded. A thread's free blocks lie in lists of its own, one for each
 *          size class, linked through the blocks; what is not there is cut from a chunk of its own.
 *          Nothing ever goes back: not to other threads, not to the system, and what a dead thread
 *          had is lost. Nothing is checked. A head of 16 bytes says what a block is: its line of
 *          the cache is touched by each call, which is how an allocator can be faster than this.
 *
 * Not an allocator to use: a program whose threads free for each other grows without end.
 */
#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

#define HEAD_BYTES sizeof(struct head)
#define CHUNK_BYTES ((size_t)4 << 20)
/* Four classes for each power of two from 64 bytes on, heads included; below, one for each 16. */
#define PARTS_LOG2 2u
#define CLASS_COUNT (64u << PARTS_LOG2)

struct head {
	uint32_t class_idx;
	uint32_t distance; /* from where the block's memory begins; over 0 where it was aligned */
	uint64_t unused;
};

struct node {
	struct node *next;
};

static __thread struct node *lists[CLASS_COUNT] __attribute__((tls_model("initial-exec")));
static __thread char *chunk __attribute__((tls_model("initial-exec")));
static __thread size_t chunk_left __attribute__((tls_model("initial-exec")));

static unsigned log2_of(size_t bytes)
{
	return 63u - (unsigned)__builtin_clzl(bytes);
}

/* The class whose blocks have at least so many bytes, 64 or more. */
static unsigned class_of(size_t bytes)
{
	unsigned log2 = log2_of(bytes - 1);
	unsigned part = (unsigned)((bytes - 1) >> (log2 - PARTS_LOG2)) & ((1u << PARTS_LOG2) - 1);

	return (log2 << PARTS_LOG2) + part;
}

static size_t bytes_of(unsigned class_idx)
{
	unsigned log2 = class_idx >> PARTS_LOG2;
	size_t part = (class_idx & ((1u << PARTS_LOG2) - 1)) + 1;

	return ((size_t)1 << log2) + (part << (log2 - PARTS_LOG2));
}

static char *map(size_t bytes)
{
	char *start = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return start == MAP_FAILED ? NULL : start;
}

static struct head *cut(unsigned class_idx)
{
	size_t bytes = bytes_of(class_idx);
	char *start;

	if (bytes > CHUNK_BYTES / 4)
		return (struct head *)(void *)map(bytes);
	if (bytes > chunk_left) {
		start = map(CHUNK_BYTES);
		if (start == NULL)
			return NULL;
		chunk = start;
		chunk_left = CHUNK_BYTES;
	}
	start = chunk;
	chunk += bytes;
	chunk_left -= bytes;
	return (struct head *)(void *)start;
}

static void *take(size_t size)
{
	unsigned class_idx;
	struct node *node;
	struct head *head;

	if (size > PTRDIFF_MAX - CHUNK_BYTES) {
		errno = ENOMEM;
		return NULL;
	}
	class_idx = class_of(size + HEAD_BYTES < 64 ? 64 : size + HEAD_BYTES);
	node = lists[class_idx];
	if (__builtin_expect(node != NULL, 1)) {
		lists[class_idx] = node->next;
		head = (struct head *)node;
	} else {
		head = cut(class_idx);
		if (head == NULL) {
			errno = ENOMEM;
			return NULL;
		}
	}
	head->class_idx = class_idx;
	head->distance = 0;
	return head + 1;
}

static struct head *head_of(void *block)
{
	return (struct head *)block - 1;
}

static void give(void *block)
{
	struct head *head;
	struct node *node;
	unsigned class_idx;

	if (block == NULL)
		return;
	head = head_of(block);
	class_idx = head->class_idx;
	node = (struct node *)(void *)((char *)head - head->distance);
	node->next = lists[class_idx];
	lists[class_idx] = node;
}

static size_t usable_bytes(void *block)
{
	return block == NULL ? 0
			     : bytes_of(head_of(block)->class_idx) - head_of(block)->distance -
				       HEAD_BYTES;
}

EXPORT void *calloc(size_t count, size_t size)
{
	size_t bytes;
	void *block;

	if (__builtin_mul_overflow(count, size, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	block = take(bytes);
	return block == NULL ? NULL : memset(block, 0, bytes);
}

static void *resize(void *block, size_t size)
{
	size_t old = usable_bytes(block);
	void *grown;

	if (block != NULL && size <= old)
		return block;
	grown = take(size);
	if (grown != NULL && block != NULL) {
		memcpy(grown, block, old);
		give(block);
	}
	return grown;
}

EXPORT void *reallocarray(void *block, size_t count, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(count, size, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	return resize(block, bytes);
}

static void *take_aligned(size_t alignment, size_t size)
{
	char *block;
	size_t shift;

	if (alignment <= HEAD_BYTES)
		return take(size);
	block = take(size + alignment);
	if (block == NULL)
		return NULL;
	shift = (size_t)(-(uintptr_t)block & (alignment - 1));
	if (shift != 0) {
		struct head head = *head_of(block);

		head.distance = (uint32_t)shift;
		block += shift;
		*head_of(block) = head;
	}
	return block;
}

EXPORT void *malloc(size_t size)
{
	return take(size);
}

EXPORT void free(void *block)
{
	give(block);
}

EXPORT size_t malloc_usable_size(void *block)
{
	return usable_bytes(block);
}

EXPORT void *realloc(void *block, size_t size)
{
	return resize(block, size);
}

EXPORT void *memalign(size_t alignment, size_t size)
{
	return take_aligned(alignment, size);
}

EXPORT int posix_memalign(void **block, size_t alignment, size_t size)
{
	void *aligned = take_aligned(alignment, size);

	if (aligned == NULL)
		return ENOMEM;
	*block = aligned;
	return 0;
}

EXPORT void *aligned_alloc(size_t alignment, size_t size)
{
	return take_aligned(alignment, size);
}

EXPORT void *valloc(size_t size)
{
	return take_aligned((size_t)getpagesize(), size);
}
