/* Goal: somebody who writes the other side from proto/README.md alone is not misled: every field
 * lies where its tables say, no byte is left out, and its hello is one that libhak would send.
 * Method: each table is read back and compared, row by row, with the struct it describes, or for
 * the hello with where the codec puts a field; its hello is encoded and printed as hexdump -C
 * would. */
#include "proto.h"

#include "proto/hello.h"
#include "proto/mailbox.h"
#include "proto/reclaim.h"
#include "proto/superslab.h"
#include "proto/telemetry.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#define README_BYTES_MAX 65536
#define NAME_BYTES_MAX 64

struct field {
	char name[NAME_BYTES_MAX];
	size_t offset, bytes;
};

#define FIELD(type, field)                                                                         \
	{                                                                                          \
#field, offsetof(struct type, field), sizeof(((struct type *)0)->field)            \
	}

static char readme[README_BYTES_MAX + 1];

static int read_readme(void **state)
{
	FILE *file = fopen(HAK_PROTO_README, "r");
	size_t count;

	(void)state;
	if (file == NULL)
		return -1;
	count = fread(readme, 1, README_BYTES_MAX, file);
	readme[count] = '\0';
	fclose(file);
	return count > 0 && count < README_BYTES_MAX ? 0 : -1;
}

/* The first table below a heading; what stands in its first cell must be a number for it to be a
 * row, and the fields must follow each other without a gap. Returns how many bytes they cover. */
static size_t assert_table(const char *heading, const struct field *fields, size_t count)
{
	const char *at = strstr(readme, heading);
	size_t end, found = 0;

	assert_non_null(at);
	at = strstr(at, "|---|---|---|---|\n");
	assert_non_null(at);
	end = fields[0].offset;
	for (at = strchr(at, '\n') + 1; at[0] == '|'; at = strchr(at, '\n') + 1) {
		struct field row;

		assert_int_equal(sscanf(at, "| %zu | %zu | `%63[a-z_]` |", &row.offset, &row.bytes,
					row.name),
				 3);
		assert_true(found < count);
		assert_string_equal(row.name, fields[found].name);
		assert_int_equal(row.offset, fields[found].offset);
		assert_int_equal(row.bytes, fields[found].bytes);
		assert_int_equal(row.offset, end);
		end += row.bytes;
		found++;
	}
	assert_int_equal(found, count);
	return end;
}

/* The hello is no array of words: where its fields lie only the codec knows. */
static struct field hello_field(const char *name, struct hak_hello hello)
{
	uint8_t empty[HAK_HELLO_BYTES], bytes[HAK_HELLO_BYTES];
	struct field field = {.offset = SIZE_MAX};

	snprintf(field.name, sizeof field.name, "%s", name);
	hak_hello_encode(&(struct hak_hello){0}, empty);
	hak_hello_encode(&hello, bytes);
	for (size_t i = 0; i < sizeof bytes; i++) {
		if (bytes[i] == empty[i])
			continue;
		if (field.offset == SIZE_MAX)
			field.offset = i;
		field.bytes = i + 1 - field.offset;
	}
	return field;
}

static struct hak_hello full_exe(void)
{
	struct hak_hello hello = {0};

	memset(hello.exe, 'x', sizeof hello.exe);
	return hello;
}

static void the_hello_is_where_it_says(void **state)
{
	const struct field fields[] = {
		{"magic", 0, 8},
		hello_field("version", (struct hak_hello){.version = UINT16_MAX}),
		hello_field("bytes", (struct hak_hello){.bytes = UINT16_MAX}),
		hello_field("superslab_count", (struct hak_hello){.superslab_count = UINT32_MAX}),
		hello_field("region_base", (struct hak_hello){.region_base = UINT64_MAX}),
		hello_field("library_version", (struct hak_hello){.library_version = UINT64_MAX}),
		hello_field("reserved", (struct hak_hello){.reserved = UINT64_MAX}),
		hello_field("exe", full_exe()),
	};

	(void)state;
	assert_int_equal(assert_table("## Hello", fields, UNIT_COUNT(fields)), HAK_HELLO_BYTES);
}

