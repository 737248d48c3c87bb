#!/bin/bash
# The relay against the floor (loadgen floor), UDP in and UDP out to two backends: prints a
# Markdown table of medians. Takes about four minutes, six at most.
#
#     cargo build --release --workspace && perf/floor.sh [BIN_DIR]      (default: target/release)
#     ROUNDS=5 WINDOW=5s perf/floor.sh                                  (slower, steadier)
#
# Needs jq. Exit status: 0 if every turn was proven, 1 if not, 2 if it could not run.
set -uo pipefail
cd "$(dirname "$0")/.."

bin=${1:-target/release}
rounds=${ROUNDS:-3}
window=${WINDOW:-2500ms}
seconds_max=${SECONDS_MAX:-360}

command -v jq >/dev/null || { echo "floor.sh: needs jq" >&2; exit 2; }
[[ -x $bin/loadgen && -x $bin/ringrelay ]] || {
    echo "floor.sh: no loadgen and ringrelay in $bin: cargo build --release --workspace" >&2
    exit 2
}

result=0 said_machine=
row() { # how, datagrams/s in words, then arguments of loadgen
    local how=$1 rate=$2 json status left=$((seconds_max - SECONDS))
    shift 2
    if ((left < 1)); then
        echo "floor.sh: the $seconds_max s are over: no $how at $rate" >&2
        result=1
        return
    fi
    json=$(timeout --signal=INT "$left" "$bin/loadgen" bench --versus-floor --json \
        --relay "$bin/ringrelay" --rounds "$rounds" --warm-up 1s --duration "$window" \
        --outputs 2 --mtu 1400 "$@")
    status=$?
    if ((status > 1)) || [[ -z $json ]]; then
        echo "floor.sh: $how at $rate did not run (status $status)" >&2
        exit 2
    fi
    if [[ -z $said_machine ]]; then
        jq -r '.machine | "\(.cores) cores of \(.cpu), Linux \(.kernel), load \(.load) before\n"' \
            <<<"$json"
        echo "| datagrams | rate | relay, ns/line | floor, ns/line | ratio (spread) |" \
            "p50 relay, floor | missing relay, floor |"
        echo "|---|---|---:|---:|---:|---:|---:|"
        said_machine=yes
    fi
    jq -r --arg how "$how" --arg rate "$rate" '
        def two: . * 100 | round / 100;
        def missing: [.turns[].lines_missing] | add;
        .contenders as [$relay, $floor] | $relay.cpu_ratio as $ratio |
        "| \($how) | \($rate) | \($relay.cpu_ns_per_line.median | round) " +
        "| \($floor.cpu_ns_per_line.median | round) " +
        "| \($ratio.median | two) (\($ratio.min | two) to \($ratio.max | two)) " +
        "| \($relay.latency_p50_us.median | round), \($floor.latency_p50_us.median | round) us " +
        "| \($relay | missing), \($floor | missing) |"' <<<"$json"
    jq -r '.contenders[] | .relay.name as $name | .turns[] | .round as $round | .failures[]
        | "floor.sh: \($name), round \($round): \(.)"' <<<"$json" >&2
    ((status == 0)) || result=1
}

row "1 line"        "12 k/s"           --lines-per-write 1  --rate 12000
row "1 line"        "60 k/s"           --lines-per-write 1  --rate 60000
row "10 lines"      "12 k/s"           --lines-per-write 10 --rate 120000
row "10 lines"      "20 k/s"           --lines-per-write 10 --rate 200000
row "1 line, GSO"   "400 k lines/s"    --lines-per-write 1  --rate 400000  --gso
row "1 line, GSO"   "2 M lines/s"      --lines-per-write 1  --rate 2000000 --gso
row "10 lines, GSO" "400 k lines/s"    --lines-per-write 10 --rate 400000  --gso
row "10 lines, GSO" "2 M lines/s"      --lines-per-write 10 --rate 2000000 --gso
echo
echo "$rounds rounds of $window each, relay and floor in turns; $SECONDS s in all."
exit "$result"
