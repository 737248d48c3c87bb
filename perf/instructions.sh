#!/bin/bash
# Instructions per line of what a UDP worker does with lines: split and validate, batch, pack;
# counted by valgrind's callgrind, beside the counts in benches/instructions/baseline.tsv.
#
#     perf/instructions.sh               (builds the workspace first; seconds, once built)
#     perf/instructions.sh --update      writes the counts into the baseline
#
# Counts do not depend on what else runs, but on the compiler and on the instruction set that is
# chosen at run time. Valgrind shows programs no AVX-512, so AVX2 is counted also where the relay
# would choose AVX-512. A report: a difference is for whoever reads it. Exit status: 0 if all was
# counted, 2 if not.
set -euo pipefail
cd "$(dirname "$0")/.."

baseline=benches/instructions/baseline.tsv
program=target/release/instructions
update=
case ${1:-} in
    --update) update=yes ;;
    '') ;;
    *) echo "instructions.sh: no such option: $1" >&2; exit 2 ;;
esac
command -v valgrind >/dev/null || { echo "instructions.sh: needs valgrind" >&2; exit 2; }
# The whole workspace: with other packages its dependencies have other features, and another build.
cargo build --quiet --release --workspace || exit 2

valgrind --quiet --tool=none "$program" >/dev/null || {
    echo "instructions.sh: the program does not run under valgrind" >&2
    exit 2
}
compiler=$(rustc --version | cut -d' ' -f2)
made_for="$(uname -m)$(grep -qw avx2 /proc/cpuinfo && echo ', AVX2')"

# count CASE: instructions of one turn.
count() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null \
        --toggle-collect='*instructions*measured*' "$program" "$1" 2>&1 >/dev/null |
        sed -n 's/^==[0-9]*== Collected : //p'
}

old() {
    awk -F'\t' -v name="$1" '$1 == name { print $2 }' "$baseline" 2>/dev/null || true
}

counts=$(
    "$program" | while IFS=$'\t' read -r name lines; do
        turn=$(count "$name")
        # Nothing takes less than an instruction for some lines.
        ((${turn:-0} > 20)) || { echo "instructions.sh: $name was not counted" >&2; exit 2; }
        awk -v name="$name" -v turn="$turn" -v lines="$lines" \
            'BEGIN { printf "%s\t%.1f\n", name, turn / lines }'
    done
)
if [[ $update ]]; then
    { echo "# instructions per line, $made_for, rustc $compiler"; echo "$counts"; } >"$baseline"
    echo "written: $baseline"
fi
echo "instructions per line, $made_for, rustc $compiler; baseline:" \
    "$(sed -n 's/^# instructions per line, //p' "$baseline" 2>/dev/null || echo none)"
echo
echo "| work | instructions a line | baseline | difference |"
echo "|---|---:|---:|---:|"
while IFS=$'\t' read -r name now; do
    awk -v name="$name" -v now="$now" -v old="$(old "$name")" 'BEGIN {
        difference = old > 0 ? sprintf("%+.1f %%", 100 * (now / old - 1)) : "new"
        printf "| %s | %s | %s | %s |\n", name, now, old, difference }'
done <<<"$counts"
