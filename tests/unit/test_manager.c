/* Goal: a message to the manager arrives, with its descriptor, at whatever kind of address; where
 * nobody reads, or nobody is there, the sender hears so and does not wait.
 * Method: sockets of the test in the manager's place. */
#include "unit.h"

#include "base/manager.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* More than any queue of datagrams has room for. */
#define MESSAGES_MAX 100000

static char path[64];

static int listen_at(const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	memcpy(address.sun_path, name, strlen(name));
	if (name[0] == '@')
		address.sun_path[0] = '\0';
	assert_int_equal(bind(fd, (struct sockaddr *)&address,
			      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name) +
					  (name[0] == '/'))),
			 0);
	setenv("NOTIFY_SOCKET", name, 1);
	assert_true(manager_is_there());
	return fd;
}

/* The descriptor that came with the message, or -1. */
static int receive(int fd, char *text, size_t size)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec part = {.iov_base = text, .iov_len = size - 1};
	struct msghdr message = {.msg_iov = &part,
				 .msg_iovlen = 1,
				 .msg_control = &control,
				 .msg_controllen = sizeof control};
	ssize_t count = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
	int passed = -1;

	assert_true(count >= 0);
	text[count] = '\0';
	if (CMSG_FIRSTHDR(&message) != NULL)
		memcpy(&passed, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof passed);
	return passed;
}

static void messages_arrive(void **state)
{
	char abstract[64];
	const char *names[] = {path, abstract};

	(void)state;
	snprintf(abstract, sizeof abstract, "@hak-test-manager-%d", getpid());
	for (size_t i = 0; i < UNIT_COUNT(names); i++) {
		int fd = listen_at(names[i]), sent = memfd_create("x", MFD_CLOEXEC), received;
		struct stat left, right;
		char text[64];

		assert_int_equal(manager_send("FDSTORE=1\nFDNAME=a", sent), 0);
		assert_int_equal(manager_send("STATUS=b", -1), 0);
		received = receive(fd, text, sizeof text);
		assert_string_equal(text, "FDSTORE=1\nFDNAME=a");
		assert_int_equal(fstat(sent, &left) | fstat(received, &right), 0);
		assert_int_equal(left.st_ino, right.st_ino);
		assert_int_equal(receive(fd, text, sizeof text), -1);
		assert_string_equal(text, "STATUS=b");
		close(received);
		close(sent);
		close(fd);
	}
	unlink(path);
}

static void a_full_queue_is_not_waited_for(void **state)
{
	int fd = listen_at(path), error = 0, count = 0;
	char text[64];

	(void)state;
	while (error == 0 && count < MESSAGES_MAX) {
		error = manager_send("FDSTORE=1", fd);
		count++;
	}
	assert_int_equal(error, -EAGAIN);
	for (int i = 1; i < count; i++)
		close(receive(fd, text, sizeof text));
	assert_int_equal(manager_send("FDSTORE=1", -1), 0);
	close(fd);
	unlink(path);
}

static void nobody_is_there(void **state)
{
	char lines[MANAGER_LINES_BYTES + 2];

	(void)state;
	setenv("NOTIFY_SOCKET", "/nowhere/notify", 1);
	assert_int_equal(manager_send("READY=1", -1), -ENOENT);
	memset(lines, 'x', sizeof lines - 1);
	lines[sizeof lines - 1] = '\0';
	assert_int_equal(manager_send(lines, -1), -EMSGSIZE);
	setenv("NOTIFY_SOCKET", "vsock:2:1234", 1);
	assert_int_equal(manager_send("READY=1", -1), -EAFNOSUPPORT);
	setenv("NOTIFY_SOCKET", "", 1);
	assert_int_equal(manager_send("READY=1", -1), -EAFNOSUPPORT);
	unsetenv("NOTIFY_SOCKET");
	assert_false(manager_is_there());
	assert_int_equal(manager_send("READY=1", -1), -EAFNOSUPPORT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_arrive),
		cmocka_unit_test(a_full_queue_is_not_waited_for),
		cmocka_unit_test(nobody_is_there),
	};

	snprintf(path, sizeof path, "/tmp/hak-test-manager-%d", getpid());
	return cmocka_run_group_tests(tests, NULL, NULL);
}
