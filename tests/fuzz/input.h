/* input.h - the bytes of a fuzzer's input, taken from the front; behind their end there are
 * zeroes. */
#ifndef HAK_TESTS_FUZZ_INPUT_H
#define HAK_TESTS_FUZZ_INPUT_H

#include <stddef.h>
#include <stdint.h>

struct fuzz_input {
	const uint8_t *at;
	size_t left;
};

/* The next `count` (1..4) bytes as a number, lowest first. */
static inline unsigned fuzz_input_take(struct fuzz_input *input, unsigned count)
{
	unsigned number = 0;

	for (unsigned i = 0; i < count && input->left != 0; i++, input->left--)
		number |= (unsigned)*input->at++ << (8 * i);
	return number;
}

#endif
