#!/bin/sh
# The student's verbs (list, next, hint, test, watch, reset, debug) on a small project in a temporary folder, with a
# judge and a cmake that say what this test wants. One line for each check that fails.
#   verbs_test.sh PROGRAM

# The conditions of a check are shell text in single quotes, evaluated in the check. The quotes of g++ are meant.
# shellcheck disable=SC2016,SC1112

set -u
unset CDPATH NO_COLOR GIT_DIR GIT_WORK_TREE COLUMNS
program=$1
scratch=$(mktemp -d) && scratch=$(cd -P -- "$scratch" && pwd -P) || exit 2
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM

tree="$scratch/a project"
build="$scratch/a build"
fake=$scratch/fake                 # what the judge and cmake shall say
attn="$build/attn"
progress="$tree/progress.toml"
first="chapters/00_first/exercises"
export ATTN_PROJECT_FOLDER="$tree" FAKE="$fake" TMPDIR="$scratch/tmp" PATH="$scratch/bin:$PATH"
checks=0
failures=0

# --- The project, the judge, cmake --------------------------------------------------------------------------------------

exercise() {  # NAME FILE
    printf '[[exercise]]\nname = "%s"\nfile = "%s"\nwhat = "what %s is"\nminutes = 20\ndifficulty = "easy"\n' "$1" "$2" "$1"
    printf 'hints = ["one of %s", "two of %s", "three of %s"]\n' "$1" "$1" "$1"
}

stub_text() { printf '// %s\nvoid f() { throw NotImplementedYet("%s"); }\n' "$1" "$1"; }

make_project() {
    rm -rf "$tree" "$build" "$fake"
    mkdir -p "$tree/$first" "$tree/chapters/01_second/exercises" "$tree/tests/grader" "$tree/solutions/00_first" \
        "$build/judges" "$fake" "$scratch/bin" "$scratch/tmp"
    { exercise alpha alpha.cpp; exercise beta beta.cu; } >"$tree/$first/exercises.toml"
    exercise a_name_of_more_than_24_letters gamma.cpp >"$tree/chapters/01_second/exercises/exercises.toml"
    printf '[points]\nalpha = 1\nbeta = 2.5\na_name_of_more_than_24_letters = 10\n' >"$tree/tests/grader/rubric.toml"
    stub_text alpha >"$tree/$first/alpha.cpp"
    stub_text beta >"$tree/$first/beta.cu"
    stub_text gamma >"$tree/chapters/01_second/exercises/gamma.cpp"
    echo solved >"$tree/solutions/00_first/alpha.cpp"
    (cd "$tree" && git init -q . && git add . && commit 'as handed out') || exit 2
    cp -p "$program" "$attn"
    cp -p "$(dirname "$program")/measured_table.toml" "$build" 2>/dev/null
    : >"$build/CMakeCache.txt"
    cat >"$build/judges/00_first" <<'END'
#!/bin/sh
cat "$FAKE/results" >>"$ATTN_RESULTS"
echo "$1 $ATTN_SEED $ATTN_WORKERS" >>"$FAKE/judged"
exit "$(cat "$FAKE/judge_status")"
END
    cat >"$scratch/bin/cmake" <<'END'
#!/bin/sh
echo "$*" >>"$FAKE/built"
[ ! -f "$FAKE/hangs" ] || sleep 30
cat "$FAKE/output"
exit "$(cat "$FAKE/status")"
END
    chmod +x "$build/judges/00_first" "$scratch/bin/cmake"
    : >"$fake/built"
    builds 0
}

commit() { git -c user.name=test -c user.email=test@test.invalid commit -q -a -m "$1"; }
builds() { echo "$1" >"$fake/status"; cat >"$fake/output" </dev/null; }  # STATUS
builds_with() { builds "$1"; cat >"$fake/output"; }                      # STATUS; what cmake says comes on stdin

result() {  # TEST STATUS [DIAGNOSIS]
    mistake=''
    [ -z "${3-}" ] || mistake="{\"name\": \"m\", \"says\": \"$3\", \"explains\": true}"
    printf '{"test": "%s", "status": "%s", "message": "line 1\\nline 2", "kept_case": "", "seconds": 0.1, "seed": 1, ' "$1" "$2"
    printf '"tells": true, "consistent": [%s]}\n' "$mistake"
}
judges() { echo "$1" >"$fake/judge_status"; cat >"$fake/results"; }  # STATUS; the results come on stdin

