"""What Linux says of a process: its memory and its children."""

import re
from pathlib import Path


def memory(field: str, process: int | str = "self") -> int:
    """Bytes that `/proc/PROCESS/status` gives for a field: VmRSS, what it has now, or VmHWM, the most that it had.

    `getrusage` would also count the process that started it.
    """
    found = re.search(rf"^{field}:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text(encoding="utf-8"), re.M)
    return int(found[1]) << 10 if found else 0  # a process that has ended has none


def children(process: int) -> list[int]:
    """Numbers of the processes that its main thread has started, the youngest last."""
    return [int(one) for one in Path(f"/proc/{process}/task/{process}/children").read_text(encoding="ascii").split()]
