/* judge.h - what the fuzzers' entry points share. A failure is a line and an abort, which libFuzzer
 * takes for a crash: it then writes down the input. */
#ifndef HAK_TESTS_FUZZ_JUDGE_H
#define HAK_TESTS_FUZZ_JUDGE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* libFuzzer calls these; no header of clang's declares them for C. */
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

#define FUZZ_CHECK(condition)                                                                      \
	((condition)                                                                               \
		 ? (void)0                                                                         \
		 : (fprintf(stderr, "%s, line %d: not so: %s\n", __FILE__, __LINE__, #condition),  \
		    abort()))

#endif
