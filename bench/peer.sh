#!/bin/bash
# peer.sh BUILD PYTHON "SIZES" "PRECISIONS" THREADS STEPS ROUNDS -- `vicmae bench` against PyTorch (peer_step.py), in turns,
# so that a machine that gets slower or busier does so for both. Prints a Markdown table; progress goes to stderr.
set -euo pipefail
build=$1 python=$2 sizes=$3 precisions=$4 threads=$5 steps=$6 rounds=$7
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

if ! command -v "$python" > /dev/null; then
    echo "peer.sh: there is no $python: no comparison with PyTorch. Give one: make -f Makefile.bench peer PYTHON=..." >&2
    exit 2
fi
if ! torch=$("$python" -c 'import torch; print(torch.__version__)' 2> /dev/null); then
    echo "peer.sh: $python has no PyTorch, so nothing was compared. In an environment of its own:" >&2
    echo "  python3 -m venv peer && peer/bin/pip install torch && make -f Makefile.bench peer PYTHON=peer/bin/python" >&2
    exit 2
fi
modes=(eager)
if "$python" -c 'import torch; torch.compile(torch.nn.Linear(2, 2))(torch.ones(1, 2)).sum().backward()' > /dev/null 2>&1; then
    modes+=(compiled)
else
    echo "peer.sh: torch.compile does not work in $python (it needs a C++ compiler and Python's headers): eager only" >&2
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
field() { # NAME: a number of one-line or indented JSON on stdin
    sed -n "s/.*\"$1\": *\([-0-9.e+]*\).*/\1/p" | head -n 1
}
record() { # SIZE PRECISION WHO MS: one round's median step
    printf '%s\t%s\t%s\t%s\n' "$@" >> "$log"
    printf '  %-6s %-5s %-8s %10.1f ms\n' "$@" >&2
}
median() { # of a JSON line's step_ms
    sed 's/.*"step_ms": \[\([^]]*\)\].*/\1/' | tr ',' '\n' | sort -g |
        awk '{ x[NR] = $1 } END { print NR % 2 ? x[(NR + 1) / 2] : (x[NR / 2] + x[NR / 2 + 1]) / 2 }'
}

for size in $sizes; do
    for precision in $precisions; do
        for ((round = 1; round <= rounds; round++)); do
            echo "$size $precision, round $round of $rounds" >&2
            ours=$("$build/vicmae" bench "$size" --precision "$precision" --threads "$threads" --steps "$steps" --json)
            pairs=$(field pairs <<< "$ours")
            record "$size" "$precision" vicmae "$(field step_ms <<< "$ours")"
            for mode in "${modes[@]}"; do
                record "$size" "$precision" "$mode" "$("$python" "$here/peer_step.py" "$size" "$precision" "$mode" \
                    --threads "$threads" --steps "$steps" --pairs "$pairs" | tail -n 1 | median)"
            done
            printf '%s\t%s\tpairs\t%s\n' "$size" "$precision" "$pairs" >> "$log"
        done
    done
done

echo "One pre-training step (forward, backward, AdamW) in ms: median of $rounds rounds of $((steps - 3)) steps [least .. most of the"
echo "rounds' medians]; $threads threads; PyTorch $torch. Ratio: PyTorch's time by vicmae's, median of the rounds."
echo
awk -F'\t' -v modes="${modes[*]}" '
function sorted(list, n, x,    i, j, t) {
    n = split(list, x, " ")
    for (i = 2; i <= n; i++)
        for (j = i; j > 1 && x[j - 1] + 0 > x[j] + 0; j--) { t = x[j]; x[j] = x[j - 1]; x[j - 1] = t }
    return n
}
function middle(list,    n, x) {
    n = sorted(list, 0, x)
    return n % 2 ? x[(n + 1) / 2] : (x[n / 2] + x[n / 2 + 1]) / 2
}
function cell(list,    n, x) {
    n = sorted(list, 0, x)
    return sprintf("%.1f [%.1f .. %.1f]", middle(list), x[1], x[n])
}
function ratio(a, b,    n, i, x, y, list) {
    n = split(a, x, " "); split(b, y, " ")
    for (i = 1; i <= n; i++) list = list " " x[i] / y[i]
    return sprintf("%.2f", middle(list))
}
{
    key = $1 "\t" $2
    if (!(key in seen)) { seen[key] = 1; order[++count] = key }
    if ($3 == "pairs") pairs[key] = $4
    else times[key, $3] = times[key, $3] " " $4
}
END {
    m = split(modes, mode, " ")
    line = "| model | precision | pairs | vicmae |"; rule = "|---|---|---|---|"
    for (i = 1; i <= m; i++) { line = line " PyTorch " mode[i] " | ratio |"; rule = rule "---|---|" }
    print line; print rule
    for (k = 1; k <= count; k++) {
        key = order[k]; split(key, part, "\t")
        line = "| " part[1] " | " part[2] " | " pairs[key] " | " cell(times[key, "vicmae"]) " |"
        for (i = 1; i <= m; i++)
            line = line " " cell(times[key, mode[i]]) " | " ratio(times[key, mode[i]], times[key, "vicmae"]) " |"
        print line
    }
}' "$log"
