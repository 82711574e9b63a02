#include "cli/query.h"

#include "cli/render.h"

#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

#define SCHEMA 1

/* Some 2 KB a client: what a server may make us hold before we believe that it is not hakd. */
#define ANSWER_BYTES_MAX ((size_t)64 << 20)

/* How long to wait before connecting anew to a daemon whose queue of connections is full. */
#define QUEUE_NAP_MS 20

struct body {
	char *bytes;
	size_t used, size;
	bool too_long;
};

int64_t query_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void query_nap_ms(int64_t duration_ms)
{
	struct timespec nap = {.tv_sec = duration_ms / 1000,
			       .tv_nsec = duration_ms % 1000 * 1000000};

	nanosleep(&nap, NULL);
}

__attribute__((format(printf, 3, 4))) static enum exit_code
fail(struct query *query, enum exit_code code, const char *format, ...)
{
	va_list values;

	va_start(values, format);
	vsnprintf(query->why, sizeof query->why, format, values);
	va_end(values);
	return code;
}

static size_t keep_body(char *bytes, size_t size, size_t count, void *to)
{
	struct body *body = to;

	count *= size;
	if (count > ANSWER_BYTES_MAX - body->used) {
		body->too_long = true;
		return 0;
	}
	if (count > body->size - body->used) {
		size_t grown = 2 * (body->used + count);
		char *moved = realloc(body->bytes, grown);

		if (moved == NULL)
			return 0;
		body->bytes = moved;
		body->size = grown;
	}
	memcpy(body->bytes + body->used, bytes, count);
	body->used += count;
	return count;
}

void query_complain(const struct query *query, enum exit_code code, pid_t pid)
{
	const char *hint = query->hint;
	char *why = render_safe(query->why);

	/* "No client" may mean two things, and we can look which. */
	if (code == EXIT_CODE_NO_PROCESS && pid != 0)
		hint = kill(pid, 0) == 0 || errno == EPERM
			       ? "The process runs, but not on libhak, or has not registered yet."
			       : "There is no such process at all.";
	arguments_complain("%s", why);
	if (hint[0] != '\0')
		fprintf(stderr, "%s\n", hint);
	free(why);
}

enum exit_code query_init(struct query *query, const char *runtime_dir, int64_t timeout_ms)
{
	*query = (struct query){.runtime_dir = runtime_dir,
				.deadline_ms = query_now_ms() + timeout_ms};
	if (asprintf(&query->socket_path, "%s/control", runtime_dir) < 0) {
		query->socket_path = NULL;
		return fail(query, EXIT_CODE_FAILED, "no memory is left");
	}
	if (strlen(query->socket_path) >= sizeof((struct sockaddr_un *)0)->sun_path)
		return fail(query, EXIT_CODE_USAGE,
			    "%s is too long for a socket: %zu bytes, and the system takes %zu",
			    query->socket_path, strlen(query->socket_path),
			    sizeof((struct sockaddr_un *)0)->sun_path - 1);
	query->curl = curl_easy_init();
	if (query->curl == NULL)
		return fail(query, EXIT_CODE_FAILED, "libcurl cannot be used");
	curl_easy_setopt(query->curl, CURLOPT_UNIX_SOCKET_PATH, query->socket_path);
	curl_easy_setopt(query->curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(query->curl, CURLOPT_WRITEFUNCTION, keep_body);
	curl_easy_setopt(query->curl, CURLOPT_USERAGENT, "hak/" ARGUMENTS_VERSION);
	return EXIT_CODE_OK;
}

void query_deinit(struct query *query)
{
	curl_easy_cleanup(query->curl);
	free(query->socket_path);
	query->curl = NULL;
	query->socket_path = NULL;
}

static enum exit_code fail_no_daemon(struct query *query, int error)
{
	snprintf(query->hint, sizeof query->hint,
		 "Start it with 'systemctl start hakd', or by hand with 'hakd --runtime-dir %s'.",
		 query->runtime_dir);
	return fail(query, EXIT_CODE_NO_DAEMON, "hakd is not running: %s %s",
		    error == ENOENT ? "there is no socket" : "nobody listens at",
		    query->socket_path);
}

/* Who may use the socket: that is the question of somebody who may not. */
static enum exit_code fail_no_permission(struct query *query)
{
	struct stat file;
	struct group *group;
	const char *place = query->socket_path;

