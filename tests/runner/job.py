"""`python -m tests.runner.job`: the real runner, only with the tests' engine in place of Redis's."""

import re
import sys
from pathlib import Path

from tests.runner import engine

from holdfast.runner import __main__ as runner

if __name__ == "__main__":
    sys.modules.update(dict.fromkeys(engine.MODULES, engine))
    code = runner.main()
    # Not getrusage's, which begins with that of the process that started this one.
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert peak is not None
    print(f"peak {int(peak[1]) // 1024} MB", file=sys.stderr)
    sys.exit(code)
