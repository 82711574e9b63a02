#include "govern/line.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/pass.h"
#include "base/privilege.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define RETRY_SECONDS_MAX 60

/* The descriptor that an advisor of hakd's own has its connection at. */
#define ADVISOR_FD 3

const char *line_state_text(enum line_state state)
{
	static const char *const texts[] = {
		[LINE_OFF] = "off",
		[LINE_UNAVAILABLE] = "unavailable",
		[LINE_WAITING] = "waiting",
		[LINE_READY] = "ready",
	};

	return texts[state];
}

static void enter(struct line *line, enum line_state state, const char *why)
{
	if (state == line->state && strcmp(line->why, why) == 0)
		return;
	line->state = state;
	snprintf(line->why, sizeof line->why, "%s", why);
	if (state == LINE_READY)
		log_say(LOG_INFO, "Remote reclaim is available.");
	else if (state == LINE_UNAVAILABLE)
		log_say(LOG_WARNING, "Remote reclaim is not available: %s. Trims go by mailbox.",
			why);
}

/* Beside hakd itself, of the same build. */
static bool advisor_path(char *path, size_t size)
{
	ssize_t length = readlink("/proc/self/exe", path, size - 1);
	char *slash;

	if (length < 0)
		return false;
	path[length] = '\0';
	slash = strrchr(path, '/');
	if (slash == NULL || (size_t)(slash + 1 - path) + sizeof "hakd-advisor" > size)
		return false;
	strcpy(slash + 1, "hakd-advisor");
	return access(path, X_OK) == 0;
}

static void become_advisor(const char *path, int fd)
{
	char number[16];

	/* dup2(2) does nothing to a descriptor that is where it should be. */
	if (fd == ADVISOR_FD)
		fd = dup(fd);
	if (dup2(fd, ADVISOR_FD) != ADVISOR_FD)
		_exit(1);
	unsetenv("LD_PRELOAD");
	snprintf(number, sizeof number, "%d", ADVISOR_FD);
	execl(path, path, "--connection", number, (char *)NULL);
	_exit(1);
}

int line_start_advisor(int *fd)
{
	char path[4096];
	int pair[2];
	pid_t child;

	*fd = -1;
	if (!privilege_has(PRIVILEGE_ADVICE))
		return 0;
	if (!advisor_path(path, sizeof path)) {
		log_say(LOG_WARNING, "There is no hakd-advisor beside hakd.");
		return 0;
	}
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0) {
		int error = -errno;

		log_say(LOG_ERR, "Cannot make a socket pair: %s.", strerror(-error));
		return error;
	}
	child = fork();
	if (child == 0)
		become_advisor(path, pair[1]);
	close(pair[1]);
	/* Its end is told by the connection. Not before: it would be born so. */
	signal(SIGCHLD, SIG_IGN);
	if (child < 0) {
		log_say(LOG_WARNING, "Cannot start hakd-advisor: %s.", strerror(errno));
		close(pair[0]);
		return 0;
	}
	*fd = pair[0];
	return 0;
}

static void retry_later(struct line *line)
{
	struct timeval pause = {.tv_sec = 1};

	for (unsigned i = 0; i < line->failure_count && pause.tv_sec < RETRY_SECONDS_MAX; i++)
		pause.tv_sec *= 2;
	if (pause.tv_sec > RETRY_SECONDS_MAX)
		pause.tv_sec = RETRY_SECONDS_MAX;
	line->failure_count++;
	event_add(line->retry, &pause);
}

static void lose(struct line *line, const char *why)
{
	if (line->readable != NULL)
		event_free(line->readable);
	line->readable = NULL;
	if (line->fd >= 0)
		close(line->fd);
	line->fd = -1;
	enter(line, LINE_UNAVAILABLE, why);
	if (line->path != NULL)
		retry_later(line);
	line->on_answer(line->context, NULL);
}

static void hear_state(struct line *line, const struct hak_reclaim_answer *answer)
{
	char why[128];

	if (answer->result == HAK_RECLAIM_READY) {
		line->failure_count = 0;
		enter(line, LINE_READY, "");
		return;
	}
	snprintf(why, sizeof why, "the advisor may not: %s", strerror((int)answer->error));
	enter(line, LINE_UNAVAILABLE, why);
}

