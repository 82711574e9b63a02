/* query.h - one question to hakd over its control socket: HTTP on a unix socket, answered in JSON.
 *
 * A query keeps its connection between questions. Where one fails, `why` has a sentence for people
 * and the exit code says which kind of failure it was (arguments.h). What the daemon says is JSON
 * that was parsed and is of a schema that we know, or it is a failure: so is a server that is not
 * hakd. One thread.
 */
#ifndef HAK_CLI_QUERY_H
#define HAK_CLI_QUERY_H

#include "cli/arguments.h"

#include <curl/curl.h>
#include <jansson.h>
#include <stdint.h>

#define QUERY_WHY_BYTES 512

struct query {
	CURL *curl;
	const char *runtime_dir; /* the caller's */
	char *socket_path;
	int64_t deadline_ms;	    /* by query_now_ms; questions fail with TIMED_OUT beyond it */
	char why[QUERY_WHY_BYTES];  /* a sentence, with bytes of the server's as they came */
	char hint[QUERY_WHY_BYTES]; /* what to do about it, or "" */
};

/* Milliseconds of CLOCK_MONOTONIC. */
int64_t query_now_ms(void);

void query_nap_ms(int64_t duration_ms);

/* Nothing is sent yet. query_deinit is due in either case. */
enum exit_code query_init(struct query *query, const char *runtime_dir, int64_t timeout_ms);
void query_deinit(struct query *query);

/* GET where `body` is NULL, else POST of that JSON. `path` begins with "/". With EXIT_CODE_OK the
 * answer is an object that the caller drops with json_decref; else it is NULL. */
enum exit_code query_ask(struct query *query, const char *path, const char *body, json_t **answer);

/* Says on stderr why a question failed and what to do; `pid` is the process that it was about,
 * or 0. */
void query_complain(const struct query *query, enum exit_code code, pid_t pid);

#endif
