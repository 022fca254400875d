#!/bin/sh
# roof.sh BUILD THREADS -- what this machine can do: GB/s of its memory, GFLOP/s of matrix products (as vicmae measures them).
set -eu
"$1/bench/bench_stream" 1
if [ "$2" != 1 ]; then
    "$1/bench/bench_stream" "$2"
fi
"$1/vicmae" bench nano --steps 4 --threads "$2" --json | awk -F'[:,]' '
    /"precision"/ { gsub(/[ "]/, "", $2); precision = $2 }
    /"roof_gflops_per_s"/ { printf "matrix products of 1024^3, %-5s %.0f GFLOP/s\n", precision ":", $2 }'
