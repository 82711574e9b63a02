/* wire.h - bytes in a bounded buffer, little-endian, for all that libhak and hakd say to each
 * other.
 *
 * A cursor never runs past its end: what does not fit, or is not there, sets `overrun`, which
 * sticks; every later get gives 0 and every later put writes nothing. So a codec puts or gets all
 * of its fields and asks once, at the end. Pure; no allocation; any thread, one cursor each.
 *
 * Source: the sticky error of OpenBSD's ibuf (imsg_init(3)).
 */
#ifndef HAK_PROTO_WIRE_H
#define HAK_PROTO_WIRE_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct hak_wire {
	uint8_t *bytes;
	size_t size;
	size_t used; /* <= size */
	bool overrun;
};

/* Whether a reader that knows the version `known` takes what was written in `version`: one more or
 * one less, as either side is upgraded first. What is one more begins as what is known; what is one
 * less is read as it was (README.md). */
static inline bool hak_wire_is_near(uint64_t version, uint64_t known)
{
	return version != 0 && version - 1 <= known && known - 1 <= version;
}

static inline struct hak_wire hak_wire_of(void *bytes, size_t size)
{
	return (struct hak_wire){.bytes = (uint8_t *)bytes, .size = size};
}

/* Moves over `count` bytes and returns where they begin, or NULL. */
static inline uint8_t *hak_wire_skip(struct hak_wire *wire, size_t count)
{
	uint8_t *at = wire->bytes + wire->used;

	if (wire->overrun || count > wire->size - wire->used) {
		wire->overrun = true;
		return NULL;
	}
	wire->used += count;
	return at;
}

/* The lowest `count` (1..8) bytes of a number, lowest first. */
static inline void hak_wire_put(struct hak_wire *wire, uint64_t number, size_t count)
{
	uint8_t *at = hak_wire_skip(wire, count);

	for (size_t i = 0; at != NULL && i < count; i++)
		at[i] = (uint8_t)(number >> (8 * i));
}

static inline uint64_t hak_wire_get(struct hak_wire *wire, size_t count)
{
	const uint8_t *at = hak_wire_skip(wire, count);
	uint64_t number = 0;

	for (size_t i = 0; at != NULL && i < count; i++)
		number |= (uint64_t)at[i] << (8 * i);
	return number;
}

/* A record that is nothing but 64-bit words, as bytes, and back. Both have `word_count` words. */
static inline void hak_wire_put_record(uint8_t *bytes, const void *record, size_t word_count)
{
	struct hak_wire wire = hak_wire_of(bytes, 8 * word_count);

	for (size_t i = 0; i < word_count; i++) {
		uint64_t word;

		memcpy(&word, (const char *)record + 8 * i, sizeof word);
		hak_wire_put(&wire, word, 8);
	}
}

static inline void hak_wire_get_record(const uint8_t *bytes, void *record, size_t word_count)
{
	for (size_t i = 0; i < word_count; i++) {
		uint64_t word = 0;

		for (size_t j = 0; j < 8; j++)
			word |= (uint64_t)bytes[8 * i + j] << (8 * j);
		memcpy((char *)record + 8 * i, &word, sizeof word);
	}
}

#endif
