"""Holds one thread of another process, as if it hung, until its own standard input ends.

usage: hold_thread.py THREAD

Says "held" once the thread stands still. The other threads of the process go on.
"""

import ctypes
import os
import sys

PTRACE_ATTACH, PTRACE_DETACH = 16, 17
# Linux: wait for threads of others that are traced, too.
WALL = 0x40000000


def main():
    thread = int(sys.argv[1])
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long
    if libc.ptrace(PTRACE_ATTACH, thread, None, None) != 0:
        sys.exit(f"ptrace: {os.strerror(ctypes.get_errno())}")
    os.waitpid(thread, WALL)
    print("held", flush=True)
    sys.stdin.read()
    libc.ptrace(PTRACE_DETACH, thread, None, None)


main()