write() { printf '// %s\nvoid f() {}\n' "$2" >"$tree/$first/$1"; }  # FILE TEXT

# --- Running and checking -----------------------------------------------------------------------------------------------

run() {
    "$attn" "$@" >"$scratch/out" 2>"$scratch/err" </dev/null
    status=$?
    out=$(cat "$scratch/out") err=$(cat "$scratch/err")
}
has() { case $1 in *"$2"*) ;; *) return 1 ;; esac; }
lacks() { ! has "$1" "$2"; }
saved() { grep -qxF -e "$1" "$progress"; }
# shellcheck disable=SC2034 # the checks read it
widest() { LC_ALL=C.UTF-8 awk '{ if (length($0) > most) most = length($0) } END { print most + 0 }' "$scratch/out"; }

check() {  # WHAT CONDITION…
    what=$1
    shift
    for condition in "$@"; do
        checks=$((checks + 1))
        eval "$condition" && continue
        failures=$((failures + 1))
        printf 'FAILED %s: %s\n  status %s\n  out: %s\n  err: %s\n' "$what" "$condition" "$status" "$out" "$err"
    done
}

make_project
run list
has "$out" a_name_of_more || { echo 'the program does not look for exercises in ATTN_PROJECT_FOLDER'; exit 1; }

# --- list, next, the default screen -------------------------------------------------------------------------------------

check list '[ $status = 0 ]' 'has "$out" "→ alpha"' 'has "$out" "beta"' 'has "$out" "2.5 points"' 'has "$out" untouched' \
    'has "$out" "0 of 3 exercises done, 0 of 13.5 points"' '[ "$(widest)" -le 80 ]' 'lacks "$out" "$(printf "\033")"'
run next
check next '[ $status = 0 ]' 'has "$out" "$first/alpha.cpp"' 'has "$out" "chapters/00_first/README.md"' 'has "$out" "20 minutes"'
check 'nothing is remembered of looking' '[ ! -e "$progress" ]'

# --- hint ---------------------------------------------------------------------------------------------------------------

run hint
check 'the first hint' '[ $status = 0 ]' 'has "$out" "one of alpha"' 'lacks "$out" "two of"'
run hint alpha
check 'the second hint' 'has "$out" "two of alpha"' 'lacks "$out" "three of"'
run hint --level 1
check 'the first again' 'has "$out" "one of alpha"' 'saved "hints = 2"'
run hint "$first/alpha.cpp"
check 'the third, and where the solution is' 'has "$out" "three of alpha"' 'has "$out" "solutions/00_first/alpha.cpp"'
run hint
check 'no fourth' '[ $status = 0 ]' 'lacks "$out" "of alpha"' 'has "$out" "solutions/00_first/alpha.cpp"' 'saved "hints = 3"'
run hint beta --level 3
check 'no solution in this copy' 'lacks "$out" "solutions/"'
run hint --level 4
check 'there is no level 4' '[ $status = 2 ]' 'has "$err" "level"'
run hint 0
check 'a hint on a chapter' '[ $status = 2 ]' 'has "$err" "the chapter"' 'has "$err" alpha'

# --- test ---------------------------------------------------------------------------------------------------------------

make_project
run test alhpa
check 'an unknown exercise' '[ $status = 2 ]' 'has "$err" "did you mean \"alpha\""' '[ ! -s "$fake/built" ]'
run test 00_frist
check 'an unknown chapter' '[ $status = 2 ]' 'has "$err" "did you mean \"00_first\""'
run test 7
check 'no such number' '[ $status = 2 ]' 'has "$err" "\"7\""' 'has "$err" "./attn list"'
run test alpha --device tpu
check 'an unknown device' '[ $status = 2 ]' 'has "$err" tpu'

run test alpha --seed -1
check 'a seed below 0' '[ $status = 2 ]' 'has "$err" "expected a whole number"'

run test 0
check 'as handed out: nothing is built' '[ $status = 3 ]' '[ "$(grep -c "not implemented yet" "$scratch/out")" = 2 ]' \
    '[ "$(wc -l <"$scratch/out")" = 2 ]' '[ ! -s "$fake/built" ]' '[ ! -e "$progress" ]'

