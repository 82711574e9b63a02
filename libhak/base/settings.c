#include "base/settings.h"

#include "base/report.h"

#include <string.h>
#include <sys/auxv.h>

struct hak_settings hak_settings;

static const char *find(char *const *environment, const char *name)
{
	size_t length = strlen(name);

	for (; environment != NULL && *environment != NULL; environment++)
		if (strncmp(*environment, name, length) == 0 && (*environment)[length] == '=')
			return *environment + length + 1;
	return NULL;
}

static void read_bool(char *const *environment, const char *name, bool *value)
{
	const char *text = find(environment, name);

	if (text == NULL || text[0] == '\0')
		return;
	if (strcmp(text, "1") == 0 || strcmp(text, "yes") == 0) {
		*value = true;
	} else if (strcmp(text, "0") == 0 || strcmp(text, "no") == 0) {
		*value = false;
	} else {
		struct hak_line line = {.used = 0};

		hak_line_put(&line, "hak: ");
		hak_line_put(&line, name);
		hak_line_put(&line, "=");
		hak_line_put(&line, text);
		hak_line_put(&line, " is not 1, yes, 0 or no; ignored");
		hak_line_write(&line);
	}
}

void hak_settings_read(char *const *environment)
{
	if (getauxval(AT_SECURE) != 0)
		return;
	read_bool(environment, "HAK_STATS", &hak_settings.stats);
}
