#!/bin/sh
# ptxas_gate.sh -- compiles every kernel of the CUDA backend for the architectures of a release and looks at what came out.
#
#   tests/cuda/ptxas_gate.sh [--csv FILE] [--markdown FILE] [FILE.cu...]       (default: engine/backend/cuda/*.cu)
#
# Fails on spills, local memory and double arithmetic (ptxas' own warnings, and counted in the PTX once more), and where a
# kernel is not what tests/cuda/ptxas_expectations.txt says it is. Prints a line a kernel and architecture; --csv has one an
# instance of a template. NVCC: the compiler; ARCHITECTURES: "80 90"; two of them are compiled at a time. 77: no nvcc.
set -u
root=$(cd "$(dirname "$0")/../.." && pwd)
expectations=$root/tests/cuda/ptxas_expectations.txt
csv= markdown=
while [ $# -gt 0 ]; do
    case $1 in
    --csv) csv=$2; shift 2 ;;
    --markdown) markdown=$2; shift 2 ;;
    -*) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 2 ;;
    *) break ;;
    esac
done
nvcc=${NVCC:-$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)}
[ -x "$nvcc" ] || { echo "skipped: no nvcc (NVCC says where it is)"; exit 77; }
complete=0
[ $# -gt 0 ] || { complete=1; set -- "$root"/engine/backend/cuda/*.cu; }
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

# compile ARCHITECTURE FILE...: PTX and ptxas' report of each into $work.
compile()
{
    arch=$1
    shift
    for file; do
        base=$work/$arch.$(basename "$file" .cu)
        mkdir "$base"
        if ! "$nvcc" -std=c++17 -O3 -arch=sm_"$arch" -I"$root" -Xptxas -v,-warn-lmem-usage,-warn-spills,-warn-double-usage,-Werror \
            --keep --keep-dir "$base" -c "$file" -o "$base/object.o" >"$base/report" 2>&1; then
            echo "FAIL: $file for sm_$arch"
            grep -E 'error|[Ww]arning' "$base/report" | head -5
        fi >>"$work/failures.$arch"
        mv "$base"/*.ptx "$base.ptx" 2>/dev/null
        mv "$base/report" "$base.report"
        rm -rf "$base"
    done
}
running=0
for arch in ${ARCHITECTURES:-80 90}; do
    compile "$arch" "$@" &
    running=$((running + 1))
    [ $((running % 2)) != 0 ] || wait
done
wait

# One line an instance: arch,file,name,registers,shared,stack,spills,vector_loads,loads,vector_stores,stores,mma,barriers,local,f64
for ptx in "$work"/*.ptx; do
    arch=$(basename "$ptx" | cut -d. -f1)
    file=$(basename "$ptx" .ptx | cut -d. -f2-)
    awk -v arch="$arch" -v file="$file.cu" '
        FILENAME ~ /\.report$/ {
            if (/Compiling entry function/) { split($0, part, "\047"); name = part[2] }
            if (/bytes stack frame/) { stack[name] = $1; spill[name] = $5 + $9 }
            if (/Used [0-9]+ registers/) {
                for (i = 1; i <= NF; i++) {
                    if ($i ~ /^registers/) registers[name] = $(i - 1)
                    if ($i ~ /^smem/) shared[name] = $(i - 2)
                }
            }
            next
        }
        /\.entry / { sub(/.*\.entry /, ""); sub(/\(.*/, ""); kernel = $1; order[++kernels] = kernel; next }
        /^}/ { kernel = "" }
        kernel == "" { next }
        /^[ \t]*(@%?!?[a-z0-9]+ )?[ \t]*ld\./ && !/ld\.[a-z.]*(param|shared|local|const)/ { loads[kernel]++; if (/\.v[248]\./) vloads[kernel]++ }
        /^[ \t]*(@%?!?[a-z0-9]+ )?[ \t]*st\./ && !/st\.[a-z.]*(param|shared|local)/ { stores[kernel]++; if (/\.v[248]\./) vstores[kernel]++ }
        /cp\.async\.c[ag]\.shared\.global/ { loads[kernel]++; if (/, 16/) vloads[kernel]++ }
        /mma\.sync|wgmma\.mma/ { mma[kernel]++ }
        /bar\.sync|barrier\.sync/ { barriers[kernel]++ }
        /\.local/ { local_[kernel]++ }
        /\.f64/ { f64[kernel]++ }
        END {
            for (i = 1; i <= kernels; i++) {
                k = order[i]
                print arch, file, k, registers[k] + 0, shared[k] + 0, stack[k] + 0, spill[k] + 0, vloads[k] + 0, loads[k] + 0,
                      vstores[k] + 0, stores[k] + 0, mma[k] + 0, barriers[k] + 0, local_[k] + 0, f64[k] + 0
            }
        }' "$work/$arch.$file.report" "$ptx"
