// Goal: a program that replaces the plain operators new and delete is asked for the others' memory
// too, and a new handler may throw whatever form of new called it.
// Method: its new puts a header before each block, so that a block that goes to free, or to delete
// without having come from new, has no such header there. Then new handlers that throw. Run with
// libhak preloaded. Built as C++17, so that every form exists. Returns 0, or the number of the
// promise that was broken.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <new>

static int live_count;

#ifdef REPLACES
namespace
{
constexpr std::size_t header_bytes = 64;
constexpr std::uint64_t magic = 0x6f70657261746f72;

void *with_header(std::size_t size)
{
	char *block = size < SIZE_MAX / 8 ? static_cast<char *>(std::malloc(size + header_bytes))
					  : nullptr;

	if (block == nullptr) {
		std::new_handler handler = std::get_new_handler();

		if (handler != nullptr)
			handler();
		throw std::bad_alloc();
	}
	*reinterpret_cast<std::uint64_t *>(block) = magic;
	live_count++;
	return block + header_bytes;
}

void take_header(void *block)
{
	if (block == nullptr)
		return;
	char *start = static_cast<char *>(block) - header_bytes;

	if (*reinterpret_cast<std::uint64_t *>(start) != magic) {
		std::puts("operators: delete of a block that new did not give");
		std::_Exit(99);
	}
	live_count--;
	std::free(start);
}
} // namespace

void *operator new(std::size_t size)
{
	return with_header(size);
}

void operator delete(void *block) noexcept
{
	take_header(block);
}

void *operator new(std::size_t size, std::align_val_t)
{
	return with_header(size);
}

void operator delete(void *block, std::align_val_t) noexcept
{
	take_header(block);
}
#endif

namespace
{
void throw_a_number()
{
	throw 42;
}

// Whether form() gives NULL rather than an exception, where a handler throws.
template <typename Form> bool is_nothrow(Form form)
{
	bool is_null = false;

	std::set_new_handler(throw_a_number);
	try {
		is_null = form() == nullptr;
	} catch (...) {
	}
	std::set_new_handler(nullptr);
	return is_null;
}
} // namespace

int main()
{
	volatile std::size_t size = 100, impossible = SIZE_MAX / 4;
	const std::align_val_t page{32};
	void *blocks[] = {
		::operator new(size),
		::operator new[](size),
		::operator new(size, std::nothrow),
		::operator new[](size, std::nothrow),
		::operator new(size, page),
		::operator new[](size, page),
		::operator new(size, page, std::nothrow),
		::operator new[](size, page, std::nothrow),
		::operator new(size),
		::operator new[](size),
	};

#ifdef REPLACES
	if (live_count != 10)
		return 1;
#endif
	::operator delete(blocks[0], size);
	::operator delete[](blocks[1], size);
	::operator delete(blocks[2], std::nothrow);
	::operator delete[](blocks[3], std::nothrow);
	::operator delete(blocks[4], size, page);
	::operator delete[](blocks[5], size, page);
	::operator delete(blocks[6], page, std::nothrow);
	::operator delete[](blocks[7], page, std::nothrow);
	::operator delete[](blocks[9]);
	::operator delete(blocks[8]);
	if (live_count != 0)
		return 2;

	if (!is_nothrow([&] { return ::operator new(impossible, std::nothrow); }))
		return 3;
	if (!is_nothrow([&] { return ::operator new[](impossible, std::nothrow); }))
		return 4;
	if (!is_nothrow([&] { return ::operator new(impossible, page, std::nothrow); }))
		return 5;
	if (!is_nothrow([&] { return ::operator new[](impossible, page, std::nothrow); }))
		return 6;
	return 0;
}
