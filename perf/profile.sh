#!/bin/bash
# Profiles the relay under a load of loadgen: prints the bench's figures and the top symbols of
# each of the relay's threads. What follows goes to `loadgen bench`:
#
#     cargo build --release --workspace
#     perf/profile.sh --rate 60000 --lines-per-write 1
#     RELAY=floor perf/profile.sh --rate 400000 --lines-per-write 1 --gso
#     PROFILE=relay.data perf/profile.sh --scenario udp-http     (keeps it, for perf report)
#
# Needs perf (and kernel.perf_event_paranoid <= 1 for the kernel's symbols). BIN_DIR is
# target/release, SECONDS_RECORDED 5, TOP (symbols a thread) 15, EVENT cpu-clock: it works in
# virtual machines too; take EVENT=cycles where there are counters.
set -uo pipefail
cd "$(dirname "$0")/.."

bin=${BIN_DIR:-target/release}
relay=${RELAY:-$bin/ringrelay}
seconds=${SECONDS_RECORDED:-5}
top=${TOP:-15}
event=${EVENT:-cpu-clock}

command -v perf >/dev/null || { echo "profile.sh: needs perf" >&2; exit 2; }
[[ -x $bin/loadgen ]] || {
    echo "profile.sh: no loadgen in $bin: cargo build --release --workspace" >&2
    exit 2
}
scratch=$(mktemp -d) || exit 2
loadgen=
cleanup() {
    [[ -z $loadgen ]] || kill -INT "$loadgen" 2>/dev/null
    rm -rf "$scratch"
}
trap cleanup EXIT
data=${PROFILE:-$scratch/perf.data}

# Longer than the recording, which starts behind the warm-up.
"$bin/loadgen" bench --relay "$relay" --warm-up 1s --duration "$((seconds + 2))s" "$@" \
    >"$scratch/bench" &
loadgen=$!
pid=
for _ in {1..100}; do # the relay is the only child of loadgen
    pid=$(cat "/proc/$loadgen/task/"*/children 2>/dev/null)
    [[ -n $pid ]] && break
    kill -0 "$loadgen" 2>/dev/null || break
    sleep 0.05
done
if [[ -z $pid ]]; then
    wait "$loadgen"
    loadgen=
    echo "profile.sh: the bench did not start a relay" >&2
    exit 2
fi
sleep 1.5
perf record --quiet --event "$event" --freq 4000 --call-graph fp --pid "${pid// /}" \
    --output "$data" -- sleep "$seconds" >/dev/null || exit 2
wait "$loadgen"
status=$?
loadgen=
cat "$scratch/bench"

report() {
    perf report --input "$data" --no-children --call-graph none --stdio --percent-limit 0 "$@" \
        2>/dev/null | grep -v -e '^#' -e '^[[:space:]]*$' | sed -E 's/[[:space:]]+(-[[:space:]]*)*$//'
}
echo
echo "CPU by thread"
report --sort comm
report --sort comm | awk '$1 + 0 >= 1 { sub(/^ *[^ ]+ +/, ""); print }' | while read -r thread; do
    echo
    echo "$thread: share of the thread's CPU"
    report --percentage relative --comm "$thread" --sort symbol | head -n "$top"
done
exit "$status"
