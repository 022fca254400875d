#!/bin/sh
# run.sh TARGET SECONDS [BUILD] -- fuzzes one target from its seeds in corpus/TARGET, or all targets, that long each.
# What it learns goes to BUILD/corpus/TARGET, what breaks it to BUILD/findings. Exit code 0: nothing found.
#
#   apt-get install clang libomp-dev
#   cmake --preset fuzz && cmake --build --preset fuzz
#   tests/fuzz/run.sh journal 600            # or: config, safetensors, tar, ... , all
set -eu
here=$(cd "$(dirname "$0")" && pwd)
targets=$(cd "$here" && ls fuzz_*.c | sed 's/^fuzz_//; s/\.c$//')
build=${3:-$(dirname "$(dirname "$here")")/build-fuzz}
if [ $# -lt 2 ] || [ $# -gt 3 ]; then
    sed -n '2,7s/^# \{0,1\}//p' "$0"
    exit 2
fi
if [ "$1" = all ]; then
    for target in $targets; do
        "$0" "$target" "$2" "$build"
    done
    exit 0
fi
if [ ! -x "$build/fuzz/fuzz_$1" ]; then
    echo "run.sh: there is no $build/fuzz/fuzz_$1; targets are:" $targets "(to build them: $0 without arguments)" >&2
    exit 2
fi
mkdir -p "$build/corpus/$1" "$build/findings"
export UBSAN_OPTIONS=print_stacktrace=1
exec "$build/fuzz/fuzz_$1" -max_total_time="$2" -max_len=4096 -timeout=10 -rss_limit_mb=1024 -verbosity=0 \
    -print_final_stats=1 -artifact_prefix="$build/findings/$1-" "$build/corpus/$1" "$here/corpus/$1"
