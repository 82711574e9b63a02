#include "govern/attach.h"

#include "base/os.h"
#include "base/policy.h"
#include "base/sandbox.h"
#include "base/probe.h"
#include "base/settings.h"
#include "heap/huge.h"
#include "heap/pool.h"
#include "heap/region.h"
#include "heap/shared.h"
#include "heap/thread.h"
#include "proto/hello.h"
#include "proto/mailbox.h"
#include "proto/page.h"

#include <errno.h>
#include <fcntl.h>
#include <hak/hak.h>
#include <linux/memfd.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#define SECOND_NS ((uint64_t)1000000000)

/* Who registers: a process of this age, or with a heap of so many bytes. */
#define AGE_NS SECOND_NS
#define HEAP_BYTES ((size_t)8 << 20)

/* The daemon counts every 2 s. */
#define ORPHAN_NS (5 * SECOND_NS)

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U /* Linux 6.3 */
#endif

/* All but the first two are changed by one thread at a time. */
static _Atomic uint64_t first_ns;    /* of the first slow path of this process; 0: none yet */
static _Atomic uint64_t next_try_ns; /* UINT64_MAX: never again */
static unsigned try_count;	     /* without an answer */
static bool daemon_was_seen;
static int page_fd, socket_fd;	  /* between begin and finish */
static _Atomic uint64_t seen;	  /* the daemon's counter */
static uint64_t seen_ns;	  /* when it was first read so, or the page was made */
static _Atomic uint64_t alive_ns; /* when it was last seen to have moved, in whatever page */

static uint64_t heap_bytes(void)
{
	struct hak_huge_counts huge;

	hak_huge_count(&huge);
	return hak_region_open_bytes() + huge.live_bytes;
}

bool hak_attach_is_of_age(uint64_t now_ns)
{
	uint64_t first = atomic_load_explicit(&first_ns, memory_order_relaxed);

	if (first == 0) {
		first = now_ns;
		atomic_store_explicit(&first_ns, first, memory_order_relaxed);
	}
	return now_ns >= first + AGE_NS || heap_bytes() >= HEAP_BYTES;
}

bool hak_attach_is_due(uint64_t now_ns)
{
	return hak_settings.registration != HAK_REGISTRATION_NEVER &&
	       now_ns >= atomic_load_explicit(&next_try_ns, memory_order_relaxed) &&
	       hak_attach_is_of_age(now_ns);
}

static void set_next_try(uint64_t now_ns)
{
	static const uint8_t unseen_s[] = {1, 5, 30, 0}, seen_s[] = {1, 2, 5, 5};
	unsigned i = try_count < 3 ? try_count : 3;
	uint64_t pause_s = daemon_was_seen ? seen_s[i] : unseen_s[i];

	try_count++;
	if (pause_s == 0)
		pause_s = 300;
	atomic_store_explicit(&next_try_ns, now_ns + pause_s * SECOND_NS, memory_order_relaxed);
}

enum hak_sandbox hak_attach_sandbox(void)
{
	return hak_settings.registration == HAK_REGISTRATION_ALWAYS ? HAK_SANDBOX_NONE
								    : hak_sandbox_look();
}

bool hak_attach_share(void)
{
	size_t bytes = hak_os_page_bytes();
	struct hak_shared *none = NULL;
	void *page;

	if (hak_shared_get() != NULL)
		return true;
	page = hak_os_map(bytes);
	if (page == NULL)
		return false;
	if (madvise(page, bytes, MADV_WIPEONFORK) != 0) {
		hak_os_unmap(page, bytes);
		return false;
	}
	/* A child of vfork(2) must not be taken for whose memory this is: it is its parent's. */
	atomic_store_explicit(&((struct hak_shared *)page)->pid,
			      (int)syscall(hak_thread_is_of_another() ? SYS_getppid : SYS_getpid),
			      memory_order_relaxed);
	/* release: pairs with the acquire in hak_shared_get() */
	if (!atomic_compare_exchange_strong_explicit(&hak_shared, &none, page, memory_order_release,
						     memory_order_relaxed))
		hak_os_unmap(page, bytes); /* another thread was first */
	return true;
}

