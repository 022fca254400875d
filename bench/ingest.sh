#!/bin/sh
# ingest.sh BUILD -- how fast metrics are written to journals and read into the results database: 1.8 million values,
# then the same again, when nothing is new.
set -eu
build=$(cd "$1" && pwd)
folder=$(mktemp -d "${TMPDIR:-/tmp}/vicmae-ingest-XXXXXX")
trap 'rm -rf "$folder"' EXIT
"$build/bench/bench_journal" "$folder/runs"
printf 'first time:  '
"$build/vicmae-results" ingest "$folder/runs" --db "$folder/results.db"
printf 'second time: '
"$build/vicmae-results" ingest "$folder/runs" --db "$folder/results.db"
du -k "$folder/results.db" | awk '{ printf "database:    %.1f MiB\n", $1 / 1024 }'
