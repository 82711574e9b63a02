/* A library that needs EAT_BYTES of static TLS, allocates when it is loaded and frees when it is
 * unloaded. */
#include <stdlib.h>
#include <string.h>

__attribute__((tls_model("initial-exec"))) __thread char eaten[EAT_BYTES];

static void *blocks[100];

__attribute__((constructor)) static void come(void)
{
	for (size_t i = 0; i < 100; i++) {
		blocks[i] = malloc(i * 50);
		if (blocks[i] != NULL)
			memset(blocks[i], 1, i * 50);
	}
	eaten[0] = 1;
}

__attribute__((destructor)) static void go(void)
{
	for (size_t i = 0; i < 100; i++)
		free(blocks[i]);
}
