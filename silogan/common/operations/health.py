"""A container's health check: whether a supervisor's services are running, as an exit code.

python -m silogan.common.operations.health FOLDER
"""

import os
import sys
from pathlib import Path

from silogan.common.operations.supervise import running


def healthy(folder: Path) -> bool:
    """Whether a supervisor runs in a folder and none of its services is down.

    A service is down between its end and its next start.
    """
    processes = running(folder)
    return bool(processes) and all(_alive(number) for number in processes.values())


def _alive(process: int) -> bool:
    """Whether a process is there and has not ended."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's has taken the number
        return False
    return True


if __name__ == "__main__":
    sys.exit(0 if len(sys.argv) == 2 and healthy(Path(sys.argv[1])) else 1)
