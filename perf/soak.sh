#!/bin/bash
# A soak: UDP in; one UDP backend and two by HTTP out, of which one flaps; the backlog in memory
# and on disk. First finds the rate at which nothing is lost, then sends 80 % of it for long.
#
#     cargo build --release --workspace && perf/soak.sh           (ten minutes)
#     perf/soak.sh 60                                             (so many seconds)
#     RATE=40000 FLAP=3 perf/soak.sh 3600                         (no search; flaps every 3 s)
#     SAMPLES=soak.tsv perf/soak.sh                               (keep the samples)
#
# Needs jq and curl. Exit status: 0 if memory is flat, the books close, nothing was lost unsaid, no
# file descriptor is left open and the spool is empty; 1 if not; 2 if it could not run.
set -uo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-600}
flap=${FLAP:-3}
fsync=${FSYNC:-interval}
source perf/processes.bash

result=0
judge() { # what, then a condition for (( ))
    if (($2)); then
        echo "- $1: yes"
    else
        echo "- $1: **NO** ($2)"
        result=1
    fi
}

output() { # name, keys
    printf '[[udp.output]]\nname = "%s"\n%s\n' "$1" "$2"
}

# start_all: sinks and a relay with an empty spool.
start_all() {
    rm -rf "$dir/spool"
    mkdir "$dir/spool"
    local kept="buffer-size-mb = 16
max-delay-interval = \"1s\"
spool-dir = \"$dir/spool\"
fsync = \"$fsync\"
database = \"bench\""
    {
        printf '[[udp]]\nname = "in"\nbind-addr = "127.0.0.1:0"\nread-buffer = 16777216\n'
        start_sink udp --udp 127.0.0.1:0
        udp_sink=$pid
        output udp "location = \"$address\"
mtu = 1400"
        start_sink steady --http 127.0.0.1:0
        steady_sink=$pid
        output steady "location = \"http://$address\"
$kept"
        start_sink flapping --http 127.0.0.1:0 --flap "${flap}s"
        flapping_sink=$pid
        output flapping "location = \"http://$address\"
$kept"
    } >"$dir/relay.toml"
    start_relay relay
    relay=$pid
}

end_sinks() {
    local sink
    for sink in "$udp_sink" "$steady_sink" "$flapping_sink"; do
        end_sink "$sink"
    done
}

send() { # rate, seconds
    "$bin/loadgen" send --json --to "udp://$listener" --rate "$1" --duration "$2s" \
        >"$dir/sent.json"
}

lost() { # as scraped
    echo $(($(counter ringrelay_udp_kernel_drops_total) +
        $(counter ringrelay_backend_lines_dropped_total)))
}

# holds RATE: whether nothing is lost at this rate, through an outage and the way back.
holds() {
    local sent_all=0 lost
    start_all
    send "$1" $((4 * flap)) && sent_all=1
    wait_for $((2 * flap)) nothing_queued || sent_all=0
    scrape
    lost=$(lost)
    end_relay "$relay"
    end_sinks 2>/dev/null
    echo "| $1 | $lost | $([[ $sent_all == 1 ]] && echo yes || echo no) |"
    ((sent_all == 1 && lost == 0))
}

# find_rate: doubles until something is lost, then halves the step. Sets $rate.
find_rate() {
    local step=64000 high=
    rate=0
    printf '| lines/s | lost | sent, and delivered in time |\n|---:|---:|---|\n'
    while ((step >= 32000)); do
        local try=$((rate + step))
        if [[ -n $high ]] && ((try >= high)); then
            step=$((step / 2))
        elif holds "$try"; then
            rate=$try
            [[ -n $high ]] || step=$try
        else
            high=$try
            step=$(((high - rate) / 2))
        fi
        ((rate < 1024000)) || break
    done
    ((rate > 0)) || fail "lines are lost at every rate"
}

sample() {
    scrape
    printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$((SECONDS - began))" \
        "$(awk '/^VmRSS/ { print $2 }' "/proc/$relay/status")" \
        "$(find "/proc/$relay/fd" -mindepth 1 | wc -l)" \
        "$(counter ringrelay_backend_backlog_bytes)" "$(counter ringrelay_backend_spool_bytes)" \
        "$(counter ringrelay_backend_retries_total)" >>"$dir/samples"
}

# column N: lowest, median and highest of a column of the samples.
column() {
    cut -f"$1" "$dir/samples" | sort -n |
        awk '{ v[NR] = $1 } END { printf "%d, %d, %d", v[1], v[int((NR + 1) / 2)], v[NR] }'
}

