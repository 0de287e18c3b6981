#!/bin/sh
# Stops gdb in one thread of a kernel that the emulator runs, and checks what it shows there.
# Usage: debugger_test.sh PROGRAM SOURCE_FOLDER
set -u
program=$1
source=$2
output=$(mktemp)
trap 'rm -f "$output"' EXIT

skip() {
    echo "not run: no gdb${1:+ ($1)}"
    exit 77
}
command -v gdb >/dev/null 2>&1 || skip
gdb -nx -batch -ex 'python print("has " + "python")' 2>/dev/null | grep -q 'has python' || skip "without Python"
gdb -nx -batch -ex 'break main' -ex run -ex kill "$program" 2>&1 | grep -q '^Breakpoint 1, .*main' ||
    skip "it may not trace processes here"

line_of() { grep -n 'stop here$' "$1" | head -n 1 | cut -d : -f 1; }
in_kernel=$(line_of "$source/tests/debugger/example.cu")
in_main=$(line_of "$source/tests/debugger/main.cpp")

# In the locale that a fresh system has: what the printers show must be ASCII.
LC_ALL=C timeout 120 gdb -nx -batch \
    -ex 'set pagination off' -ex 'set width 0' -ex 'set print frame-arguments none' \
    -ex "source $source/common/tensor/gdb_printers.py" \
    -ex "break example.cu:$in_kernel if threadIdx.x == 5 && blockIdx.x == 1" \
    -ex run \
    -ex 'echo thread:\n' -ex 'print threadIdx' -ex 'print blockIdx' -ex 'print blockDim' \
    -ex backtrace \
    -ex 'echo view:\n' -ex 'print in' \
    -ex next -ex next -ex next \
    -ex 'echo after the barrier:\n' -ex 'print threadIdx' -ex 'print blockIdx' -ex 'print mirrored' -ex 'print row' \
    -ex 'delete 1' -ex "break main.cpp:$in_main" -ex continue \
    -ex 'echo on the host:\n' -ex 'print result' -ex 'print halves' \
    "$program" >"$output" 2>&1

failures=0
expect() { # a text that must stand in the output, after the line $2
    sed -n "/^$2/,\$p" "$output" | grep -qF -e "$1" && return
    echo "missing after '$2': $1"
    failures=$((failures + 1))
}
expect "example.cu:$in_kernel" Thread
expect '{x = 5, y = 0, z = 0}' 'thread:'
expect '{x = 1, y = 0, z = 0}' 'thread:'
expect '{x = 8, y = 1, z = 1}' 'thread:'
expect 'add_mirrored' 'thread:'
expect 'TensorView<const float, 2>[3, 8] = {{0, 1, 2, 3, 4, 5, 6, 7}, {10, 11,' 'view:'
expect '{x = 5, y = 0, z = 0}' 'after the barrier:'
expect '{x = 1, y = 0, z = 0}' 'after the barrier:'
expect '= 12' 'after the barrier:'
expect '{10, 11, 12, 13, 14, 15, 16, 17}' 'after the barrier:'
expect 'Tensor<float, 2>[3, 8] = {{7, 7, 7, 7, 7, 7, 7, 7}, {27, 27,' 'on the host:'
expect '[10] = {0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, ...}' 'on the host:'
if [ "$failures" -ne 0 ]; then
    echo "---- gdb's output:"
    cat "$output"
    exit 1
fi
echo "gdb stopped in thread (5,0,0) of block (1,0,0) and showed its variables"
