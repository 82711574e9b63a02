/* telemetry.h - page 1 of the memfd: what a heap says of itself.
 *
 *   0     header, 16 words
 *   128   metrics, one word each, in the order of metrics.def; room for 112
 *   1024  size classes, 4 words each; room for 64
 *   3072  end
 *
 * The client writes it on slow paths (when: libhak/govern/telemetry.h); a program that stands still
 * writes nothing, and `updated_ns` tells since when. Everything here is a claim: the daemon
 * believes it only as far as it concerns this client's own row.
 *
 * Pure; no allocation. Version rule: metrics and header words are added at the end, and
 * `metric_count` says how many there are; a reader takes 0 for those that a client does not have.
 * Versions one apart are read (README.md).
 */
#ifndef HAK_PROTO_TELEMETRY_H
#define HAK_PROTO_TELEMETRY_H

#include <stdbool.h>
#include <stdint.h>

#define HAK_TELEMETRY_BYTES 3072
#define HAK_TELEMETRY_VERSION 1
#define HAK_TELEMETRY_METRICS_MAX 112
#define HAK_TELEMETRY_CLASSES_MAX 64

enum hak_metric {
#define METRIC(kind, field, family, labels, help) HAK_METRIC_##field,
#include "proto/metrics.def"
#undef METRIC
	HAK_METRIC_COUNT,
};

/* One size class: slabs, and the blocks in them. */
struct hak_telemetry_class {
	uint64_t block_bytes;
	uint64_t slab_count;
	uint64_t block_count; /* that these slabs have room for */
	uint64_t taken_count; /* in the program's hands, magazines and depots */
};

struct hak_telemetry {
	uint64_t sequence;
	uint64_t version;
	uint64_t metric_count;
	uint64_t class_count;	    /* rows of classes[] in use; row 0 stays empty */
	uint64_t pid;		    /* as the client sees itself: its own pid namespace */
	uint64_t updated_ns;	    /* CLOCK_MONOTONIC of the last change */
	uint64_t started_ns;	    /* CLOCK_MONOTONIC of the registration */
	uint64_t trim_ack;	    /* the last trim_request that was carried out */
	uint64_t trim_before_bytes; /* cached + free at its begin */
	uint64_t trim_after_bytes;  /* and at its end */
	uint64_t trim_released_bytes;
	uint64_t reserved[5];
	union {
		struct {
#define METRIC(kind, field, family, labels, help) uint64_t field;
#include "proto/metrics.def"
#undef METRIC
		};
		uint64_t metrics[HAK_TELEMETRY_METRICS_MAX];
	};
	struct hak_telemetry_class classes[HAK_TELEMETRY_CLASSES_MAX];
};

void hak_telemetry_encode(const struct hak_telemetry *telemetry,
			  uint8_t bytes[HAK_TELEMETRY_BYTES]);

/* False: it says what cannot be (version, counts); *telemetry is not written then. */
bool hak_telemetry_decode(const uint8_t bytes[HAK_TELEMETRY_BYTES],
			  struct hak_telemetry *telemetry);

#endif