write beta.cu 1
{ result one passed; result two passed; } | judges 0
run test beta --seed 7
check 'all passed' '[ $status = 0 ]' 'has "$out" "✓ one"' 'has "$out" "2 of 2 tests passed (seed 7)"' \
    'has "$out" "Next is alpha"' 'lacks "$out" "$(printf "\033")"' 'saved "verdict = \"done\""' 'saved "passed = 2"' \
    'grep -q "^date = \"20..-..-..\"$" "$progress"' 'grep -q -- "--target worker_beta judge_00_first$" "$fake/built"' \
    'grep -q "^\[beta\] 7 .*/workers/mine$" "$fake/judged"'
run list
check 'it is done' 'has "$out" done' 'has "$out" "1 of 3 exercises done, 2.5 of 13.5 points"' 'has "$out" "→ alpha"'
cp "$progress" "$scratch/progress"
write beta.cu 2
run list
check 'edited since' 'has "$out" edited' 'has "$out" "0 of 3 exercises done"' 'cmp -s "$progress" "$scratch/progress"'

write alpha.cpp 1
{ result one passed; result two failed 'equals the answer upside down'; } | judges 1
run test alpha
check 'one failed' '[ $status = 1 ]' 'has "$out" "✗ two: failed"' 'has "$out" "line 2"' \
    'has "$out" "Diagnosis of \"two\": equals the answer upside down"' 'has "$out" "./attn hint alpha"' \
    'saved "verdict = \"failing\""' '[ "$(grep "^\[" "$progress" | tr -d "\n")" = "[alpha][beta]" ]'
result one failed 'equals the answer upside down' | judges 1
run test alpha
check 'one mistake explains all' 'has "$out" "Diagnosis: equals the answer upside down"'
run list
check 'failing' 'has "$out" "failing 1 of 1"'
run hint alpha
check 'the hint repeats the diagnosis' 'has "$out" "upside down"' 'has "$out" "one of alpha"'
run debug alpha
check 'no case was kept' '[ $status = 2 ]' 'has "$err" "./attn test alpha"'
run debug alpha "$scratch"
check 'no folder of a case' '[ $status = 2 ]' 'has "$err" "case.json"'

for end in crashed timed_out broke_rule; do
    { result one passed; result two $end; } | judges 1
    run test alpha
    check $end '[ $status = 4 ]' 'has "$out" "1 of 2 tests passed"'
done
cp "$progress" "$scratch/progress"
{ result one not_implemented; } | judges 1
run test alpha
check 'not implemented after all' '[ $status = 3 ]' 'has "$out" "alpha is not implemented yet"' 'lacks "$out" "✗"' \
    'cmp -s "$progress" "$scratch/progress"'
result one not_run | judges 0
run test beta --device cuda
check 'no GPU' '[ $status = 2 ]' 'has "$out" "no GPU"' 'grep -q -- "--target worker_beta_cuda judge_00_first$" "$fake/built"' \
    'cmp -s "$progress" "$scratch/progress"'
result one passed | judges 0
run test beta --device cuda
check 'on a GPU it is not remembered' '[ $status = 0 ]' 'has "$out" "on the GPU"' 'cmp -s "$progress" "$scratch/progress"'
echo 'no JSON at all' | judges 1
run test beta
check 'a judge that makes no sense' '[ $status = 2 ]' 'cmp -s "$progress" "$scratch/progress"'
judges 1 </dev/null
run test beta
check 'a judge that says nothing' '[ $status = 2 ]' 'has "$err" "did not come to its end"' 'cmp -s "$progress" "$scratch/progress"'

{ result one failed; } | judges 1
run test 00 a_name_of_more_than_24_letters beta
check 'several: a line each' '[ $status = 1 ]' '[ "$(grep -c "^  [a-z]" "$scratch/out")" = 3 ]' \
    'has "$out" "not implemented yet"' 'has "$out" "failed, 0 of 1 tests passed"'

# --- What the compiler says ---------------------------------------------------------------------------------------------

file="$tree/$first/alpha.cpp"
builds_with 1 <<END
[1/3] Building CXX object alpha.cpp.o
FAILED: alpha.cpp.o
/usr/bin/c++ -c "$file"
$file: In function ‘void f()’:
$file:2:12: error: ‘x’ was not declared in this scope
    2 | void f() {}
      |            ^
