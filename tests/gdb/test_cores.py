"""What a core file weighs.

Goal    a core is as large as what is in use: neither the reservation, nor SuperSlabs that were
        freed, just now or long ago, nor cached mappings swell it, on disk or by its length.
Method  a program that holds 100 MiB of blocks, and one that has freed 1 GiB beside them; a core by
        the kernel and one by gcore, which writes all that it may read.
"""

import pytest

MIB = 1 << 20
LIVE_MIB = 100

# Stacks, libraries' data, tables, magazines, the last slab of each class.
OTHERS = 0.15 * LIVE_MIB * MIB

# Of what was freed stay the descriptors and class bytes of each unit; and the other parts of the
# first and last SuperSlab that the live blocks of each of the four sizes lie in.
TABLES_OF_FREED = 0.0125
SHARED_WITH_FREED = 2 * 4 * 2 * MIB


def weigh(path):
    """Its length, and what it takes on disk."""
    status = path.stat()
    return status.st_size, status.st_blocks * 512


@pytest.mark.parametrize("freed_mib, when", [(0, "now"), (1024, "now"), (1024, "later")])
def test_core_is_what_is_live(start, freed_mib, when):
    program = start("live", str(LIVE_MIB), str(freed_mib), when)
    most = LIVE_MIB * MIB + OTHERS
    if freed_mib != 0:
        most += freed_mib * MIB * TABLES_OF_FREED + SHARED_WITH_FREED
    by_gcore = weigh(program.gcore())
    print(f"gcore: {by_gcore[0] / MIB:.1f} MiB, {by_gcore[1] / MIB:.1f} on disk")
    assert LIVE_MIB * MIB < by_gcore[0] <= most
    by_kernel = weigh(program.kernel_core())
    print(f"kernel: {by_kernel[0] / MIB:.1f} MiB, {by_kernel[1] / MIB:.1f} on disk")
    assert LIVE_MIB * MIB < by_kernel[1] and max(by_kernel) <= most
