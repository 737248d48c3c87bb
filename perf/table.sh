#!/bin/bash
# Every row of the goals in docs/performance.md, measured: prints a Markdown table (work, goal,
# seen, met?) and keeps it, with the report of each run and what the machine is, in
# perf/runs/<date>-<machine>/.
#
#     cargo build --release --workspace && cargo bench --no-run --bench line
#     perf/table.sh --go PATH                 all rows, about 20 minutes
#     perf/table.sh udp-plain http            these rows alone
#     perf/table.sh --quick                   two rounds: wide spreads, about 8 minutes
#
# Rows: udp-plain udp-10 udp-gso loss-free http udp-http parse latency batch-wait backends series
# workers hot-flow memory. --go PATH (or GO_RELAY) is the binary of the Go influxdb-relay; without
# it, what is measured against it is said to be missing. BIN_DIR is target/release, OUT the
# directory, ROUNDS 5 and WINDOW 1500ms. Needs jq and curl. Exit status: 0 if every turn of ours was
# proven, 1 if not, 2 if it could not run. Whether goals are met does not change it.
set -uo pipefail
cd "$(dirname "$0")/.."
source perf/processes.bash
source perf/rows.bash

all=(udp-plain udp-10 udp-gso loss-free http udp-http parse latency batch-wait backends series
    workers hot-flow memory)
rounds=${ROUNDS:-5} window=${WINDOW:-1500ms} go_path=${GO_RELAY:-}
rows=()
while (($#)); do
    case $1 in
        --quick) rounds=2 ;;
        --go) go_path=${2:?--go PATH}; shift ;;
        -*) fail "no such option: $1" ;;
        *)
            [[ " ${all[*]} " == *" $1 "* ]] || fail "no such row: $1; there are ${all[*]}"
            rows+=("$1")
            ;;
    esac
    shift
done
((${#rows[@]})) || rows=("${all[@]}")
[[ -z $go_path || -x $go_path ]] || fail "no Go relay at $go_path"
out=${OUT:-perf/runs/$(date +%F)-$(machine_name)/table}
mkdir -p "$out" || exit 2

relay=(--relay "relay=$bin/ringrelay") floor=(--relay floor) go=()
[[ -z $go_path ]] || go=(--relay "go=go:$go_path")

# of FILE PROGRAM [ARGUMENT...]: "seen | met" of a report, by jq with table.jq.
of() {
    local file=$1 program=$2
    shift 2
    jq -r -L perf "$@" "include \"table\"; $program" "$file"
}

# against NAME WORK FLOOR_MAX GO_MIN ARGUMENT...: relay, floor and Go in turns.
against() {
    local run=$1 work=$2 floor_max=$3 go_min=$4
    shift 4
    compare "$run" "${relay[@]}" "${floor[@]}" "${go[@]}" "$@" || return
    say "$work" "at most $floor_max times the floor; Go needs $go_min times as much" "$(
        of "$out/$run.json" '
            ([turns("relay")[] | ns] | spread(round)) as $ns
            | [beside("\($ns) ns of CPU a line"), at_most("relay"; "floor"; $floor),
               go_in_relays($go)] as $parts
            | ($parts | verdict) | split(" | ") | .[0] + ($missing) + " | " + .[1]' \
            --argjson floor "$floor_max" --argjson go "$go_min" \
            --arg missing "$(of "$out/$run.json" missing)"
    )"
}

row_udp_plain() {
    local rate
    for rate in 12 60; do
        against "udp-plain-$rate" "UDP, 1 line a datagram, $rate 000/s" 1.15 10 \
            --lines-per-write 1 --rate "${rate}000"
    done
}

row_udp_10() {
    local rate
    for rate in 12 20; do
        against "udp-10-$rate" "UDP, 10 lines a datagram, $rate 000/s" 1.25 15 \
            --lines-per-write 10 --rate "${rate}0000"
    done
}

# The Go relay gets a rate that it can bear: at 2 million lines/s it would lose nearly all, and
# what it needs for the rest says nothing.
row_udp_gso() {
    local lines stamps round run bearable=([1]=12000 [10]=80000)
    for lines in 1 10; do
        for stamps in yes no; do
            run=udp-gso-$lines-stamps-$stamps
            compare "$run" "${relay[@]}" "${floor[@]}" --gso --lines-per-write "$lines" \
                --rate 2000000 --timestamps "$stamps" || continue
            rm -f "$out/$run"-go-*.json
            for ((round = 1; round <= rounds && ${#go[@]}; round++)); do
                bench "$run-go-$round" "go:$go_path" --gso --lines-per-write "$lines" \
                    --rate "${bearable[$lines]}" --timestamps "$stamps"
            done
            say "UDP, GSO, $lines a datagram, 2 000 000 lines/s, timestamps: $stamps" \
                "at most 1.5 times the floor; Go needs 80 times as much" "$(
                of "$out/$run.json" '
                    ([turns("relay")[] | ns]) as $ns
                    | [beside("\($ns | spread(round)) ns of CPU a line"),
                       at_most("relay"; "floor"; 1.5),
                       if ($go | length) == 0 then part("Go"; "Go: not given"; null)
                       else ([$go[] | ns] | median / ($ns | median)) as $times
                       | part("Go"; "Go needs \($times | two) times as much, at \($bearable) lines/s";
                           $times >= 80) end]
                    | verdict' --argjson bearable "${bearable[$lines]}" \
                    --slurpfile go <(cat "$out/$run"-go-*.json 2>/dev/null)
            )$(of "$out/$run.json" missing)"
        done
    done
}

# bounded: what ended a search, in words.
bounded() {
    case $ended in
        sender) echo "the sender cannot send more" ;;
        sinks) echo "then the backends lose" ;;
        whole) echo "nothing was lost as far as was tried" ;;
        error) echo "the search broke off" ;;
        *) echo "then lines are lost" ;;
    esac
}

