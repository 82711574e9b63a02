/* Goal: the parts of a client's page lie where both sides look for them, do not overlap, and come
 * back from the bytes as they went in; what is said of a heap is believed only within its bounds.
 * Method: each part is numbered word by word and read by hand at the offset of each field; counts
 * at both sides of their bounds; 100,000 random pages. */
#include "proto.h"

#include "proto/mailbox.h"
#include "proto/page.h"
#include "proto/superslab.h"
#include "proto/telemetry.h"

static void parts_do_not_overlap(void **state)
{
	(void)state;
	assert_true(HAK_PAGE_MAILBOX + HAK_MAILBOX_BYTES <= HAK_PAGE_TELEMETRY);
	assert_true(HAK_PAGE_TELEMETRY + HAK_TELEMETRY_BYTES <= HAK_PAGE_SUPERSLABS);
	assert_int_equal(HAK_PAGE_SUPERSLAB_ROW, HAK_SUPERSLAB_ROW_BYTES);
	assert_int_equal(HAK_PAGE_SUPERSLAB_BYTES, 128 * HAK_PAGE_UNIT_BYTES);
}

static void a_page_has_room_for_every_row(void **state)
{
	(void)state;
	for (uint32_t count = 0; count <= HAK_PAGE_SUPERSLABS_MAX; count += 1 + count / 64) {
		uint64_t end = HAK_PAGE_SUPERSLABS + (uint64_t)count * HAK_SUPERSLAB_ROW_BYTES;

		assert_int_equal(hak_page_bytes(count) % 65536, 0);
		assert_in_range(hak_page_bytes(count), end, end + 65535);
	}
	assert_int_equal(hak_page_bytes(448), 65536);
	assert_int_equal(hak_page_bytes(449), 2 * 65536);
	assert_int_equal(hak_page_bytes(HAK_PAGE_SUPERSLABS_MAX), (64 << 20) + 65536);
	/* The hello can say any number of 32 bits before it is bounded. */
	assert_int_equal(hak_page_bytes(UINT32_MAX), ((uint64_t)1 << 39) + 65536);
}

static void mailboxes_go_round(void **state)
{
	struct hak_mailbox mailbox, back;
	uint8_t bytes[HAK_MAILBOX_BYTES];

	(void)state;
	proto_number_words(&mailbox, HAK_MAILBOX_BYTES / 8);
	hak_mailbox_encode(&mailbox, bytes);
	assert_int_equal(proto_word(bytes, HAK_MAILBOX_SEQUENCE / 8), mailbox.sequence);
	assert_int_equal(proto_word(bytes, HAK_MAILBOX_DAEMON_SEEN / 8), mailbox.daemon_seen);
	assert_int_equal(proto_word(bytes, HAK_MAILBOX_EPOCH / 8), mailbox.epoch);
	assert_int_equal(proto_word(bytes, 5), mailbox.trim_request);
	assert_int_equal(proto_word(bytes, 11), mailbox.reclaimed_ns);
	hak_mailbox_decode(bytes, &back);
	assert_memory_equal(&back, &mailbox, sizeof mailbox);
}

static void superslab_rows_go_round(void **state)
{
	struct hak_superslab_row row, back;
	uint8_t bytes[HAK_SUPERSLAB_ROW_BYTES];

	(void)state;
	proto_number_words(&row, HAK_SUPERSLAB_ROW_BYTES / 8);
	hak_superslab_row_encode(&row, bytes);
	assert_int_equal(proto_word(bytes, 0), row.sequence);
	assert_int_equal(proto_word(bytes, 2), row.used[1]);
	assert_int_equal(proto_word(bytes, 3), row.free[0]);
	assert_int_equal(proto_word(bytes, 12), row.lazyfree[7]);
	assert_int_equal(proto_word(bytes, 15), row.reserved[2]);
	hak_superslab_row_decode(bytes, &back);
	assert_memory_equal(&back, &row, sizeof row);
}

static void number_telemetry(struct hak_telemetry *telemetry)
{
	proto_number_words(telemetry, HAK_TELEMETRY_BYTES / 8);
	telemetry->version = HAK_TELEMETRY_VERSION;
	telemetry->metric_count = HAK_TELEMETRY_METRICS_MAX;
	telemetry->class_count = HAK_TELEMETRY_CLASSES_MAX;
}

static void telemetry_goes_round(void **state)
{
	struct hak_telemetry telemetry, back;
	uint8_t bytes[HAK_TELEMETRY_BYTES];

	(void)state;
	number_telemetry(&telemetry);
	hak_telemetry_encode(&telemetry, bytes);
	assert_int_equal(proto_word(bytes, 0), telemetry.sequence);
	assert_int_equal(proto_word(bytes, 2), telemetry.metric_count);
	assert_int_equal(proto_word(bytes, 7), telemetry.trim_ack);
	assert_int_equal(proto_word(bytes, 16), telemetry.live_bytes);
	assert_int_equal(proto_word(bytes, 127), telemetry.metrics[HAK_TELEMETRY_METRICS_MAX - 1]);
	assert_int_equal(proto_word(bytes, 128), telemetry.classes[0].block_bytes);
	assert_int_equal(proto_word(bytes, 383),
			 telemetry.classes[HAK_TELEMETRY_CLASSES_MAX - 1].taken_count);
	assert_true(hak_telemetry_decode(bytes, &back));
	assert_memory_equal(&back, &telemetry, sizeof telemetry);
}

