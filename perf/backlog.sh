#!/bin/bash
# A backlog on disk: how fast it drains against the backend's own speed, and what it costs to
# append to it. About six minutes.
#
#     cargo build --release --workspace && perf/backlog.sh
#     MIB=256 ROUNDS=1 perf/backlog.sh drain              (smaller, sooner, the first part alone)
#     RATES="400000 800000" perf/backlog.sh append        (the second part alone)
#     SPOOL_IN=/srv perf/backlog.sh                       (the spool on another file system)
#
# Needs jq and curl. Exit status: 0 if all went as it should, 1 if lines are missing, 2 if it could
# not run.
set -uo pipefail
cd "$(dirname "$0")/.."
mib=${MIB:-1024}
rounds=${ROUNDS:-3}
rate=${RATE:-100000}
rates=${RATES:-100000 200000 300000 400000 500000 600000}
window=${WINDOW:-4}
source perf/processes.bash
result=0
parts=${*:-drain append}
for part in $parts; do
    [[ $part == drain || $part == append ]] || fail "the parts are drain and append, not $part"
done

# An address at which nobody listens now: that of a sink which has ended.
dead_address() {
    start_sink dead --http 127.0.0.1:0
    end_sink "$pid"
}

# configure LISTENER URL FSYNC: one output with a spool.
configure() {
    rm -rf "$dir/spool"
    mkdir "$dir/spool"
    cat >"$dir/relay.toml" <<END
shutdown-timeout = "1s"
[[$1]]
name = "in"
bind-addr = "127.0.0.1:0"
$([[ $1 == udp ]] && printf 'read-buffer = 16777216\n')
[[$1.output]]
name = "out"
location = "http://$2/"
$([[ $1 == udp ]] && printf 'database = "bench"\n')
queue-size-mb = 64
buffer-size-mb = 64
spool-dir = "$dir/spool"
spool-size-mb = $((mib * 2 + 512))
fsync = "$3"
max-delay-interval = "200ms"
END
}

seconds_between() { # two times of $EPOCHREALTIME
    awk -v from="$1" -v to="$2" 'BEGIN { printf "%.3f", to - from }'
}

speed() { # lines, bytes, seconds
    awk -v lines="$1" -v bytes="$2" -v s="$3" \
        'BEGIN { printf "%d lines/s, %.1f MB/s", lines / s, bytes / s / 1e6 }'
}

# direct CONNECTIONS: the sink's own speed, as lines per second, with requests as large as the
# relay's. Sets $direct.
direct() {
    start_sink direct --http 127.0.0.1:0
    local sink=$pid
    "$bin/loadgen" send --json --to "http://$address" --rate 0 --duration 4s --sources "$1" \
        --lines-per-write "$lines_per_request" --series 20000 >"$dir/sent.json"
    end_sink "$sink"
    direct=$(jq '.lines / .seconds | round' "$dir/sent.json")
}

# fill FSYNC: a backlog of so many MiB, by HTTP. Sets $relay, $lines, $bytes, $lines_per_request.
fill() {
    dead_address
    backend=$address
    configure http "$backend" "$1"
    start_relay relay
    relay=$pid
    local from=$EPOCHREALTIME
    "$bin/loadgen" send --json --to "http://$listener" --rate 0 --duration 10m --sources 4 \
        --lines-per-write 500 --series 20000 >"$dir/filled.json" &
    local sender=$!
    children+=("$sender")
    wait_for 300 filled || fail "the backlog did not fill"
    kill -INT "$sender"
    wait "$sender"
    local to=$EPOCHREALTIME
    scrape
    lines=$(counter ringrelay_backend_backlog_lines)
    bytes=$(counter ringrelay_backend_spool_bytes)
    [[ $(counter ringrelay_backend_lines_dropped_total) == 0 ]] || fail "the backlog lost lines"
    local write_bytes
    write_bytes=$(jq .write_bytes "$dir/filled.json")
    lines_per_request=$((512 * 1024 / (write_bytes / 500)))
    echo "Filled: $lines lines, $bytes bytes on disk," \
        "$(counter ringrelay_backend_backlog_bytes) in memory, by HTTP with fsync = \"$1\" in" \
        "$(seconds_between "$from" "$to") s: $(speed "$lines" "$bytes" \
            "$(seconds_between "$from" "$to")")."
}

filled() {
    (($(now ringrelay_backend_spool_bytes) >= mib << 20))
}