# cores NAME: what the relay used in a report, and its busiest worker, in words.
cores() {
    [[ -e $out/$1.json ]] || { echo "no rate without loss"; return; }
    jq -r 'def two: . * 100 | round / 100;
        ([.threads | to_entries[] | select(.key | startswith("udp-")).value] | max) as $worker
        | "\(.cpu.cores | two) cores, \($worker | two) of them its busiest worker"' "$out/$1.json"
}

row_loss_free() {
    sender_alone --lines-per-write 1
    loss_free loss-free-plain 40000 --lines-per-write 1
    say "UDP, 1 line a datagram, plain sender, loss-free" "the sender's limit" \
        "$best lines/s, $(bounded); the sender alone, into a socket that nobody reads: $alone; $(
            cores loss-free-plain)" "$(
            [[ $ended == sender ]] && echo yes || echo "no: $best of $alone")"
    sender_alone --lines-per-write 10 --gso
    loss_free loss-free-gso 1000000 --lines-per-write 10 --gso
    say "UDP, 10 lines a datagram, GSO sender, loss-free" "2 000 000 lines/s" \
        "$best lines/s, $(bounded); the sender alone: $alone; $(cores loss-free-gso)" \
        "$( ((best >= 2000000)) && echo yes || echo no)"
}

# http_row NAME WORK GO_MIN P99 ARGUMENT...: P99 is "p99" if that is part of the goal.
http_row() {
    local run=$1 work=$2 go_min=$3 p99=$4
    shift 4
    local contenders=("${relay[@]}" "${go[@]}")
    # Something must have turns beside it.
    ((${#go[@]})) || contenders=("${relay[@]}" --relay "again=$bin/ringrelay")
    compare "$run" "${contenders[@]}" --scenario http-http --lines-per-write 10 "$@" || return
    say "$work" "Go needs $go_min times as much CPU a request${p99:+, and its p99 is higher}" "$(
        of "$out/$run.json" '
            def requests: [turns("relay")[] | 1e8 / ns] | spread(round);
            def p99($r): [turns($r)[] | .request_p99_us / 1000] | median | two;
            def p50($r): [turns($r)[] | .request_p50_us / 1000] | median | two;
            "p50, p99: \(p50("relay")), \(p99("relay")) ms" as $ours
            | [beside("\(requests) requests per CPU second"), go_in_relays($go),
             if takes_part("go") then
                "\($ours), Go \(p50("go")), \(p99("go")) ms" as $both
                | if $p99 == "" then beside($both)
                  else part("p99"; $both; p99("relay") < p99("go")) end
             else beside($ours) end]
            | verdict' --argjson go "$go_min" --arg p99 "$p99"
    )"
}

row_http() {
    local posts="HTTP, 10-line POSTs"
    http_row http-1-at-500 "$posts, 1 connection, 500/s" 6 p99 --sources 1 --rate 5000
    http_row http-1 "$posts, 1 connection, full speed" 6 p99 --sources 1 --rate 0
    http_row http-32 "$posts, 32 connections" 15 "" --sources 32 --rate 0
    http_row http-32-5ms "$posts, 32 connections, backends answer after 5 ms" 15 "" \
        --sources 32 --rate 0 --sink-delay-ms 5
}

row_udp_http() {
    loss_free udp-http 500000 --scenario udp-http --lines-per-write 10 --gso
    say "UDP in, HTTP out, two sinks, loss-free" "1 000 000 lines/s" \
        "$best lines/s, $(bounded); $(cores udp-http)" \
        "$( ((best >= 1000000)) && echo yes || echo no)"
}

# divan's table: the name of a case, then times; the throughput is in the row below, the median is
# the third column.
row_parse() {
    local seen
    if ! cargo bench --quiet --bench line >"$out/parse.txt" 2>"$dir/error"; then
        missed parse "$(tail -n 3 "$dir/error")"
        return
    fi
    seen=$(sed 's/[│├╰─]/ /g; s/ B\/s/ 1e-9/g; s/ KB\/s/ 1e-6/g; s/ MB\/s/ 1e-3/g; s/ GB\/s/ 1/g' \
        "$out/parse.txt" | awk '
        $1 == "ringrelay" || $1 == "influxdb_line_protocol" { bench = $1; next }
        /\(Typical, 500\)/ { wanted = 1; next }
        wanted { rate[bench] = $5 * $6; wanted = 0 }
        END { printf "%.2f %.1f", rate["ringrelay"],
            rate["ringrelay"] / rate["influxdb_line_protocol"] }')
    read -r gb times <<<"$seen"
    say "split and validate, 500 typical lines" \
        "1.5 GB/s on one core, 10 times influxdb-line-protocol" \
        "$gb GB/s, $times times influxdb-line-protocol" "$(
            awk -v gb="$gb" -v times="$times" 'BEGIN {
                print (gb >= 1.5 && times >= 10 ? "yes" : "no") }')"
}

# straight NAME RATE: the same lines straight to a backend, "p50 p99" in us.
straight() {
    start_sink straight --udp 127.0.0.1:0
    "$bin/loadgen" send --json --to "udp://${address#*://}" --rate "$2" --lines-per-write 1 \
        --duration 5s >/dev/null
    end_sink "$pid"
    jq '.[0] // . | .latency' "$dir/straight.json" >"$out/$1.json"
}

row_latency() {
    local round
    rm -f "$out"/latency-*.json
    for ((round = 1; round <= rounds; round++)); do
        straight "latency-straight-$round" 200
        duration=4s bench "latency-relay-$round" "$bin/ringrelay" --lines-per-write 1 --rate 200
    done
    say "added latency, idle relay (200 lines/s), UDP to UDP" "p50 under 300 us, p99 under 1 ms" "$(
        jq -rn -L perf --slurpfile straight <(cat "$out"/latency-straight-*.json) \
            --slurpfile relay <(cat "$out"/latency-relay-*.json) '
            include "table";
            def p($q): [$relay[] | [.listeners[].backends[].sink.latency[$q]] | max];
            def added($q): [p($q), [$straight[] | .[$q]]] | transpose | map(.[0] - .[1]);
            [part("p50"; "p50 \(added("p50_us") | spread(round)) us"; (added("p50_us") | median) < 300),
             part("p99"; "p99 \(added("p99_us") | spread(round)) us more than straight to a backend";
                 (added("p99_us") | median) < 1000)] | verdict'
    )"
}

row_batch_wait() {
    local us round seen=
    for us in 0 500 2000 5000; do
        rm -f "$out/batch-wait-$us"-*.json
    done
    for ((round = 1; round <= rounds; round++)); do
        for us in 0 500 2000 5000; do
            bench "batch-wait-$us-$round" "$bin/ringrelay" --lines-per-write 1 --rate 12000 \
                --batch-wait-us "$us"
        done
    done
    for us in 0 500 2000 5000; do
        seen+="${seen:+; }$us us: $(jq -rs -L perf 'include "table";
            "\([.[] | ns] | median | round) ns of CPU a line, p50 \([.[] |
                [.listeners[].backends[].sink.latency.p50_us] | max] | median) us, p99 \([.[] |
                [.listeners[].backends[].sink.latency.p99_us] | max] | median) us"' \
            "$out/batch-wait-$us"-*.json)"
    done
    say "UDP, 1 line a datagram, 12 000/s, by \`batch-wait-us\`" "a key trades latency for CPU" \
        "$seen" "$(
        jq -rn --slurpfile short <(cat "$out"/batch-wait-0-*.json) \
            --slurpfile long <(cat "$out"/batch-wait-2000-*.json) '
            def cpu: [.[].cpu.ns_per_line] | add; def p50:
                [.[].listeners[].backends[].sink.latency.p50_us] | add;
            if ($long | cpu) < ($short | cpu) and ($long | p50) > ($short | p50) then "yes"
            else "no" end')"
}

