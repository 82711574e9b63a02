/* Prints what hak_stats_json() says of a known heap, after trying rooms that are too small. Linked
 * by dlsym(3), so that it runs preloaded like any other program. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void)
{
	size_t (*json)(char *text, size_t text_bytes);
	void *symbol = dlsym(RTLD_DEFAULT, "hak_stats_json");
	char text[20000], cut[20000];
	size_t length;

	if (symbol == NULL)
		return 3;
	memcpy(&json, &symbol, sizeof json);
	for (int i = 0; i < 100; i++)
		if (malloc(5000) == NULL)
			return 1;
	if (malloc(5000000) == NULL)
		return 1;
	length = json(text, sizeof text);
	if (length >= sizeof text || strlen(text) != length)
		return 1;
	for (size_t room = 0; room <= length; room++) {
		memset(cut, '#', sizeof cut);
		if (json(room == 0 ? NULL : cut, room) != length)
			return 1;
		if (room != 0 && (strlen(cut) != room - 1 || strncmp(cut, text, room - 1) != 0))
			return 1;
		if (cut[room] != '#')
			return 1;
	}
	puts(text);
	return 0;
}
