/* Goal: C++'s sized delete of a base without a virtual destructor is found at once. Method: the
 * operators by their mangled names, as the compiler calls them; the right sizes first. */
#include "twin.h"

int main(void)
{
	void *(*new)(size_t size);
	void (*delete_sized)(void *block, size_t size);
	void (*delete_array_sized)(void *block, size_t size);

	find_twin("_Znwm", &new);
	find_twin("_ZdlPvm", &delete_sized);
	find_twin("_ZdaPvm", &delete_array_sized);
	for (size_t size = 0; size < 100000; size = size * 3 + 1) {
		delete_sized(new (size), size);
		delete_array_sized(new (size), size);
	}
	delete_sized(NULL, 8);
	delete_sized(new (48), 16);
	return 0;
}
