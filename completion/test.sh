#!/bin/bash
# test.sh BUILD -- what bash completes, asked of the programs in BUILD.
set -eu
PATH=$1:$PATH
cd "$(dirname "$0")/.."
compopt() { :; } # only works while the shell completes
# shellcheck source=completion/vicmae.bash
. completion/vicmae.bash
failed=0

completes() { # FUNCTION EXPECTED WORD...: the last word is the one being typed
    local function=$1 expected=$2
    shift 2
    COMP_WORDS=("$@")
    COMP_CWORD=$(($# - 1))
    "$function"
    if [[ " ${COMPREPLY[*]} " != *" $expected "* ]]; then
        printf 'FAILED  "%s" completes to "%s", without "%s"\n' "$*" "${COMPREPLY[*]}" "$expected"
        failed=1
    fi
}

completes _vicmae pretrain vicmae pre
completes _vicmae bench vicmae ''
completes _vicmae --precision= vicmae bench --prec
completes _vicmae model.mask_ratio= vicmae pretrain model.mask
completes _vicmae experiments/vicmae.cfg vicmae pretrain experiments/vic
completes _vicmae_sweep --dry-run vicmae-sweep --dry
completes _vicmae_sweep sweeps/table3.cfg vicmae-sweep sweeps/table3
completes _vicmae_results compare vicmae-results com
completes _vicmae_results --where= vicmae-results list --wh
completes _vicmae_results --root= vicmae-results show --ro
completes _vicmae_results --latex vicmae-results export --la
completes _vicmae_results latex vicmae-results table table3 --format la
completes _vicmae_results dumb vicmae-results plot table3 --format d
completes _vicmae_results results vicmae-results list --root res
completes _vicmae_results table3a vicmae-results paper table3
completes _vicmae_results diverged vicmae-results list --status div
[ $failed = 0 ] && echo "completion: ok"
exit $failed
