/* crew.h - threads that take turns: what they do happens one after the other, in an order that is
 * the same in every run, and yet each has its own thread-local storage, its birth and its death.
 *
 * Number 0 is the caller itself. The others are born by the first crew_run() that names them.
 */
#ifndef HAK_TESTS_FUZZ_CREW_H
#define HAK_TESTS_FUZZ_CREW_H

#define CREW_COUNT 4

/* Runs a function in one of the threads and waits for its end. */
void crew_run(unsigned who, void (*function)(void));

/* Ends that thread, or, where there is none of that number, begins it. who is not 0. */
void crew_replace(unsigned who);

/* Ends all of them. */
void crew_dismiss(void);

#endif