# drain: starts the backend and waits until it has all. Sets $drained, in lines per second.
drain() {
    local before from to cpu waited sink sink_cpu sink_waited
    start_sink drained --http "$backend"
    sink=$pid
    before=0
    until ((before > 0)); do before=$(now ringrelay_backend_lines_delivered_total); done
    from=$EPOCHREALTIME
    cpu=$(cpu_ns "$relay") waited=$(waited_ns "$relay")
    sink_cpu=$(cpu_ns "$sink") sink_waited=$(waited_ns "$sink")
    wait_for 300 nothing_queued || fail "the backlog did not drain"
    to=$EPOCHREALTIME
    cpu=$(($(cpu_ns "$relay") - cpu)) waited=$(($(waited_ns "$relay") - waited))
    sink_cpu=$(($(cpu_ns "$sink") - sink_cpu)) sink_waited=$(($(waited_ns "$sink") - sink_waited))
    local s left
    s=$(seconds_between "$from" "$to")
    left=$((lines - before))
    drained=$(awk -v lines="$left" -v s="$s" 'BEGIN { printf "%d", lines / s }')
    wait_for 10 spool_empty || { echo "The spool is **not empty**."; result=1; }
    end_relay "$relay"
    end_sink "$sink" 2>/dev/null
    local defects
    defects=$(jq '.[0] | .altered + .total.missing + .total.duplicate + .total.reordered
        + .total.unplaced' "$dir/drained.json")
    echo "Drained: $left lines in $s s:" \
        "$(speed "$left" "$(awk -v l="$left" -v all="$lines" -v b="$bytes" \
            'BEGIN { printf "%d", b * l / all }')" "$s"), in $(jq '.[0].messages' \
            "$dir/drained.json") requests; at the backend $(jq '.[0].lines' "$dir/drained.json")" \
        "lines, $defects missing, twice, reordered or altered."
    echo "CPU: the relay $((cpu / left)) ns/line, the backend $((sink_cpu / left)); of the $s s" \
        "the relay ran $((cpu / 1000000)) ms and waited $((waited / 1000000)) ms for a core, the" \
        "backend ran $((sink_cpu / 1000000)) ms and waited $((sink_waited / 1000000)) ms."
    [[ $defects == 0 && $(jq '.[0].lines' "$dir/drained.json") == "$lines" ]] || result=1
}

spool_empty() {
    [[ -z $(find "$dir/spool" -type f ! -name lock) ]]
}

# load HOW FSYNC RATE: UDP in for $window seconds, to a sink that is up or down. Sets $ns, the
# relay's CPU per line, and $lost, the lines that were lost before the relay or in it.
load() {
    local sink= cpu before received sender
    if [[ $1 == up ]]; then
        start_sink up --http 127.0.0.1:0
        sink=$pid
    else
        dead_address
    fi
    configure udp "$address" "$2"
    start_relay relay
    relay=$pid
    "$bin/loadgen" send --json --to "udp://$listener" --rate "$3" \
        --duration $((window + 2))s >"$dir/sent.json" &
    sender=$!
    children+=("$sender")
    sleep 1
    before=$(now ringrelay_udp_lines_received_total)
    cpu=$(cpu_ns "$relay")
    sleep "$window"
    cpu=$(($(cpu_ns "$relay") - cpu))
    received=$(($(now ringrelay_udp_lines_received_total) - before))
    wait "$sender" || behind=" (sender late)"
    scrape
    lost=$((10 * $(counter ringrelay_udp_kernel_drops_total) +
        $(counter ringrelay_backend_lines_dropped_total)))
    [[ $1 == up || $(counter ringrelay_backend_lines_spooled_total) != 0 ]] ||
        fail "nothing was spooled"
    kill -KILL "$relay"
    wait "$relay" 2>/dev/null
    [[ -z $sink ]] || end_sink "$sink" 2>/dev/null
    ns=$((cpu / received))
}

append_cost() {
    local round fsync up row
    echo "CPU of the relay in ns/line, UDP in and one backend by HTTP out, at $rate lines/s in" \
        "datagrams of 10; ratios are to delivering in the same round."
    echo
    echo "| round | delivering | down, interval | ratio | down, always | ratio | lost |"
    echo "|---|---:|---:|---:|---:|---:|---|"
    for ((round = 1; round <= rounds; round++)); do
        load up interval "$rate"
        up=$ns row="| $round | $ns |" all_lost=$lost
        for fsync in interval always; do
            load down "$fsync" "$rate"
            row+=" $ns | $(awk -v a="$ns" -v b="$up" 'BEGIN { printf "%.2f", a / b }') |"
            all_lost+=", $lost"
        done
        echo "$row $all_lost |"
    done
}

# Each rate in turns, so that what else the machine does befalls all.
loss_free() {
    local try fsync row behind
    echo "Lines lost, of $((window + 2)) s at each rate:"
    echo
    echo "| lines/s | delivering | down, interval | down, always |"
    echo "|---:|---:|---:|---:|"
    for try in $rates; do
        behind=
        load up interval "$try"
        row="| $try | $lost$behind |"
        for fsync in interval always; do
            behind=
            load down "$fsync" "$try"
            row+=" $lost$behind |"
        done
        echo "$row"
    done
}

drain_all() {
    local round before after
    echo "## Drain"
    echo
    for ((round = 1; round <= rounds; round++)); do
        fill interval
        direct 1
        before=$direct
        drain
        direct 1
        after=$direct
        direct 4
        awk -v d="$drained" -v before="$before" -v after="$after" -v four="$direct" 'BEGIN {
            printf "The sink alone, over one connection: %d lines/s before and %d after, " \
                "over four %d: the drain is %.2f of the mean of the first two, and %.2f of that.\n\n",
                before, after, four, 2 * d / (before + after), d / four }'
    done
}

append_all() {
    echo "## Append"
    echo
    append_cost
    echo
    loss_free
    echo
}

echo "$(said_machine)"
echo
for part in $parts; do
    "${part}_all"
done
echo "Load after: $(cut -d' ' -f1-3 /proc/loadavg); $SECONDS s in all."
exit "$result"