row_backends() {
    local outputs seen='' one
    for outputs in 1 2 4 8; do
        compare "backends-$outputs" "${relay[@]}" "${floor[@]}" --lines-per-write 10 --gso \
            --rate 200000 --outputs "$outputs" || return
        seen+="${seen:+; }$outputs: $(of "$out/backends-$outputs.json" '
            [[turns("relay"), turns("floor")] | transpose[] | (.[0] | ns) - (.[1] | ns)] as $own
            | "\([turns("relay")[] | ns] | median | round) ns, \($own | spread(round)) above the floor"'
        )"
    done
    one=$(jq -n -L perf --slurpfile one "$out/backends-1.json" --slurpfile all "$out/backends-8.json" '
        include "table";
        def own: [[turns("relay"), turns("floor")] | transpose[] | (.[0] | ns) - (.[1] | ns)] | median;
        [($one[0] | own), ($all[0] | own)] | (.[1] - .[0]) / 7 | two')
    say "UDP, 10 lines, GSO, 200 000 lines/s, 1 to 8 backends" \
        "flat but for the sends: above the floor, a further backend costs at most 10 ns a line" \
        "$seen; $one ns for each further one" "$(
            awk -v ns="$one" 'BEGIN { print (ns <= 10 ? "yes" : "no") }')"
}

