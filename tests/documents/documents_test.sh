#!/bin/sh
# What the README files show is what the program prints, what they quote is what the sources say, and the step tags
# of a chapter's README are those of its code.
#   documents_test.sh PROGRAM [--update]   --update writes the program's present output into the README files
#
# Times are compared as "…": they differ from run to run.
set -eu
program=$1
update=${2-}
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
checked=0

complain() { echo "FAILED $*"; failed=$((failed + 1)); }
# Nor does it compare how far the student is.
same_every_time() { sed -e 's/: [0-9][0-9.]* s$/: … s/' -e '/^You: /,$d'; }

for readme in $(git ls-files --cached --others --exclude-standard '*README.md' 2>/dev/null || find . -name README.md -not -path './build/*'); do
    # Commands after "<!-- output of: ", one each line: the program's arguments, or "stories/…", a program beside it. A
    # leading COLUMNS=… or other variable is set.
    sed -n 's/^<!-- output of: \(.*\) -->$/\1/p' "$readme" >"$work/commands"
    while read -r command <&3; do
        variable=COLUMNS=200
        words=$command
        case $command in [A-Z]*=*) variable=${command%% *}; words=${command#* } ;; esac
        case $words in stories/*) words="$(dirname "$program")/$words" ;; *) words="$program $words" ;; esac
        # shellcheck disable=SC2086 # the words of the command
        env COLUMNS=200 "$variable" $words </dev/null >"$work/output" 2>&1 || complain "$readme: $command: exit $?"
        sed "s|$PWD/||g" "$work/output" | same_every_time >"$work/expected"
        if [ "$update" = --update ]; then
            awk -v marker="<!-- output of: $command -->" -v output="$work/expected" '
                $0 == marker { print; getline; print; while ((getline line < output) > 0) print line; skip = 1; next }
                skip && /^```/ { skip = 0 }
                !skip { print }' "$readme" >"$work/readme" && cat "$work/readme" >"$readme"
        fi
        awk -v marker="<!-- output of: $command -->" '$0 == marker { getline; inside = 1; next }
            inside && /^```/ { exit } inside { print }' "$readme" >"$work/shown"
        checked=$((checked + 1))
        cmp -s "$work/shown" "$work/expected" || {
            complain "$readme: not what \"$command\" prints:"
            diff "$work/shown" "$work/expected" | head -20 || true
        }
    done 3<"$work/commands"

    sed -n 's/^<!-- function \(.*\) of \(.*\) -->$/\1 \2/p' "$readme" >"$work/functions"
    while read -r function source <&3; do
        sed -n "/^def $function(/,/^\$/p" "$source" | sed '/^$/d' >"$work/expected"
        awk -v marker="<!-- function $function of $source -->" '$0 == marker { getline; inside = 1; next }
            inside && /^```/ { exit } inside { print }' "$readme" >"$work/shown"
        checked=$((checked + 1))
        cmp -s "$work/shown" "$work/expected" || complain "$readme: not the function $function of $source"
    done 3<"$work/functions"

    case $readme in
        *chapters/*)
            folder=$(dirname "$readme")
            grep -ho '\[19\.[0-9.]*-[0-9]*\]' "$readme" | sort -u >"$work/named"
            grep -rhos --include=*.hpp --include=*.cu --include=*.cuh '\[19\.[0-9.]*-[0-9]*\]' "$folder" | sort -u >"$work/in_code"
            checked=$((checked + 1))
            cmp -s "$work/named" "$work/in_code" ||
                complain "$readme: step tags differ from the code's: $(diff "$work/named" "$work/in_code" | tr '\n' ' ')"
            ;;
    esac
done

echo "$checked checked, $failed failed"
[ "$checked" -gt 0 ] && [ "$failed" = 0 ]