bool hak_attach_is_own_memory(void)
{
	int pid = (int)syscall(SYS_getpid), wiped = 0;

	return atomic_compare_exchange_strong_explicit(&hak_shared_get()->pid, &wiped, pid,
						       memory_order_relaxed,
						       memory_order_relaxed) ||
	       wiped == pid;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		syscall(SYS_close, *fd);
	*fd = -1;
}

/* A program that closed its standard descriptors must not find ours in their place. */
static int lift(long fd)
{
	long lifted = fd;

	if (fd >= 0 && fd <= STDERR_FILENO) {
		lifted = syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
		syscall(SYS_close, fd);
	}
	return (int)lifted;
}

/* The daemon's socket, connected; -1 where nobody listens, or has no time for us now. */
static int connect_daemon(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = lift(
		syscall(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));

	memcpy(address.sun_path, hak_settings.socket, sizeof hak_settings.socket);
	if (fd >= 0 && syscall(SYS_connect, fd, &address, sizeof address) != 0)
		close_fd(&fd);
	return fd;
}

/* The library cannot know what a signal of SIGXFSZ would do to the program. */
static bool file_may_have(uint64_t bytes)
{
	return hak_os_limit(RLIMIT_FSIZE) >= bytes;
}

static int make_memfd(uint64_t bytes)
{
	unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	int seals = F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL;
	long fd = syscall(SYS_memfd_create, "hak", flags | MFD_NOEXEC_SEAL);

	if (fd < 0 && errno == EINVAL)
		fd = syscall(SYS_memfd_create, "hak", flags);
	int lifted = lift(fd);

	if (lifted >= 0 && (syscall(SYS_ftruncate, lifted, bytes) != 0 ||
			    syscall(SYS_fcntl, lifted, F_ADD_SEALS, seals) != 0))
		close_fd(&lifted);
	return lifted;
}

/* At its own address from the second time on: others may be reading the old one's mailbox. */
static bool map_memfd(int fd, uint64_t bytes)
{
	unsigned char *mapping = hak_shared_get()->mapping;
	int flags = MAP_SHARED | (mapping != NULL ? MAP_FIXED : 0);
	void *start = mmap(mapping, bytes, PROT_READ | PROT_WRITE, flags, fd, 0);

	if (start == MAP_FAILED) {
		/* Whether the old one is still there is not said: nobody writes to it any more. */
		if (mapping != NULL)
			hak_pool_publish(NULL);
		hak_shared_get()->mapping = NULL;
		return false;
	}
	/* Without it a child would go on writing to its parent's page. */
	if (madvise(start, bytes, MADV_DONTFORK) != 0) {
		if (mapping == NULL)
			munmap(start, bytes);
		return false;
	}
	/* Rows come with the SuperSlabs that they are of (heap/shared.h). */
	if (!hak_os_populate(start, HAK_PAGE_SUPERSLABS)) {
		if (mapping == NULL)
			munmap(start, bytes);
		return false;
	}
	/* It is the daemon's view, megabytes of it, and shared memory is dumped like one's own. */
	(void)hak_os_dump(start, bytes, false);
	hak_shared_get()->mapping = start;
	return true;
}

static unsigned char *begin(uint64_t now_ns)
{
	uint64_t bytes = hak_page_bytes(hak_region.superslab_count_max);

	if (!hak_attach_share() || !hak_attach_is_own_memory() || !file_may_have(bytes))
		return NULL;
	socket_fd = connect_daemon();
	page_fd = socket_fd < 0 ? -1 : make_memfd(bytes);
	/* Of the new one nothing is there yet. */
	if (page_fd >= 0 && hak_shared_get()->mapping != NULL)
		hak_pool_publish(NULL);
	if (page_fd < 0 || !map_memfd(page_fd, bytes)) {
		close_fd(&page_fd);
		close_fd(&socket_fd);
		return NULL;
	}
	atomic_store_explicit(&seen, 0, memory_order_relaxed); /* as it stands in a new page */
	seen_ns = now_ns;
	hak_pool_publish(hak_shared_get()->mapping);
	/* There was no memory for all rows. */
	if (hak_shared_page() == NULL) {
		close_fd(&page_fd);
		close_fd(&socket_fd);
	}
	return hak_shared_page();
}

