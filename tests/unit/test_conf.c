/* Goal: files are merged as systemd merges its drop-ins; what is wrong is told by file and line.
 * Method: directories made below a temporary one, read with their ranks; and texts as files. */
#include "unit.h"

#include "base/conf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[] = "/tmp/hak-config-XXXXXX";
static char low[64], high[64];
static struct conf config;
static struct conf_report report;

static void make_dir(const char *path)
{
	assert_int_equal(mkdir(path, 0755), 0);
}

static int set_up(void **state)
{
	char path[128];

	(void)state;
	strcpy(root + strlen(root) - 6, "XXXXXX");
	assert_non_null(mkdtemp(root));
	snprintf(low, sizeof low, "%s/low", root);
	snprintf(high, sizeof high, "%s/high", root);
	make_dir(low);
	make_dir(high);
	snprintf(path, sizeof path, "%s/hakd.conf.d", low);
	make_dir(path);
	snprintf(path, sizeof path, "%s/hakd.conf.d", high);
	make_dir(path);
	return 0;
}

static int tear_down(void **state)
{
	char command[128];

	(void)state;
	conf_deinit(&config);
	conf_report_deinit(&report);
	snprintf(command, sizeof command, "rm -r %s", root);
	return system(command);
}

static void put(const char *dir, const char *name, const char *text)
{
	char path[256];
	FILE *file;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void read_both(void)
{
	const struct conf_sources sources = {.dirs = {low, high}, .dir_count = 2};

	conf_read(&config, &sources, &report);
}

/* "a.conf=1 b.conf=2": the values of `key` in the order in which they were read. */
static const char *values_of(const char *key)
{
	static char list[1024];

	list[0] = '\0';
	for (size_t i = 0; i < config.entry_count; i++) {
		const struct conf_entry *entry = &config.entries[i];

		if (strcmp(entry->key, key) != 0)
			continue;
		sprintf(list + strlen(list), "%s%s", list[0] != '\0' ? " " : "", entry->value);
	}
	return list;
}

static void drop_ins_by_name_whatever_the_directory(void **state)
{
	(void)state;
	put(low, "hakd.conf", "[hakd]\na = main-low\n");
	put(high, "hakd.conf", "[hakd]\na = main\n");
	put(low, "hakd.conf.d/10-x.conf", "[hakd]\na=1\n");
	put(high, "hakd.conf.d/05-y.conf", "[hakd]\na=0\n");
	put(low, "hakd.conf.d/90-z.conf", "[hakd]\na=9\n");
	put(high, "hakd.conf.d/50-m.conf", "[hakd]\na=5\n");
	put(high, "hakd.conf.d/60-not", "[hakd]\na=6\n");
	put(high, "hakd.conf.d/.70-hidden.conf", "[hakd]\na=7\n");
	read_both();
	assert_string_equal(values_of("a"), "main 0 1 5 9");
	assert_int_equal(config.file_count, 5);
	assert_int_equal(report.error_count + report.warning_count, 0);
}

static void masks(void **state)
{
	char path[128];

	(void)state;
	put(low, "hakd.conf", "[hakd]\na=low\n");
	put(low, "hakd.conf.d/10-x.conf", "[hakd]\na=1\n");
	put(high, "hakd.conf.d/10-x.conf", "[hakd]\na=2\n");
	put(low, "hakd.conf.d/20-y.conf", "[hakd]\na=3\n");
	snprintf(path, sizeof path, "%s/hakd.conf.d/20-y.conf", high);
	assert_int_equal(symlink("/dev/null", path), 0);
	put(low, "hakd.conf.d/30-z.conf", "[hakd]\na=4\n");
	put(high, "hakd.conf.d/30-z.conf", "");
	read_both();
	assert_string_equal(values_of("a"), "low 2");
	assert_int_equal(report.error_count, 0);
}

static void the_file_and_the_line(void **state)
{
	char path[128];

	(void)state;
	put(high, "hakd.conf", "# one\n\n[policy a]\nsoft = 1 ; why\n  hard = 2\n");
	read_both();
	assert_int_equal(config.entry_count, 2);
	snprintf(path, sizeof path, "%s/hakd.conf", high);
	assert_string_equal(config.entries[0].file, path);
	assert_int_equal(config.entries[0].line, 4);
	assert_string_equal(config.entries[0].section, "policy a");
	assert_string_equal(config.entries[0].value, "1");
	assert_int_equal(config.entries[1].line, 5);
	assert_string_equal(config.entries[1].key, "hard");
}

static void read_text(const char *text, size_t count)
{
	conf_read_text(&config, "x.conf", text, count, &report);
}

static void what_is_wrong(void **state)
{
	char text[1024] = "a=1\n";

	(void)state;
	memset(text + 4, 'x', 300);
	strcpy(text + 304, "\n[sec]\nb=2\n");
	read_text(text, strlen(text));
	assert_non_null(strstr(report.text.bytes, "x.conf:2: the line has 300 bytes; 190 at most"));
	assert_string_equal(values_of("b"), "2");
	conf_report_deinit(&report);

	read_text("[hakd]\nnothing\nc = 3\n", 21);
	assert_string_equal(report.text.bytes,
			    "x.conf:2: neither a section nor a setting; [section] or key = value "
			    "is expected\n");
	assert_string_equal(values_of("c"), "3");
	conf_report_deinit(&report);

	read_text("[policy a]\ng=;4\nh= ;5\n", 21);
	assert_non_null(strstr(report.text.bytes, "x.conf:2: g is ';4'; a value that begins with"));
	assert_string_equal(values_of("g"), "");
	assert_int_equal(report.error_count, 1);
	conf_report_deinit(&report);

	read_text("d=1\n\0e=2\nf=3", 12);
	assert_non_null(strstr(report.text.bytes, "x.conf:2: the line holds a NUL byte"));
	assert_string_equal(values_of("f"), "3");
	conf_report_deinit(&report);

	snprintf(text, sizeof text, "[%060d]\ng=1\n", 7);
	read_text(text, strlen(text));
	assert_non_null(strstr(report.text.bytes, "x.conf:1: the section's name is too long"));
}

static void files_that_cannot_be_read(void **state)
{
	const struct conf_sources none = {.main_file = "/nonexistent/hakd.conf"};
	char path[128];

	(void)state;
	conf_read(&config, &none, &report);
	assert_string_equal(report.text.bytes, "/nonexistent/hakd.conf: there is no such file\n");
	conf_report_deinit(&report);
	conf_deinit(&config);

	snprintf(path, sizeof path, "%s/hakd.conf", high);
	make_dir(path);
	snprintf(path, sizeof path, "%s/hakd.conf.d/10-gone.conf", high);
	assert_int_equal(symlink("/nonexistent/file", path), 0);
	read_both();
	assert_int_equal(report.error_count, 1);
	assert_int_equal(report.warning_count, 1);
	assert_non_null(strstr(report.text.bytes, "hakd.conf: is no regular file"));
	assert_non_null(strstr(report.text.bytes, "10-gone.conf: warning: leads to no file"));
}

static void too_many(void **state)
{
	struct text text = {.bytes = NULL};

	(void)state;
	for (int i = 0; i < CONF_ENTRIES_MAX + 5; i++)
		text_print(&text, "k%d=1\n", i);
	read_text(text.bytes, text.used);
	text_deinit(&text);
	assert_int_equal(config.entry_count, CONF_ENTRIES_MAX);
	assert_int_equal(report.error_count, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(drop_ins_by_name_whatever_the_directory),
		TEST(masks),
		TEST(the_file_and_the_line),
		TEST(what_is_wrong),
		TEST(files_that_cannot_be_read),
		TEST(too_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
