/* proto.h - what the tests of the codecs share: bytes that nobody would send, in any number. */
#ifndef HAK_TESTS_PROTO_H
#define HAK_TESTS_PROTO_H

#include "unit.h"

#include <string.h>

/* Hostile inputs of a test; each costs a fraction of a millisecond, even under a sanitizer. */
#define PROTO_INPUT_COUNT 100000

/* xorshift64 (Marsaglia, 2003), the same numbers in every run. */
static inline uint64_t proto_random(void)
{
	static uint64_t state = 88172645463325252u;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static inline void proto_fill(uint8_t *bytes, size_t count)
{
	for (size_t i = 0; i < count; i += 8) {
		uint64_t word = proto_random();

		memcpy(bytes + i, &word, count - i < 8 ? count - i : 8);
	}
}

/* One to four bytes of a good message become others: what gets past the first checks. */
static inline void proto_spoil(uint8_t *bytes, size_t count)
{
	for (uint64_t left = 1 + proto_random() % 4; left > 0; left--)
		bytes[proto_random() % count] = (uint8_t)(proto_random() >> 32);
}

/* A record of words where no two bytes in a row, and no two words, are the same. */
static inline void proto_number_words(void *record, size_t word_count)
{
	for (size_t i = 0; i < word_count; i++) {
		uint64_t word = 0x0706050403020100u + 0x1010101010101010u * (i % 16) + (i << 32);

		memcpy((char *)record + 8 * i, &word, sizeof word);
	}
}

/* Word i of a message, by hand: not by the code under test. */
static inline uint64_t proto_word(const uint8_t *bytes, size_t i)
{
	uint64_t word = 0;

	for (size_t j = 8; j-- > 0;)
		word = word << 8 | bytes[8 * i + j];
	return word;
}

#endif
