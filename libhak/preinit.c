/* preinit.c - of libhak.a alone: in a program that it is linked into, its constructor would come
 * after those of all shared libraries, and its fork handlers be registered after theirs (fork.h).
 * What stands in .preinit_array comes before any constructor; a shared library may have none.
 *
 * Source: System V ABI, "Initialization and Termination Functions".
 */
#include "base/config.h"

typedef void constructor(int count, char **arguments, char **environment);

HAK_HIDDEN constructor hak_init;

__attribute__((section(".preinit_array"), used)) static constructor *const first = hak_init;
