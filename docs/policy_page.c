/* policy_page - fills the keys of hakd.conf into a manual: reads the manual's source (scdoc(5)) on
 * its standard input and writes it with a paragraph for each row of policy.def in place of the
 * lines that say @HOST@, @RULE@ and @BUDGET@. */
#include <stdio.h>
#include <string.h>

enum section { HOST, RULE, BUDGET, SECTION_COUNT };

enum kind { SIZE, TIME, YES_NO, ON_LIMIT, NUMBER, GLOB, NAME };

static const char *const takes[] = {
	[SIZE] = "_SIZE_",	    [TIME] = "_TIME_",
	[YES_NO] = "_yes_ or _no_", [ON_LIMIT] = "_report_ or _fail_",
	[NUMBER] = "_NUMBER_",	    [GLOB] = "_PATTERN_",
	[NAME] = "_NAME_",
};

static const struct row {
	enum section section;
	const char *name;
	enum kind kind;
	const char *help;
} rows[] = {
#define KEY(section, name, id, kind, help) {section, name, kind, help},
#include "fleet/policy.def"
#undef KEY
};

/* What scdoc(5) would read as the begin of something. */
static void put(const char *text)
{
	for (; *text != '\0'; text++) {
		if (strchr("_*[", *text) != NULL)
			putchar('\\');
		putchar(*text);
	}
}

static void put_rows(enum section section)
{
	const char *between = "";

	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		if (rows[i].section != section)
			continue;
		printf("%s*", between);
		put(rows[i].name);
		printf("* = %s\n\t", takes[rows[i].kind]);
		put(rows[i].help);
		putchar('\n');
		between = "\n";
	}
}

int main(void)
{
	static const char *const marks[SECTION_COUNT] = {"@HOST@\n", "@RULE@\n", "@BUDGET@\n"};
	char line[1000];
	int found = 0;

	while (fgets(line, sizeof line, stdin) != NULL) {
		enum section section = 0;

		while (section < SECTION_COUNT && strcmp(line, marks[section]) != 0)
			section++;
		if (section < SECTION_COUNT) {
			put_rows(section);
			found++;
		} else {
			fputs(line, stdout);
		}
	}
	if (found != SECTION_COUNT)
		fputs("policy_page: not every section has its line\n", stderr);
	return found == SECTION_COUNT && !ferror(stdin) && fflush(stdout) == 0 ? 0 : 1;
}
