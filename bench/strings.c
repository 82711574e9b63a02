/* strings.c - text that is put together.
 *
 * Goal     a program that builds answers out of words: many short strings that live for a moment,
 *          and some that grow by appending.
 * Method   ROUNDS times LINES lines of 1 to 40 words are built: each word is a string of its own,
 *          appended to the line, whose buffer doubles when it is full, and freed. A line that is
 *          done is copied to its exact length and kept until LINES / 4 more are done.
 */
#include "measure.h"

#include <stdlib.h>
#include <string.h>

#define WORD_BYTES_MAX 12u
#define WORDS_MAX 40u

static uint64_t line_count, round_count, seed;

struct line {
	char *text;
	size_t used, room;
};

static char *new_word(uint64_t *random)
{
	uint64_t bits = measure_random(random);
	size_t bytes = 2 + bits % (WORD_BYTES_MAX - 2);
	char *word = measure_malloc(bytes + 1);

	memset(word, (int)('a' + (bits >> 8) % 26), bytes);
	word[bytes] = '\0';
	return word;
}

static void append(struct line *line, const char *word)
{
	size_t bytes = strlen(word);

	if (line->used + bytes + 1 > line->room) {
		line->room = 2 * line->room + bytes + 16;
		line->text = realloc(line->text, line->room);
		if (line->text == NULL)
			measure_fail("realloc");
	}
	memcpy(line->text + line->used, word, bytes + 1);
	line->used += bytes;
}

static char *build_line(uint64_t *random, uint64_t *words)
{
	struct line line = {.text = NULL};
	uint64_t count = 1 + measure_random(random) % WORDS_MAX;
	char *kept;

	for (uint64_t i = 0; i < count; i++) {
		char *word = new_word(random);

		append(&line, word);
		append(&line, " ");
		free(word);
	}
	kept = strdup(line.text);
	if (kept == NULL)
		measure_fail("strdup");
	free(line.text);
	*words += count;
	return kept;
}

int main(int argc, char **argv)
{
	static const char usage[] = "usage: strings LINES ROUNDS SEED\n"
				    "\n"
				    "  LINES   lines of each round, 4 at least\n"
				    "  ROUNDS  how often\n"
				    "  SEED    of words and lines\n";
	const struct measure_argument arguments[] = {
		{"LINES", 4, UINT64_C(1) << 28, &line_count},
		{"ROUNDS", 1, UINT32_MAX, &round_count},
		{"SEED", 0, UINT32_MAX, &seed},
	};
	struct measure_result result = {.program = "strings"};
	uint64_t random, words = 0, kept_count;
	char **kept;

	measure_arguments(argc, argv, 1, usage, arguments, 3);
	random = seed;
	kept_count = line_count / 4;
	kept = measure_map(kept_count * sizeof(*kept));

	double start_seconds = measure_now_seconds();

	for (uint64_t i = 0; i < line_count * round_count; i++) {
		char **slot = &kept[i % kept_count];

		free(*slot);
		*slot = build_line(&random, &words);
	}
	for (uint64_t i = 0; i < kept_count; i++)
		free(kept[i]);
	result.seconds = measure_now_seconds() - start_seconds;
	result.operations = words;
	measure_print(&result, NULL);
	return EXIT_SUCCESS;
}
