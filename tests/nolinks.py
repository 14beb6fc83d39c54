"""`python -m tests.nolinks PROGRAM…`: runs a program for which the kernel makes no hard links, as on CIFS.

The answer is EPERM, "The filesystem containing oldpath and newpath does not support the creation of hard
links" (link(2)). It comes from a seccomp filter, because not every kernel here has such a file system.
"""

import ctypes
import os
import platform
import struct
import sys
import tempfile
from errno import EPERM
from pathlib import Path

_LINKS = {"x86_64": (86, 265), "aarch64": (37,)}
"""link and linkat, by architecture."""
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000


def refuse_links() -> None:
    """For this process and all that it starts."""
    calls = _LINKS[platform.machine()]
    code = [(_LOAD, 0, 0, 0)]
    code += [(_JUMP_IF_EQUAL, len(calls) - place, 0, call) for place, call in enumerate(calls)]
    code += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _ERRNO | EPERM)]
    filters = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in code))
    program = struct.pack("HxxxxxxP", len(code), ctypes.addressof(filters))
    libc = ctypes.CDLL(None, use_errno=True)
    for call in (
        (_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.create_string_buffer(program), 0, 0),
    ):
        if libc.prctl(*call):
            raise OSError(ctypes.get_errno(), "prctl")
    with tempfile.NamedTemporaryFile() as file:
        try:
            Path(f"{file.name}.link").hardlink_to(file.name)
        except PermissionError:
            return
    raise AssertionError("the kernel makes hard links")


if __name__ == "__main__":
    refuse_links()
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606 - what it is for