In file included from $file:1:
$tree/common/view.hpp: In instantiation of ‘T view() [with T = int]’:
$file:2:5:   required from here
$tree/common/view.hpp:55:40: error: static assertion failed: one index
   55 | static_assert(a == b)
      |               ~~^~~~
$tree/common/view.hpp:55:40: note: the comparison reduces to ‘(1 == 2)’
/usr/include/c++/12/vector:1:1: error: of nobody's making
ninja: build stopped: subcommand failed.
END
run test alpha
check 'an error of the compiler' '[ $status = 2 ]' 'has "$out" "alpha does not compile"' \
    'has "$out" "$first/alpha.cpp:2:12: error: ‘x’ was not declared"' 'has "$out" "    2 | void f() {}"' \
    'has "$out" "led there by $first/alpha.cpp:2:5"' 'has "$out" "reduces to"' 'lacks "$out" "$tree"' \
    'lacks "$out" nobody' 'lacks "$out" FAILED' 'lacks "$out" "static_assert("'
{ for line in $(seq 30); do echo "$file:$line:1: error: number $line"; done; } | builds_with 1
run test alpha
check 'many errors' 'has "$out" "number 20"' 'lacks "$out" "number 21"' 'has "$out" "and 10 more errors"'
builds_with 1 <<'END'
/usr/bin/ld: worker.o: in function `main':
worker.cpp:(.text+0x5): undefined reference to `attn::exercises::alpha::alpha(int)'
/usr/bin/ld: worker.cpp:(.text+0x9): undefined reference to `attn::exercises::alpha::alpha(int)'
/usr/bin/ld: b.o: multiple definition of `helper()'; a.o:a.cpp:(.text+0x0): first defined here
collect2: error: ld returned 1 exit status
END
run test alpha
check 'errors of the linker' '[ $status = 2 ]' '[ "$(grep -c "^error: alpha(int) is called but defined nowhere" "$scratch/out")" = 1 ]' \
    'has "$out" "helper() is defined more than once"' 'lacks "$out" "/usr/bin/ld"'
{ seq 100; echo 'the disk is full'; } | builds_with 1
run test alpha
check 'what nobody understands: the end of it' '[ $status = 2 ]' 'has "$out" "the disk is full"' 'has "$out" "not in alpha.cpp"' 'lacks "$out" "
71
"' 'has "$out" "
72
"'
builds_with 0 <<END
$file:2:3: warning: unused variable ‘y’ [-Wunused-variable]
    2 | void f() {}
$tree/common/view.hpp:1:1: warning: not the student's
END
result one passed | judges 0
run test alpha
check 'warnings' '[ $status = 0 ]' 'has "$out" "$first/alpha.cpp:2:3: warning: unused"' 'lacks "$out" "not the student"'

# --- progress.toml ------------------------------------------------------------------------------------------------------

builds 0
spoil() {  # WHAT MESSAGE TEXT
    # shellcheck disable=SC2034 # the checks read it
    message=$2
    # shellcheck disable=SC2059 # the text has \n
    printf "$3" >"$progress"
    cp "$progress" "$scratch/progress"
    for verb in list next hint 'test alpha'; do
        # shellcheck disable=SC2086 # words
        run $verb
        check "$1: $verb" '[ $status = 2 ]' 'has "$err" "$progress"' 'has "$err" "$message"' 'cmp -s "$progress" "$scratch/progress"'
    done
}
spoil 'no TOML' 'progress.toml:1: found no TOML' '[alpha\nverdict = '
spoil 'a merge' 'the marks of a merge' '# x\n<<<<<<< ours\n[alpha]\n=======\n'
spoil 'an unknown verdict' ':2: alpha: found verdict = "perfect"' '[alpha]\nverdict = "perfect"\n'
spoil 'an unknown key' 'expected "hints"' '[alpha]\nhint = 2\n'
spoil 'a number that is no count' 'no count' '[alpha]\nhints = -1\n'
spoil 'no table' '[an exercise]' 'alpha = 3\n'
rm "$progress"
mkdir "$progress"
run list
check 'a folder in its place' '[ $status = 2 ]' 'has "$err" "$progress"'
rmdir "$progress"
printf '[gone]\nhints = 1\n\n[beta]\nhints = 2\n' >"$progress"
run hint alpha
check 'what is not known stays, last' '[ $status = 0 ]' '[ "$(grep "^\[" "$progress" | tr -d "\n")" = "[alpha][beta][gone]" ]' \
    'saved "hints = 2"'
