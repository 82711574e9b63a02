#include "base/settings.h"

#include "base/report.h"

#include <stdlib.h>
#include <string.h>

struct hak_settings hak_settings;

static void read_bool(const char *name, bool *value)
{
	const char *text = secure_getenv(name);

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

void hak_settings_read(void)
{
	read_bool("HAK_STATS", &hak_settings.stats);
}
