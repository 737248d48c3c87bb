# Sinks, a relay and what its counters say: sourced by soak.sh and backlog.sh, does nothing itself.
# All listen on loopback, on ports that the kernel chose; all are ended when the script ends.

bin=${BIN_DIR:-target/release}
name=$(basename "$0")
dir=$(mktemp -d "${SPOOL_IN:-${TMPDIR:-/tmp}}/ringrelay-perf.XXXXXX")
children=()

fail() {
    echo "$name: $*" >&2
    exit 2
}

end_all() {
    local child
    for child in "${children[@]}"; do
        kill -KILL "$child" 2>/dev/null
        wait "$child" 2>/dev/null
    done
    children=()
    rm -rf "$dir"
}
trap end_all EXIT
trap 'exit 2' INT TERM

for tool in jq curl; do
    command -v "$tool" >/dev/null || fail "needs $tool"
done
[[ -x $bin/loadgen && -x $bin/ringrelay ]] ||
    fail "no loadgen and ringrelay in $bin: cargo build --release --workspace"

# wait_for SECONDS COMMAND...: until the command succeeds.
wait_for() {
    local until=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < until)) || return 1
        sleep 0.02
    done
}

# start_sink NAME ARGUMENT...: a loadgen sink, whose first address is then in $address; its pid in
# $pid. What it reports when it ends is in $dir/NAME.json.
start_sink() {
    local sink=$1
    shift
    # What an earlier one of this name said is not what this one says.
    rm -f "$dir/$sink.log"
    "$bin/loadgen" sink --json --idle 1h --duration 2h "$@" \
        >"$dir/$sink.json" 2>"$dir/$sink.log" &
    pid=$!
    children+=("$pid")
    wait_for 10 first_line "$dir/$sink.log" || fail "sink: $(cat "$dir/$sink.log")"
    [[ $line == *"sink ready at "* ]] || fail "sink: $line"
    address=${line##* }
}

# first_line FILE: into $line, once all of it is there.
first_line() {
    [[ -e $1 ]] && read -r line <"$1"
}

# end_sink PID: ended in order, so that it reports.
end_sink() {
    kill -INT "$1"
    wait "$1"
}

# start_relay NAME: with the configuration $dir/NAME.toml, whose listener is called "in". Sets $pid,
# $listener and $admin (HOST:PORT).
start_relay() {
    local log=$dir/$1.log
    rm -f "$log"
    printf '\n[admin]\nbind-addr = "127.0.0.1:0"\n' >>"$dir/$1.toml"
    NO_COLOR=1 "$bin/ringrelay" -config "$dir/$1.toml" 2>"$log" &
    pid=$!
    children+=("$pid")
    wait_for 60 grep -qs ': ready$' "$log" || fail "the relay is not ready: $(cat "$log")"
    listener=$(sed -n 's/.*listening relay="\?in"\? addr=\([^ ]*\).*/\1/p' "$log")
    admin=$(sed -n 's/.*listening relay="\?admin"\? addr=\([^ ]*\).*/\1/p' "$log")
    [[ -n $listener && -n $admin ]] || fail "no listeners in the relay's log: $(cat "$log")"
}

# end_relay PID: by SIGTERM; its books are in its log then.
end_relay() {
    kill -TERM "$1"
    wait "$1"
}

# scrape: the relay's counters, into $dir/metrics.
scrape() {
    curl -sf "http://$admin/metrics" >"$dir/metrics" || fail "the relay does not answer"
}

# counter NAME [LABEL="VALUE"...]: the sum of a metric's samples with all these labels, as scraped.
counter() {
    local metric=$1 label matching
    shift
    matching=$(grep -E "^$metric[{ ]" "$dir/metrics")
    for label in "$@"; do
        matching=$(grep -F "$label" <<<"$matching")
    done
    awk '{ sum += $NF } END { printf "%.0f\n", sum }' <<<"$matching"
}

# now COUNTER...: a fresh scrape, then one counter.
now() {
    scrape
    counter "$@"
}

# nothing_queued: whether all that was taken has gone on.
nothing_queued() {
    [[ $(now ringrelay_backend_queue_lines) == 0 ]]
}

# cpu_ns PID: what all its threads have used.
cpu_ns() {
    awk '{ sum += $1 } END { printf "%.0f\n", sum }' /proc/"$1"/task/*/schedstat
}

# waited_ns PID: how long all its threads were ready to run and had no core.
waited_ns() {
    awk '{ sum += $2 } END { printf "%.0f\n", sum }' /proc/"$1"/task/*/schedstat
}

# said_machine: what to know beside all figures.
said_machine() {
    local cpu
    cpu=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1)
    echo "$(nproc) cores of $cpu, Linux $(uname -r), load $(cut -d' ' -f1 /proc/loadavg) before," \
        "net.core.rmem_max $(</proc/sys/net/core/rmem_max), spool on $(stat -f -c %T "$dir")" \
        "($(df --output=source,fstype "$dir" | tail -1 | tr -s ' '))"
    "$bin/ringrelay" -version 2>/dev/null || true
}
