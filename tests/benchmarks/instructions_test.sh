#!/bin/sh
# The instructions that the emulator takes for dense attention, all checks on, on one core, against those that
# instructions.txt keeps: a time would differ from run to run and from machine to machine, this does not.
#   instructions_test.sh BENCHMARK_EMULATOR COMPILER [--update]
set -eu
program=$1 compiler=$2 update=${3-}
kept=$(dirname "$0")/instructions.txt
command -v valgrind >/dev/null || { echo "not run: no valgrind"; exit 77; }
known=$(sed -n 's/^compiler //p' "$kept" 2>/dev/null || true)
if [ "$update" != --update ] && [ "$known" != "$compiler" ]; then
    echo "not run: built by $compiler, the counts are those of $known"
    exit 77
fi

count() { # STAGE N: in millions
    ATTN_WORKERS=1 valgrind --tool=callgrind --callgrind-out-file=/dev/null "$program" "$1" "$2" 2>&1 >/dev/null |
        awk '/Collected : / { printf "%.1f\n", $NF / 1e6; found = 1 } END { exit !found }'
}

if [ "$update" = --update ]; then
    {
        echo "# Millions of instructions of benchmark_emulator STAGE N (callgrind); by instructions_test.sh --update"
        echo "compiler $compiler"
        for run in "stage1 64" "stage2 128"; do
            # shellcheck disable=SC2086 # two words
            echo "$run $(count $run)"
        done
    } >"$kept.new"
    mv "$kept.new" "$kept"
fi

failed=0
while read -r stage n millions; do
    case $stage in '#' | compiler) continue ;; esac
    now=$(count "$stage" "$n")
    echo "$stage, n = $n: $now million instructions, kept: $millions"
    # More is a regression; much less should be kept as the new figure.
    awk -v now="$now" -v kept="$millions" 'BEGIN { exit !(now <= 1.05 * kept && now >= 0.8 * kept) }' || failed=1
done <"$kept"
[ $failed = 0 ] || echo "FAILED: not within -20 … +5 %. If that is meant, keep the new counts with --update."
exit $failed
