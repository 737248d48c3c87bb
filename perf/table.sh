#!/bin/bash
# Every figure that docs/performance.md promises, in one run: prints a Markdown table and keeps it,
# with each row's JSON and plot and what the machine is, in perf/runs/<date>-<machine>/.
#
#     cargo build --release --workspace && perf/table.sh           (about 25 minutes)
#     perf/table.sh --quick                                        (about 6; wider spreads)
#     perf/table.sh --only http                                    (rows whose name has "http")
#     GO_RELAY=PATH perf/table.sh                                  (the Go influxdb-relay beside it)
#
# BIN_DIR is target/release, OUT the directory, ROUNDS 5 and WINDOW 4s (--quick: 2 and 2s). Needs
# jq. Exit status: 0 if every turn of ours was proven, 1 if not, 2 if it could not run.
set -uo pipefail
cd "$(dirname "$0")/.."

quick= only=
while (($#)); do
    case $1 in
        --quick) quick=yes ;;
        --only) only=${2:?--only NAME}; shift ;;
        *) echo "table.sh: no such option: $1" >&2; exit 2 ;;
    esac
    shift
done
bin=${BIN_DIR:-target/release}
rounds=${ROUNDS:-${quick:+2}} rounds=${rounds:-5}
window=${WINDOW:-${quick:+2s}} window=${window:-4s}
cpu=$(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -n 1)
machine=$(tr -c '[:alnum:]\n' - <<<"$cpu" | tr -s - | tr '[:upper:]' '[:lower:]')
out=${OUT:-perf/runs/$(date +%F)-${machine%-}-$(nproc)-cores}

command -v jq >/dev/null || { echo "table.sh: needs jq" >&2; exit 2; }
[[ -x $bin/loadgen && -x $bin/ringrelay ]] || {
    echo "table.sh: no loadgen and ringrelay in $bin: cargo build --release --workspace" >&2
    exit 2
}
mkdir -p "$out" || exit 2
go=()
[[ -z ${GO_RELAY:-} ]] || go=(--relay "go=go:$GO_RELAY")
relay=(--relay "relay=$bin/ringrelay") floor=(--relay floor)
result=0

{
    echo "commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown)"
    echo "$(nproc) x $cpu; Linux $(uname -r); load $(cut -d' ' -f1-3 /proc/loadavg)"
    systemd-detect-virt 2>/dev/null | sed 's/^/virtualization: /'
    sysctl net.core.rmem_max net.core.wmem_max net.core.rmem_default net.core.netdev_max_backlog \
        net.core.busy_poll net.ipv4.tcp_rmem kernel.io_uring_disabled 2>/dev/null
    grep -H . /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor 2>/dev/null
    grep -r . /sys/devices/system/cpu/vulnerabilities 2>/dev/null | sort
    echo "rounds $rounds, window $window"
} >"$out/machine.txt"

wanted() { [[ $1 == *"$only"* ]]; }

emit() { tee -a "$out/table.md"; }

# A row of contenders in turns: name, words, then relays and arguments of `loadgen compare`.
row() {
    local name=$1 words=$2 status
    shift 2
    wanted "$name" || return 0
    timeout --signal=INT 900 "$bin/loadgen" compare --rounds "$rounds" --duration "$window" \
        --warm-up 1s --json "$out/$name.json" --svg "$out/$name.svg" "$@" >"$out/$name.txt"
    status=$?
    if ((status > 1)) || [[ ! -s $out/$name.json ]]; then
        echo "table.sh: $name did not run (status $status)" >&2
        result=1
        return 0
    fi
    jq -r --arg words "$words" '
        def two: . * 100 | round / 100;
        def rate: [.turns[].cpu | .lines / .seconds] | add / length | round;
        .contenders[] | "| \($words) | \(.relay.name) | \(.cpu_ns_per_line.median | round) | " +
        (if .cpu_ratio then
            (.cpu_ratio | "\(.median | two) (\(.min | two) to \(.max | two))")
         else "1" end) +
        " | \(rate) | \(.latency_p50_us.median | round), \(.latency_p99_us.median | round) us | " +
        "\([.turns[].memory_peak_kib] | max / 1024 | two) MiB | " +
        "\([.turns[].lines_missing] | add) |"' "$out/$name.json" | emit
    # The Go relay may reorder and lose; we may not.
    jq -e '[.contenders[] | select(.relay.name == "relay") | .turns[].proven] | all' \
        "$out/$name.json" >/dev/null || { echo "table.sh: $name is not proven" >&2; result=1; }
}

