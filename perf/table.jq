# Figures of the table's rows, from the reports of `loadgen compare`, `bench` and `drain`.

def two: . * 100 | round / 100;
def median: sort | (.[(length - 1) / 2 | floor] + .[length / 2 | floor]) / 2;
# 1234567 as "1 234 567".
def grouped: round | tostring
    | [while(length > 0; .[:-3]) | .[-3:]] | reverse | join(" ");

# A list of figures as "1.13 (1.07 to 1.21)"; `f` makes words of each.
def spread(f): "\(median | f) (\(min | f) to \(max | f))";

# The turns of a relay in a comparison.
def turns($relay): .contenders[] | select(.relay.name == $relay) | .turns;
def takes_part($relay): any(.contenders[]; .relay.name == $relay);
# A figure of one relay by that of another in the same round.
def ratios($a; $b; f): [turns($a), turns($b)] | transpose | map((.[0] | f) / (.[1] | f));
def ns: .cpu.ns_per_line;

# One part of a goal; `ok` is null if it was not measured.
def part($what; $words; $ok): {what: $what, words: $words, ok: $ok};
# What is worth knowing, but no part of the goal.
def beside($words): {what: "", words: $words, ok: "beside"};

# Whether so few lines were lost that CPU per line that arrived still says something.
def is_whole($relay): [turns($relay)[] | .lines_missing] as $missing
    | ($missing | add) <= 0.02 * ([turns($relay)[] | .lines_sent] | add);

def at_most($relay; $other; $limit):
    ratios($relay; $other; ns) as $r
    | "\($r | spread(two)) times the \($other)" as $words
    | if is_whole($relay) and is_whole($other) then part($other; $words; ($r | median) <= $limit)
      else part("\($other) (lines were lost)"; $words; null) end;

def go_in_relays($limit):
    if takes_part("go") then
        ratios("go"; "relay"; ns) as $r
        | part("Go"; "Go needs \($r | spread(two)) times as much"; ($r | median) >= $limit)
    else part("Go"; "Go: not given"; null) end;

# How many lines are missing at backends, of each relay that has any.
def missing: [.contenders[]
    | {name: .relay.name, lines: ([.turns[].lines_missing] | add), drops: ([.turns[].sink_drops] | add)}
    | select(.lines > 0)
    | "\(.name) lost \(.lines | grouped)" + (if .drops > 0 then " (sinks too)" else "" end)]
    | if length > 0 then "; " + join(", ") else "" end;

# "seen | met" of a list of parts.
def verdict:
    (map(select(.ok == false).what) | unique | join(", ")) as $missed
    | (map(select(.ok == null).what) | unique | join(", ")) as $open
    | "\(map(.words) | join("; ")) | "
        + (if $missed != "" then "no: \($missed)" elif any(.[]; .ok == true) then "yes" else "" end)
        + (if $open != "" then (if $missed != "" or any(.[]; .ok == true) then "; " else "" end)
            + "not measured: \($open)" else "" end);
