"""Runs a command in a process that may not use io_uring.

usage: without_io_uring.py ERRNO COMMAND [ARGUMENT...]

io_uring_setup(2) fails with ERRNO: EPERM is what a container's seccomp profile or the sysctl
kernel.io_uring_disabled answers, ENOSYS a kernel without io_uring. The filter holds for this
process and what it runs, and needs no privileges.
"""

import ctypes
import errno
import os
import struct
import sys

PR_SET_NO_NEW_PRIVS = 38
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2
SECCOMP_RET_ALLOW = 0x7FFF0000
SECCOMP_RET_ERRNO = 0x00050000
# The same on every architecture that has it.
NR_IO_URING_SETUP = 425
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06


def instruction(code, value, if_true=0, if_false=0):
    return struct.pack("=HBBI", code, if_true, if_false, value)


def main():
    number = getattr(errno, sys.argv[1])
    # Offset 0 of struct seccomp_data is the system call's number.
    program = b"".join(
        [
            instruction(LOAD_WORD, 0),
            instruction(JUMP_IF_EQUAL, NR_IO_URING_SETUP, 0, 1),
            instruction(RETURN, SECCOMP_RET_ERRNO | number),
            instruction(RETURN, SECCOMP_RET_ALLOW),
        ]
    )
    buffer = ctypes.create_string_buffer(program, len(program))
    filter_ = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        sys.exit(f"no_new_privs: {os.strerror(ctypes.get_errno())}")
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.c_char_p(filter_), 0, 0) != 0:
        sys.exit(f"seccomp: {os.strerror(ctypes.get_errno())}")
    os.execv(sys.argv[2], sys.argv[2:])


main()
