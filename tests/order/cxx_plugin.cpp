// A C++ library that a C program loads by dlopen; see plugin_host.c. Returns 0, or the number of
// the promise of operator new that was broken.
#include <cstddef>
#include <cstdint>
#include <new>
#include <sys/resource.h>

static int handler_calls;
static rlimit limit_before;

// Makes room, as a handler should: the next try succeeds.
static void raise_limit()
{
	handler_calls++;
	setrlimit(RLIMIT_AS, &limit_before);
}

extern "C" int plugin_check();

extern "C" int plugin_check()
{
	volatile std::size_t impossible = SIZE_MAX / 4, large = std::size_t(64) << 20;
	bool is_caught = false;

	try {
		static_cast<void>(::operator new(impossible));
	} catch (const std::bad_alloc &) {
		is_caught = true;
	}
	if (!is_caught)
		return 1;
	if (::operator new(impossible, std::nothrow) != nullptr)
		return 2;

	getrlimit(RLIMIT_AS, &limit_before);
	rlimit nothing_more = limit_before;
	nothing_more.rlim_cur = 1;
	setrlimit(RLIMIT_AS, &nothing_more);
	std::set_new_handler(raise_limit);
	char *block = static_cast<char *>(::operator new(large));
	std::set_new_handler(nullptr);
	block[large - 1] = 1;
	::operator delete(block);
	return handler_calls == 1 ? 0 : 3;
}
