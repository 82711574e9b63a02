/* Goal: texts that somebody else chose (names and paths of processes, control groups, settings) are
 * read without harm, and what is made of them is safe to show.
 *
 * Method: the first byte names a reader, the rest is its text. What comes out keeps the contract of
 * its header.
 */
#include "judge.h"

#include "base/memory.h"
#include "base/settings.h"
#include "fleet/process.h"
#include "hakd/base/text.h"

#include <ctype.h>
#include <string.h>

#define TEXT_MAX 4096

static bool is_safe(const char *text)
{
	for (; *text != '\0'; text++)
		if (!isascii((unsigned char)*text) || !isprint((unsigned char)*text))
			return false;
	return true;
}

/* Sizes from none to all that fits. What is cut off is no part of a \xNN. */
static void judge_clean(const char *text, size_t count)
{
	char whole[4 * TEXT_MAX + 1], cut[TEXT_MAX + 1];
	size_t size = count != 0 ? 1 + (unsigned char)text[0] : 1, length;

	text_clean(whole, sizeof whole, text, count);
	text_clean(cut, size, text, count);
	length = strlen(cut);
	FUZZ_CHECK(is_safe(whole) && length < size && strncmp(whole, cut, length) == 0);
	FUZZ_CHECK(size - length <= 4 || strcmp(whole, cut) == 0);
}

static void judge_bytes(const char *text)
{
	static const uint64_t wholes[] = {0, 1, 4096, INT64_MAX, UINT64_MAX};
	char formatted[TEXT_SIZE_BYTES];

	for (size_t i = 0; i < sizeof wholes / sizeof *wholes; i++) {
		uint64_t value = 0xa5a5;

		if (!text_parse_bytes(text, wholes[i], &value))
			continue;
		FUZZ_CHECK(value <= INT64_MAX);
		FUZZ_CHECK(isdigit((unsigned char)text[0]) || text[0] == '.');
		text_format_bytes(formatted, value);
		FUZZ_CHECK(is_safe(formatted));
	}
}

/* No line feed and, in a label, no quote stands there by itself. */
static void judge_escapes(const char *string)
{
	struct text text = {.bytes = NULL};
	bool escaped = false;

	text_put_label(&text, string);
	FUZZ_CHECK(!text.failed);
	for (size_t i = 0; i < text.used; i++) {
		FUZZ_CHECK(text.bytes[i] != '\n' && (escaped || text.bytes[i] != '"'));
		escaped = !escaped && text.bytes[i] == '\\';
	}
	FUZZ_CHECK(!escaped);
	text_put_help(&text, string);
	FUZZ_CHECK(text.bytes == NULL || strchr(text.bytes, '\n') == NULL);
	text_deinit(&text);
}

static void judge_unit(const char *text)
{
	char unit[128];

	process_unit_of(text, unit, sizeof unit);
	FUZZ_CHECK(strlen(unit) < sizeof unit && is_safe(unit) && strchr(unit, '/') == NULL);
}

/* "NAME=VALUE": the program's own setting, by each of the names and by what there is none of. */
static void judge_setting(char *text)
{
	static const char *const numbers[] = {"HAK_DECAY", "HAK_HUGE_CACHE"};
	char *value = strchr(text, '=');

	if (value == NULL)
		return;
	*value++ = '\0';
	(void)hak_settings_set(text, value);
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
		enum hak_settings_refusal refusal = hak_settings_set(numbers[i], value);

		FUZZ_CHECK(refusal == HAK_SETTINGS_DONE || refusal == HAK_SETTINGS_BAD);
		FUZZ_CHECK(refusal == HAK_SETTINGS_BAD || isdigit((unsigned char)value[0]));
	}
	FUZZ_CHECK(hak_setting(&hak_settings.decay_ms) <= 86400000);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
	char text[TEXT_MAX + 1];

	if (count == 0)
		return 0;
	count = count - 1 < TEXT_MAX ? count - 1 : TEXT_MAX;
	memcpy(text, bytes + 1, count);
	text[count] = '\0';
	switch (bytes[0] % 6) {
	case 0:
		judge_clean(text, count);
		break;
	case 1:
		judge_bytes(text);
		break;
	case 2:
		judge_escapes(text);
		break;
	case 3:
		judge_unit(text);
		break;
	case 4:
		/* Of a tree that is not there. */
		FUZZ_CHECK(hak_memory_limit(text, "/nonexistent") == SIZE_MAX);
		break;
	default:
		judge_setting(text);
		break;
	}
	return 0;
}
