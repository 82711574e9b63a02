#include "base/sandbox.h"

#include "base/names.h"
#include "base/os.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static HAK_EARLY _Atomic bool is_noted;

/* prctl(2) itself, with an ear for what comes before a filter. */
/* Hidden: the name that programs find is below. */
int hak_prctl(int operation, ...);

int hak_prctl(int operation, ...)
{
	unsigned long values[4];
	va_list list;

	if (operation == PR_SET_NO_NEW_PRIVS || operation == PR_SET_SECCOMP)
		hak_sandbox_note();
	/* As the C library's own: whoever gave fewer leaves the rest to chance. */
	va_start(list, operation);
	for (int i = 0; i < 4; i++)
		values[i] = va_arg(list, unsigned long);
	va_end(list);
	return (int)syscall(SYS_prctl, operation, values[0], values[1], values[2], values[3]);
}

/* Our own use of the name is bound as the program's is: by the dynamic loader, to the first library
 * that has it. Tests without our names have none to be heard by. */
bool hak_sandbox_hears(void)
{
	return !HAK_OVERRIDE || prctl == hak_prctl;
}

void hak_sandbox_note(void)
{
	atomic_store_explicit(&is_noted, true, memory_order_relaxed);
}

bool hak_sandbox_is_noted(void)
{
	return atomic_load_explicit(&is_noted, memory_order_relaxed);
}

enum hak_sandbox hak_sandbox_look(void)
{
	static const char name[] = "\nSeccomp:\t";
	char text[4096]; /* the line is one of the first fifty, each of some ten bytes */
	const char *line;

	if (hak_sandbox_is_noted())
		return HAK_SANDBOX_FILTERED;
	if (hak_os_read_file("/proc/self/status", text, sizeof text) == 0)
		return HAK_SANDBOX_UNKNOWN;
	line = strstr(text, name);
	return line != NULL && line[sizeof name - 1] == '0' ? HAK_SANDBOX_NONE
							    : HAK_SANDBOX_FILTERED;
}

HAK_NAME(prctl, hak_prctl);
