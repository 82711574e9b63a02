#include "proto/reclaim.h"

#include "proto/wire.h"

#define PAGES_PER_SUPERSLAB ((uint32_t)(HAK_PAGE_SUPERSLAB_BYTES >> HAK_RECLAIM_PAGE_SHIFT))

static_assert((uint64_t)HAK_PAGE_SUPERSLABS_MAX * PAGES_PER_SUPERSLAB <= UINT32_MAX,
	      "a page of any region has a number");

size_t hak_reclaim_encode_request(const struct hak_reclaim_request *request, uint8_t *bytes)
{
	struct hak_wire wire = hak_wire_of(bytes, HAK_RECLAIM_REQUEST_BYTES_MAX);

	hak_wire_put(&wire, HAK_RECLAIM_REQUEST_MAGIC, 8);
	hak_wire_put(&wire, request->version, 2);
	hak_wire_put(&wire, request->advice, 2);
	hak_wire_put(&wire, request->range_count, 4);
	hak_wire_put(&wire, request->number, 8);
	hak_wire_put(&wire, request->device_major, 4);
	hak_wire_put(&wire, request->device_minor, 4);
	hak_wire_put(&wire, request->inode, 8);
	hak_wire_put(&wire, request->region_base, 8);
	hak_wire_put(&wire, request->superslab_count, 4);
	hak_wire_put(&wire, request->reserved, 4);
	for (uint32_t i = 0; i < request->range_count && i < HAK_RECLAIM_RANGES_MAX; i++) {
		hak_wire_put(&wire, request->ranges[i].first_page, 4);
		hak_wire_put(&wire, request->ranges[i].page_count, 4);
	}
	return wire.used;
}

static bool region_can_be(const struct hak_reclaim_request *request)
{
	return request->superslab_count - 1 < HAK_PAGE_SUPERSLABS_MAX &&
	       request->region_base != 0 && request->region_base % HAK_PAGE_SUPERSLAB_BYTES == 0 &&
	       request->region_base <=
		       HAK_PAGE_ADDRESS_END - request->superslab_count * HAK_PAGE_SUPERSLAB_BYTES;
}

static bool ranges_can_be(const struct hak_reclaim_request *request)
{
	uint32_t region_pages = request->superslab_count * PAGES_PER_SUPERSLAB;
	uint32_t end = 0, sum = 0;

	for (uint32_t i = 0; i < request->range_count; i++) {
		const struct hak_reclaim_range *range = &request->ranges[i];

		if (range->first_page < end || range->first_page >= region_pages ||
		    range->page_count - 1 >= region_pages - range->first_page ||
		    range->page_count > HAK_RECLAIM_PAGES_MAX - sum)
			return false;
		end = range->first_page + range->page_count;
		sum += range->page_count;
	}
	return (request->range_count == 0) == (request->advice == HAK_RECLAIM_LOOK);
}

bool hak_reclaim_decode_request(const uint8_t *bytes, size_t count,
				struct hak_reclaim_request *request)
{
	uint8_t copy[HAK_RECLAIM_REQUEST_BYTES_MAX];
	struct hak_wire wire = hak_wire_of(copy, count);
	struct hak_reclaim_request read = {.version = 0};

	if (count < HAK_RECLAIM_REQUEST_BYTES || count > sizeof copy)
		return false;
	memcpy(copy, bytes, count);
	if (hak_wire_get(&wire, 8) != HAK_RECLAIM_REQUEST_MAGIC)
		return false;
	read.version = (uint16_t)hak_wire_get(&wire, 2);
	read.advice = (uint16_t)hak_wire_get(&wire, 2);
	read.range_count = (uint32_t)hak_wire_get(&wire, 4);
	read.number = hak_wire_get(&wire, 8);
	read.device_major = (uint32_t)hak_wire_get(&wire, 4);
	read.device_minor = (uint32_t)hak_wire_get(&wire, 4);
	read.inode = hak_wire_get(&wire, 8);
	read.region_base = hak_wire_get(&wire, 8);
	read.superslab_count = (uint32_t)hak_wire_get(&wire, 4);
	read.reserved = (uint32_t)hak_wire_get(&wire, 4);
	if (read.version != HAK_RECLAIM_VERSION || read.advice >= HAK_RECLAIM_ADVICE_COUNT ||
	    read.number == 0 || read.reserved != 0 || read.range_count > HAK_RECLAIM_RANGES_MAX ||
	    count != HAK_RECLAIM_REQUEST_BYTES + read.range_count * HAK_RECLAIM_RANGE_BYTES)
		return false;
	for (uint32_t i = 0; i < read.range_count; i++) {
		read.ranges[i].first_page = (uint32_t)hak_wire_get(&wire, 4);
		read.ranges[i].page_count = (uint32_t)hak_wire_get(&wire, 4);
	}
	if (wire.overrun || !region_can_be(&read) || !ranges_can_be(&read))
		return false;
	*request = read;
	return true;
}

