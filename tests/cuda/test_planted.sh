#!/bin/sh
# test_planted.sh -- a test of the tests: every fault of planted_*.cu must be found, by each way that is said to find it, and
# what is right must pass all of them. Usage: test_planted.sh DIRECTORY, which holds planted_plain, planted_asan, planted_tsan
# and planted_tsan_blocks.
set -u
programs=$1
log=$(mktemp)
trap 'rm -f "$log"' EXIT
unset COC_ORDER COC_SEED COC_DEFERRED COC_LEAKS COC_ABORT COC_DEVICE COC_MEMORY_BYTES
export TSAN_OPTIONS="halt_on_error=1 atexit_sleep_ms=0" ASAN_OPTIONS=detect_leaks=1:abort_on_error=0 UBSAN_OPTIONS=print_stacktrace=1
found=0 missed=0

result() # OUTCOME WHAT
{
    if [ "$1" = 0 ]; then
        found=$((found + 1))
    else
        missed=$((missed + 1))
        echo "FAIL: $2"
        sed 's/^/    /' "$log" | head -12
    fi
}
# finds BUILD FAULT PATTERN [ENVIRONMENT...]: that build stops at the fault, or prints what it did, and says so
finds()
{
    build=$1 fault=$2 pattern=$3
    shift 3
    env "$@" "$programs/planted_$build" "$fault" >"$log" 2>&1
    grep -qE "$pattern" "$log"
    result $? "planted $fault is not found by the $build build ($*): expected $pattern"
}
# passes FAULT RESULT: all builds and orders, streams run at once or late
passes()
{
    for build in plain asan tsan tsan_blocks; do
        for order in ascending descending random; do
            for deferred in 0 1; do
                env COC_ORDER=$order COC_SEED=7 COC_DEFERRED=$deferred COC_LEAKS=fail "$programs/planted_$build" "$1" >"$log" 2>&1 &&
                    grep -q "$2" "$log"
                result $? "$1 does not pass the $build build in $order order, COC_DEFERRED=$deferred"
            done
        done
    done
}
# order_shows FAULT: results differ between thread orders
order_shows()
{
    for order in ascending descending random; do
        COC_ORDER=$order "$programs/planted_plain" "$1"
    done 2>&1 | sort -u >"$log"
    [ "$(wc -l <"$log")" -gt 1 ]
    result $? "planted $1 gives the same result in every order"
}
# turns_show FAULT: results differ with the turns that streams take
turns_show()
{
    for seed in 1 2 3 4 5 6 7 8; do
        COC_DEFERRED=1 COC_SEED=$seed "$programs/planted_plain" "$1"
    done 2>&1 | sort -u >"$log"
    [ "$(wc -l <"$log")" -gt 1 ]
    result $? "planted $1 gives the same result whatever turns the streams take"
}

passes right_transpose 'cudaSuccess cudaSuccess the result is '
passes right_event 'cudaSuccess cudaSuccess the result is 2080'
passes right_pageable 'cudaSuccess cudaSuccess the result is 2080'
passes right_struct 'cudaSuccess cudaSuccess the result is 2080'
passes right_capture '^cudaSuccess cudaSuccess cudaSuccess cudaSuccess cudaSuccess cudaSuccess cudaSuccess cudaSuccess the result is 2080'

# memory
finds asan global_overrun '(overflow|poison)(.|\n)*global_overrun|global_overrun'
finds plain global_overrun 'something has written behind a block of 256 bytes of device memory'
finds asan dynamic_shared_overrun 'heap-buffer-overflow|use-after-poison'
finds asan static_shared_overrun 'out of bounds for type|global-buffer-overflow'
finds asan local_overrun 'out of bounds for type|stack-buffer-overflow'
finds asan misaligned_vector 'misaligned address.*16 byte alignment'
finds asan host_reads_device 'use-after-poison'
finds plain host_pointer_to_a_kernel 'parameter 2 is a pointer to host memory'
finds plain wrong_stride 'differs from the reference'
finds plain 'uninitialised_shared<N>' 'has NaNs'
finds plain uninitialised_dynamic_shared 'has NaNs'
finds plain uninitialised_global 'has NaNs'
for kind in '256 bytes of device memory' '256 bytes of pinned memory' 'a stream' 'an event'; do
    finds plain leaks "^  $kind" COC_LEAKS=report
