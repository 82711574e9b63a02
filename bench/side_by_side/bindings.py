"""Which library serves a running process: where its objects' calls of malloc lead.

That a library is mapped does not say that it is used: redis-server is linked to jemalloc, and has
it mapped under any other. What decides is the slot through which an object calls malloc, which the
dynamic loader has filled in. The slots' places are read from the ELF files, what stands in them
from the memory of the process.
"""

import functools
import pathlib
import struct

CALLS = {b"malloc", b"calloc", b"realloc", b"free"}
ET_EXEC = 2
PT_LOAD, PT_DYNAMIC = 1, 2
DT_PLTRELSZ, DT_STRTAB, DT_SYMTAB, DT_RELA, DT_RELASZ, DT_JMPREL = 2, 5, 6, 7, 8, 23
# GLOB_DAT and JUMP_SLOT, of x86-64 and of aarch64.
TYPES_SLOT = {6, 7, 1025, 1026}
TYPES_DATA = {6, 1025}


@functools.lru_cache(maxsize=None)
def slots_of(path):
    """(base that the addresses are relative to, or 0 if they are final; [(address, is data)]) of
    the slots for malloc and its like. An object that is no ELF file of 64 bits has none."""
    image = pathlib.Path(path).read_bytes()
    if image[:6] != b"\x7fELF\x02\x01":
        return None, []
    kind, = struct.unpack_from("<H", image, 16)
    header_offset, = struct.unpack_from("<Q", image, 32)
    header_bytes, header_count = struct.unpack_from("<HH", image, 54)
    headers = [struct.unpack_from("<IIQQQQQQ", image, header_offset + i * header_bytes)
               for i in range(header_count)]
    loads = [header for header in headers if header[0] == PT_LOAD]
    tags = {}
    for header in headers:
        if header[0] == PT_DYNAMIC:
            dynamic = image[header[2]:header[2] + header[5] // 16 * 16]
            tags = dict(struct.iter_unpack("<QQ", dynamic))

    def at(address):
        return next(address - load[3] + load[2] for load in loads
                    if load[3] <= address < load[3] + load[6])

    def name_of(symbol):
        start = at(tags[DT_STRTAB]) + struct.unpack_from("<I", image,
                                                         at(tags[DT_SYMTAB]) + symbol * 24)[0]
        return image[start:image.index(b"\0", start)]

    slots = []
    for table, size in ((DT_RELA, DT_RELASZ), (DT_JMPREL, DT_PLTRELSZ)):
        if table in tags and tags.get(size):
            start = at(tags[table])
            for address, info, _ in struct.iter_unpack("<QQq", image[start:start + tags[size]]):
                if info & 0xffffffff in TYPES_SLOT and name_of(info >> 32) in CALLS:
                    slots.append((address, info & 0xffffffff in TYPES_DATA))
    return (0 if kind == ET_EXEC else None), slots


def mappings_of(pid):
    """[(start, end, path)] of what is mapped from files."""
    found = []
    for line in pathlib.Path("/proc", str(pid), "maps").read_text("utf-8").splitlines():
        words = line.split(maxsplit=5)
        if len(words) == 6 and words[5].startswith("/") and not words[5].endswith("(deleted)"):
            start, end = (int(word, 16) for word in words[0].split("-"))
            found.append((start, end, words[5]))
    return found


def allocators_of(pid):
    """The files that the process' objects have their malloc, calloc, realloc and free from. A slot
    that leads into its own object has not been used yet. One for data that leads into a program of
    fixed addresses holds the address of a stub there, which stands for any library's function."""
    mappings = mappings_of(pid)
    program = str(pathlib.Path("/proc", str(pid), "exe").readlink())
    stubs = {program} if slots_of(program)[0] == 0 else set()
    found = set()
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for path in {path for *_, path in mappings}:
            try:
                base, slots = slots_of(path)
            except OSError:
                continue
            if base is None:
                base = min(start for start, _, other in mappings if other == path)
            for address, is_data in slots:
                memory.seek(base + address)
                value, = struct.unpack("<Q", memory.read(8))
                for start, end, other in mappings:
                    if start <= value < end and other not in {path, *(stubs if is_data else ())}:
                        found.add(pathlib.Path(other).resolve())
    return found
