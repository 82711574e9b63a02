/* plain.h - other names for the calls, in the secure build.
 *
 * There the calls of malloc.c, free.c, realloc.c and aligned.c are the lower half: secure.c has the
 * names that programs use, adds what each block carries, and goes on to these. This header is
 * included ahead of all others by the compiler (libhak/CMakeLists.txt), so the files themselves
 * know nothing of it.
 */
#ifndef HAK_CALLS_PLAIN_H
#define HAK_CALLS_PLAIN_H

#define hak_malloc hak_plain_malloc
#define hak_calloc hak_plain_calloc
#define hak_realloc hak_plain_realloc
#define hak_reallocarray hak_plain_reallocarray
#define hak_free hak_plain_free
#define hak_posix_memalign hak_plain_posix_memalign
#define hak_memalign hak_plain_memalign
#define hak_aligned_alloc hak_plain_aligned_alloc
#define hak_valloc hak_plain_valloc
#define hak_pvalloc hak_plain_pvalloc
#define hak_malloc_usable_size hak_plain_malloc_usable_size

#endif
