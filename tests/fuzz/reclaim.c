/* Goal: whatever reaches the advisor, or hakd as its answer, is judged without harm, and a request
 * that is believed stays within its region and one call of process_madvise(2).
 *
 * Method: the bytes are a message, taken for a request and for an answer. What a decoder takes
 * comes out the same after an encoding; what it refuses leaves the caller's alone.
 */
#include "judge.h"

#include "proto/reclaim.h"

#include <string.h>

static struct hak_reclaim_request request, untouched;
static uint8_t encoded[HAK_RECLAIM_REQUEST_BYTES_MAX];

static void judge_request(const uint8_t *bytes, size_t count)
{
	uint64_t end = 0, sum = 0;

	for (uint32_t i = 0; i < request.range_count; i++) {
		FUZZ_CHECK(request.ranges[i].page_count > 0);
		FUZZ_CHECK(request.ranges[i].first_page >= end);
		end = (uint64_t)request.ranges[i].first_page + request.ranges[i].page_count;
		sum += request.ranges[i].page_count;
	}
	FUZZ_CHECK(end <= (uint64_t)request.superslab_count * 512 && sum <= 1024);
	FUZZ_CHECK(request.region_base + end * 4096 <= HAK_PAGE_ADDRESS_END);
	FUZZ_CHECK(hak_reclaim_encode_request(&request, encoded) == count);
	FUZZ_CHECK(memcmp(encoded, bytes, count) == 0);
}

static void judge_answer(const uint8_t *bytes, size_t count)
{
	struct hak_reclaim_answer answer;

	if (!hak_reclaim_decode_answer(bytes, count, &answer))
		return;
	FUZZ_CHECK(answer.advised_bytes <= 4 << 20);
	FUZZ_CHECK(answer.released_bytes <= answer.advised_bytes);
	FUZZ_CHECK(hak_reclaim_result_text((enum hak_reclaim_result)answer.result)[0] != '\0');
	hak_reclaim_encode_answer(&answer, encoded);
	FUZZ_CHECK(memcmp(encoded, bytes, count) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	memset(&request, 0xa5, sizeof request);
	memset(&untouched, 0xa5, sizeof untouched);
	if (hak_reclaim_decode_request(bytes, count, &request))
		judge_request(bytes, count);
	else
		FUZZ_CHECK(memcmp(&request, &untouched, sizeof request) == 0);
	judge_answer(bytes, count);
	return 0;
}
