/* Goal: what a registered program writes on its page harms neither hakd nor the numbers of others:
 * counters never fall, and what is exported stays in Prometheus' format.
 *
 * Method: the bytes are what one client does: it scribbles on its memfd, with good numbers first or
 * without, registers anew, lets time pass; the daemon reads it, sums, ticks and asks for trims. The
 * client is this process, the table, the groups and the text are hakd's own. After each reading
 * the table is valid, no counter is less than before, and every line of the text is one that
 * Prometheus takes.
 */
#include "input.h"
#include "judge.h"

#include "base/log.h"
#include "fleet/table.h"
#include "proto/page.h"
#include "serve/metrics.h"

#include <ctype.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define OPERATIONS_MAX 200

static struct table table;
static struct fuzz_input input;
static int page_fd; /* the table has another descriptor of it */
static void *page_mapping;
static uint64_t now_ns, counted[HAK_METRIC_COUNT];

/* ---- Prometheus' text format 0.0.4, line by line ---- */

static const char *skip_name(const char *at)
{
	while (isalnum((unsigned char)*at) || *at == '_')
		at++;
	return at;
}

/* "{name="value",...}", where only \\, \" and \n are escapes. */
static const char *skip_labels(const char *at)
{
	if (*at != '{')
		return at;
	do {
		at = skip_name(at + 1);
		FUZZ_CHECK(at[0] == '=' && at[1] == '"');
		for (at += 2; *at != '"'; at++) {
			FUZZ_CHECK(*at != '\0' && *at != '\n');
			if (*at == '\\')
				FUZZ_CHECK(strchr("\\\"n", *++at) != NULL && *at != '\0');
		}
		at++;
	} while (*at == ',');
	FUZZ_CHECK(*at == '}');
	return at + 1;
}

/* Returns where the next line begins. */
static const char *judge_line(const char *line)
{
	const char *end = strchr(line, '\n');
	char *number_end;

	FUZZ_CHECK(end != NULL);
	if (line[0] == '#') {
		FUZZ_CHECK(strncmp(line, "# HELP ", 7) == 0 || strncmp(line, "# TYPE ", 7) == 0);
		return end + 1;
	}
	FUZZ_CHECK(isalpha((unsigned char)line[0]));
	line = skip_labels(skip_name(line));
	FUZZ_CHECK(*line == ' ' && isdigit((unsigned char)line[1]));
	(void)strtod(line + 1, &number_end);
	FUZZ_CHECK(number_end == end);
	return end + 1;
}

static void judge_text(void)
{
	const struct metrics_daemon daemon = {.version = "1.2.3", .started = 1000};
	struct text text = {.bytes = NULL};

	metrics_write(&text, &table, &daemon);
	FUZZ_CHECK(!text.failed);
	for (const char *line = text.bytes; *line != '\0';)
		line = judge_line(line);
	text_deinit(&text);
}

/* ---- what the client does ---- */

static void make_page(void)
{
	page_fd = memfd_create("hak", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	FUZZ_CHECK(page_fd >= 0 && ftruncate(page_fd, (off_t)hak_page_bytes(1)) == 0);
	FUZZ_CHECK(fcntl(page_fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) == 0);
	/* By which hakd knows that the process is still the one that registered. */
	page_mapping = mmap(NULL, hak_page_bytes(1), PROT_READ, MAP_SHARED, page_fd, 0);
	FUZZ_CHECK(page_mapping != MAP_FAILED);
}

static void drop_page(void)
{
	munmap(page_mapping, hak_page_bytes(1));
	close(page_fd);
}

static void enter(void)
{
	const struct client_papers papers = {
		.hello = {.version = 1, .bytes = HAK_HELLO_BYTES, .superslab_count = 1},
		.pid = getpid(),
		.uid = getuid(),
		.pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0),
		.memfd = fcntl(page_fd, F_DUPFD_CLOEXEC, 0),
	};
	const char *why;

	FUZZ_CHECK(papers.pidfd >= 0 && papers.memfd >= 0);
	FUZZ_CHECK(table_register(&table, &papers, now_ns, &why) == REGISTRATION_ACCEPTED);
}

static void write_page(const void *bytes, size_t count, off_t offset)
{
	FUZZ_CHECK(pwrite(page_fd, bytes, count, offset) == (ssize_t)count);
}