mv "$progress" "$scratch/elsewhere.toml" && ln -s "$scratch/elsewhere.toml" "$progress"
run hint alpha
check 'a link stays one' '[ -h "$progress" ]' 'saved "hints = 2"'

run table
check 'the default screen' 'has "$out" "You: 0 of 3 exercises done."' 'has "$out" "$first/alpha.cpp"'

# --- reset --------------------------------------------------------------------------------------------------------------

make_project
run reset alpha --yes
check 'nothing to put back' '[ $status = 0 ]' 'has "$out" "nothing to do"' '[ ! -e "$file.backup-1" ]'
write alpha.cpp 'my work'
(cd "$tree" && commit 'my work')
run reset alpha
check 'nobody to ask' '[ $status = 2 ]' 'has "$err" "--yes"' 'grep -q "my work" "$file"' '[ ! -e "$file.backup-1" ]'
run reset alpha --yes
check 'from history' '[ $status = 0 ]' '[ "$(cat "$file")" = "$(stub_text alpha)" ]' 'grep -q "my work" "$file.backup-1"'
write alpha.cpp 'second work'
echo precious >"$file.backup-7"
run reset alpha --yes
check 'backups are numbered on' 'grep -q "second work" "$file.backup-8"' 'grep -q precious "$file.backup-7"' \
    'grep -q "my work" "$file.backup-1"'
run reset 00_first --yes
check 'a chapter is not put back' '[ $status = 2 ]'
run reset
check 'reset needs a name' '[ $status = 2 ]'
mkdir "$tree/$first/.stubs"
stub_text packaged >"$tree/$first/.stubs/alpha.cpp"
run reset alpha --yes
check 'packaged stubs win' '[ $status = 0 ]' 'grep -q packaged "$file"'
rm -rf "$tree/.git" "$tree/$first/.stubs"
write alpha.cpp 'third work'
GIT_CEILING_DIRECTORIES=$scratch run reset alpha --yes
check 'neither history nor packaged stubs' '[ $status = 2 ]' 'has "$err" "git clone"' 'grep -q "third work" "$file"'

# --- Colours, signals, watch --------------------------------------------------------------------------------------------

make_project
if script -qec true /dev/null >/dev/null 2>&1 </dev/null; then
    on_terminal() { TERM=xterm script -qec "'$attn' list" /dev/null </dev/null; }
    check 'colours on a terminal' 'has "$(on_terminal)" "$(printf "\033[")"' 'lacks "$(NO_COLOR=1 on_terminal)" "$(printf "\033[")"'
fi

wait_for() {  # TEXT FILE
    for _ in $(seq 100); do grep -qF -e "$1" "$2" 2>/dev/null && return; sleep 0.1; done
    return 1
}
write alpha.cpp 1
touch "$fake/hangs"
"$attn" test alpha >"$scratch/out" 2>&1 </dev/null &
process=$!
check 'a build is begun' 'wait_for worker_alpha "$fake/built"'
kill -TERM $process
wait $process 2>/dev/null
status=$?
check 'SIGTERM ends it during the build' '[ $status = 143 ]' '[ ! -e "$progress" ]' '[ -z "$(ls -A "$scratch/tmp")" ]'
rm "$fake/hangs"

result one failed | judges 1
"$attn" watch alpha >"$scratch/out" 2>&1 </dev/null &
process=$!
check 'watch judges at once' 'wait_for "0 of 1 tests passed" "$scratch/out"'
result one passed | judges 0
write saved.cpp 2 && mv "$tree/$first/saved.cpp" "$tree/$first/alpha.cpp"
check 'and when a file is saved by renaming' 'wait_for "1 of 1 tests passed" "$scratch/out"' 'wait_for Done. "$scratch/out"'
kill -TERM $process
wait $process 2>/dev/null
status=$? out=$(cat "$scratch/out")
check 'watch ends on SIGTERM' '[ $status = 143 ]' 'lacks "$out" "$(printf "\033")"' 'lacks "$out" "q quit"' \
    '[ -z "$(ls -A "$scratch/tmp")" ]'

echo "$checks checked, $failures failed"
[ "$failures" = 0 ]
