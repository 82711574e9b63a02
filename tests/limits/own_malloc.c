/* A program that brings its own malloc, as many do: libhak, preloaded, is not asked. Its blocks
 * come from one array. */
#include <stddef.h>
#include <string.h>

static _Alignas(16) char memory[1 << 20];
static size_t used;
static unsigned free_count;

void *malloc(size_t size);
void free(void *block);
void *calloc(size_t count, size_t size);
void *realloc(void *block, size_t size);

/* Weak, since it is there by the preload alone. */
extern const char *hak_version(void) __attribute__((weak));

void *malloc(size_t size)
{
	void *block = memory + used;

	used += (size + 15) / 16 * 16;
	return used <= sizeof memory ? block : NULL;
}

void free(void *block)
{
	if (block != NULL && ((char *)block < memory || (char *)block >= memory + sizeof memory))
		__builtin_trap();
	free_count++;
}

void *calloc(size_t count, size_t size)
{
	return malloc(count * size);
}

void *realloc(void *block, size_t size)
{
	void *moved = malloc(size);

	if (block != NULL && moved != NULL)
		memcpy(moved, block, size);
	return moved;
}

int main(void)
{
	for (int i = 0; i < 100; i++)
		free(strdup("a string that the C library copies"));
	return hak_version != NULL && free_count >= 100 ? 0 : 1;
}
