/* Goal: a fork meets no deadlock with the C library's streams.
 * Method: one thread flushes all streams, and so holds the list of them while it waits for one that
 * is in use; that one is read by lines too long for a magazine, so its reader allocates on a slow
 * path under the stream's lock; the main thread forks, which takes the list. Should libhak's gate
 * be closed by then, each waits for the next. Ends with 0, or by SIGALRM. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define FORKS 300
#define LINE_BYTES 300000

static _Atomic bool is_over;

static void *flush(void *arg)
{
	while (!atomic_load(&is_over)) {
		if (fflush(NULL) != 0)
			abort();
		/* The lock of the list is not a fair one: who takes it again at once starves a
		 * fork, with any malloc. */
		usleep(100);
	}
	return arg;
}

static void *read_lines(void *stream)
{
	while (!atomic_load(&is_over)) {
		char *line = NULL;
		size_t room = 0;

		rewind(stream);
		if (getline(&line, &room, stream) != LINE_BYTES)
			abort();
		free(line);
	}
	return stream;
}

static FILE *make_stream(void)
{
	FILE *stream = tmpfile();

	if (stream == NULL)
		abort();
	for (int i = 1; i < LINE_BYTES; i++)
		putc('a', stream);
	putc('\n', stream);
	return stream;
}

/* A child has the streams to itself, and so has its own child. */
static void use_streams(void)
{
	if (fflush(NULL) != 0)
		_exit(1);
	pid_t child = fork();
	int status = 1;

	if (child == 0)
		_exit(fflush(NULL) != 0);
	if (child < 0 || waitpid(child, &status, 0) != child)
		_exit(1);
	_exit(status != 0);
}

int main(void)
{
	pthread_t flusher, reader;
	int status;

	alarm(50);
	if (pthread_create(&flusher, NULL, flush, NULL) != 0 ||
	    pthread_create(&reader, NULL, read_lines, make_stream()) != 0)
		return 1;
	for (int i = 0; i < FORKS; i++) {
		pid_t child = fork();

		if (child == 0)
			_exit(0);
		if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
			return 1;
	}
	atomic_store(&is_over, true);
	if (pthread_join(flusher, NULL) != 0 || pthread_join(reader, NULL) != 0)
		return 1;
	pid_t child = fork();

	if (child == 0)
		use_streams();
	return child < 0 || waitpid(child, &status, 0) != child || status != 0;
}
