#!/bin/sh
# Stops gdb, and lldb where it works, at steps by their tags: in the formula, and in a kernel that `attn run` runs on
# the emulator. Then checks that what the editor's files name is there.
# Usage: tags_test.sh ATTN NAIVE SOURCE_FOLDER BUILD_FOLDER WORKER_OF_ROW_MAXIMUM
set -u
attn=$1
naive=$2
source=$3
build=$4
worker=$5
output=$(mktemp)
trap 'rm -f "$output"' EXIT

skip() {
    echo "not run: no gdb${1:+ ($1)}"
    exit 77
}
command -v gdb >/dev/null 2>&1 || skip
gdb -nx -batch -ex 'python print("has " + "python")' 2>/dev/null | grep -q 'has python' || skip "without Python"
gdb -nx -batch -ex 'break main' -ex run -ex kill "$naive" 2>&1 | grep -q '^Breakpoint 1, .*main' ||
    skip "it may not trace processes here"

failures=0
expect() { # a pattern of which a line must stand in the output
    grep -qe "$1" "$output" && return
    echo "missing: $1"
    sed 's/^/    /' "$output" | cut -c 1-300
    failures=$((failures + 1))
}
in_gdb() { # ARGUMENT…; in the locale that a fresh system has
    LC_ALL=C timeout 120 gdb -nx -batch -ex 'set pagination off' -ex 'set width 0' \
        -ex "source $source/common/debug/attn_gdb.py" "$@" >"$output" 2>&1
}

header=dense_attention_naive.hpp
below_tag=$(($(grep -n '// \[19\.3-2\]' "$source/chapters/00_dense_attention/$header" | cut -d : -f 1) + 1))
cd "$source" || exit 1

in_gdb -ex 'tag 19.3-2 naive if i == 2' -ex run -ex 'print visible' -ex 'print s' "$naive"
expect "^Breakpoint 1,.*naive_forward.*$header:$below_tag\$"
expect '^[$][0-9]* = 3$'
expect 'TensorView<double, 2>\[3, 3\] = {{1, -inf, -inf}, {0.5, 0.5, -inf}, {1, 1, 1}}'
in_gdb -ex 'tag 19.3-2' "$naive"
expect "^not in this program: .*/dense_attention\.cu:"
in_gdb -ex 'tag' -ex 'tag 19.3-99' -ex 'tag 19.3-2 nowhere' -ex 'tag 19.3-6 stage1'
expect "^    chapters/00_dense_attention/$header:$below_tag  row maximum"
expect '^no step has the tag 19\.3-99; the tags: .*19\.3-1 19\.3-2 '
expect "^no file with tag 19\.3-2 has 'nowhere' in its path; it is in: .*dense_attention\.cu"

case="tests/golden/dense/tile_crossing --impl optimized --device emulated"
# shellcheck disable=SC2086
in_gdb -ex 'tag 19.3-2 dense_attention.cu if threadIdx.x == 5 && blockIdx.x == 1' -ex run \
    -ex 'print threadIdx' -ex 'print blockIdx' -ex backtrace -ex delete -ex continue --args "$attn" run $case
expect 'hit Breakpoint 1.*softmax_warps'
expect '^[$][0-9]* = {x = 5, y = 0, z = 0}$'
expect '^[$][0-9]* = {x = 1, y = 0, z = 0}$'
expect '^#0 .*softmax_warps.*chapters/00_dense_attention/dense_attention\.cu:'
expect '^out .* ok$'
# Without a condition.
# shellcheck disable=SC2086
in_gdb -ex 'tag 19.3-1 dense_attention.cu' -ex run --args "$attn" run $case
expect 'hit Breakpoint 1.*dense_attention.cu:[0-9]'
debuggers=gdb

# lldb of some distributions does not find its own part in Python without help.
lldb_works() {
    LC_ALL=C timeout 60 lldb -x -b -o 'script print("has " + "python")' -o 'breakpoint set --name main' -o run -o kill \
        -- "$naive" >"$output" 2>&1
    grep -q '^has python' "$output" && grep -q 'stop reason = breakpoint' "$output"
}
in_lldb() { # ARGUMENT…
    timeout 120 lldb -x -b -o "command script import '$source/common/debug/attn_lldb.py'" "$@" >"$output" 2>&1
}
if command -v lldb >/dev/null 2>&1; then
    lldb_works || for folder in /usr/lib/llvm-*/lib/python3*/dist-packages; do
        PYTHONPATH=$folder
        export PYTHONPATH
        lldb_works && break
    done
    if lldb_works; then
        in_lldb -o 'tag 19.3-2 naive if i == 2' -o run -o 'frame variable visible' -- "$naive"
        expect "^    frame #0: .*naive_forward.* at $header:$below_tag:"
        expect '^(const int) visible = 3$'
        in_lldb -o 'tag 19.3-99' -- "$naive"
        expect '^error: no step has the tag 19\.3-99; the tags: .*19\.3-1 19\.3-2 '
        # shellcheck disable=SC2086
        in_lldb -o 'tag 19.3-1 dense_attention.cu' -o run -o 'breakpoint delete -f' -o continue -- "$attn" run $case
        expect '^    frame #0: .*at dense_attention\.cu:'
        expect '^Process .* exited with status = 0'
        debuggers='gdb and lldb'
    else
        echo 'lldb: it does not start programs here, or has no Python; not run'
    fi
else
    echo 'lldb: not installed, not run'
fi

# gdb's Python: another need not be there.
gdb -nx -batch -ex "python arguments = '''$source|$build|$attn|$worker'''.split('|')" \
    -x "$source/tests/debugger/editor_files.py" >"$output" 2>&1
expect '^the files of the editor name what is there$'

[ "$failures" -eq 0 ] || exit 1
echo "$debuggers stopped at the steps of the tags; the files of the editor name what is there"
