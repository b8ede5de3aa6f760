"""The memory that a process frees stays with it, in huge pages where the system has them."""

import os
import subprocess
import sys
from pathlib import Path

from bench.cell.memory import RESERVED

ROOT = Path(__file__).parents[2]

#: Blocks of 40 MB, used and freed one after the other; the page faults of all but the first.
BLOCKS = """
import resource
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def use():
    bytes([1]) * (40 << 20)
use()
before = faults()
for _ in range(10):
    use()
print(faults() - before)
"""

#: The advised parts of the heap, in bytes.
ADVISED = """
import re
from pathlib import Path
mappings = re.split(r"(?m)^(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text())
advised = [m for m in mappings if "VmFlags:" in m and " hg" in m[m.index("VmFlags:"):]]
print(sum(int(end, 16) - int(start, 16) for start, end in (m.split()[0].split("-") for m in advised)))
"""

KEEP = "from bench.cell.memory import keep_memory\nkeep_memory()\nkeep_memory()\n"


def printed(program: str) -> int:
    """What a new process prints, with glibc's own settings and not those of this one's environment."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-c", program]
    return int(subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT, env=environment).stdout)


def test_memory_that_was_freed_is_used_again_without_a_page_fault() -> None:
    assert printed(KEEP + BLOCKS) < printed(BLOCKS) / 10


def test_the_heap_is_in_huge_pages_where_the_system_has_them() -> None:
    assert printed(ADVISED) < RESERVED / 10
    there = Path("/sys/kernel/mm/transparent_hugepage").is_dir()
    assert (printed(KEEP + ADVISED) > 0.99 * RESERVED) == there


def test_another_c_library_is_left_alone() -> None:
    without = "import ctypes\nctypes.CDLL = lambda name: object()\n"
    assert printed(without + KEEP + ADVISED) < RESERVED / 10
    assert printed("import mmap\ndel mmap.MADV_HUGEPAGE\n" + KEEP + ADVISED) < RESERVED / 10
