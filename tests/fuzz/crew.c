#include "crew.h"

#include "../stress/stress.h"

#include <pthread.h>
#include <semaphore.h>

struct member {
	pthread_t thread;
	sem_t go, done;
	void (*function)(void); /* NULL: it is to end */
	bool is_there;
};

static struct member members[CREW_COUNT];

static void *serve(void *argument)
{
	struct member *member = argument;

	for (;;) {
		while (sem_wait(&member->go) != 0)
			continue;
		if (member->function == NULL)
			return NULL;
		member->function();
		sem_post(&member->done);
	}
}

static void begin(struct member *member)
{
	STRESS_CHECK(sem_init(&member->go, 0, 0) == 0 && sem_init(&member->done, 0, 0) == 0);
	STRESS_CHECK(pthread_create(&member->thread, NULL, serve, member) == 0);
	member->is_there = true;
}

static void end(struct member *member)
{
	member->function = NULL;
	sem_post(&member->go);
	STRESS_CHECK(pthread_join(member->thread, NULL) == 0);
	sem_destroy(&member->go);
	sem_destroy(&member->done);
	member->is_there = false;
}

void crew_run(unsigned who, void (*function)(void))
{
	struct member *member = &members[who];

	if (who == 0) {
		function();
		return;
	}
	if (!member->is_there)
		begin(member);
	member->function = function;
	sem_post(&member->go);
	while (sem_wait(&member->done) != 0)
		continue;
}

void crew_replace(unsigned who)
{
	if (members[who].is_there)
		end(&members[who]);
	else
		begin(&members[who]);
}

void crew_dismiss(void)
{
	for (unsigned who = 1; who < CREW_COUNT; who++)
		if (members[who].is_there)
			end(&members[who]);
}
