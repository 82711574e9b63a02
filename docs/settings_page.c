/* settings_page - fills the settings of libhak into a manual: reads the manual's source (scdoc(5))
 * on its standard input and writes it with a paragraph for each row of settings.def in place of the
 * line that says @SETTINGS@. */
#include <stdio.h>
#include <string.h>

enum kind {
	YES_NO,
	REGISTRATION,
	MISUSE,
	PATH,
	SIZE,
	MILLISECONDS,
};

static const char *const takes[] = {
	[YES_NO] = "_1_ or _yes_, _0_ or _no_",
	[REGISTRATION] = "_auto_, _1_ or _yes_, _0_ or _no_",
	[MISUSE] = "_abort_ or _report_",
	[PATH] = "an absolute path",
	[SIZE] = "bytes, with K, M, G or T",
	[MILLISECONDS] = "milliseconds, a day at most",
};

static const struct row {
	const char *name;
	enum kind kind;
	const char *default_text;
	const char *help;
} rows[] = {
#define SETTING(name, field, kind, at_start, default_text, help) {name, kind, default_text, help},
#include "base/settings.def"
#undef SETTING
};

/* An underscore begins what is underlined, unless a backslash says otherwise. */
static void put(const char *text)
{
	for (; *text != '\0'; text++) {
		if (*text == '_')
			putchar('\\');
		putchar(*text);
	}
}

static void put_rows(void)
{
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		printf("%s*", i == 0 ? "" : "\n");
		put(rows[i].name);
		printf("* (%s; _", takes[rows[i].kind]);
		put(rows[i].default_text);
		printf("_ unless set)\n\t");
		put(rows[i].help);
		putchar('\n');
	}
}

int main(void)
{
	char line[1000];
	int found = 0;

	while (fgets(line, sizeof line, stdin) != NULL) {
		if (strcmp(line, "@SETTINGS@\n") == 0) {
			put_rows();
			found = 1;
		} else {
			fputs(line, stdout);
		}
	}
	if (!found)
		fputs("settings_page: no line says @SETTINGS@\n", stderr);
	return found && !ferror(stdin) && fflush(stdout) == 0 ? 0 : 1;
}