row_series() {
    local series round seen='' names=([1000]="1 thousand" [100000]="100 thousand" [1000000]="1 million"
        [10000000]="10 million")
    local counts=(1000 100000 1000000 10000000)
    rm -f "$out"/series-*.json
    for ((round = 1; round <= rounds; round++)); do
        for series in "${counts[@]}"; do # long enough for all of them to come
            duration=4500ms bench "series-$series-$round" "$bin/ringrelay" --lines-per-write 10 \
                --gso --rate 2000000 --series "$series"
        done
    done
    for series in "${counts[@]}"; do
        seen+="${seen:+; }${names[$series]}: $(jq -rs -L perf 'include "table";
            "\([.[] | .cpu.lines / .cpu.seconds] | median | grouped) lines/s, \([.[] | ns] |
                spread(round)) ns"' "$out/series-$series"-*.json)"
    done
    say "UDP, 10 lines, GSO, 2 000 000 lines/s, by the number of series" \
        "flat: at most 1.1 times the CPU a line" "$seen" "$(
            jq -rn -L perf --slurpfile few <(cat "$out"/series-1000-*.json) \
                --slurpfile many <(cat "$out"/series-10000000-*.json) 'include "table";
                ([$many[] | ns] | median) / ([$few[] | ns] | median)
                | (if . <= 1.1 then "yes" else "no" end) + ": \(two) times"')"
}