/* As a library would write them: what hakd believes, to be spoiled afterwards. */
static void write_good_numbers(void)
{
	static struct hak_telemetry telemetry;
	static uint8_t bytes[HAK_TELEMETRY_BYTES];

	telemetry.sequence += 2;
	telemetry.version = HAK_TELEMETRY_VERSION;
	telemetry.metric_count = HAK_METRIC_COUNT;
	telemetry.live_bytes = (uint64_t)fuzz_input_take(&input, 2) << 8;
	telemetry.misuse_total += fuzz_input_take(&input, 1);
	telemetry.superslab_open_count = fuzz_input_take(&input, 1) % 2;
	hak_telemetry_encode(&telemetry, bytes);
	write_page(bytes, sizeof bytes, HAK_PAGE_TELEMETRY);
}

/* A word of the header, the metrics or the mailbox becomes another. */
static void write_word(void)
{
	unsigned choice = fuzz_input_take(&input, 1);
	uint64_t word = fuzz_input_take(&input, 4);

	word = word << (choice & 32) | (choice & 64 ? word : 0);
	if (choice < 128)
		write_page(&word, 8, HAK_PAGE_TELEMETRY + 8 * (off_t)(choice % 32));
	else
		write_page(&word, 8, HAK_PAGE_MAILBOX + 8 * (off_t)(choice % 12));
}

static void write_bytes(void)
{
	size_t offset = fuzz_input_take(&input, 2) % (2 * HAK_PAGE_TELEMETRY);
	size_t count = fuzz_input_take(&input, 1);

	count = count < input.left ? count : input.left;
	write_page(input.at, count, (off_t)offset);
	input.at += count;
	input.left -= count;
}

static void register_anew(void)
{
	if (fuzz_input_take(&input, 1) % 2 != 0) {
		drop_page();
		make_page();
	}
	enter();
}

/* ---- what the daemon does ---- */

static void read_numbers(void)
{
	uint64_t sum[HAK_METRIC_COUNT];
	struct client *client;

	now_ns += TABLE_REFRESH_NS + fuzz_input_take(&input, 1);
	table_refresh(&table, now_ns);
	table_sum(&table, sum);
	for (enum hak_metric i = 0; i < HAK_METRIC_COUNT; i++)
		if (group_metric_is_counter(i)) {
			FUZZ_CHECK(sum[i] >= counted[i]);
			counted[i] = sum[i];
		}
	client = table_find(&table, getpid());
	FUZZ_CHECK(client != NULL && client_age_seconds(client, now_ns) >= 0);
	for (enum hak_metric i = 0; i < HAK_METRIC_COUNT; i++)
		FUZZ_CHECK(!group_metric_is_counter(i) || client->counted[i] >> 53 == 0);
	FUZZ_CHECK(client->telemetry.class_count <= HAK_TELEMETRY_CLASSES_MAX);
	table_sort(&table);
	judge_text();
}

static void ask_for_trim(void)
{
	uint64_t target = fuzz_input_take(&input, 4);
	struct client *client = table_trim(&table, getpid(), target, now_ns);

	FUZZ_CHECK(client != NULL && client->mailbox.trim_target_bytes == target);
}

static void tick(void)
{
	now_ns += 2 * CLOCK_SECOND_NS;
	table_tick(&table, now_ns);
	FUZZ_CHECK(table.client_count == 1);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	log_init(LOG_ERR); /* each table says how many clients there may be */
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	static void (*const operations[])(void) = {
		write_good_numbers, write_word, write_word,   write_bytes,
		register_anew,	    tick,	ask_for_trim, read_numbers,
	};

	input = (struct fuzz_input){.at = bytes, .left = count};
	now_ns = clock_now_ns();
	memset(counted, 0, sizeof counted);
	FUZZ_CHECK(table_init(&table) == 0);
	make_page();
	enter();
	for (unsigned i = 0; input.left != 0 && i < OPERATIONS_MAX; i++) {
		operations[fuzz_input_take(&input, 1) % 8]();
		FUZZ_CHECK(table_is_valid(&table));
	}
	read_numbers();
	table_deinit(&table);
	drop_page();
	return 0;
}
