/* text.h - text that grows to a maximum, and the forms in which the daemon writes things down.
 *
 * Errors stick: after the first text that does not fit (TEXT_BYTES_MAX, or no memory) `failed` is
 * set and nothing is added any more, so a writer asks once, at its end. No I/O.
 */
#ifndef HAKD_BASE_TEXT_H
#define HAKD_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#define TEXT_BYTES_MAX ((size_t)64 << 20)

struct text {
	char *bytes; /* `used` of them and a NUL; NULL before the first */
	size_t used;
	size_t size;
	bool failed;
};

void text_deinit(struct text *text);
void text_put(struct text *text, const char *string);
void text_print(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* With \, " and line feed escaped as in a Prometheus label's value; \ and line feed alone as in
 * its HELP lines. */
void text_put_label(struct text *text, const char *string);
void text_put_help(struct text *text, const char *string);

/* Copies what a client chose (its name, its paths) as something that is safe to show: what is not
 * printable ASCII becomes \xNN, and what does not fit in `size` bytes with the NUL is cut off,
 * never within a \xNN. */
void text_clean(char *to, size_t size, const char *from, size_t count);

/* "4096", "64K", "1.5GiB", "2tB" and, where of_bytes is not 0, "50%" of it. False: not such a text,
 * or more than 2^63 - 1 bytes. */
bool text_parse_bytes(const char *string, uint64_t of_bytes, uint64_t *bytes);

/* "345 MiB", "11.9 GiB", "17 B". */
#define TEXT_SIZE_BYTES 24
void text_format_bytes(char to[TEXT_SIZE_BYTES], uint64_t bytes);

/* RFC 3339 in UTC: "2026-11-23T03:00:01Z". */
#define TEXT_TIME_BYTES 32
void text_format_time(char to[TEXT_TIME_BYTES], time_t when);

/* Reads the first size - 1 bytes of a small file, such as those of /proc, as a string, which is
 * empty where it fails. Their number, or a negative errno. */
ssize_t text_read_file(const char *path, char *to, size_t size);

#endif