static void the_hello_is_a_real_one(void **state)
{
	const struct hak_hello hello = {
		.version = HAK_HELLO_VERSION,
		.bytes = HAK_HELLO_BYTES,
		.superslab_count = 48211,
		.region_base = 0x7f12c2e00000,
		.library_version = 1 << 16,
		.exe = "/usr/bin/python3.11",
	};
	struct hak_hello decoded;
	uint8_t bytes[HAK_HELLO_BYTES];
	size_t shown_count = HAK_HELLO_BYTES_MIN + 24; /* whole rows, up to the last that has any */

	(void)state;
	hak_hello_encode(&hello, bytes);
	assert_int_equal(hak_hello_decode(bytes, sizeof bytes, &decoded), HAK_HELLO_OK);
	for (size_t row = 0; row < shown_count; row += 16) {
		char line[128], text[17] = "";
		int used = snprintf(line, sizeof line, "    %08zx ", row);

		for (size_t i = row; i < row + 16; i++) {
			used += snprintf(line + used, sizeof line - (size_t)used, "%s%02x",
					 i % 16 == 8 ? "  " : " ", bytes[i]);
			text[i - row] = '.';
			if (bytes[i] >= ' ' && bytes[i] <= '~')
				text[i - row] = (char)bytes[i];
		}
		snprintf(line + used, sizeof line - (size_t)used, "  |%s|\n", text);
		if (strstr(readme, line) == NULL)
			fail_msg("proto/README.md has no line '%s'", line);
	}
	for (size_t i = shown_count; i < sizeof bytes; i++)
		assert_int_equal(bytes[i], 0);
}

/* As for the hello: where a field's bytes lie, found by what changes with it. */
static struct field changed_field(const char *name, const uint8_t *empty, const uint8_t *bytes,
				  size_t count)
{
	struct field field = {.offset = SIZE_MAX};

	snprintf(field.name, sizeof field.name, "%s", name);
	for (size_t i = 0; i < count; i++) {
		if (bytes[i] == empty[i])
			continue;
		if (field.offset == SIZE_MAX)
			field.offset = i;
		field.bytes = i + 1 - field.offset;
	}
	return field;
}

static struct field request_field(const char *name, struct hak_reclaim_request request)
{
	static const struct hak_reclaim_request nothing;
	static uint8_t empty[HAK_RECLAIM_REQUEST_BYTES_MAX], bytes[HAK_RECLAIM_REQUEST_BYTES_MAX];

	hak_reclaim_encode_request(&nothing, empty);
	hak_reclaim_encode_request(&request, bytes);
	return changed_field(name, empty, bytes, HAK_RECLAIM_REQUEST_BYTES);
}

static struct field answer_field(const char *name, struct hak_reclaim_answer answer)
{
	uint8_t empty[HAK_RECLAIM_ANSWER_BYTES], bytes[HAK_RECLAIM_ANSWER_BYTES];

	hak_reclaim_encode_answer(&(struct hak_reclaim_answer){.version = 0}, empty);
	hak_reclaim_encode_answer(&answer, bytes);
	return changed_field(name, empty, bytes, sizeof bytes);
}

