/* secure.h - the secure build: what a block carries, and what is checked of it when.
 *
 *   | what the program asked for      | canary ...           | tag     |
 *   block                             block + size                     block + room
 *
 * room is the class's size, the run's or the mapping's. The tag holds the size, hidden and signed
 * by a secret of the process and the address; the bytes between are a canary made of the same. So
 * malloc_usable_size() is exactly what was asked for, whatever lies behind belongs to nobody, and a
 * free tells at once:
 *
 *   tag 0            freed already, or never given out: a free block is all zeroes
 *   tag or canary    not as they were made: somebody wrote behind the end of the block
 *   size             not what free_sized or a sized delete says
 *
 * A freed block is cleared, waits in the quarantine (heap/quarantine.h), and is found to be all
 * zero when it is given out again, or somebody wrote to it after its free. Mappings of huge blocks
 * are unmapped at once. Placement is random: which bits a slab gives, in which order a magazine
 * does, and who leaves the quarantine. The last unit of each MiB and the one behind each run are
 * guards without access.
 */
#ifndef HAK_CALLS_SECURE_H
#define HAK_CALLS_SECURE_H

#include <hak/hak.h>

/* The lower half (plain.h). */
void *hak_plain_malloc(size_t size);
void hak_plain_free(void *block);
void *hak_plain_realloc(void *block, size_t size);
void *hak_plain_memalign(size_t alignment, size_t size);
void *hak_plain_aligned_alloc(size_t alignment, size_t size);
int hak_plain_posix_memalign(void **block, size_t alignment, size_t size);
size_t hak_plain_malloc_usable_size(const void *block);

#endif
