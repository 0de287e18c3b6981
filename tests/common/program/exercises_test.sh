#!/bin/sh
# The list of exercises names files that exist, in both chapters and solutions, and the README names each.
set -eu
cd "$(dirname "$0")/../../.."
failed=0
checked=0
for list in chapters/*/exercises/exercises.toml; do
    folder=$(dirname "$list")
    chapter=$(basename "$(dirname "$folder")")
    listed=$(sed -n 's/^file = "\(.*\)"$/\1/p' "$list" | sort)
    present=$(cd "$folder" && ls -- *.cu *.cpp 2>/dev/null | sort)
    [ "$listed" = "$present" ] || { echo "FAILED $list lists other files than $folder holds"; failed=1; }
    for file in $listed; do
        checked=$((checked + 1))
        [ -f "solutions/$chapter/$file" ] || { echo "FAILED solutions/$chapter/$file is missing"; failed=1; }
        grep -q "(exercises/$file)" "chapters/$chapter/README.md" ||
            { echo "FAILED chapters/$chapter/README.md does not name $file"; failed=1; }
    done
done
echo "$checked exercises checked"
[ "$checked" -gt 0 ] && [ "$failed" = 0 ]
