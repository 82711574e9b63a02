#include "base/privilege.h"

#include <errno.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static int call(long number, struct __user_cap_data_struct data[2])
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};

	return syscall(number, &header, data) == 0 ? 0 : -errno;
}

bool privilege_has(uint32_t set)
{
	struct __user_cap_data_struct data[2] = {{0}};

	return call(SYS_capget, data) == 0 && (data[0].effective & set) == set;
}

int privilege_keep(uint32_t set)
{
	struct __user_cap_data_struct data[2] = {{0}};

	/* EINVAL: past the kernel's last one. EPERM: there is none to lower the bound with, and so
	 * nothing that a later program could have of us. */
	for (unsigned long i = 0; i < 64; i++)
		if (i >= 32 || (set >> i & 1) == 0)
			(void)prctl(PR_CAPBSET_DROP, i, 0, 0, 0);
	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return -errno;
	data[0].permitted = data[0].effective = set;
	return call(SYS_capset, data);
}