void hak_reclaim_encode_answer(const struct hak_reclaim_answer *answer,
			       uint8_t bytes[HAK_RECLAIM_ANSWER_BYTES])
{
	struct hak_wire wire = hak_wire_of(bytes, HAK_RECLAIM_ANSWER_BYTES);

	hak_wire_put(&wire, HAK_RECLAIM_ANSWER_MAGIC, 8);
	hak_wire_put(&wire, answer->version, 2);
	hak_wire_put(&wire, answer->result, 2);
	hak_wire_put(&wire, answer->dropped_count, 4);
	hak_wire_put(&wire, answer->number, 8);
	hak_wire_put(&wire, answer->advised_bytes, 8);
	hak_wire_put(&wire, answer->released_bytes, 8);
	hak_wire_put(&wire, answer->swapped_bytes, 8);
	hak_wire_put(&wire, answer->wait_ns, 8);
	hak_wire_put(&wire, answer->duration_ns, 8);
	hak_wire_put(&wire, answer->error, 4);
	hak_wire_put(&wire, answer->reserved, 4);
}

bool hak_reclaim_decode_answer(const uint8_t *bytes, size_t count,
			       struct hak_reclaim_answer *answer)
{
	uint8_t copy[HAK_RECLAIM_ANSWER_BYTES];
	struct hak_wire wire = hak_wire_of(copy, sizeof copy);
	const uint64_t bytes_max = (uint64_t)HAK_RECLAIM_PAGES_MAX << HAK_RECLAIM_PAGE_SHIFT;
	struct hak_reclaim_answer read;

	if (count != sizeof copy)
		return false;
	memcpy(copy, bytes, sizeof copy);
	if (hak_wire_get(&wire, 8) != HAK_RECLAIM_ANSWER_MAGIC)
		return false;
	read.version = (uint16_t)hak_wire_get(&wire, 2);
	read.result = (uint16_t)hak_wire_get(&wire, 2);
	read.dropped_count = (uint32_t)hak_wire_get(&wire, 4);
	read.number = hak_wire_get(&wire, 8);
	read.advised_bytes = hak_wire_get(&wire, 8);
	read.released_bytes = hak_wire_get(&wire, 8);
	read.swapped_bytes = hak_wire_get(&wire, 8);
	read.wait_ns = hak_wire_get(&wire, 8);
	read.duration_ns = hak_wire_get(&wire, 8);
	read.error = (uint32_t)hak_wire_get(&wire, 4);
	read.reserved = (uint32_t)hak_wire_get(&wire, 4);
	if (read.version != HAK_RECLAIM_VERSION || read.result >= HAK_RECLAIM_RESULT_COUNT ||
	    read.advised_bytes > bytes_max || read.released_bytes > read.advised_bytes ||
	    read.swapped_bytes > read.advised_bytes ||
	    read.dropped_count > HAK_RECLAIM_RANGES_MAX || read.reserved != 0)
		return false;
	*answer = read;
	return true;
}

const char *hak_reclaim_advice_text(enum hak_reclaim_advice advice)
{
	static const char *const texts[HAK_RECLAIM_ADVICE_COUNT] = {"look", "pageout", "cold",
								    "collapse"};

	return advice < HAK_RECLAIM_ADVICE_COUNT ? texts[advice] : "unknown";
}

const char *hak_reclaim_result_text(enum hak_reclaim_result result)
{
	static const char *const texts[HAK_RECLAIM_RESULT_COUNT] = {"ready",   "done",	  "gone",
								    "limited", "refused", "unable"};

	return result < HAK_RECLAIM_RESULT_COUNT ? texts[result] : "unknown";
}
