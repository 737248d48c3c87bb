#!/bin/bash
# CPU per line and loss against the offered rate, of the relay, the Go relay and the floor, for a
# plain sender and one that uses GSO: one run, two pictures, about five minutes.
#
#     cargo build --release --workspace
#     perf/plots.sh --go PATH            docs/images/cpu.svg and docs/images/loss.svg
#     perf/plots.sh --redraw             the same from the figures of the last run
#
# --go PATH (or GO_RELAY) is the binary of the Go influxdb-relay; without it, there is no curve of
# it. Each rate is run ROUNDS (2) times in turns for WINDOW (1500ms); medians are drawn. BIN_DIR is
# target/release, OUT where the figures are kept, IMAGES docs/images. Needs jq and curl. Exit
# status: 0 if every turn of ours was proven, 1 if not, 2 if it could not run.
set -uo pipefail
cd "$(dirname "$0")/.."
source perf/processes.bash
source perf/rows.bash

plain=(5000 10000 20000 30000 45000 70000 100000)
gso=(400000 700000 1000000 1500000 2000000 3000000)
rounds=${ROUNDS:-2} window=${WINDOW:-1500ms} go_path=${GO_RELAY:-} redraw=
while (($#)); do
    case $1 in
        --go) go_path=${2:?--go PATH}; shift ;;
        --redraw) redraw=yes ;;
        *) fail "no such option: $1" ;;
    esac
    shift
done
[[ -z $go_path || -x $go_path ]] || fail "no Go relay at $go_path"
out=${OUT:-perf/runs/$(date +%F)-$(machine_name)/plots} images=${IMAGES:-docs/images}
mkdir -p "$out" "$images" || exit 2

relays=(--relay "relay=$bin/ringrelay" --relay floor)
[[ -z $go_path ]] || relays+=(--relay "go=go:$go_path")

# panel TITLE FILE...: the points of comparisons.
panel() {
    jq -s -L perf --arg title "$1" 'include "table";
        {title: $title, x: "lines offered per second", points: [.[] | .contenders[]
            | {relay: ({relay: "ringrelay", go: "Go relay"}[.relay.name] // .relay.name),
               rate: ([.turns[].lines_sent_per_second] | median),
               cpu_ns: ([.turns[] | select(.cpu.lines > 0) | ns] | if length > 0 then median else null end),
               loss: ([.turns[] | .lines_missing / (2 * .lines_sent)] | median)}]}' "${@:2}"
}

if [[ -z $redraw ]]; then
    describe_machine >"$out/machine.txt"
    for rate in "${plain[@]}"; do
        compare "plain-$rate" "${relays[@]}" --lines-per-write 1 --rate "$rate"
    done
    for rate in "${gso[@]}"; do
        compare "gso-$rate" "${relays[@]}" --lines-per-write 10 --gso --rate "$rate"
    done
fi
shopt -s nullglob
files=("$out"/plain-*.json)
((${#files[@]})) || fail "nothing was measured into $out"
foot=$(jq -r '.machine as $m | "\(.rounds) round\(if .rounds > 1 then "s" else "" end) in turns; two UDP backends; senders and " +
    "backends on the same \($m.cores) cores of \($m.cpu), Linux \($m.kernel)"' "${files[0]}")
{
    panel "plain sender, 1 line a datagram" "$out"/plain-*.json
    panel "GSO sender, 10 lines a datagram" "$out"/gso-*.json
} | jq -s --arg foot "$foot" '{foot: $foot, panels: .}' >"$out/plots.json"
for figure in cpu loss; do
    "$bin/loadgen" plot --figure "$figure" --svg "$images/$figure.svg" "$out/plots.json" || exit 2
    echo "drawn: $images/$figure.svg"
done
forget_paths
echo "$SECONDS s in all; figures kept in $out"
exit "$result"
