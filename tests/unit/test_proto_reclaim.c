/* Goal: a request and an answer come out of the codec as they went in, and nothing comes out that
 * advises beyond a client's region or beyond one call of process_madvise(2).
 * Method: good messages, each of their fields at its bounds, every truncation, and many that are
 * noise or a good one that was spoilt. */
#include "proto.h"

#include "proto/reclaim.h"

static struct hak_reclaim_request good;
static struct hak_reclaim_request decoded;
static uint8_t bytes[HAK_RECLAIM_REQUEST_BYTES_MAX + 1];

static void make_good(void)
{
	good = (struct hak_reclaim_request){
		.version = HAK_RECLAIM_VERSION,
		.advice = HAK_RECLAIM_PAGEOUT,
		.range_count = 3,
		.number = 77,
		.device_major = 0,
		.device_minor = 1,
		.inode = 4711,
		.region_base = 0x7f12c2e00000,
		.superslab_count = 2,
		.ranges = {{0, 1}, {5, 500}, {1023, 1}},
	};
}

static bool goes_round(void)
{
	size_t count = hak_reclaim_encode_request(&good, bytes);

	return hak_reclaim_decode_request(bytes, count, &decoded);
}

static void a_request_goes_round(void **state)
{
	(void)state;
	make_good();
	assert_true(goes_round());
	assert_memory_equal(&decoded, &good, sizeof good);
	assert_int_equal(hak_reclaim_encode_request(&good, bytes), HAK_RECLAIM_REQUEST_BYTES + 24);
	assert_memory_equal(bytes, "hakADVIS", 8);

	good.superslab_count = HAK_PAGE_SUPERSLABS_MAX;
	good.region_base = (uint64_t)1 << 40;
	good.range_count = HAK_RECLAIM_RANGES_MAX;
	for (uint32_t i = 0; i < HAK_RECLAIM_RANGES_MAX; i++)
		good.ranges[i] = (struct hak_reclaim_range){2 * i, 1};
	assert_true(goes_round());
	assert_memory_equal(&decoded, &good, sizeof good);
	assert_int_equal(hak_reclaim_encode_request(&good, bytes), HAK_RECLAIM_REQUEST_BYTES_MAX);

	make_good();
	good.advice = HAK_RECLAIM_LOOK;
	good.range_count = 0;
	assert_true(goes_round());
}

static void an_answer_goes_round(void **state)
{
	struct hak_reclaim_answer answer = {
		.version = HAK_RECLAIM_VERSION,
		.result = HAK_RECLAIM_DONE,
		.dropped_count = 2,
		.number = 77,
		.advised_bytes = 4 << 20,
		.released_bytes = 3 << 20,
		.swapped_bytes = 1 << 12,
		.wait_ns = 5,
		.duration_ns = 700000,
		.error = 12,
	};
	struct hak_reclaim_answer again;

	(void)state;
	hak_reclaim_encode_answer(&answer, bytes);
	assert_memory_equal(bytes, "hakREPLY", 8);
	assert_true(hak_reclaim_decode_answer(bytes, HAK_RECLAIM_ANSWER_BYTES, &again));
	assert_memory_equal(&again, &answer, sizeof answer);
	for (size_t count = 0; count < HAK_RECLAIM_ANSWER_BYTES; count++)
		assert_false(hak_reclaim_decode_answer(bytes, count, &again));
	/* Who released more than was asked counts for itself alone: refused. */
	answer.released_bytes = answer.advised_bytes + 1;
	hak_reclaim_encode_answer(&answer, bytes);
	assert_false(hak_reclaim_decode_answer(bytes, HAK_RECLAIM_ANSWER_BYTES, &again));
	answer.released_bytes = 0;
	answer.advised_bytes = (4 << 20) + 1;
	hak_reclaim_encode_answer(&answer, bytes);
	assert_false(hak_reclaim_decode_answer(bytes, HAK_RECLAIM_ANSWER_BYTES, &again));
}

#define REFUSED_WITH(field, value)                                                                 \
	do {                                                                                       \
		make_good();                                                                       \
		good.field = (value);                                                              \
		assert_false(goes_round());                                                        \
	} while (0)