soak() {
    local fds_before fds_after drops sent_lines
    start_all
    fds_before=$(find "/proc/$relay/fd" -mindepth 1 | wc -l)
    began=$SECONDS
    send "$rate" "$seconds" &
    local sender=$!
    children+=("$sender")
    while kill -0 "$sender" 2>/dev/null; do
        sample
        sleep 2
    done
    wait "$sender"
    local sender_status=$?
    wait_for 60 nothing_queued
    wait_for 30 spool_empty
    local settled=$?
    scrape
    drops=$(counter ringrelay_udp_kernel_drops_total)
    local received dropped resent
    received=$(counter ringrelay_udp_lines_received_total)
    dropped=$(counter ringrelay_backend_lines_dropped_total)
    resent=$(counter ringrelay_backend_lines_resent_total)
    local buffered spooled retries
    buffered=$(counter ringrelay_backend_lines_buffered_total 'backend="flapping"')
    spooled=$(counter ringrelay_backend_lines_spooled_total 'backend="flapping"')
    retries=$(counter ringrelay_backend_retries_total 'backend="flapping"')
    fds_after=$(find "/proc/$relay/fd" -mindepth 1 | wc -l)
    local cpu
    cpu=$(cpu_ns "$relay")
    end_relay "$relay"
    local relay_status=$?
    end_sinks 2>/dev/null
    sent_lines=$(jq .lines "$dir/sent.json")
    # The first tenth is warming up.
    local kept first slope growth
    first=$((seconds / 10))
    kept=$(awk -F'\t' -v first="$first" '$1 >= first' "$dir/samples")
    # Least squares, in KiB per minute.
    slope=$(awk -F'\t' '{ n++; x += $1; y += $2; xx += $1 * $1; xy += $1 * $2 }
        END { d = n * xx - x * x; printf "%.1f", d ? 60 * (n * xy - x * y) / d : 0 }' <<<"$kept")
    growth=$(awk -v slope="$slope" -v s="$((seconds - first))" \
        'BEGIN { printf "%d", slope * s / 60 }')
    local median
    median=$(cut -f2 <<<"$kept" | sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }')

    echo "| sampled every 2 s | lowest, median, highest |"
    echo "|---|---|"
    echo "| resident memory, KiB | $(column 2) |"
    echo "| file descriptors | $(column 3) |"
    echo "| backlog in memory, bytes | $(column 4) |"
    echo "| spool, bytes | $(column 5) |"
    echo
    echo "Memory by least squares, without the first $first s: $slope KiB/min, which is $growth" \
        "KiB over the rest of the run."
    echo "File descriptors: $fds_before before, $fds_after after."
    echo "Sent $sent_lines lines; the relay received $received, the kernel dropped $drops" \
        "datagrams of 10 before it."
    echo "Flapping backend: $buffered lines were kept in its backlog, $spooled of them in the" \
        "spool; $retries requests were tried again; $resent lines sent again for a lost answer."
    echo "CPU: $((cpu / (received + 1))) ns/line, $((cpu / 10000000 / seconds)) % of a core."
    echo
    grep -o 'books closed.*' "$dir/relay.log" | sed 's/^/    /'
    local sink
    for sink in udp steady flapping; do
        jq -r --arg sink "$sink" '.[0] | "    at the sink \($sink): lines=\(.lines) " +
            "missing=\(.total.missing) duplicate=\(.total.duplicate) " +
            "reordered=\(.total.reordered) altered=\(.altered) kernel_drops=\(.kernel_drops) " +
            "answers=\(.answers | tojson)"' "$dir/$sink.json"
    done
    echo
    local at_udp at_steady at_flapping defects
    at_udp=$(jq '.[0].lines' "$dir/udp.json")
    at_steady=$(jq '.[0].lines' "$dir/steady.json")
    at_flapping=$(jq '.[0].lines' "$dir/flapping.json")
    defects=$(jq -s 'map(.[0] | .altered + .total.duplicate + .total.reordered
        + .total.unplaced) | add' "$dir"/{udp,steady,flapping}.json)
    judge "the sender kept its rate" "$sender_status == 0"
    judge "sent = received + dropped by the kernel" "$sent_lines == $received + 10 * $drops"
    judge "every backend has what was received" \
        "$at_udp + $(jq '.[0].kernel_drops' "$dir/udp.json") >= $received && $at_steady == \
$received && $at_flapping == $received && $dropped == 0"
    judge "nothing twice, reordered or altered" "$defects == 0"
    judge "the flapping backend did fail" "$retries >= $seconds / (4 * $flap)"
    judge "memory is flat: growth within 10 % of the median" \
        "$growth * 10 <= $median"
    judge "no descriptor leaked: at most its 16 connections more than before" \
        "$fds_after <= $fds_before + 16"
    judge "the spool is empty at the end" "$settled == 0"
    judge "the relay ended in order" "$relay_status == 0"
    [[ -z ${SAMPLES:-} ]] || cp "$dir/samples" "$SAMPLES"
}

spool_empty() {
    [[ -z $(find "$dir/spool" -type f ! -name lock) ]]
}

echo "$(said_machine)"
echo
rate=${RATE:-}
if [[ -z $rate ]]; then
    find_rate
    echo
    echo "Loss-free: $rate lines/s, in datagrams of 10; the soak sends 80 % of it."
    rate=$((rate * 8 / 10))
fi
echo
echo "$seconds s at $rate lines/s, a backend by HTTP answering 503 for $flap s of every" \
    "$((2 * flap)) s, fsync = \"$fsync\"."
echo
soak
echo
echo "Load after: $(cut -d' ' -f1-3 /proc/loadavg); $SECONDS s in all."
exit "$result"