#define REQUEST_FIELD(field, value)                                                                \
	request_field(#field, (struct hak_reclaim_request){.field = (value)})
#define ANSWER_FIELD(field, value)                                                                 \
	answer_field(#field, (struct hak_reclaim_answer){.field = (value)})

static void a_reclaim_is_where_it_says(void **state)
{
	const struct field request[] = {
		{"magic", 0, 8},
		REQUEST_FIELD(version, UINT16_MAX),
		REQUEST_FIELD(advice, UINT16_MAX),
		REQUEST_FIELD(range_count, UINT32_MAX),
		REQUEST_FIELD(number, UINT64_MAX),
		REQUEST_FIELD(device_major, UINT32_MAX),
		REQUEST_FIELD(device_minor, UINT32_MAX),
		REQUEST_FIELD(inode, UINT64_MAX),
		REQUEST_FIELD(region_base, UINT64_MAX),
		REQUEST_FIELD(superslab_count, UINT32_MAX),
		REQUEST_FIELD(reserved, UINT32_MAX),
	};
	const struct field answer[] = {
		{"magic", 0, 8},
		ANSWER_FIELD(version, UINT16_MAX),
		ANSWER_FIELD(result, UINT16_MAX),
		ANSWER_FIELD(dropped_count, UINT32_MAX),
		ANSWER_FIELD(number, UINT64_MAX),
		ANSWER_FIELD(advised_bytes, UINT64_MAX),
		ANSWER_FIELD(released_bytes, UINT64_MAX),
		ANSWER_FIELD(swapped_bytes, UINT64_MAX),
		ANSWER_FIELD(wait_ns, UINT64_MAX),
		ANSWER_FIELD(duration_ns, UINT64_MAX),
		ANSWER_FIELD(error, UINT32_MAX),
		ANSWER_FIELD(reserved, UINT32_MAX),
	};

	(void)state;
	assert_int_equal(assert_table("### Request:", request, UNIT_COUNT(request)),
			 HAK_RECLAIM_REQUEST_BYTES);
	assert_int_equal(assert_table("### Answer", answer, UNIT_COUNT(answer)),
			 HAK_RECLAIM_ANSWER_BYTES);
}

static void the_mailbox_is_where_it_says(void **state)
{
	const struct field fields[] = {
		FIELD(hak_mailbox, sequence),
		FIELD(hak_mailbox, daemon_seen),
		FIELD(hak_mailbox, epoch),
		FIELD(hak_mailbox, soft_budget_bytes),
		FIELD(hak_mailbox, hard_budget_bytes),
		FIELD(hak_mailbox, trim_request),
		FIELD(hak_mailbox, trim_target_bytes),
		FIELD(hak_mailbox, purge_level),
		FIELD(hak_mailbox, decay_ns),
		FIELD(hak_mailbox, magazine_bytes_max),
		FIELD(hak_mailbox, flags),
		FIELD(hak_mailbox, reclaimed_ns),
	};

	(void)state;
	assert_int_equal(assert_table("### Mailbox", fields, UNIT_COUNT(fields)),
			 HAK_MAILBOX_BYTES);
}

static void telemetry_is_where_it_says(void **state)
{
	const struct field header[] = {
		FIELD(hak_telemetry, sequence),
		FIELD(hak_telemetry, version),
		FIELD(hak_telemetry, metric_count),
		FIELD(hak_telemetry, class_count),
		FIELD(hak_telemetry, pid),
		FIELD(hak_telemetry, updated_ns),
		FIELD(hak_telemetry, started_ns),
		FIELD(hak_telemetry, trim_ack),
		FIELD(hak_telemetry, trim_before_bytes),
		FIELD(hak_telemetry, trim_after_bytes),
		FIELD(hak_telemetry, trim_released_bytes),
		FIELD(hak_telemetry, reserved),
	};
	const struct field metrics[] = {
#define METRIC(kind, field, family, labels, help) FIELD(hak_telemetry, field),
#include "proto/metrics.def"
#undef METRIC
	};
	const struct field class_row[] = {
		FIELD(hak_telemetry_class, block_bytes),
		FIELD(hak_telemetry_class, slab_count),
		FIELD(hak_telemetry_class, block_count),
		FIELD(hak_telemetry_class, taken_count),
	};

	(void)state;
	assert_int_equal(assert_table(": the header", header, UNIT_COUNT(header)),
			 offsetof(struct hak_telemetry, metrics));
	assert_table(": the metrics", metrics, UNIT_COUNT(metrics));
	assert_int_equal(assert_table(": a size class", class_row, UNIT_COUNT(class_row)),
			 sizeof(struct hak_telemetry_class));
}

static void a_superslab_is_where_it_says(void **state)
{
	const struct field fields[] = {
		FIELD(hak_superslab_row, sequence), FIELD(hak_superslab_row, used),
		FIELD(hak_superslab_row, free),	    FIELD(hak_superslab_row, lazyfree),
		FIELD(hak_superslab_row, reserved),
	};

	(void)state;
	assert_int_equal(assert_table("### A SuperSlab", fields, UNIT_COUNT(fields)),
			 HAK_SUPERSLAB_ROW_BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_hello_is_where_it_says),
		cmocka_unit_test(the_hello_is_a_real_one),
		cmocka_unit_test(a_reclaim_is_where_it_says),
		cmocka_unit_test(the_mailbox_is_where_it_says),
		cmocka_unit_test(telemetry_is_where_it_says),
		cmocka_unit_test(a_superslab_is_where_it_says),
	};

	return cmocka_run_group_tests(tests, read_readme, NULL);
}