	/* The folder may be closed to us as well; then its group is the one that counts. */
	if (stat(place, &file) != 0) {
		place = query->runtime_dir;
		if (stat(place, &file) != 0)
			return fail(query, EXIT_CODE_NO_PERMISSION,
				    "no permission to reach %s: try as root", query->socket_path);
	}
	group = getgrgid(file.st_gid);
	if ((file.st_mode & S_IRWXG) == 0 || group == NULL || file.st_gid == 0)
		return fail(query, EXIT_CODE_NO_PERMISSION,
			    "no permission to use hakd: %s is for its owner alone; try as root",
			    place);
	snprintf(query->hint, sizeof query->hint,
		 "Try as root, or join the group: 'usermod -aG %s USER', then log in anew.",
		 group->gr_name);
	return fail(query, EXIT_CODE_NO_PERMISSION,
		    "no permission to use hakd: %s is for the group '%s'", place, group->gr_name);
}

static enum exit_code fail_transfer(struct query *query, CURLcode result, const char *path,
				    const struct body *body)
{
	long error = 0;

	switch (result) {
	case CURLE_OPERATION_TIMEDOUT:
		return fail(query, EXIT_CODE_TIMED_OUT,
			    "hakd does not answer: it listens at %s, but the time is up",
			    query->socket_path);
	case CURLE_COULDNT_CONNECT:
		curl_easy_getinfo(query->curl, CURLINFO_OS_ERRNO, &error);
		if (error == EACCES || error == EPERM)
			return fail_no_permission(query);
		return fail_no_daemon(query, (int)error);
	case CURLE_WRITE_ERROR:
		if (!body->too_long)
			return fail(query, EXIT_CODE_FAILED, "no memory is left");
		return fail(query, EXIT_CODE_FAILED,
			    "the answer to %s is longer than %zu MiB: is it hakd that listens at "
			    "%s?",
			    path, ANSWER_BYTES_MAX >> 20, query->socket_path);
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_WEIRD_SERVER_REPLY:
		return fail(query, EXIT_CODE_FAILED,
			    "what answers at %s does not speak HTTP: it is not hakd",
			    query->socket_path);
	default:
		return fail(query, EXIT_CODE_FAILED, "hakd broke off its answer to %s: %s", path,
			    curl_easy_strerror(result));
	}
}

/* A unix socket whose queue is full refuses at once, and libcurl knows no error for that. */
static bool queue_was_full(CURL *curl, CURLcode result)
{
	long error = 0;

	curl_easy_getinfo(curl, CURLINFO_OS_ERRNO, &error);
	return result == CURLE_COULDNT_CONNECT && (error == 0 || error == EAGAIN);
}

static CURLcode transfer(struct query *query, struct body *body)
{
	for (;;) {
		int64_t left_ms = query->deadline_ms - query_now_ms();
		CURLcode result;

		if (left_ms <= 0)
			return CURLE_OPERATION_TIMEDOUT;
		body->used = 0;
		curl_easy_setopt(query->curl, CURLOPT_TIMEOUT_MS, (long)left_ms);
		result = curl_easy_perform(query->curl);
		if (!queue_was_full(query->curl, result))
			return result;
		query_nap_ms(QUEUE_NAP_MS);
	}
}

/* An error of hakd's is JSON, too, with a sentence; whatever else has a status of this kind is some
 * other server's. */
static enum exit_code judge_status(struct query *query, long status, const char *path,
				   const json_t *answer)
{
	const char *sentence = json_string_value(json_object_get(answer, "error"));

	if (status >= 200 && status < 300)
		return EXIT_CODE_OK;
	if (sentence == NULL)
		return fail(query, EXIT_CODE_FAILED,
			    "%s was answered with status %ld and no reason: is it hakd that "
			    "listens at %s?",
			    path, status, query->socket_path);
	if (status == 404 &&
	    (strncmp(path, "/v1/clients/", 12) == 0 || strcmp(path, "/v1/budgets") == 0))
		return fail(query, EXIT_CODE_NO_PROCESS, "%s", sentence);
	if (status == 401 || status == 403)
		return fail(query, EXIT_CODE_NO_PERMISSION, "hakd refuses: %s", sentence);
	if (status == 422)
		return fail(query, EXIT_CODE_FAILED, "hakd keeps the configuration that it has: %s",
			    sentence);
	return fail(query, EXIT_CODE_FAILED, "hakd answers %s with status %ld: %s", path, status,
		    sentence);
}

static enum exit_code judge_answer(struct query *query, const char *path, const struct body *body,
				   json_t **answer)
{
	json_error_t error;
	json_t *parsed = json_loadb(body->bytes, body->used, 0, &error);
	const json_t *schema = json_object_get(parsed, "schema");
	enum exit_code code;
	long status = 0;

	if (!json_is_object(parsed)) {
		code = fail(query, EXIT_CODE_FAILED,
			    "the answer to %s is not what hakd says (%s): is it hakd that listens "
			    "at %s?",
			    path, parsed == NULL ? error.text : "not an object",
			    query->socket_path);
		json_decref(parsed);
		return code;
	}
	curl_easy_getinfo(query->curl, CURLINFO_RESPONSE_CODE, &status);
	if (schema != NULL && json_integer_value(schema) != SCHEMA)
		code = fail(query, EXIT_CODE_FAILED,
			    "hakd speaks another schema than %d, the one that this %s knows: "
			    "install both from one version",
			    SCHEMA, program_invocation_short_name);
	else
		code = judge_status(query, status, path, parsed);
	if (code == EXIT_CODE_OK)
		*answer = parsed;
	else
		json_decref(parsed);
	return code;
}

enum exit_code query_ask(struct query *query, const char *path, const char *request,
			 json_t **answer)
{
	struct body body = {0};
	struct curl_slist *headers = NULL;
	CURLcode result;
	enum exit_code code;
	char *url;

	*answer = NULL;
	if (asprintf(&url, "http://hak%s", path) < 0)
		return fail(query, EXIT_CODE_FAILED, "no memory is left");
	curl_easy_setopt(query->curl, CURLOPT_URL, url);
	curl_easy_setopt(query->curl, CURLOPT_WRITEDATA, &body);
	if (request != NULL) {
		headers = curl_slist_append(NULL, "Content-Type: application/json");
		curl_easy_setopt(query->curl, CURLOPT_HTTPHEADER, headers);
		curl_easy_setopt(query->curl, CURLOPT_POSTFIELDS, request);
	} else {
		curl_easy_setopt(query->curl, CURLOPT_HTTPGET, 1L);
	}
	result = transfer(query, &body);
	if (result == CURLE_OK)
		code = judge_answer(query, path, &body, answer);
	else
		code = fail_transfer(query, result, path, &body);
	curl_easy_setopt(query->curl, CURLOPT_HTTPHEADER, NULL);
	curl_slist_free_all(headers);
	free(body.bytes);
	free(url);
	return code;
}
