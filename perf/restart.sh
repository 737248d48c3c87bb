#!/bin/bash
# Restarts by socket activation under load: a steady stream of datagrams of one line each, a relay
# that is restarted again and again, a backend by HTTP that counts what arrives. Half a minute.
#
#     cargo build --release --workspace && perf/restart.sh     (BIN_DIR: default target/release)
#     RATE=100000 RESTARTS=20 perf/restart.sh
#     RECEIVE_KB=64 perf/restart.sh                           (too small a buffer: it loses)
#
# RATE datagrams/s, RESTARTS restarts, BETWEEN seconds from one to the next, RECEIVE_KB as in
# ReceiveBuffer= of ringrelay-udp.socket, which above net.core.rmem_max wants root.
# Needs jq, curl, python3. Exit status: 0 if nothing was lost, 1 if something was, 2 if it could
# not run.
set -uo pipefail
cd "$(dirname "$0")/.."
source perf/processes.bash
command -v python3 >/dev/null || fail "needs python3"

rate=${RATE:-50000} restarts=${RESTARTS:-10} between=${BETWEEN:-1.5} receive_kb=${RECEIVE_KB:-65536}
# Restarts take some time too; the stream must outlast the last one.
seconds=$(awk -v n="$restarts" -v between="$between" 'BEGIN { print int(n * (between + 1) + 2) }')
((seconds <= 600)) || fail "that takes $seconds s, and 600 s are the most"

said_machine
start_sink sink --http 127.0.0.1:0
sink=$pid
# A port that is free now.
port=$(python3 -c 'import socket; s = socket.socket(type=socket.SOCK_DGRAM)
s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat >"$dir/restart.toml" <<TOML
[[udp]]
name = "in"
bind-addr = "127.0.0.1:$port"
[[udp.output]]
name = "sink"
location = "http://$address/"
database = "bench"
queue-size-mb = 256
TOML
mkfifo "$dir/hold"
python3 perf/restart.py "$bin/ringrelay" "$dir/restart.toml" "$port" "$((receive_kb << 10))" \
    "$restarts" "$between" <"$dir/hold" >"$dir/manager.json" 2>"$dir/manager.log" &
manager=$!
children+=("$manager")
exec {hold}>"$dir/hold"
wait_for 60 first_line "$dir/manager.json" || fail "$(cat "$dir/manager.log")"
granted=$(jq -r .receive_bytes <<<"$line")

"$bin/loadgen" send --to "udp://127.0.0.1:$port" --rate "$rate" --lines-per-write 1 \
    --duration "${seconds}s" --json >"$dir/send.json" || fail "loadgen send failed"
exec {hold}>&-
wait "$manager" || fail "$(cat "$dir/manager.log")"
end_sink "$sink"

echo "receive buffer of the socket: $((granted >> 10)) KiB"
jq -n -r --slurpfile manager "$dir/manager.json" --slurpfile sent "$dir/send.json" \
    --slurpfile arrived "$dir/sink.json" '
    def spread: "\(min | round) to \(max | round) ms, median \(sort[length / 2 | floor] | round)";
    $manager[1] as $manager | $sent[0] as $sent | $arrived[0][0] as $sink | $sink.total as $total |
    "restarts: \($manager.restarts | length); from SIGTERM to the end " +
    "\([$manager.restarts[].stop_ms] | spread); from the start to ready " +
    "\([$manager.restarts[].start_ms] | spread)",
    "sent: \($sent.lines) datagrams in \($sent.seconds | round) s, " +
    "late by \($sent.lateness.p99_us / 1000 | round) ms in one of a hundred",
    "arrived: \($total.received); missing \($sent.lines - $total.received), " +
    "of these dropped by the full socket \($manager.lost_in_socket); duplicate " +
    "\($total.duplicate), reordered \($total.reordered), altered \($sink.altered)",
    if $total.received == $sent.lines and $total.duplicate + $total.reordered + $sink.altered == 0
        then "nothing was lost" else "LOST OR OUT OF ORDER" end' | tee "$dir/report"
[[ $(tail -1 "$dir/report") == "nothing was lost" ]]
