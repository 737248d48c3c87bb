#!/bin/bash
# What docs/tuning.md says that each setting buys, measured on loopback, settings in turns: prints
# a Markdown table and keeps it with each run's report in perf/runs/<date>-<machine>/tuning.
#
#     cargo build --release --workspace && perf/tuning.sh        about six minutes
#     perf/tuning.sh read-buffer workers                         these alone
#
# Settings: read-buffer batch-wait workers http-threads trains. ROUNDS is 3, WINDOW 2s, BIN_DIR
# target/release. Needs jq and curl; trains also ethtool and ip, and a network namespace of its own
# (root). Cannot be measured on loopback, and is not: interrupts and their placement, offloads and
# queues of network cards, busy polling. Exit status: 0 if every turn was proven, 1 if not, 2 if it
# could not run.
set -uo pipefail
cd "$(dirname "$0")/.."
source perf/processes.bash
source perf/rows.bash

all=(read-buffer batch-wait workers http-threads trains)
rounds=${ROUNDS:-3} window=${WINDOW:-2s}
settings=("$@")
for setting in "$@"; do
    [[ " ${all[*]} " == *" $setting "* ]] || fail "no such setting: $setting; there are ${all[*]}"
done
((${#settings[@]})) || settings=("${all[@]}")
out=${OUT:-perf/runs/$(date +%F)-$(machine_name)/tuning}
mkdir -p "$out" || exit 2

# figures NAME: a run's reports of all rounds in words.
figures() {
    jq -rs -L perf 'include "table";
        def latency($q): [.[] | [.listeners[] | if .sent.protocol == "http" then .sent.request[$q]
            else (.backends[].sink.latency[$q]) end] | max] | median;
        ([.[].listeners[].backends[].sink.total.missing] | add) as $missing
        | "\([.[] | ns] | spread(round)) | \([.[] | .cpu.lines / .cpu.seconds] | median | grouped) "
            + "| \(latency("p50_us")), \(latency("p99_us")) us | \($missing | grouped)"' \
        "$out/$1"-[0-9]*.json
}

# in_turns NAME WORK KEY VALUES ARGUMENT...: the work with each value of a loadgen option.
in_turns() {
    local run=$1 work=$2 key=$3 values=$4 value round
    shift 4
    for value in $values; do
        rm -f "$out/$run-$value"-[0-9]*.json
    done
    for ((round = 1; round <= rounds; round++)); do
        for value in $values; do
            bench "$run-$value-$round" "$bin/ringrelay" "--$key" "$value" "$@"
        done
    done
    for value in $values; do
        say "$work" "\`$key\` $value" "$(figures "$run-$value")"
    done
}

# Lines lost if the relay stands still for 100 ms while 60 000 datagrams a second come.
stalled() {
    local bytes=$1 relay sender sink
    start_sink one --udp 127.0.0.1:0
    sink=$pid
    cat >"$dir/stall.toml" <<EOF
[[udp]]
name = "in"
bind-addr = "127.0.0.1:0"
read-buffer = $bytes
workers = 1
[[udp.output]]
name = "one"
location = "${address#*://}"
mtu = 1400
EOF
    start_relay stall
    relay=$pid
    "$bin/loadgen" send --to "udp://$listener" --rate 60000 --lines-per-write 1 --duration 2s \
        >/dev/null &
    sender=$!
    children+=("$sender")
    sleep 0.8
    kill -STOP "$relay"
    sleep 0.1
    kill -CONT "$relay"
    wait "$sender"
    wait_for 10 nothing_queued || fail "the relay does not empty its queues"
    # It looks at the kernel's counter once it is idle.
    sleep 0.6
    lost=$(now ringrelay_udp_kernel_drops_total)
    end_relay "$relay"
    end_sink "$sink"
}

set_read_buffer() {
    local bytes round all_lost
    for bytes in 0 1048576 4194304 16777216; do
        all_lost=()
        for ((round = 1; round <= rounds; round++)); do
            stalled "$bytes"
            all_lost+=("$lost")
        done
        say "UDP, 1 line, 60 000/s, the relay stopped for 100 ms" "\`read-buffer\` $bytes" \
            " | | | $(jq -rn -L perf 'include "table"; $ARGS.positional | map(tonumber)
                | spread(grouped)' --args "${all_lost[@]}") in each"
    done
}

set_batch_wait() {
    in_turns batch-wait "UDP, 1 line, 12 000/s" batch-wait-us "0 200 1000 2000 5000 20000" \
        --lines-per-write 1 --rate 12000
    in_turns batch-wait-gso "UDP, GSO, 10 lines, 1 000 000 lines/s" batch-wait-us "0 500 2000 5000" \
        --lines-per-write 10 --gso --rate 1000000
}

set_workers() {
    in_turns workers-1-source "UDP, GSO, 1 source, 1 000 000 lines/s" workers "1 2" \
        --lines-per-write 10 --gso --rate 1000000 --sources 1
    in_turns workers-8-sources "UDP, GSO, 8 sources, 1 000 000 lines/s" workers "1 2" \
        --lines-per-write 10 --gso --rate 1000000 --sources 8
}

set_http_threads() {
    in_turns http-threads-1 "HTTP, 10-line POSTs, 1 connection" http-threads "1 2" \
        --scenario http-http --lines-per-write 10 --sources 1 --rate 0
    in_turns http-threads-32 "HTTP, 10-line POSTs, 32 connections" http-threads "1 2" \
        --scenario http-http --lines-per-write 10 --sources 32 --rate 0
}

# Whether datagrams come joined: without segmentation offload, loopback cuts a GSO sender's trains
# before they reach the relay's socket, as a network card without GRO hands them on. In a network
# namespace of its own, so that nobody else's loopback changes.
set_trains() {
    local round state work="UDP, GSO, 1 line, 200 000 lines/s"
    if ! unshare --net true 2>/dev/null || ! command -v ethtool ip >/dev/null; then
        echo "$name: trains: skipped, needs ethtool, ip and the right to make a network namespace" >&2
        return
    fi
    rm -f "$out"/trains-*.json
    for ((round = 1; round <= rounds; round++)); do
        for state in on off; do
            # shellcheck disable=SC2016 # expanded inside
            unshare --net bash -c 'ip link set lo up
                ethtool -K lo tx-udp-segmentation "$1" >/dev/null && shift && exec "$@"' \
                trains "$state" "$bin/loadgen" bench --json --relay "$bin/ringrelay" \
                --warm-up 1s --duration "$window" --lines-per-write 1 --gso --rate 200000 \
                >"$out/trains-$state-$round.json" 2>"$dir/error" ||
                missed "trains-$state-$round" "$(tail -n 3 "$dir/error")"
        done
    done
    say "$work" "datagrams come joined" "$(figures trains-on)"
    say "$work" "datagrams come one by one" "$(figures trains-off)"
}

describe_machine >"$out/machine.txt"
: >"$out/table.md"
say work setting "ns of CPU a line" "lines/s" "p50, p99" "lines missing"
echo "|---|---|---:|---:|---:|---:|" | tee -a "$out/table.md"
for setting in "${settings[@]}"; do
    "set_${setting//-/_}"
done
echo
echo "$rounds rounds of $window, in turns; $SECONDS s in all; kept in $out"
exit "$result"
