"""gdb commands that read a heap of libhak, of a live process or of a core file.

    (gdb) source hak.py
    (gdb) hak heap          the heap in numbers
    (gdb) hak block ADDR    what an address is; ADDR is any expression, such as p or $rdi

They read memory by the types in libhak's debug information, and call nothing in the process. Of a
thread that is inside a slow path some blocks may be on their way between two places; `hak heap`
says how many such threads there are.
"""

import bisect
import struct

import gdb


def broken(sentence):
    return gdb.GdbError(f"hak: {sentence}")


def number(value):
    return int(value) & 0xFFFFFFFFFFFFFFFF


def bits(word):
    return bin(word).count("1")


def mib(count):
    return f"{count / (1 << 20):.2f} MiB"


class Symbols:
    """libhak's own variables, wherever it is linked in."""

    def __init__(self):
        if gdb.selected_inferior().pid == 0:
            raise broken("there is no process and no core file to look at")
        self.region = self.find("hak_region")

    @staticmethod
    def find(name, file=None):
        """A variable of all of libhak, or of one file: names such as `cache` are not rare."""
        if file is None:
            found = [symbol for symbol in (gdb.lookup_global_symbol(name),) if symbol is not None]
        else:
            found = [symbol for symbol in gdb.lookup_static_symbols(name)
                     if symbol.symtab.filename.endswith("libhak/" + file)]
        if not found:
            raise broken(Symbols.why_not(name))
        value = found[0].value()
        return Symbols.whole_program(name, value) if value.is_optimized_out else value

    @staticmethod
    def whole_program(name, value):
        """Of a library that was optimised as a whole, gdb knows a variable twice: by its file and
        without an address; and with one, in a file that it is not of."""
        for symbol in gdb.lookup_static_symbols(name):
            other = symbol.value()
            if not other.is_optimized_out and other.type == value.type:
                return other
        raise broken(f"the address of {name} is not known")

    @staticmethod
    def why_not(name):
        try:
            gdb.parse_and_eval("&hak_malloc")
        except gdb.error:
            return "libhak is not in this process, or its file was not found by gdb"
        for objfile in gdb.objfiles():
            if "libhak" in (objfile.filename or ""):
                return f"{objfile.filename} has no debug symbols: {name} is not known"
        return f"the libhak in this program has no debug symbols: {name} is not known"


class Record:
    """A thread's record. Its magazines are [class_idx] to the addresses of blocks."""

    def __init__(self, heap, value):
        magazines = value["magazines"]
        classes = number(magazines["open_classes"])
        heads = magazines["heads"]
        self.address = number(value.address)
        self.is_inside = number(value["pass"]["inside_count"]) != 0
        self.heads = number(heads)
        self.magazines = {}
        for class_idx in range(1, heap.class_count + 1):
            if classes >> class_idx & 1 == 0:
                continue
            first = number(magazines["bottom"][class_idx]) + heap.pointer_bytes
            top = number(heads["top"][class_idx])
            if not first <= top <= number(heads["limit"][class_idx]):
                continue  # it is moving to another array
            count = (top - first) // heap.pointer_bytes
            self.magazines[class_idx] = heap.pointers(first, count)
        self.name = f"a thread that gdb does not show, with its magazines at {self.heads:#x}"


