/* Goal: C++ that comes by dlopen into a C program finds bad_alloc and its new handler, though no
 * C++ library was there when libhak was loaded.
 * Method: loads the library that is its argument and returns what plugin_check() says, 0 for
 * good. */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

int main(int count, char **arguments)
{
	void *library = count == 2 ? dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL) : NULL;
	void *symbol = library != NULL ? dlsym(library, "plugin_check") : NULL;
	int (*check)(void);
	int broken;

	if (symbol == NULL) {
		puts("plugin_host: cannot load the library");
		return 9;
	}
	memcpy(&check, &symbol, sizeof check);
	broken = check();
	if (broken != 0)
		printf("plugin_host: promise %d of operator new is broken\n", broken);
	return broken;
}
