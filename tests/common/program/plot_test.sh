#!/bin/sh
# attn table --recall --plot: writes an SVG with a line for each row of the table; without gnuplot it says so, and
# writes nothing.
#   plot_test.sh PROGRAM
set -eu
program=$1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
fail() { echo "FAILED $*"; exit 1; }

mkdir "$scratch/empty"
status=0
PATH="$scratch/empty" "$program" table --recall --plot "$scratch/none.svg" >/dev/null 2>"$scratch/errors" || status=$?
[ "$status" = 2 ] || fail "without gnuplot: status $status, expected 2"
grep -q 'no gnuplot' "$scratch/errors" || fail "without gnuplot: $(cat "$scratch/errors")"
[ ! -e "$scratch/none.svg" ] || fail "without gnuplot: a file was written"

"$program" table --plot "$scratch/none.svg" >/dev/null 2>&1 && fail "--plot without --recall was taken"

command -v gnuplot >/dev/null || { echo "not run: no gnuplot"; exit 77; }
"$program" table --recall --plot "$scratch/recall.svg" >"$scratch/table"
rows=$(sed -n '/^hits in %/,/^$/p' "$scratch/table" | sed '1d;$d' | wc -l)
[ "$rows" -ge 10 ] || fail "$rows rows in the table"
titles=$(grep -c '<title>' "$scratch/recall.svg")
[ "$titles" -ge "$rows" ] || fail "$titles lines in the plot, expected $rows"
grep -q 'softmax, D = 32' "$scratch/recall.svg" || fail "no legend in the plot"
echo "drawn: $rows rows"
