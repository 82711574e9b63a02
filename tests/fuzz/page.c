/* Goal: every part of the shared page is decoded from any bytes without harm, and loses nothing.
 *
 * Method: the bytes are the part that their first byte names, filled up with zeroes. Mailbox and
 * SuperSlab rows come out of decoding and encoding as they were; telemetry too, unless it is
 * refused, which leaves the caller's copy alone, or has words behind its last metric, which count
 * as 0.
 */
#include "judge.h"

#include "proto/mailbox.h"
#include "proto/superslab.h"
#include "proto/telemetry.h"

#include <string.h>

static void judge_mailbox(const uint8_t *bytes)
{
	uint8_t encoded[HAK_MAILBOX_BYTES];
	struct hak_mailbox mailbox;

	hak_mailbox_decode(bytes, &mailbox);
	hak_mailbox_encode(&mailbox, encoded);
	FUZZ_CHECK(memcmp(encoded, bytes, sizeof encoded) == 0);
}

static void judge_row(const uint8_t *bytes)
{
	uint8_t encoded[HAK_SUPERSLAB_ROW_BYTES];
	struct hak_superslab_row row;

	hak_superslab_row_decode(bytes, &row);
	hak_superslab_row_encode(&row, encoded);
	FUZZ_CHECK(memcmp(encoded, bytes, sizeof encoded) == 0);
}

static void judge_telemetry(const uint8_t *bytes)
{
	static struct hak_telemetry telemetry, untouched;
	static uint8_t encoded[HAK_TELEMETRY_BYTES];

	memset(&telemetry, 0xa5, sizeof telemetry);
	untouched = telemetry;
	if (!hak_telemetry_decode(bytes, &telemetry)) {
		FUZZ_CHECK(memcmp(&telemetry, &untouched, sizeof telemetry) == 0);
		return;
	}
	FUZZ_CHECK(telemetry.metric_count <= HAK_TELEMETRY_METRICS_MAX);
	FUZZ_CHECK(telemetry.class_count <= HAK_TELEMETRY_CLASSES_MAX);
	for (uint64_t i = telemetry.metric_count; i < HAK_TELEMETRY_METRICS_MAX; i++)
		FUZZ_CHECK(telemetry.metrics[i] == 0);
	hak_telemetry_encode(&telemetry, encoded);
	FUZZ_CHECK(memcmp(encoded, bytes, 128 + 8 * telemetry.metric_count) == 0);
	FUZZ_CHECK(memcmp(encoded + 1024, bytes + 1024, HAK_TELEMETRY_BYTES - 1024) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	uint8_t part[HAK_TELEMETRY_BYTES] = {0};

	if (count == 0)
		return 0;
	memcpy(part, bytes + 1, count - 1 < sizeof part ? count - 1 : sizeof part);
	switch (bytes[0] % 3) {
	case 0:
		judge_mailbox(part);
		break;
	case 1:
		judge_row(part);
		break;
	default:
		judge_telemetry(part);
		break;
	}
	return 0;
}