# drain NAME ARGUMENT...: into $out/NAME.json.
drain() {
    local run=$1
    shift
    timeout --signal=INT 120 "$bin/loadgen" drain --json --relay "$bin/ringrelay" --rate 0 "$@" \
        >"$out/$run.json" 2>"$dir/error" || {
        missed "$run" "$(tail -n 3 "$dir/error") $(jq -c '{lines_dropped}' "$out/$run.json")"
        return 1
    }
}

# The lines lie in the sockets before the relay is let go, so nobody else needs a core. The kernel
# spreads the sources by chance, so one worker ends before the other: what counts is the work done
# in the time that both cores had.
row_workers() {
    local round workers lines
    for lines in 1 10; do
        rm -f "$out/workers-$lines"-*.json
        for ((round = 1; round <= rounds; round++)); do
            for workers in 1 2; do
                drain "workers-$lines-$workers-$round" --workers "$workers" --cores "$workers" \
                    --sources 96 --gso --lines-per-write "$lines" --lines 12000000 || return
            done
        done
        say "UDP, GSO, $lines a datagram, workers 1 to 2 on as many cores, no sender beside them" \
            "1.8 times the lines/s in the time that both are busy" "$(jq -rn -L perf \
                --slurpfile one <(cat "$out/workers-$lines-1"-*.json) \
                --slurpfile two <(cat "$out/workers-$lines-2"-*.json) 'include "table";
                def rate: [.[].lines_per_second] | median | grouped;
                ([$one, $two] | transpose | map(.[1].lines_per_second / .[0].lines_per_second)) as $times
                | ([$one, $two] | transpose | map(2 * .[0].ns_per_line / .[1].ns_per_line)) as $work
                | "\($one | rate) and \($two | rate) lines/s, \($times | spread(two)) times, on \($two | [.[].cores] | median | two) cores; \($work | spread(two)) times with both busy | " +
                    if ($work | median) >= 1.8 then "yes" else "no" end')"
    done
}

# One source lands on one socket, so on one worker: is that enough for what one source can send?
row_hot_flow() {
    local kind sender=() round count
    for kind in plain gso; do
        sender=(--lines-per-write 1) count=300000
        [[ $kind == plain ]] || { sender=(--lines-per-write 10 --gso) count=3000000; }
        rm -f "$out/hot-flow-$kind"-*.json
        sender_alone "${sender[@]}"
        for ((round = 1; round <= rounds; round++)); do
            drain "hot-flow-$kind-$round" --workers 1 --lines "$count" "${sender[@]}" || return
        done
        say "one hot flow, $kind sender, one worker" "more than the sender can send" "$(
            jq -rs -L perf --argjson alone "$alone" 'include "table";
            ([.[].lines_per_second] | median) as $rate
            | "\([.[].lines_per_second] | spread(grouped)) lines/s on \([.[].cores] | median | two) cores; the sender alone: \($alone | grouped), which is \(100 * $alone / $rate | round) % of it | " +
                if $rate > $alone then "yes" else "no" end' "$out/hot-flow-$kind"-*.json
        )"
    done
}

row_memory() {
    ((${#reports[@]})) || bench memory "$bin/ringrelay" --lines-per-write 10 --rate 200000 --gso
    ((${#reports[@]})) || return
    say "memory, highest of all runs above" "64 MiB at start, 128 MiB under load" "$(
        jq -rs -L perf 'include "table";
            def ours: if .contenders then turns("relay")[] else select(.relay.kind == "ringrelay") end;
            ([.[] | ours | .memory_start_kib] | max / 1024) as $start
            | ([.[] | ours | .memory_peak_kib] | max / 1024) as $peak
            | [part("start"; "\($start | two) MiB at start"; $start <= 64),
               part("load"; "\($peak | two) MiB under load"; $peak <= 128)] | verdict' \
            <(cat "${reports[@]}")
    )"
}

describe_machine >"$out/machine.txt"
: >"$out/table.md"
say work goal "seen: median (lowest to highest)" "met?"
echo "|---|---|---|---|" | tee -a "$out/table.md"
for row in "${rows[@]}"; do
    "row_${row//-/_}"
done
forget_paths
echo
echo "$rounds rounds of $window, in turns; $SECONDS s in all; kept in $out"
exit "$result"
