/* forms_of_new.cpp - every form of new and delete, and the containers that sit on them.
 *
 * Goal    the C++ operators, whether they come from libstdc++ or from the preloaded library, must
 *         keep the promises of [new.delete]: alignment, nothrow, bad_alloc, the new handler, and
 *         each form of delete for each form of new.
 * Method  uses each once and prints what the standard promises; a broken promise ends with 1.
 *         Sizes that cannot be had go through a volatile, else the compiler refuses them itself.
 */
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <vector>

static void require(bool kept, const char *promise)
{
	if (!kept) {
		std::fprintf(stderr, "broken promise: %s\n", promise);
		std::exit(1);
	}
	std::printf("kept: %s\n", promise);
}

static bool is_aligned(const void *block, std::size_t alignment)
{
	return reinterpret_cast<std::uintptr_t>(block) % alignment == 0;
}

struct alignas(256) Wide {
	unsigned char bytes[512];
};

struct Counted {
	static int alive;
	std::string text = std::string(100, 'c');
	Counted()
	{
		alive++;
	}
	Counted(const Counted &) = delete;
	Counted &operator=(const Counted &) = delete;
	~Counted()
	{
		alive--;
	}
};
int Counted::alive;

static void plain_forms()
{
	auto *one = new int(7);
	auto *many = new Counted[100];
	require(*one == 7 && Counted::alive == 100, "new and new[] construct");
	delete one;
	delete[] many;
	require(Counted::alive == 0, "delete[] destroys each element");

	auto *empty = new char[0];
	auto *other = new char[0];
	require(empty && other && empty != other, "new[] of nothing gives unique blocks");
	delete[] empty;
	delete[] other;
	delete static_cast<int *>(nullptr);

	void *raw = ::operator new(1000);
	require(is_aligned(raw, __STDCPP_DEFAULT_NEW_ALIGNMENT__), "default alignment");
	::operator delete (raw, std::size_t{1000});
	raw = ::operator new[](70000);
	::operator delete[](raw, std::size_t{70000});
	require(true, "sized delete and delete[]");

	unsigned char place[sizeof(std::string)] __attribute__((aligned(alignof(std::string))));
	auto *placed = new (place) std::string(500, 'p');
	require(placed->size() == 500, "placement new");
	placed->~basic_string();
}

static void aligned_forms()
{
	auto *wide = new Wide;
	auto *row = new Wide[9];
	require(is_aligned(wide, 256) && is_aligned(row, 256), "aligned new and new[]");
	delete wide;
	delete[] row;

	bool aligned = true;
	for (std::size_t alignment = 16; alignment <= 65536; alignment *= 2) {
		auto form = std::align_val_t{alignment};
		for (std::size_t size :
		     {std::size_t{1}, std::size_t{100}, alignment, 3 * alignment}) {
			void *a = ::operator new(size, form);
			void *b = ::operator new[](size, form, std::nothrow);
			aligned = aligned && is_aligned(a, alignment) && b &&
				  is_aligned(b, alignment);
			::operator delete(a, size, form);
			::operator delete[](b, form);
			a = ::operator new(size, form, std::nothrow);
			aligned = aligned && a && is_aligned(a, alignment);
			::operator delete(a, form, std::nothrow);
		}
	}
	require(aligned, "every alignment from 16 bytes to 64 KiB, plain and nothrow");
}

static int handler_calls;

static void give_up()
{
	handler_calls++;
	std::set_new_handler(nullptr);
}

static void impossible_forms()
{
	volatile std::size_t impossible = SIZE_MAX / 2 - 4096;
	bool caught = false;
	try {
		static_cast<void>(new char[impossible]);
	} catch (const std::bad_alloc &) {
		caught = true;
	}
	require(caught, "an impossible new throws bad_alloc");

	caught = false;
	try {
		static_cast<void>(::operator new (impossible, std::align_val_t{4096}));
	} catch (const std::bad_alloc &) {
		caught = true;
	}
	require(caught, "an impossible aligned new throws bad_alloc");

	require(!::operator new(impossible, std::nothrow), "an impossible nothrow new gives null");
	require(!::operator new[](impossible, std::align_val_t{64}, std::nothrow),
		"an impossible aligned nothrow new gives null");

	std::set_new_handler(give_up);
	caught = false;
	try {
		static_cast<void>(::operator new(impossible));
	} catch (const std::bad_alloc &) {
		caught = true;
	}
	require(caught && handler_calls == 1, "the new handler is called, then bad_alloc");

	delete new (std::nothrow) Counted;
	delete[] new (std::nothrow) Counted[3];
	require(Counted::alive == 0, "after the failures new works as before");
}

using Table = std::map<std::string, std::vector<std::string>>;

static Table fill(unsigned seed, int steps)
{
	Table table;
	for (int step = 0; step < steps; step++) {
		seed = seed * 1103515245U + 12345U;
		unsigned value = seed >> 8;
		auto &row = table["key" + std::to_string(value % 700)];
		row.emplace_back(value % 300, static_cast<char>('a' + value % 26));
		if (row.size() > 20)
			row.erase(row.begin(), row.begin() + 10);
		if (value % 11 == 0)
			table.erase("key" + std::to_string(value / 700 % 700));
	}
	return table;
}

/* Each table is filled by one thread, copied by another and freed by a third, so that every block
 * dies on another thread than the one that asked for it. */
static void across_threads()
{
	constexpr unsigned thread_count = 8;
	std::vector<Table> tables(thread_count), copies(thread_count);
	std::vector<std::thread> threads;
	for (unsigned n = 0; n < thread_count; n++)
		threads.emplace_back([&, n] { tables[n] = fill(n + 1, 20000); });
	for (auto &thread : threads)
		thread.join();
	threads.clear();
	for (unsigned n = 0; n < thread_count; n++)
		threads.emplace_back([&, n] { copies[n] = tables[(n + 3) % thread_count]; });
	for (auto &thread : threads)
		thread.join();
	threads.clear();

	std::size_t hash = 0;
	for (unsigned n = 0; n < thread_count; n++) {
		require(copies[n] == tables[(n + 3) % thread_count], "a copy equals its original");
		for (const auto &[key, row] : copies[n])
			for (const auto &text : row)
				hash = hash * 31 + key.size() + text.size() +
				       (text.empty() ? 0 : static_cast<unsigned char>(text.back()));
	}
	for (unsigned n = 0; n < thread_count; n++)
		threads.emplace_back([&, n] {
			tables[n].clear();
			copies[n].clear();
		});
	for (auto &thread : threads)
		thread.join();
	std::printf("hash %zu\n", hash);

	auto shared = std::make_shared<Table>(fill(99, 5000));
	std::thread last([held = std::move(shared)]() mutable { held.reset(); });
	last.join();
}

int main()
{
	plain_forms();
	aligned_forms();
	impossible_forms();
	across_threads();
	return 0;
}
