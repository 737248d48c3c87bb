"""For restart.sh: plays systemd with a socket unit: holds a UDP socket and restarts a relay that gets it passed.

usage: restart.py RELAY CONFIG PORT RECEIVE_BYTES RESTARTS SECONDS_BETWEEN

Prints JSON: the port, then (once stdin ends) how long each restart took and what the socket lost.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time

SO_RCVBUFFORCE = 33
READY_SECONDS_MAX = 60


def start(relay, config, holder):
    """A relay with the socket as descriptor 3, once it says that it is ready."""

    def passing():
        os.dup2(holder.fileno(), 3)
        # Where it was 3 already, that changed nothing.
        os.set_inheritable(3, True)
        os.environ["LISTEN_PID"] = str(os.getpid())

    os.environ.update({"LISTEN_FDS": "1", "LISTEN_FDNAMES": "udp", "NO_COLOR": "1"})
    child = subprocess.Popen(
        [relay, "-config", config], preexec_fn=passing, pass_fds=[3], stderr=subprocess.PIPE
    )
    said = b""
    deadline = time.monotonic() + READY_SECONDS_MAX
    while b": ready\n" not in said:
        left = deadline - time.monotonic()
        readable, _, _ = select.select([child.stderr], [], [], max(left, 0))
        more = os.read(child.stderr.fileno(), 65536) if readable else b""
        if not more:
            child.kill()
            sys.exit(f"the relay is not ready: {said.decode()}")
        said += more
    return child


def end(child):
    """Ends it in order; it fails if its books do not close."""
    child.send_signal(signal.SIGTERM)
    said = child.stderr.read().decode()
    if child.wait() != 0:
        sys.exit(f"the relay ended with {child.returncode}: {said}")


def socket_drops(holder):
    inode = str(os.fstat(holder.fileno()).st_ino)
    with open("/proc/net/udp", encoding="ascii") as table:
        rows = [line.split() for line in table]
    return next(int(row[12]) for row in rows if row[9] == inode)


def main():
    relay, config, port, receive_bytes, restarts, between = sys.argv[1:]
    holder = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        holder.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, int(receive_bytes))
    except PermissionError:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, int(receive_bytes))
    holder.bind(("127.0.0.1", int(port)))
    child = start(relay, config, holder)
    granted = holder.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2
    print(json.dumps({"receive_bytes": granted}), flush=True)
    gaps = []
    for _ in range(int(restarts)):
        time.sleep(float(between))
        asked = time.monotonic()
        end(child)
        ended = time.monotonic()
        child = start(relay, config, holder)
        ready = time.monotonic()
        gaps.append({"stop_ms": 1e3 * (ended - asked), "start_ms": 1e3 * (ready - ended)})
    if select.select([sys.stdin], [], [], 0)[0]:
        sys.exit("the stream ended before the last restart")
    sys.stdin.read()
    end(child)
    print(json.dumps({"restarts": gaps, "lost_in_socket": socket_drops(holder)}))


main()