static void fields_have_bounds(void **state)
{
	(void)state;
	REFUSED_WITH(version, 0);
	REFUSED_WITH(version, 2);
	REFUSED_WITH(advice, HAK_RECLAIM_ADVICE_COUNT);
	REFUSED_WITH(advice, HAK_RECLAIM_LOOK); /* with ranges */
	REFUSED_WITH(range_count, 0);		/* without */
	REFUSED_WITH(number, 0);
	REFUSED_WITH(reserved, 1);
	REFUSED_WITH(region_base, 0);
	REFUSED_WITH(region_base, good.region_base + 4096);
	REFUSED_WITH(region_base, HAK_PAGE_ADDRESS_END - HAK_PAGE_SUPERSLAB_BYTES);
	REFUSED_WITH(region_base, UINT64_MAX - HAK_PAGE_SUPERSLAB_BYTES + 1);
	REFUSED_WITH(superslab_count, 0);
	REFUSED_WITH(superslab_count, HAK_PAGE_SUPERSLABS_MAX + 1);
}

static void ranges_have_bounds(void **state)
{
	(void)state;
	REFUSED_WITH(ranges[2].page_count, 0);
	REFUSED_WITH(ranges[2].page_count, 2); /* beyond the region */
	REFUSED_WITH(ranges[2].page_count, UINT32_MAX);
	REFUSED_WITH(ranges[2].first_page, 1024);
	REFUSED_WITH(ranges[2].first_page, UINT32_MAX);
	REFUSED_WITH(ranges[2].first_page, 504); /* overlaps */
	REFUSED_WITH(ranges[0].first_page, 6);	 /* out of order */
	REFUSED_WITH(superslab_count, 1);
	make_good();
	good.superslab_count = 3;
	good.ranges[1] = (struct hak_reclaim_range){1, 1022};
	assert_true(goes_round());
	good.ranges[1].page_count = 1023;
	good.ranges[2].first_page = 1024;
	assert_false(goes_round()); /* 4 MiB and a page */
}

static void every_truncation_is_refused(void **state)
{
	(void)state;
	make_good();
	size_t whole = hak_reclaim_encode_request(&good, bytes);

	memset(&decoded, 0xa5, sizeof decoded);
	for (size_t count = 0; count <= sizeof bytes; count++)
		assert_int_equal(hak_reclaim_decode_request(bytes, count, &decoded),
				 count == whole);
}

static void hostile_bytes_do_no_harm(void **state)
{
	size_t taken_count = 0;

	(void)state;
	make_good();
	for (int round = 0; round < PROTO_INPUT_COUNT / 10; round++) {
		size_t count = hak_reclaim_encode_request(&good, bytes);
		uint32_t end = 0, sum = 0;

		proto_spoil(bytes, count);
		if (!hak_reclaim_decode_request(bytes, count, &decoded))
			continue;
		taken_count++;
		assert_true(decoded.range_count <= HAK_RECLAIM_RANGES_MAX);
		for (uint32_t i = 0; i < decoded.range_count; i++) {
			assert_true(decoded.ranges[i].first_page >= end);
			end = decoded.ranges[i].first_page + decoded.ranges[i].page_count;
			sum += decoded.ranges[i].page_count;
		}
		assert_true(end <= decoded.superslab_count * 512 && sum <= 1024);
	}
	assert_true(taken_count > 100);
}

static void every_word_is_its_own(void **state)
{
	(void)state;
	for (int i = 0; i < HAK_RECLAIM_RESULT_COUNT; i++)
		for (int j = 0; j < i; j++)
			assert_string_not_equal(
				hak_reclaim_result_text((enum hak_reclaim_result)i),
				hak_reclaim_result_text((enum hak_reclaim_result)j));
	assert_string_equal(hak_reclaim_advice_text(HAK_RECLAIM_COLLAPSE), "collapse");
	assert_string_equal(hak_reclaim_advice_text(HAK_RECLAIM_ADVICE_COUNT), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_goes_round),
		cmocka_unit_test(an_answer_goes_round),
		cmocka_unit_test(fields_have_bounds),
		cmocka_unit_test(ranges_have_bounds),
		cmocka_unit_test(every_truncation_is_refused),
		cmocka_unit_test(hostile_bytes_do_no_harm),
		cmocka_unit_test(every_word_is_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
