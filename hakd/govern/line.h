/* line.h - hakd's line to hakd-advisor: how it comes about, and messages over it.
 *
 * Where hakd has the capabilities (root started it by hand) it starts an advisor of its own and
 * talks to it over a socketpair. Else it connects to RUNTIME_DIR/advisor, where systemd listens for
 * one: again after 1 s, then later and later up to a minute, for as long as it lives. Nothing
 * waits: what cannot be sent now is not sent.
 *
 * What a state is called for is said when it changes, once.
 *
 * One thread, libevent.
 */
#ifndef HAKD_GOVERN_LINE_H
#define HAKD_GOVERN_LINE_H

#include "proto/reclaim.h"

#include <event2/event.h>

enum line_state {
	LINE_OFF,	  /* by option */
	LINE_UNAVAILABLE, /* `why` */
	LINE_WAITING,	  /* connected; the advisor has not said yet what it can */
	LINE_READY,
};

/* Who connects to systemd's socket is let in by systemd, whether there is an advisor or not. */
#define LINE_GREETING_NS ((uint64_t)10000000000)

/* `answer` is NULL where all that was asked before is lost. */
typedef void line_on_answer(void *context, const struct hak_reclaim_answer *answer);

struct line {
	enum line_state state;
	char why[128];
	struct event_base *base;
	struct event *readable;
	struct event *retry;
	char *path; /* NULL: the advisor is hakd's own, and there is no other */
	int fd;
	unsigned failure_count;
	uint64_t waiting_ns; /* since when, in that state */
	line_on_answer *on_answer;
	void *context;
};

/* Starts an advisor, where hakd may: to be called before privileges are given up. *fd is -1 where
 * there is none. 0, or a negative errno that has been said. */
int line_start_advisor(int *fd);

/* `fd` as line_start_advisor left it. 0 or -ENOMEM. */
int line_init(struct line *line, struct event_base *base, const char *runtime_dir, int fd,
	      line_on_answer *on_answer, void *context);
void line_deinit(struct line *line);

/* Off, as policy says. */
void line_init_off(struct line *line);

/* False: not now, or not any more. */
bool line_send(struct line *line, const struct hak_reclaim_request *request, int pidfd);

/* To be called every 2 s. */
void line_tick(struct line *line, uint64_t now_ns);

/* The advisor did not answer in time: what it says later counts again. */
void line_give_up(struct line *line);

const char *line_state_text(enum line_state state);

#endif