class Slab:
    """What the control word of a slab's or run's first unit says."""

    def __init__(self, heap, unit, descriptor):
        layout = heap.layout
        self.unit = unit
        self.control, = struct.unpack_from("<Q", descriptor, heap.control_offset)
        self.count = self.control & layout["control_count_mask"]
        self.class_idx = self.control >> layout["control_class_shift"] & 0xFF
        self.is_slab = self.control & layout["control_slab"] != 0
        self.is_run = self.control & layout["control_run"] != 0
        self.free = struct.unpack_from(f"<{heap.slab_words}Q", descriptor, heap.free_offset)

    def is_free(self, index):
        return self.free[index // 64] >> index % 64 & 1 == 1


class Heap:
    """One heap as it stands in memory. Made anew for each command: the process may have run."""

    def __init__(self):
        symbols = Symbols()
        region = symbols.region
        # What has a first value is in the program's file, and is read from there where a core has
        # no memory: then the heap would not be born. This has none.
        number(symbols.find("groups", "heap/superslab.c")[0]["summary"][0])
        if not region["born"]:
            raise broken("the heap of this process is not born: nothing was allocated from it yet")
        layout = symbols.find("hak_layout")
        self.layout = {field.name: number(layout[field]) for field in layout.type.fields()}
        self.unit_bytes = self.layout["unit_bytes"]
        self.superslab_units = self.layout["superslab_bytes"] // self.unit_bytes
        self.class_count = self.layout["class_count"]
        self.pointer_bytes = gdb.lookup_type("void").pointer().sizeof
        self.find = symbols.find
        self.read_region(region)
        self.read_types()
        self.read_classes()
        self.read_threads()

    def read_region(self, region):
        self.base = number(region["base"])
        self.open_bytes = number(region["open_grains"]) * self.layout["grain_bytes"]
        self.reserved_bytes = number(region["superslab_count_max"]) * self.layout["superslab_bytes"]
        self.superslab_count = number(region["superslab_count"])
        self.class_of_unit = number(region["class_of_unit"])
        self.slab_descriptors = number(region["slab_descriptors"])
        self.meta_end = number(region["meta_end"])
        self.meta_start = self.meta_end - number(region["meta_bytes"])
        self.meta_open_bytes = number(region["meta_open_bytes"])
        self.meta_bytes = number(self.find("meta", "heap/meta.c")["used_bytes"])

    def read_types(self):
        """Descriptors are read in bulk, so their fields are found by offset."""
        fields = {field.name: field for field in gdb.lookup_type("struct hak_slab").fields()}
        self.control_offset = fields["control"].bitpos // 8
        self.free_offset = fields["free"].bitpos // 8
        self.head_offset = fields["head_distance"].bitpos // 8
        self.slab_words = fields["free"].type.sizeof // 8

    def read_classes(self):
        sizes = self.find("hak_size_classes")
        self.block_bytes = [number(sizes[i]["block_bytes"]) for i in range(self.class_count + 1)]
        self.block_count = [number(sizes[i]["block_count"]) for i in range(self.class_count + 1)]
        self.unit_count = [number(sizes[i]["unit_count"]) for i in range(self.class_count + 1)]

    def read_threads(self):
        self.records = []
        self.record_count = 0
        record = self.find("all", "heap/thread.c")
        while number(record) != 0:
            value = record.dereference()
            self.record_count += 1
            if value["alive"]:
                self.records.append(Record(self, value))
            record = value["next"]
        self.name_threads()

    def name_threads(self):
        """The heads of all threads lie at one distance below their thread pointers. It is the
        least that is found: a thread that gdb does not show is farther from the next pointer."""
        names = self.thread_pointers()
        pointers = sorted(names)
        distances = [pointers[at] - record.heads for record in self.records
                     if (at := bisect.bisect(pointers, record.heads)) < len(pointers)]
        for record in self.records:
            record.name = names.get(record.heads + min(distances, default=0), record.name)

    @staticmethod
    def thread_pointers():
        """Where each thread's static storage ends, to its name."""
        selected = gdb.selected_thread()
        found = {}
        for thread in gdb.selected_inferior().threads():
            thread.switch()
            try:
                pointer = number(gdb.newest_frame().read_register("fs_base"))
            except (ValueError, gdb.error):
                continue  # a machine without that register: threads have no names here
            found[pointer] = f"thread {thread.num} (LWP {thread.ptid[1]})"
        if selected is not None:
            selected.switch()
        return found

    @staticmethod
    def bytes_at(address, count):
        return gdb.selected_inferior().read_memory(address, count).tobytes()

    def pointers(self, address, count):
        if count == 0:
            return ()
        return struct.unpack(f"<{count}Q", self.bytes_at(address, count * self.pointer_bytes))

    def classes(self, unit, count):
        return self.bytes_at(self.class_of_unit + unit, count)

    def slab(self, unit):
        bytes_each = self.layout["slab_descriptor_bytes"]
        return Slab(self, unit, self.bytes_at(self.slab_descriptors + unit * bytes_each,
                                              bytes_each))

    def slabs(self):
        """All slabs and runs, by units in order. The class byte and the word must say the same:
        one that is being made or given back is neither."""
        bytes_each = self.layout["slab_descriptor_bytes"]
        for superslab in range(self.superslab_count):
            first = superslab * self.superslab_units
            classes = self.classes(first, self.superslab_units)
            if not any(classes):
                continue
            table = self.bytes_at(self.slab_descriptors + first * bytes_each,
                                  self.superslab_units * bytes_each)
            unit = 0
            while unit < self.superslab_units:
                slab = Slab(self, first + unit, table[unit * bytes_each:(unit + 1) * bytes_each])
                is_run = classes[unit] == self.layout["class_run_head"] and slab.is_run
                if is_run or (slab.is_slab and classes[unit] == slab.class_idx):
                    yield slab
                    unit += slab.count if is_run else self.unit_count[slab.class_idx]
                else:
                    unit += 1

    def address_of(self, unit):
        return self.base + unit * self.unit_bytes

    def depot(self, class_idx):
        depot = self.find("depots", "heap/depot.c")[class_idx]
        return self.pointers(number(depot["slots"]), number(depot["count"]))

    def superslabs(self):
        """Free units and those of them never touched, for each SuperSlab."""
        groups = self.find("groups", "heap/superslab.c")
        rows = groups[0]["row"].type.range()[1] + 1
        row_superslabs = 64  # a row goes with a word of each shelf
        for index in range(self.superslab_count):
            row_index = index // row_superslabs
            row = groups[row_index // rows]["row"][row_index % rows]
            superslab = row[index % row_superslabs]
            yield ([number(superslab["free"][i]) for i in range(2)],
                   [number(superslab["untouched"][i]) for i in range(2)])

    def huge_blocks(self):
        """Address, bytes of the block and of its mapping."""
        buckets = self.find("buckets", "heap/huge.c")
        first, last = buckets.type.range()
        for bucket in range(first, last + 1):
            mapping = buckets[bucket]
            while number(mapping) != 0:
                yield tuple(number(mapping[name]) for name in ("start", "block_bytes", "bytes"))
                mapping = mapping["next"]

    def cached_mappings(self):
        cache = self.find("cache", "heap/huge_cache.c")
        for i in range(number(cache["count"])):
            mapping = cache["mappings"][i]
            yield number(mapping["start"]), number(mapping["bytes"])


class ClassRow:
    """What `hak heap` shows of a class."""

    def __init__(self):
        self.slabs = self.blocks = self.taken = self.magazines = self.depot = 0

    @property
    def cached(self):
        return self.magazines + self.depot

    @property
    def live(self):
        return max(0, self.taken - self.cached)

    @property
    def free(self):
        return self.blocks - self.taken


class HeapReport:
    """`hak heap`."""

    def __init__(self, heap):
        self.heap = heap
        self.rows = [ClassRow() for _ in range(heap.class_count + 1)]
        self.run_count = self.run_units = 0
        for slab in heap.slabs():
            if slab.is_run:
                self.run_count += 1
                self.run_units += slab.count
                continue
            row = self.rows[slab.class_idx]
            row.slabs += 1
            row.blocks += heap.block_count[slab.class_idx]
            row.taken += heap.block_count[slab.class_idx] - slab.count
        for class_idx in range(1, heap.class_count + 1):
            row = self.rows[class_idx]
            row.depot = len(heap.depot(class_idx))
            row.magazines = sum(len(record.magazines.get(class_idx, ()))
                                for record in heap.records)
        self.huge = list(heap.huge_blocks())
        self.cached = list(heap.cached_mappings())

    def bytes_of(self, state):
        return sum(getattr(row, state) * size
                   for row, size in zip(self.rows, self.heap.block_bytes))

    def lines(self):
        yield from self.region_lines()
        yield from self.slab_lines()
        run_bytes = self.run_units * self.heap.unit_bytes
        huge_bytes = sum(mapped for _, _, mapped in self.huge)
        cached_bytes = sum(size for _, size in self.cached)
        yield f"runs: {self.run_count} of {run_bytes} bytes"
        yield f"huge blocks: {len(self.huge)} of {huge_bytes} bytes"
        yield f"cached mappings: {len(self.cached)} of {cached_bytes} bytes"
        yield from self.metadata_lines()
        yield from self.thread_lines()
        live = self.bytes_of("live") + run_bytes + huge_bytes
        cached = self.bytes_of("cached") + cached_bytes
        free = self.bytes_of("free") + self.free_unit_bytes
        yield f"total: live {live}, cached {cached}, free {free} bytes"

    def region_lines(self):
        heap = self.heap
        full = (1 << 64) - 1
        used = empty = returned = touched_units = 0
        for free, untouched in heap.superslabs():
            touched_units += sum(bits(word & ~never) for word, never in zip(free, untouched))
            if free != [full, full]:
                used += 1
            elif untouched != [full, full]:
                empty += 1
            else:
                returned += 1
        self.free_unit_bytes = touched_units * heap.unit_bytes
        yield (f"region: {heap.base:#x}, {heap.reserved_bytes >> 30} GiB reserved, "
               f"{mib(heap.open_bytes)} open")
        yield f"SuperSlabs: {used} in use, {empty} empty, {returned} returned"
        yield f"free units that may hold memory: {touched_units} of {self.free_unit_bytes} bytes"

    def slab_lines(self):
        columns = ("block", "slabs", "blocks", "live", "magazines", "depot", "free")
        yield "slabs:" + "".join(f"{column:>11}" for column in columns)[6:]
        for row, size in zip(self.rows, self.heap.block_bytes):
            if row.slabs != 0:
                numbers = (size, row.slabs, row.blocks, row.live, row.magazines, row.depot,
                           row.free)
                yield "".join(f"{value:>11}" for value in numbers)

    def metadata_lines(self):
        heap = self.heap
        yield (f"metadata: {heap.meta_bytes} bytes of records, arrays and depots, "
               f"tables for {heap.superslab_count} SuperSlabs")

    def thread_lines(self):
        heap = self.heap
        inside = sum(record.is_inside for record in heap.records)
        yield (f"threads: {len(heap.records)} of {heap.record_count} records in use, "
               f"{inside} inside a slow path")
        for record in sorted(heap.records, key=lambda record: record.address):
            kept = ", ".join(f"{heap.block_bytes[class_idx]}: {len(blocks)}"
                             for class_idx, blocks in record.magazines.items() if blocks)
            yield f"  {record.name}: {kept or 'nothing'}"


class BlockReport:
    """`hak block ADDR`: one sentence."""

    def __init__(self, heap, address):
        self.heap = heap
        self.address = address

    def sentence(self):
        heap, address = self.heap, self.address
        if heap.base <= address < heap.base + heap.open_bytes:
            return self.in_region()
        if heap.base <= address < heap.base + heap.reserved_bytes:
            return "in libhak's region, where nothing was ever allocated"
        if heap.meta_start <= address < heap.meta_end:
            return "libhak's own: records, magazines, depots and entries"
        if heap.slab_descriptors <= address < heap.class_of_unit:
            return "libhak's own: the slab descriptors"
        if heap.class_of_unit <= address < heap.base:
            return "libhak's own: the class bytes"
        return self.huge()

    def named(self, start, kind):
        """A block by its first byte, whatever byte of it was asked for."""
        if start == self.address:
            return kind
        return f"byte {self.address - start} of {start:#x}, {kind}"

    def in_region(self):
        heap = self.heap
        unit = (self.address - heap.base) // heap.unit_bytes
        class_idx = heap.classes(unit, 1)[0]
        superslab = unit // heap.superslab_units
        if class_idx == 0:
            return f"in a free unit of SuperSlab {superslab}: no block is there"
        if class_idx in (heap.layout["class_run_head"], heap.layout["class_run_tail"]):
            return self.in_run(unit)
        return self.in_slab(unit, class_idx)

    def in_run(self, unit):
        heap = self.heap
        while heap.classes(unit, 1)[0] == heap.layout["class_run_tail"] and unit % 64 != 0:
            unit -= 1
        slab = heap.slab(unit)
        if not slab.is_run:
            return "in a run that is being made or given back"
        return self.named(heap.address_of(unit),
                          f"a run of {slab.count * heap.unit_bytes} bytes, live")

    def in_slab(self, unit, class_idx):
        heap = self.heap
        bytes_each = heap.layout["slab_descriptor_bytes"]
        unit -= heap.bytes_at(heap.slab_descriptors + unit * bytes_each + heap.head_offset, 1)[0]
        slab = heap.slab(unit)
        if not slab.is_slab or slab.class_idx != class_idx:
            return "in a slab that is being made or given back"
        size = heap.block_bytes[class_idx]
        index = (self.address - heap.address_of(unit)) // size
        if index >= heap.block_count[class_idx]:
            slab_start = heap.address_of(unit)
            return f"behind the last block of the slab of {size} bytes at {slab_start:#x}"
        start = heap.address_of(unit) + index * size
        return self.named(start, f"a block of {size} bytes, "
                          + self.state_of(slab, index, start))

    def state_of(self, slab, index, start):
        heap = self.heap
        if slab.is_free(index):
            return "free in its slab"
        for record in heap.records:
            if start in record.magazines.get(slab.class_idx, ()):
                return f"free in the magazine of {record.name}"
        if start in heap.depot(slab.class_idx):
            return "free in the depot"
        return "live"

    def huge(self):
        for start, block_bytes, map_bytes in self.heap.huge_blocks():
            if start <= self.address < start + map_bytes:
                return self.named(start, f"a huge block of {block_bytes} bytes, live")
        for start, size in self.heap.cached_mappings():
            if start <= self.address < start + size:
                return self.named(start, f"a cached mapping of {size} bytes, free")
        return "not libhak's"


class Prefix(gdb.Command):
    """Looks at the heap of libhak."""

    def __init__(self):
        super().__init__("hak", gdb.COMMAND_DATA, gdb.COMPLETE_NONE, True)


class Command(gdb.Command):
    """What the commands share: the docstrings of those are what gdb's `help` shows."""

    def invoke(self, argument, from_tty):
        del from_tty
        try:
            self.answer(argument.strip())
        except gdb.MemoryError as error:
            raise broken("memory that libhak keeps its books in cannot be read, the core file "
                         f"does not have it ({error})") from error


class HeapCommand(Command):
    """The heap in numbers: the region, slabs by size of block, runs, huge blocks, threads.

usage: hak heap"""

    def __init__(self):
        super().__init__("hak heap", gdb.COMMAND_DATA, gdb.COMPLETE_NONE)

    def answer(self, argument):
        if argument:
            raise broken("usage: hak heap")
        for line in HeapReport(Heap()).lines():
            print(line)


class BlockCommand(Command):
    """What an address is: a block of so many bytes and its state, or what else is there.

usage: hak block ADDR, where ADDR is any expression"""

    def __init__(self):
        super().__init__("hak block", gdb.COMMAND_DATA, gdb.COMPLETE_EXPRESSION)

    def answer(self, argument):
        if not argument:
            raise broken("usage: hak block ADDR")
        heap = Heap()
        try:
            address = number(gdb.parse_and_eval(argument))
        except gdb.error as error:
            raise broken(f"{argument} is no address: {error}") from error
        print(f"{address:#x}: {BlockReport(heap, address).sentence()}")


Prefix()
HeapCommand()
BlockCommand()