# The highest rate of a ladder at which nothing is lost: name, words, rates, arguments of `bench`.
loss_free() {
    local name=$1 words=$2 rates=$3 best=0 rate
    shift 3
    wanted "$name" || return 0
    for rate in $rates; do
        timeout --signal=INT 60 "$bin/loadgen" bench --json --relay "$bin/ringrelay" --warm-up 1s \
            --duration "$window" --rate "$rate" "$@" >"$out/$name-$rate.json"
        jq -e '[.listeners[].backends[].sink.total.missing] | add == 0' "$out/$name-$rate.json" \
            >/dev/null 2>&1 || break
        # What was offered, not what was asked for: the sender may be the limit.
        best=$(jq '[.cpu.lines / .cpu.seconds] | add | round' "$out/$name-$rate.json")
    done
    echo "| $words | relay | | | $best without loss | | | 0 |" | emit
}

: >"$out/table.md"
{
    echo "| work | relay | ns CPU/line | times the first | lines/s | p50, p99 | memory | missing |"
    echo "|---|---|---:|---:|---:|---:|---:|---:|"
} | emit
for rate in 12000 60000; do
    row "udp-1-line-$rate" "UDP, 1 line, $rate/s" "${relay[@]}" "${floor[@]}" \
        --lines-per-write 1 --rate "$rate"
done
row udp-1-line-go "UDP, 1 line, 12000/s" "${relay[@]}" "${go[@]}" "${floor[@]}" \
    --lines-per-write 1 --rate 12000
row udp-10-lines "UDP, 10 lines, 8000 datagrams/s" "${relay[@]}" "${go[@]}" "${floor[@]}" \
    --lines-per-write 10 --rate 80000
for lines in 1 10; do
    for stamps in yes no; do
        row "udp-gso-$lines-stamps-$stamps" "UDP, GSO, $lines a datagram, timestamps: $stamps" \
            "${relay[@]}" "${floor[@]}" --gso --lines-per-write "$lines" --rate 2000000 \
            --timestamps "$stamps"
    done
done
loss_free udp-loss-plain "UDP, 1 line, plain sender" "50000 100000 150000 200000 250000 300000" \
    --lines-per-write 1
loss_free udp-loss-gso "UDP, 10 lines, GSO sender" \
    "1000000 1500000 2000000 2500000 3000000 4000000" --lines-per-write 10 --gso
http=(--scenario http-http --lines-per-write 10)
pair=("${relay[@]}" "${go[@]}")
((${#go[@]})) || pair=("${relay[@]}" --relay "again=$bin/ringrelay")
row http-1-connection-500 "HTTP, 10 lines, 1 connection, 500/s" "${pair[@]}" "${http[@]}" \
    --sources 1 --rate 5000
row http-1-connection "HTTP, 10 lines, 1 connection, full speed" "${pair[@]}" "${http[@]}" \
    --sources 1 --rate 0
row http-32-fast "HTTP, 10 lines, 32 connections" "${pair[@]}" "${http[@]}" --sources 32 --rate 0
row http-32-5ms "HTTP, 10 lines, 32 connections, backends after 5 ms" "${pair[@]}" "${http[@]}" \
    --sources 32 --rate 0 --sink-delay-ms 5
loss_free udp-http "UDP in, HTTP out" "250000 500000 750000 1000000 1250000" \
    --scenario udp-http --lines-per-write 10 --gso
row latency-idle "UDP, idle, 100 lines/s" "${relay[@]}" "${floor[@]}" --lines-per-write 1 --rate 100
for outputs in 1 2 4 8; do
    row "scale-outputs-$outputs" "UDP, 10 lines, $outputs backends" "${relay[@]}" "${floor[@]}" \
        --lines-per-write 10 --rate 200000 --gso --outputs "$outputs"
done
for series in 1000 10000 100000; do
    row "scale-series-$series" "UDP, 10 lines, $series series" "${relay[@]}" "${floor[@]}" \
        --lines-per-write 10 --rate 200000 --gso --series "$series"
done
for workers in 1 2; do
    row "scale-workers-$workers" "UDP, GSO, 8 sources, workers = $workers" "${relay[@]}" \
        "${floor[@]}" --lines-per-write 10 --rate 2000000 --gso --sources 8 --workers "$workers"
done
echo
echo "$rounds rounds of $window, in turns; $SECONDS s in all; kept in $out"
exit "$result"
