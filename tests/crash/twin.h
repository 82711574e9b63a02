/* twin.h - a call of libhak by its name, in a program that is not linked with it. */
#ifndef HAK_TESTS_CRASH_TWIN_H
#define HAK_TESTS_CRASH_TWIN_H

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

static void find_twin(const char *name, void *function)
{
	void *symbol = dlsym(RTLD_DEFAULT, name);

	if (symbol == NULL)
		exit(3);
	memcpy(function, &symbol, sizeof symbol);
}

#endif
