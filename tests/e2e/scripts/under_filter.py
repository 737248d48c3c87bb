"""Runs a command under a filter of system calls, as systemd or a container's runtime would make it.

usage: under_filter.py UNIT|PROFILE COMMAND [ARGUMENT...]

UNIT is a unit file with SystemCallFilter=, PROFILE a seccomp profile of Docker (*.json). A call
that is not let pass kills the process, so that none goes unnoticed. The groups are those of the
systemd that is installed (systemd-analyze), the numbers those of the kernel's headers. The filter
holds for this process and what it runs, and needs no privileges.
"""

import ctypes
import glob
import json
import os
import re
import struct
import subprocess
import sys

PR_SET_NO_NEW_PRIVS = 38
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2
SECCOMP_RET_ALLOW = 0x7FFF0000
SECCOMP_RET_ERRNO = 0x00050000
SECCOMP_RET_KILL_PROCESS = 0x80000000
LOAD_WORD, JUMP_IF_EQUAL, JUMP_IF_ANY, RETURN = 0x20, 0x15, 0x45, 0x06
# Offsets in struct seccomp_data: the call's number, and the lower half of its first argument.
NUMBER, FIRST_ARGUMENT = 0, 16
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


def let_pass(number):
    return [
        instruction(JUMP_IF_EQUAL, number, 0, 1),
        instruction(RETURN, SECCOMP_RET_ALLOW),
    ]


def let_pass_without_flags(number, flags):
    return [
        instruction(JUMP_IF_EQUAL, number, 0, 4),
        instruction(LOAD_WORD, FIRST_ARGUMENT),
        instruction(JUMP_IF_ANY, flags, 1, 0),
        instruction(RETURN, SECCOMP_RET_ALLOW),
        instruction(RETURN, SECCOMP_RET_KILL_PROCESS),
    ]


def fail_with(number, errno):
    return [
        instruction(JUMP_IF_EQUAL, number, 0, 1),
        instruction(RETURN, SECCOMP_RET_ERRNO | errno),
    ]


def rules_of_profile(profile, known):
    rules = []
    for entry in profile["syscalls"]:
        numbers_ = [int(known[name]) for name in entry["names"] if name in known]
        arguments = entry.get("args", [])
        if entry["action"] == "SCMP_ACT_ERRNO":
            rules += [fail_with(number, entry["errnoRet"]) for number in numbers_]
        elif not arguments:
            rules += [let_pass(number) for number in numbers_]
        else:
            [argument] = arguments
            known_form = {"index": 0, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}
            if argument != {**known_form, "value": argument["value"]}:
                sys.exit(f"no such condition is known here: {argument}")
            rules += [let_pass_without_flags(number, argument["value"]) for number in numbers_]
    return rules


def rules(path, known):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    if path.endswith(".json"):
        return rules_of_profile(json.loads(text), known)
    return [let_pass(int(known[name])) for name in sorted(allowed_by(text)) if name in known]


def main():
    program = [instruction(LOAD_WORD, NUMBER)]
    for rule in rules(sys.argv[1], numbers()):
        program += rule
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