done
COC_LEAKS=fail "$programs/planted_plain" leaks >"$log" 2>&1
[ $? = 1 ]
result $? "planted leaks do not fail the program"

# threads
finds plain missing_barrier 'has NaNs'
order_shows missing_barrier_downward
for fault in missing_barrier missing_barrier_downward missing_syncwarp race_of_equals plain_add; do
    finds tsan $fault "data race .*$fault"
done
finds tsan_blocks race_between_blocks 'data race .*race_between_blocks'
finds tsan_blocks missing_barrier 'data race .*missing_barrier'
finds plain divergent_barrier 'wait at different barriers: .*planted_kernels.cu:.*planted_kernels.cu:'
finds plain barrier_not_reached 'leaves the kernel while 32 wait at a barrier'
finds plain shuffle_in_a_branch 'deadlock of 64 threads'
finds plain shuffle_outside_its_mask 'its mask leaves it out'

# streams
turns_show forgotten_event
turns_show wrong_stream
finds tsan forgotten_event 'data race'
finds tsan wrong_stream 'data race'
finds plain pinned_reused_early 'early reuse' COC_DEFERRED=1
finds tsan pinned_reused_early 'data race'
finds asan result_read_early 'use-after-poison' COC_DEFERRED=1
finds tsan result_read_early 'data race'
finds plain freed_under_a_kernel 'parameter 2 points to device memory that is not allocated, or no longer' COC_DEFERRED=1
finds plain freed_in_a_struct 'parameter 1 holds a pointer to device memory that was freed'
finds plain freed_under_a_copy 'pinned memory of a queued copy was freed' COC_DEFERRED=1

# capture, and what else is refused
finds plain capture_of_a_wait '^cudaErrorStreamCaptureUnsupported cudaErrorStreamCaptureInvalidated cudaErrorStreamCaptureInvalidated cudaSuccess'
finds plain capture_of_a_query '^cudaErrorStreamCaptureUnsupported cudaErrorStreamCaptureInvalidated cudaSuccess'
finds plain capture_of_a_device_wait '^cudaErrorStreamCaptureUnsupported cudaErrorStreamCaptureInvalidated cudaSuccess'
finds plain capture_of_malloc '^cudaErrorStreamCaptureUnsupported cudaErrorStreamCaptureInvalidated cudaSuccess cudaSuccess cudaSuccess'
finds plain capture_of_a_pageable_copy '^cudaErrorStreamCaptureUnsupported cudaErrorStreamCaptureInvalidated cudaSuccess'
finds plain capture_without_join '^cudaErrorStreamCaptureUnjoined cudaSuccess'
finds plain capture_that_waits_for_outside '^cudaErrorStreamCaptureIsolation cudaErrorStreamCaptureInvalidated cudaSuccess'
finds plain capture_of_an_event_query '^cudaErrorCapturedEvent cudaErrorStreamCaptureInvalidated cudaSuccess'
finds plain capture_beside_the_legacy_stream '^cudaErrorStreamCaptureImplicit cudaErrorStreamCaptureInvalidated cudaSuccess'
finds plain capture_ended_elsewhere '^cudaErrorStreamCaptureUnmatched cudaErrorStreamCaptureInvalidated cudaErrorIllegalState cudaSuccess'
finds plain graph_outlives_memory 'parameter 2 points to device memory that is not allocated, or no longer'
finds plain graph_destroyed_early 'destroyed while a launch of it was queued' COC_DEFERRED=1
finds plain wrong_arguments '^cudaErrorInvalidValue cudaErrorInvalidValue cudaErrorInvalidValue cudaErrorInvalidValue cudaErrorInvalidResourceHandle cudaErrorInvalidConfiguration cudaErrorInvalidValue cudaErrorMemoryAllocation cudaSuccess'
finds plain out_of_memory '^cudaErrorMemoryAllocation 99744 of 100000 bytes left' COC_MEMORY_BYTES=100000

echo "$found as it should be, $missed not"
[ $missed = 0 ]
