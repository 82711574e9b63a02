#include "proto/telemetry.h"

#include "proto/wire.h"

static_assert(sizeof(struct hak_telemetry) == HAK_TELEMETRY_BYTES, "words, nothing else");
static_assert(offsetof(struct hak_telemetry, metrics) == 128, "metrics' place");
static_assert(offsetof(struct hak_telemetry, classes) == 1024, "classes' place");
static_assert(HAK_METRIC_COUNT <= HAK_TELEMETRY_METRICS_MAX, "room for every metric");

void hak_telemetry_encode(const struct hak_telemetry *telemetry, uint8_t bytes[HAK_TELEMETRY_BYTES])
{
	hak_wire_put_record(bytes, telemetry, HAK_TELEMETRY_BYTES / 8);
}

bool hak_telemetry_decode(const uint8_t bytes[HAK_TELEMETRY_BYTES], struct hak_telemetry *telemetry)
{
	struct hak_telemetry read;

	hak_wire_get_record(bytes, &read, HAK_TELEMETRY_BYTES / 8);
	if (!hak_wire_is_near(read.version, HAK_TELEMETRY_VERSION) ||
	    read.metric_count > HAK_TELEMETRY_METRICS_MAX ||
	    read.class_count > HAK_TELEMETRY_CLASSES_MAX)
		return false;
	/* What a client does not count is 0, whatever lies there. */
	for (uint64_t i = read.metric_count; i < HAK_TELEMETRY_METRICS_MAX; i++)
		read.metrics[i] = 0;
	*telemetry = read;
	return true;
}