unsigned char *hak_attach_begin(uint64_t now_ns)
{
	int saved_errno = errno;
	unsigned char *page = NULL;

	if (!hak_region_is_born())
		return NULL;
	set_next_try(now_ns);
	switch (hak_attach_sandbox()) {
	case HAK_SANDBOX_NONE:
		page = begin(now_ns);
		break;
	case HAK_SANDBOX_FILTERED:
		atomic_store_explicit(&next_try_ns, UINT64_MAX, memory_order_relaxed);
		break;
	case HAK_SANDBOX_UNKNOWN:
		break;
	}
	errno = saved_errno;
	return page;
}

/* A daemon of another user may not look at it. "" where there is no /proc. */
static void read_exe(char exe[HAK_HELLO_EXE_BYTES])
{
	long count = syscall(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", exe,
			     HAK_HELLO_EXE_BYTES - 1);

	exe[count > 0 ? count : 0] = '\0';
}

static bool send_hello(void)
{
	struct hak_hello hello = {
		.version = HAK_HELLO_VERSION,
		.bytes = HAK_HELLO_BYTES,
		.superslab_count = hak_region.superslab_count_max,
		.region_base = hak_region.base,
		.library_version = (uint64_t)HAK_VERSION_MAJOR << 32 |
				   (uint64_t)HAK_VERSION_MINOR << 16 | HAK_VERSION_PATCH,
	};
	uint8_t bytes[HAK_HELLO_BYTES];
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {.header = {.cmsg_level = SOL_SOCKET,
				.cmsg_type = SCM_RIGHTS,
				.cmsg_len = CMSG_LEN(sizeof(int))}};
	struct iovec part = {.iov_base = bytes, .iov_len = sizeof bytes};
	struct msghdr message = {.msg_iov = &part,
				 .msg_iovlen = 1,
				 .msg_control = &control,
				 .msg_controllen = sizeof control};

	read_exe(hello.exe);
	hak_hello_encode(&hello, bytes);
	memcpy(CMSG_DATA(&control.header), &page_fd, sizeof page_fd);
	return syscall(SYS_sendmsg, socket_fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT) ==
	       (long)sizeof bytes;
}

void hak_attach_finish(void)
{
	int saved_errno = errno;

	bool is_sent = send_hello();

	HAK_PROBE(registration, hak_shared_get()->mapping, (unsigned)is_sent);
	if (!is_sent)
		hak_pool_publish(NULL);
	close_fd(&page_fd);
	close_fd(&socket_fd);
	errno = saved_errno;
}

static uint64_t counter_of(unsigned char *page)
{
	return atomic_load_explicit(hak_shared_word(page,
						    HAK_PAGE_MAILBOX + HAK_MAILBOX_DAEMON_SEEN),
				    memory_order_relaxed);
}

bool hak_attach_is_silent(uint64_t now_ns)
{
	unsigned char *page = hak_shared_page();

	/* A process that has stood still for long itself has not looked meanwhile. */
	if (page != NULL && counter_of(page) != atomic_load_explicit(&seen, memory_order_relaxed))
		return false;
	return now_ns >= atomic_load_explicit(&alive_ns, memory_order_relaxed) + HAK_POLICY_TTL_NS;
}

bool hak_attach_is_orphan(unsigned char *page, uint64_t now_ns)
{
	uint64_t counter = counter_of(page);

	if (counter != atomic_load_explicit(&seen, memory_order_relaxed)) {
		atomic_store_explicit(&seen, counter, memory_order_relaxed);
		atomic_store_explicit(&alive_ns, now_ns, memory_order_relaxed);
		seen_ns = now_ns;
		daemon_was_seen = true;
		try_count = 0;
		return false;
	}
	/* Who looked at the clock before another thread saw the counter comes late: its time lies
	 * before seen_ns. */
	return now_ns >= seen_ns + ORPHAN_NS &&
	       now_ns >= atomic_load_explicit(&next_try_ns, memory_order_relaxed);
}

void hak_attach_fork_child(void)
{
	if (atomic_load_explicit(&next_try_ns, memory_order_relaxed) != UINT64_MAX)
		atomic_store_explicit(&next_try_ns, 0, memory_order_relaxed);
	atomic_store_explicit(&first_ns, 0, memory_order_relaxed);
	try_count = 0;
}
