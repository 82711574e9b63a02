/* report.h - lines for people, and the two words of assertion.
 *
 * A broken heap is one sentence on file descriptor 2 and abort(3); nothing here allocates, takes a
 * lock or calls into stdio, so it may be used anywhere, inside malloc as well.
 *
 * HAK_CHECK   always on, constant time: slow paths, and what free must know.
 * HAK_ASSERT  debug builds only: fast paths, and whole structures by their x_is_valid().
 */
#ifndef HAK_BASE_REPORT_H
#define HAK_BASE_REPORT_H

#include "base/config.h"

/* Says "hak: PROGRAM[PID] TEXT" and aborts: a state that libhak's own code rules out. */
_Noreturn void hak_report_broken(const char *text);

/* A bounded line for messages; what does not fit is cut off. Numbers are decimal. */
struct hak_line {
	size_t used;
	char text[240];
};

/* Begins it with whose it is, "hak: PROGRAM[PID] ": many processes write to one terminal or log. */
void hak_line_begin(struct hak_line *line);

/* What the program is called: argv[0], for the time before the C library knows. */
void hak_line_name(const char *path);

void hak_line_put(struct hak_line *line, const char *text);
void hak_line_put_number(struct hak_line *line, uint64_t number);
void hak_line_put_address(struct hak_line *line, const void *address);

/* Ends the line and writes it to fd 2, or to another. A partial write is taken up again; an error
 * is let go. */
void hak_line_write(struct hak_line *line);
void hak_line_write_to(struct hak_line *line, int fd);

/* Ends the process by abort(3). A handler of SIGABRT that comes back here, since it allocates while
 * the heap is in the midst of something, is not called again. */
_Noreturn void hak_report_abort(void);

#define HAK_STRINGIFY_(x) #x
#define HAK_STRINGIFY(x) HAK_STRINGIFY_(x)

#define HAK_CHECK(condition)                                                                       \
	(hak_likely(condition)                                                                     \
		 ? (void)0                                                                         \
		 : hak_report_broken(__FILE__ ":" HAK_STRINGIFY(__LINE__) ": not " #condition))

#define HAK_ASSERT(condition)                                                                      \
	((void)(!HAK_DEBUG ||                                                                      \
		(hak_likely(condition) ||                                                          \
		 (hak_report_broken(__FILE__ ":" HAK_STRINGIFY(__LINE__) ": not " #condition),     \
		  0))))

#endif
