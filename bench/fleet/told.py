"""What hakd has counted of all programs of a run."""

import dataclasses
import re

from host import MIB, ask


@dataclasses.dataclass(frozen=True)
class Told:
    """Over all groups. What programs have in use no allocator can release."""

    live: int  # bytes, now
    released: int  # so far, as the next
    refaulted: int

    @classmethod
    def by(cls, host):
        text = ask(host, "GET", "/metrics")[1]

        def total(name, labels=""):
            values = re.findall(rf"^hak_{name}{{group=[^}}]*{labels}}} (\d+)$", text, re.MULTILINE)
            return sum(map(int, values))

        return cls(total("heap_bytes", ',state="live"'),
                   total("returned_bytes_total") + total("remote_released_bytes_total"),
                   total("refaulted_bytes_total"))

    def since(self, before):
        return Told(self.live, self.released - before.released, self.refaulted - before.refaulted)

    @property
    def refault(self):
        return self.refaulted / self.released if self.released else 0.0

    def __str__(self):
        return f"{self.live / MIB:6.0f} MiB in use in the end, {self.refault:.1%} released in vain"
