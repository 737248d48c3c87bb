"""Runs a command under the SystemCallFilter= of a unit file, as systemd would put it together.

usage: under_filter.py UNIT COMMAND [ARGUMENT...]

A call that the filter does not let pass kills the process, so that none goes unnoticed. The groups
are those of the systemd that is installed (systemd-analyze), the numbers those of the kernel's
headers. The filter holds for this process and what it runs, and needs no privileges.
"""

import ctypes
import glob
import os
import re
import struct
import subprocess
import sys

PR_SET_NO_NEW_PRIVS = 38
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2
SECCOMP_RET_ALLOW = 0x7FFF0000
SECCOMP_RET_KILL_PROCESS = 0x80000000
LOAD_WORD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
# What systemd lets pass whatever a list says.
ALWAYS = ["@default"]


def calls_of(name):
    """The system calls that a word of SystemCallFilter= stands for."""
    if not name.startswith("@"):
        return {name}
    listing = subprocess.run(
        ["systemd-analyze", "syscall-filter", name], check=True, capture_output=True, text=True
    ).stdout
    words = [line.strip() for line in listing.splitlines()[1:]]
    return set().union(*(calls_of(word) for word in words if word and not word.startswith("#")))


def allowed_by(unit):
    allowed = set()
    lines = re.findall(r"^SystemCallFilter=(.*)$", unit, re.MULTILINE)
    if not lines or lines[0].startswith("~"):
        sys.exit("the first SystemCallFilter= must say what is allowed")
    for line in lines:
        calls = set().union(*(calls_of(word) for word in line.lstrip("~").split()))
        allowed = allowed - calls if line.startswith("~") else allowed | calls
    return allowed.union(*(calls_of(name) for name in ALWAYS))


def numbers():
    headers = glob.glob("/usr/include/*/asm/unistd_64.h") + glob.glob("/usr/include/asm/unistd_64.h")
    if not headers:
        sys.exit("no kernel headers: install linux-libc-dev")
    with open(headers[0], encoding="ascii") as header:
        return dict(re.findall(r"^#define __NR_(\w+) (\d+)$", header.read(), re.MULTILINE))


def instruction(code, value, if_true=0, if_false=0):
    return struct.pack("=HBBI", code, if_true, if_false, value)


def main():
    with open(sys.argv[1], encoding="utf-8") as unit:
        allowed = allowed_by(unit.read())
    known = numbers()
    # Offset 0 of struct seccomp_data is the system call's number.
    program = [instruction(LOAD_WORD, 0)]
    for number in sorted(int(known[name]) for name in allowed if name in known):
        program.append(instruction(JUMP_IF_EQUAL, number, 0, 1))
        program.append(instruction(RETURN, SECCOMP_RET_ALLOW))
    program.append(instruction(RETURN, SECCOMP_RET_KILL_PROCESS))
    program = b"".join(program)
    code = ctypes.create_string_buffer(program)
    filter_ = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    for call in [
        (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.c_char_p(filter_), 0, 0),
    ]:
        if libc.prctl(*call) != 0:
            sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    os.execv(sys.argv[2], sys.argv[2:])


main()
