# What the rows of table.sh, plots.sh and tuning.sh are made of: runs of loadgen whose reports are
# kept in $out, and searches. Sourced behind processes.bash; does nothing itself.
# Uses $bin, $out, $rounds, $window; sets $result to 1 if anything of ours was not proven.

result=0
# Reports written by this run: what memory is taken from.
reports=()

# machine_name: of the processor and its cores, for a directory's name.
machine_name() {
    local cpu
    cpu=$(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -n 1)
    tr -c '[:alnum:]\n' - <<<"$cpu" | tr -s - | tr '[:upper:]' '[:lower:]' |
        sed -E "s/^(amd|intel)-//; s/-$//; s/$/-$(nproc)-cores/"
}

# describe_machine: what the figures depend on.
describe_machine() {
    echo "commit $(git describe --always --dirty --abbrev=10 2>/dev/null || echo unknown)"
    echo "$(nproc) x $(sed -n 's/^model name[^:]*: *//p' /proc/cpuinfo | head -n 1)," \
        "Linux $(uname -r), load $(cut -d' ' -f1-3 /proc/loadavg) before"
    echo "memory $(sed -n 's/^MemTotal: *//p' /proc/meminfo)"
    systemd-detect-virt 2>/dev/null | sed 's/^/virtualization: /'
    sysctl net.core.rmem_max net.core.wmem_max net.core.rmem_default net.core.netdev_max_backlog \
        net.core.busy_poll net.core.busy_read net.ipv4.tcp_rmem net.ipv4.udp_mem \
        kernel.io_uring_disabled 2>/dev/null
    grep -H . /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor 2>/dev/null
    grep -r . /sys/devices/system/cpu/vulnerabilities 2>/dev/null | sort
    echo "rounds $rounds, window $window"
}

# forget_paths: where programs lie on this machine is of no use to others.
forget_paths() {
    sed -i -E 's|("path": ")[^"]*/|\1|' "$out"/*.json
}

# say: a row of the table, printed and kept.
say() {
    local row
    printf -v row '| %s ' "$@"
    echo "$row|" | tee -a "$out/table.md"
}

# missed NAME WHY: a run that did not come about.
missed() {
    echo "$name: $1 did not run: $2" >&2
    result=1
}

# compare NAME ARGUMENT...: relays in turns, into $out/NAME.json.
compare() {
    local run=$1 status
    shift
    rm -f "$out/$run.json"
    timeout --signal=INT 600 "$bin/loadgen" compare --rounds "$rounds" --duration "$window" \
        --warm-up 1s --json "$out/$run.json" "$@" >"$dir/said" 2>"$dir/error"
    status=$?
    if ((status > 1)) || [[ ! -s $out/$run.json ]]; then
        missed "$run" "$(tail -n 3 "$dir/error")"
        return 1
    fi
    reports+=("$out/$run.json")
    # The Go relay may reorder and lose, and the floor may lose; we may not, unless it is counted.
    jq -e '[.contenders[] | select(.relay.name == "relay") | .turns[].proven] | all' \
        "$out/$run.json" >/dev/null || {
        echo "$name: $run is not proven:" >&2
        grep FAILED "$dir/said" | sort | uniq -c >&2
        result=1
    }
}

# bench NAME RELAY ARGUMENT...: one run of $duration or else $window, into $out/NAME.json.
bench() {
    local run=$1 relay=$2 status
    shift 2
    rm -f "$out/$run.json"
    timeout --signal=INT 120 "$bin/loadgen" bench --json --relay "$relay" --warm-up 1s \
        --duration "${duration:-$window}" "$@" >"$dir/report.json" 2>"$dir/error"
    status=$?
    if ((status > 1)) || [[ ! -s $dir/report.json ]]; then
        missed "$run" "$(tail -n 3 "$dir/error")"
        return 1
    fi
    # What is said of each source and each answer is not needed again.
    jq 'del(.listeners[].sent.sources, .listeners[].backends[].sink.sources)' \
        "$dir/report.json" >"$out/$run.json"
    [[ $run == *-probe ]] || reports+=("$out/$run.json")
    [[ $relay == go:* || $relay == floor ]] || jq -e .proven "$out/$run.json" >/dev/null || {
        echo "$name: $run is not proven: $(jq -c .findings.failures "$out/$run.json")" >&2
        result=1
    }
}

# probe NAME RATE ARGUMENT...: one run at a rate, into $out/NAME.json; into $verdict "whole",
# "sender" (whole, but not so many were sent), "sinks" (lost by the backends alone) or "loss".
probe() {
    local run=$1 rate=$2
    shift 2
    bench "$run" "${relay_path:-$bin/ringrelay}" --rate "$rate" "$@" || { verdict=error; return; }
    verdict=$(jq -r --argjson rate "$rate" '
        [.listeners[].backends[].sink.total.missing] as $missing
        | [.listeners[] | .kernel_drops, (.backends[].counted.dropped[]?[1]),
            .sent.lines_told_lost] as $ours
        | if ($missing | add) > 0 then (if ($ours | add) > 0 then "loss" else "sinks" end)
          elif ([.listeners[].sent | .lines / .seconds] | add) < 0.95 * $rate then "sender"
          else "whole" end' "$out/$run.json")
}

# loss_free NAME RATE ARGUMENT...: searches upward from RATE for the highest at which nothing is
# lost. Into $best lines/s as they were sent, into $ended what bounds it ("sender", "sinks",
# "loss"; "whole" if nothing did, "error" if it did not run); the report of the best is $out/NAME.json.
loss_free() {
    local run=$1 rate=$2 good=0 bad=0 tries=0
    shift 2
    best=0 ended=whole
    rm -f "$out/$run.json"
    while ((tries < 14)); do
        tries=$((tries + 1))
        probe "$run-probe" "$rate" "$@"
        # A loss counts if it comes twice: what else runs here may have taken a core for long.
        if [[ $verdict == loss || $verdict == sinks ]]; then
            probe "$run-probe" "$rate" "$@"
        fi
        case $verdict in
            whole | sender)
                good=$rate
                best=$(jq '[.listeners[].sent | .lines / .seconds] | add | round' \
                    "$out/$run-probe.json")
                mv "$out/$run-probe.json" "$out/$run.json"
                reports+=("$out/$run.json")
                [[ $verdict == whole ]] || { ended=sender; break; }
                ;;
            error) ended=error; break ;;
            *) bad=$rate ended=$verdict ;;
        esac
        ((bad == 0 || bad * 100 > good * 106)) || break
        if ((bad == 0)); then
            rate=$((rate * 14 / 10))
        elif ((good == 0)); then
            rate=$((rate / 2))
        else
            rate=$(((good + bad) / 2))
        fi
    done
    rm -f "$out/$run-probe.json"
}

# sender_alone ARGUMENT...: into $alone the lines/s that one source sends at most, into a socket
# that nobody reads.
sender_alone() {
    start_sink deaf --udp 127.0.0.1:0
    kill -STOP "$pid"
    alone=$("$bin/loadgen" send --json --to "udp://${address#*://}" --rate 0 --duration 2s "$@" |
        jq '.lines / .seconds | round')
    kill -KILL "$pid"
    wait "$pid" 2>/dev/null
}
