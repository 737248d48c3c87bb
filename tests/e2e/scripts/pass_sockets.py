"""Runs a command with sockets passed to it as a service manager does (sd_listen_fds(3)).

usage: pass_sockets.py DESCRIPTOR[,DESCRIPTOR...] COMMAND [ARGUMENT...]

The descriptors are those of sockets that this process has inherited.
"""

import os
import sys


def main():
    descriptors = [int(number) for number in sys.argv[1].split(",")]
    # Copies first: a descriptor may be where another one belongs.
    copies = [os.dup(number) for number in descriptors]
    for place, copy in enumerate(copies):
        os.dup2(copy, 3 + place)
        # Where the two were the same, that changed nothing.
        os.set_inheritable(3 + place, True)
    names = ":".join(f"test-{place}" for place in range(len(copies)))
    os.environ["LISTEN_PID"] = str(os.getpid())
    os.environ["LISTEN_FDS"] = str(len(copies))
    os.environ["LISTEN_FDNAMES"] = names
    os.execv(sys.argv[2], sys.argv[2:])


main()
