#!/bin/sh
# header.sh BUILD -- what a timing is worth nothing without: machine, revision, date, and who else is working here.
set -eu
cpu=$(sed -n '/^model name/{s/^[^:]*: //p;q}' /proc/cpuinfo)
governor=$(cat /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor 2> /dev/null || echo unknown)
printf '%s\n' "$("$1/vicmae" --version), $(date -u +%Y-%m-%dT%H:%M:%SZ)"
printf '%s\n' "${cpu:-$(uname -m)}, $(nproc) cores, governor $governor, load $(cut -d' ' -f1 /proc/loadavg)"
if awk '{ exit !($1 > 0.5) }' /proc/loadavg; then
    echo "CAREFUL: the load says that others work on this machine: timings will be too long and will vary"
fi
