#include "base/settings.h"

#include "base/report.h"

#include <string.h>
#include <sys/auxv.h>

struct hak_settings hak_settings = {.socket = "/run/hak/client"};

static const char *find(char *const *environment, const char *name)
{
	size_t length = strlen(name);

	for (; environment != NULL && *environment != NULL; environment++)
		if (strncmp(*environment, name, length) == 0 && (*environment)[length] == '=')
			return *environment + length + 1;
	return NULL;
}

static void say_ignored(const char *name, const char *text, const char *why)
{
	struct hak_line line = {.used = 0};

	hak_line_put(&line, "hak: ");
	hak_line_put(&line, name);
	hak_line_put(&line, "=");
	hak_line_put(&line, text);
	hak_line_put(&line, why);
	hak_line_put(&line, "; ignored");
	hak_line_write(&line);
}

static bool is_yes(const char *text)
{
	return strcmp(text, "1") == 0 || strcmp(text, "yes") == 0;
}

static bool is_no(const char *text)
{
	return strcmp(text, "0") == 0 || strcmp(text, "no") == 0;
}

static void read_bool(char *const *environment, const char *name, bool *value)
{
	const char *text = find(environment, name);

	if (text == NULL || text[0] == '\0')
		return;
	if (is_yes(text) || is_no(text))
		*value = is_yes(text);
	else
		say_ignored(name, text, " is not 1, yes, 0 or no");
}

static void read_registration(char *const *environment)
{
	const char *text = find(environment, "HAK_REGISTER");

	if (text == NULL || text[0] == '\0' || strcmp(text, "auto") == 0)
		return;
	if (is_yes(text))
		hak_settings.registration = HAK_REGISTRATION_ALWAYS;
	else if (is_no(text))
		hak_settings.registration = HAK_REGISTRATION_NEVER;
	else
		say_ignored("HAK_REGISTER", text, " is not auto, 1, yes, 0 or no");
}

static void read_socket(char *const *environment)
{
	const char *text = find(environment, "HAK_SOCKET");

	if (text == NULL || text[0] == '\0')
		return;
	if (text[0] != '/' || strlen(text) >= sizeof hak_settings.socket)
		say_ignored("HAK_SOCKET", text, " is not an absolute path of 107 bytes at most");
	else
		strcpy(hak_settings.socket, text);
}

void hak_settings_read(char *const *environment)
{
	if (getauxval(AT_SECURE) != 0) {
		hak_settings.registration = HAK_REGISTRATION_NEVER;
		return;
	}
	read_bool(environment, "HAK_STATS", &hak_settings.stats);
	read_registration(environment);
	read_socket(environment);
}