/* Of a client that is older than the reader: fewer metrics, and noise where others will be. */
static void metrics_that_a_client_does_not_count_are_0(void **state)
{
	struct hak_telemetry telemetry, back;
	uint8_t bytes[HAK_TELEMETRY_BYTES];

	(void)state;
	number_telemetry(&telemetry);
	for (uint64_t count = 0; count <= HAK_TELEMETRY_METRICS_MAX; count++) {
		telemetry.metric_count = count;
		hak_telemetry_encode(&telemetry, bytes);
		assert_true(hak_telemetry_decode(bytes, &back));
		for (uint64_t i = 0; i < HAK_TELEMETRY_METRICS_MAX; i++)
			assert_int_equal(back.metrics[i], i < count ? telemetry.metrics[i] : 0);
		assert_memory_equal(back.classes, telemetry.classes, sizeof back.classes);
	}
}

static bool is_believed(uint64_t version, uint64_t metric_count, uint64_t class_count)
{
	struct hak_telemetry telemetry, back, before;
	uint8_t bytes[HAK_TELEMETRY_BYTES];
	bool believed;

	number_telemetry(&telemetry);
	telemetry.version = version;
	telemetry.metric_count = metric_count;
	telemetry.class_count = class_count;
	hak_telemetry_encode(&telemetry, bytes);
	memset(&before, 0x5a, sizeof before);
	back = before;
	believed = hak_telemetry_decode(bytes, &back);
	if (!believed)
		assert_memory_equal(&back, &before, sizeof back);
	return believed;
}

static void counts_have_bounds(void **state)
{
	const uint64_t metrics = HAK_TELEMETRY_METRICS_MAX, classes = HAK_TELEMETRY_CLASSES_MAX;

	(void)state;
	assert_true(is_believed(HAK_TELEMETRY_VERSION, 0, 0));
	assert_true(is_believed(HAK_TELEMETRY_VERSION, metrics, classes));
	/* A page that was never written. */
	assert_false(is_believed(0, 0, 0));
	assert_true(is_believed(HAK_TELEMETRY_VERSION + 1, 0, 0));
	assert_false(is_believed(HAK_TELEMETRY_VERSION + 2, 0, 0));
	/* Of which a narrower reader would see only the low half. */
	assert_false(is_believed((uint64_t)1 << 32 | HAK_TELEMETRY_VERSION, 0, 0));
	for (unsigned bit = 0; bit < 64; bit++) {
		uint64_t beyond = (uint64_t)1 << bit;

		assert_int_equal(is_believed(HAK_TELEMETRY_VERSION, beyond, 0), beyond <= metrics);
		assert_int_equal(is_believed(HAK_TELEMETRY_VERSION, 0, beyond), beyond <= classes);
	}
	assert_false(is_believed(HAK_TELEMETRY_VERSION, metrics + 1, 0));
	assert_false(is_believed(HAK_TELEMETRY_VERSION, 0, classes + 1));
	assert_false(is_believed(HAK_TELEMETRY_VERSION, UINT64_MAX, UINT64_MAX));
}

static void hostile_pages_do_no_harm(void **state)
{
	struct hak_telemetry telemetry, back;
	uint8_t good[HAK_TELEMETRY_BYTES], bytes[HAK_TELEMETRY_BYTES];
	size_t taken_count = 0, refused_count = 0;

	(void)state;
	number_telemetry(&telemetry);
	telemetry.metric_count = HAK_METRIC_COUNT;
	hak_telemetry_encode(&telemetry, good);
	proto_fill(bytes, sizeof bytes);
	for (int round = 0; round < PROTO_INPUT_COUNT; round++) {
		/* Noise, whose parts are exchanged piece by piece, or noise in a good header. */
		if (round % 2 == 0) {
			memcpy(bytes, good, sizeof bytes);
			proto_spoil(bytes, 64);
		} else {
			proto_fill(bytes + proto_random() % (sizeof bytes - 64), 64);
		}
		if (!hak_telemetry_decode(bytes, &back)) {
			refused_count++;
			continue;
		}
		taken_count++;
		assert_true(back.metric_count <= HAK_TELEMETRY_METRICS_MAX);
		assert_true(back.class_count <= HAK_TELEMETRY_CLASSES_MAX);
		for (uint64_t i = back.metric_count; i < HAK_TELEMETRY_METRICS_MAX; i++)
			assert_int_equal(back.metrics[i], 0);
	}
	assert_true(taken_count > PROTO_INPUT_COUNT / 100);
	assert_true(refused_count > PROTO_INPUT_COUNT / 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parts_do_not_overlap),
		cmocka_unit_test(a_page_has_room_for_every_row),
		cmocka_unit_test(mailboxes_go_round),
		cmocka_unit_test(superslab_rows_go_round),
		cmocka_unit_test(telemetry_goes_round),
		cmocka_unit_test(metrics_that_a_client_does_not_count_are_0),
		cmocka_unit_test(counts_have_bounds),
		cmocka_unit_test(hostile_pages_do_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
