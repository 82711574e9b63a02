/* unit.h - what every unit test includes first: cmocka with the headers it asks for. */
#ifndef HAK_TESTS_UNIT_H
#define HAK_TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define UNIT_COUNT(array) (sizeof(array) / sizeof(array)[0])

#endif