done | awk '{ print > "'"$work"'/numbers"; print $3 > "'"$work"'/names" }'
[ -s "$work/names" ] || { cat "$work"/failures.*; echo "FAIL: no kernel was compiled"; exit 1; }
c++filt <"$work/names" | sed 's/^void //; s/([^()]*)$//; s/(anonymous namespace):://g; s/(bool)0/false/g; s/(bool)1/true/g; s/(int)//g; s/__nv_bfloat16/bf16/g' >"$work/plain"
# name (of the family) and instance instead of the mangled name; commas of template arguments become semicolons
paste -d' ' "$work/numbers" "$work/plain" | awk 'BEGIN { OFS = "," } {
    instance = $16; for (i = 17; i <= NF; i++) instance = instance $i
    family = instance; sub(/<.*/, "", family); gsub(/,/, ";", instance)
    print $1, $2, family, instance, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15
}' | sort -t, -k2,4 -k1,1 >"$work/table"
header=arch,file,kernel,instance,registers,shared_bytes,stack_bytes,spill_bytes,vector_loads,loads,vector_stores,stores,mma,barriers,local,f64
[ -z "$csv" ] || { echo $header; cat "$work/table"; } >"$csv"

# families MARKDOWN: one line a kernel and architecture; the most of any instance, but of registers the range.
families()
{
    awk -F, -v markdown="$1" '
        function most(what, value) { if (!((key, what) in m) || value > m[key, what]) m[key, what] = value }
        {
            key = $2 SUBSEP $3 SUBSEP $1
            if (!(key in instances)) keys[++n] = key
            instances[key]++
            if (!(key in least) || $5 < least[key]) least[key] = $5
            for (i = 5; i <= 16; i++) most(i, $i + 0)
        }
        END {
            f = markdown ? "| %s | `%s` | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n" : "%-20s %-34s %4s %5s %8s %7s %7s %7s %7s %5s %5s\n"
            printf f, "file", "kernel", "sm", "inst.", "regs", "smem", "spills", "v.load", "v.store", "mma", "bar"
            if (markdown) print "|---|---|---|---|---|---|---|---|---|---|---|"
            for (j = 1; j <= n; j++) {
                key = keys[j]
                split(key, part, SUBSEP)
                r = least[key] == m[key, 5] ? m[key, 5] : least[key] "-" m[key, 5]
                printf f, part[1], part[2], part[3], instances[key], r, m[key, 6], m[key, 8], m[key, 9], m[key, 11], m[key, 13], m[key, 14]
            }
        }' "$work/table"
}
families ""
[ -z "$markdown" ] || families 1 >"$markdown"

# The expectations: "kernel memory|tensor|small|any", or "kernel what>=number"; for at least one instance of each architecture.
awk -F, -v complete="$complete" '
    NR == FNR {
        sub(/#.*/, "")
        if (split($0, part, /[ \t]+/) < 2) next
        known[part[1]] = 1
        for (i = 2; part[i] != ""; i++) expected[++n] = part[1] SUBSEP part[i]
        next
    }
    {
        archs[$1] = 1; seen[$3] = 1
        value["vector_loads"] = $9; value["loads"] = $10; value["vector_stores"] = $11; value["mma"] = $13; value["barriers"] = $14
        value["vector"] = $9 + $11
        for (what in value) if (!(($3, $1, what) in best) || value[what] > best[$3, $1, what]) best[$3, $1, what] = value[what]
        if ($7 + $8 + $15 + $16 > 0) { print "FAIL: " $4 " for sm_" $1 " has stack, spills, local memory or doubles: " $0; bad = 1 }
        if (!($3 in known) && !($3 in told)) { print "FAIL: " $3 " (" $2 ") is not in tests/cuda/ptxas_expectations.txt: say what it is"; told[$3] = bad = 1 }
    }
    END {
        for (k in known) if (complete && !(k in seen)) { print "FAIL: there is no kernel " k " any more: take it out of tests/cuda/ptxas_expectations.txt"; bad = 1 }
        for (i = 1; i <= n; i++) {
            split(expected[i], part, SUBSEP)
            if (!(part[1] in seen) || part[2] == "small" || part[2] == "any") continue
            what = part[2] == "memory" ? "vector" : part[2] == "tensor" ? "mma" : part[2]
            least = 1
            if (split(what, two, ">=") == 2) { what = two[1]; least = two[2] }
            for (a in archs) if (best[part[1], a, what] + 0 < least) { print "FAIL: " part[1] " for sm_" a " has " best[part[1], a, what] + 0 " " what ", " least " expected"; bad = 1 }
        }
        exit bad
    }' "$expectations" "$work/table" >"$work/verdict"
bad=$?
cat "$work"/failures.* "$work/verdict"
[ ! -s "$work/verdict" ] || bad=1
for f in "$work"/failures.*; do [ ! -s "$f" ] || bad=1; done
echo "$(wc -l <"$work/table") kernels compiled: $([ $bad = 0 ] && echo all as expected || echo not as expected)"
exit $bad
