#!/bin/sh
# A newcomer's first hour, typed into a terminal: ./attn, the first exercise untouched, a wrong answer, the right one.
# Usage: newcomer_test.sh [PROJECT]   PROJECT: a clone in which nothing was done yet, which is used and left as it was;
#                                     without it the project is cloned into a temporary folder first
# Needs tmux; exit status 77 where there is none.
set -u
command -v tmux >/dev/null 2>&1 || { echo "not run: no tmux"; exit 77; }
here=$(cd -P -- "$(dirname "$0")/../.." && pwd -P)
scratch=$(mktemp -d)
if [ $# -gt 0 ]; then
    project=$(cd -P -- "$1" && pwd -P)
else
    project=$scratch/attention-taxonomy
    git clone -q "$here" "$project" || exit 2
fi
chapter=00_dense_attention
exercise=row_maximum
stub=chapters/$chapter/exercises/$exercise.cu
cd "$project" || exit 2
if ! grep -q 'throw NotImplementedYet' "$stub" || [ -e progress.toml ]; then
    echo "$project: found a student's work, expected a clone in which nothing was done yet"
    exit 2
fi

socket=$scratch/tmux
terminal() { tmux -S "$socket" "$@"; }
restore() {
    terminal kill-server 2>/dev/null
    [ ! -f "$scratch/stub" ] || cp "$scratch/stub" "$project/$stub"
    rm -rf "$project/progress.toml" "$project/$stub".backup-* "$scratch"
}
trap restore EXIT
trap 'exit 130' INT TERM
cp "$stub" "$scratch/stub"

screen() { terminal capture-pane -p -J -t newcomer -S -200; }
keys() { terminal send-keys -t newcomer "$@"; }
# Waits until a text stands on the screen.
see() {  # TEXT SECONDS
    waited=0
    while ! screen | grep -qF -e "$1"; do
        sleep 0.1
        waited=$((waited + 1))
        if [ $waited -gt $(($2 * 10)) ]; then
            echo "FAILED after $2 s there is no \"$1\" on the screen:"
            screen | sed '/^$/d; s/^/    /'
            exit 1
        fi
    done
    echo "ok  $1 (after $((waited / 10)).$((waited % 10)) s)"
}
clean() { sleep 0.2; terminal send-keys -R -t newcomer; terminal clear-history -t newcomer; }
type_line() { clean; keys "$1" Enter; }

terminal -f /dev/null new-session -d -s newcomer -x 100 -y 50 -c "$project" sh
terminal set-option -t newcomer history-limit 2000
keys 'PS1="ready> "' Enter

type_line './attn'
see 'Table 19.1, measured' 900
see "$stub" 5                                        # what to do next
type_line './attn list'
see 'untouched' 10
type_line "./attn test $exercise; echo status \$?"
see 'not implemented yet' 300
see 'status 3' 5

type_line './attn watch'
see 'not implemented yet' 60
cp "tests/$chapter/mistakes/$exercise/one_column_each.cu" "$stub"
see 'Diagnosis' 60
clean
keys h
see 'hint 1 of 3' 5
clean
cp "solutions/$chapter/$exercise.cu" "$stub"
see 'passed' 60
keys q
see 'ready>' 5
type_line './attn list'
see 'done' 10
type_line './attn next'
see 'warp_reduction' 10
type_line "./attn reset $exercise --yes; grep -c 'throw NotImplementedYet' $stub"
see 'backup-1' 10

echo "the newcomer is through"