static void on_readable(evutil_socket_t fd, short what, void *context)
{
	struct line *line = context;
	uint8_t bytes[HAK_RECLAIM_ANSWER_BYTES + 1];
	struct hak_reclaim_answer answer;
	ssize_t count = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
	bool is_able;

	(void)what;
	if (count < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (count <= 0) {
		lose(line, "the advisor has ended");
		return;
	}
	if (!hak_reclaim_decode_answer(bytes, (size_t)count, &answer)) {
		lose(line, "what answers is no advisor of this version");
		return;
	}
	is_able = answer.number != 0 && answer.result != HAK_RECLAIM_UNABLE;
	if (is_able && line->state != LINE_UNAVAILABLE) {
		line->on_answer(line->context, &answer);
		return;
	}
	/* It was given up, and answers: of whatever it was that it took so long for. */
	if (is_able)
		answer.result = HAK_RECLAIM_READY;
	hear_state(line, &answer);
	line->on_answer(line->context, NULL);
}

static int listen_to(struct line *line, int fd)
{
	line->readable = event_new(line->base, fd, EV_READ | EV_PERSIST, on_readable, line);
	if (line->readable == NULL || event_add(line->readable, NULL) != 0)
		return -ENOMEM;
	line->fd = fd;
	return 0;
}

static int connect_to(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd, error;

	if (strlen(path) >= sizeof address.sun_path)
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)&address, sizeof address) == 0)
		return fd;
	error = -errno;
	close(fd);
	return error;
}

static void on_retry(evutil_socket_t number, short what, void *context)
{
	struct line *line = context;
	char why[128];
	int fd = connect_to(line->path);

	(void)number;
	(void)what;
	if (fd >= 0 && listen_to(line, fd) == 0) {
		line->state = LINE_WAITING;
		line->waiting_ns = clock_now_ns();
		return;
	}
	if (fd >= 0)
		close(fd);
	if (fd == -ENOENT || fd == -ECONNREFUSED)
		snprintf(why, sizeof why, "there is no advisor, and hakd may not start one");
	else
		snprintf(why, sizeof why, "no line to the advisor: %s",
			 strerror(fd < 0 ? -fd : ENOMEM));
	enter(line, LINE_UNAVAILABLE, why);
	retry_later(line);
}

void line_init_off(struct line *line)
{
	*line = (struct line){.state = LINE_OFF, .fd = -1, .why = "remote-reclaim=no"};
}

int line_init(struct line *line, struct event_base *base, const char *runtime_dir, int fd,
	      line_on_answer *on_answer, void *context)
{
	*line = (struct line){
		.state = LINE_WAITING,
		.base = base,
		.fd = -1,
		.on_answer = on_answer,
		.context = context,
	};
	if (fd >= 0)
		return listen_to(line, fd);
	if (asprintf(&line->path, "%s/advisor", runtime_dir) < 0)
		line->path = NULL;
	line->retry = evtimer_new(base, on_retry, line);
	if (line->path == NULL || line->retry == NULL)
		return -ENOMEM;
	on_retry(-1, 0, line);
	return 0;
}

void line_deinit(struct line *line)
{
	if (line->readable != NULL)
		event_free(line->readable);
	if (line->retry != NULL)
		event_free(line->retry);
	if (line->fd >= 0)
		close(line->fd);
	free(line->path);
	line_init_off(line);
}

bool line_send(struct line *line, const struct hak_reclaim_request *request, int pidfd)
{
	static uint8_t bytes[HAK_RECLAIM_REQUEST_BYTES_MAX];
	struct iovec part = {.iov_base = bytes,
			     .iov_len = hak_reclaim_encode_request(request, bytes)};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};

	return line->state == LINE_READY &&
	       pass_send(line->fd, &message, pidfd) == (ssize_t)part.iov_len;
}

void line_tick(struct line *line, uint64_t now_ns)
{
	/* One of our own comes, or ends. */
	if (line->state == LINE_WAITING && line->path != NULL &&
	    now_ns - line->waiting_ns >= LINE_GREETING_NS)
		lose(line, "systemd listens for the advisor, which does not come");
}

void line_give_up(struct line *line)
{
	enter(line, LINE_UNAVAILABLE, "the advisor does not answer");
}
