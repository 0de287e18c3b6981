#!/bin/sh
# Tests of the launcher, ./attn, on a copy of it in a temporary folder whose name has a space. apt, sudo, cmake, ctest and
# the rest are stubs, and nothing else is on PATH: the checks say what the launcher asks of the system, and install nothing.
# One line for each check; exit status 1 when one fails.

# The conditions of a check are shell text in single quotes, evaluated in the check.
# shellcheck disable=SC2016

set -u
unset CDPATH CI CLICOLOR_FORCE

project=$(cd -P -- "$(dirname "$0")/../.." && pwd -P) || exit 2
scratch=$(mktemp -d) || exit 2
scratch=$(cd -P -- "$scratch" && pwd -P) || exit 2
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM

tree="$scratch/a tree"             # the copy of the project
stubs=$scratch/stubs               # all that is on PATH
state=$scratch/state               # what the stubs are told, and what they were asked
export STUB_STATE="$state"
export ATTN_SYSTEM_ROOT="$scratch/system"
outer_path=$PATH
checks=0
failures=0
skipped=0

# --- The stubs ----------------------------------------------------------------------------------------------------------

stub() { cat >"$stubs/$1"; chmod +x "$stubs/$1"; }

make_stubs() {
    mkdir -p "$stubs"
    for tool in sh awk cat chmod dirname env find flock getconf grep head ls mkdir mv readlink rm sed sleep stty tail touch tr; do
        path=$(PATH=$outer_path command -v "$tool") && ln -sf "$path" "$stubs/$tool"
    done
    stub id <<'EOF'
#!/bin/sh
cat "$STUB_STATE/uid"
EOF
    stub uname <<'EOF'
#!/bin/sh
cat "$STUB_STATE/uname"
EOF
    stub dpkg-query <<'EOF'
#!/bin/sh
for package in "$@"; do grep -x -e "$package" "$STUB_STATE/installed"; done | sed 's/$/ installed/'
EOF
    stub apt-cache <<'EOF'
#!/bin/sh
for package in "$@"; do grep -x -e "$package" "$STUB_STATE/known"; done | sed 's/^/Package: /'
EOF
    stub apt-get <<'EOF'
#!/bin/sh
echo "apt-get $*" >>"$STUB_STATE/asked"
if [ -f "$STUB_STATE/no_network" ]; then
    case " $* " in *' update '*) echo 'W: Some index files failed to download.' >&2; exit 0 ;; esac
    echo 'E: Could not resolve host' >&2
    exit 100
fi
case " $* " in
    *' update '*) mkdir -p "$ATTN_SYSTEM_ROOT/var/lib/apt/lists"; touch "$ATTN_SYSTEM_ROOT/var/lib/apt/lists/main_Packages"
                  rm -f "$STUB_STATE/stale" ;;
    *' install '*) [ ! -f "$STUB_STATE/stale" ] || { echo 'E: 404 Not Found' >&2; exit 100; }
                   for word in "$@"; do echo "$word"; done >>"$STUB_STATE/installed" ;;
esac
EOF
    stub cmake <<'EOF'
#!/bin/sh
echo "cmake $*" >>"$STUB_STATE/asked"
case $1 in
    --preset)
        mkdir -p build/release
        echo "CMAKE_HOME_DIRECTORY:INTERNAL=$(pwd -P)" >build/release/CMakeCache.txt
        echo '-- The CXX compiler identification is Stub 1.0'
        [ ! -f "$STUB_STATE/cmake_hangs" ] || sleep 30
        if [ -f "$STUB_STATE/cmake_fails" ]; then
            echo 'CMake Error at CMakeLists.txt:7 (find_package):' >&2
            echo '  Could not find a package that this stub wants.' >&2
            echo "    error: downloading 'https://stub.invalid/library.tar.gz' failed" >&2
            exit 1
        fi
        echo '-- attn: nvcc 11.8 is too old: kernels run in the emulator'
        touch build/release/build.ninja ;;
    --build)
        [ ! -f "$STUB_STATE/build_hangs" ] || { echo '[1/9] Building CXX object slow.cpp.o'; sleep 30; }
        if [ -f "$STUB_STATE/build_fails" ]; then
            echo '[1/2] Building CXX object common/program/CMakeFiles/attn.dir/main.cpp.o'
            echo 'FAILED: common/program/CMakeFiles/attn.dir/main.cpp.o '
            echo "main.cpp:3:5: error: 'x' was not declared in this scope"
            echo 'ninja: build stopped: subcommand failed.'
            exit 1
        fi
        if [ -x "$2/attn" ]; then echo 'ninja: no work to do.'; exit; fi
        echo '[1/1] Linking CXX executable attn'
        printf '#!/bin/sh\necho "program: $# arguments:$(printf " <%%s>" "$@") in $PWD"\nexit 4\n' >"$2/attn"
        chmod +x "$2/attn" ;;
esac
EOF
    stub ninja <<'EOF'
#!/bin/sh
exit 1
EOF
    stub c++ <<'EOF'
#!/bin/sh
exit 1
EOF
    stub ctest <<'EOF'
#!/bin/sh
echo "ctest $* in $(pwd -P)" >>"$STUB_STATE/asked"
exit "$(cat "$STUB_STATE/ctest_status")"
EOF
    cat >"$scratch/sudo" <<'EOF'
#!/bin/sh
echo "sudo $*" >>"$STUB_STATE/asked"
[ ! -f "$STUB_STATE/sudo_denied" ] || { echo 'sudo: a password is required' >&2; exit 1; }
[ "$1" != -n ] || shift
[ "$1" = true ] || exec "$@"
EOF
    chmod +x "$scratch/sudo"
}

needed='g++ cmake ninja-build make binutils catch2 libfmt-dev libxtensor-dev libboost-context-dev libcli11-dev
        nlohmann-json3-dev libtomlplusplus-dev libdw-dev gdb'

# A fresh clone on Debian 12 where everything is installed, apt has its lists, and we are an ordinary user with sudo.
fresh() {
    rm -rf "$tree" "$state" "$stubs" "$ATTN_SYSTEM_ROOT"
    mkdir -p "$tree/common/program" "$state" "$ATTN_SYSTEM_ROOT/etc" "$ATTN_SYSTEM_ROOT/var/lib/apt/lists"
    cp "$project/attn" "$project/CMakePresets.json" "$tree"
    cp "$project/common/program/help.txt" "$tree/common/program"
    make_stubs
    cp "$scratch/sudo" "$stubs/sudo"
    touch "$ATTN_SYSTEM_ROOT/var/lib/apt/lists/main_Packages" "$state/asked"
    system debian 12
    echo 1000 >"$state/uid"
    echo Linux >"$state/uname"
    echo 0 >"$state/ctest_status"
    for package in $needed; do echo "$package"; done | tee "$state/known" >"$state/installed"
}

system() {  # ID VERSION_ID
    printf 'PRETTY_NAME="%s %s (stub)"\nID=%s\nVERSION_ID="%s"\n' "$1" "$2" "$1" "$2" >"$ATTN_SYSTEM_ROOT/etc/os-release"
}

no_tools() { rm -f "$stubs/c++" "$stubs/ninja" "$stubs/cmake"; }  # a machine without a compiler
no_packages() { : >"$state/installed"; no_tools; }

# Runs the launcher, or the command after "--", with the stubs only. Sets: status, out (stdout), err (stderr), asked.
run() {
    status=0
    : >"$state/asked"
    if [ "${1-}" = -- ]; then shift; else set -- "$tree/attn" "$@"; fi
    PATH=$stubs "$@" >"$scratch/out" 2>"$scratch/err" </dev/null || status=$?
    out=$(cat "$scratch/out") err=$(cat "$scratch/err") asked=$(cat "$state/asked")
}

# --- Checks ---------------------------------------------------------------------------------------------------------------

report() {  # PASSED (0: yes), WHAT
    checks=$((checks + 1))
    if [ "$1" = 0 ]; then
        printf 'ok      %s\n' "$2"
    else
        failures=$((failures + 1))
        printf 'FAILED  %s\n' "$2"
        printf 'status %s\nstdout: %s\nstderr: %s\nasked: %s\n' "$status" "$out" "$err" "$asked" | sed 's/^/        /'
    fi
}

has() { case $1 in *"$2"*) return 0 ;; *) return 1 ;; esac; }
lacks() { ! has "$1" "$2"; }

make_stubs
pass_all() { while [ $# -gt 0 ]; do eval "$1" || return 1; shift; done; }
check() {  # WHAT, CONDITION...: every condition is shell
    what=$1
    shift
    pass_all "$@"
    report $? "$what"
}

fresh; run --help
check 'help is shown without a build' '[ $status = 0 ]' 'has "$out" "Usage: ./attn"' '[ -z "$asked" ]' '[ ! -e "$tree/build" ]'
check 'help has every verb with an example' 'has "$out" "./attn run "' 'has "$out" "./attn trace "' 'has "$out" "./attn test"'
run help
# shellcheck disable=SC2034
first=$out
run -h
check '"help" and "-h" are the same' '[ "$out" = "$first" ]' '[ -n "$out" ]'

for pair in rnu:run tabel:table tes:test setpu:setup traces:trace RUN:run --help-me:help; do
    fresh; run "${pair%:*}"
    check "unknown verb '${pair%:*}' suggests '${pair#*:}'" '[ $status = 2 ]' 'has "$err" "Did you mean '\''${pair#*:}'\''"' \
        '[ -z "$out$asked" ]' '[ ! -e "$tree/build" ]'
done
run qqqqqq
check 'an unknown verb that is like no other lists them' '[ $status = 2 ]' 'lacks "$err" "Did you mean"' 'has "$err" "table trace profile run"'
run 'a.*'
check 'a verb is a word, not a pattern' '[ $status = 2 ]' '[ -z "$asked" ]'

fresh; run
check 'the first run configures, builds and hands over' '[ "$out" = "program: 0 arguments: <> in $PWD" ]' \
    'has "$asked" "cmake --preset release"' 'has "$asked" "cmake --build $tree/build/release --target attn"'
check "the exit status is the program's" '[ $status = 4 ]'
check 'the build speaks on stderr' 'has "$err" "[1/1] Linking"' 'lacks "$out" Linking'
check 'what our CMake files tell people is shown, and the rest is not' 'has "$err" "attn: nvcc 11.8 is too old"' \
    'lacks "$err" "compiler identification"'
run
check 'with nothing to do it says nothing, and does not configure again' '[ -z "$err" ]' '[ $status = 4 ]' \
    'lacks "$asked" "--preset"'
run run 'a b' '' --out '*'
check 'arguments arrive as they were' 'has "$out" "5 arguments: <run> <a b> <> <--out> <*>"'
run test dense
check '"test" with a name goes to the program' 'has "$out" "2 arguments: <test> <dense>"' 'lacks "$asked" ctest'
sleep 0.02; touch "$tree/CMakePresets.json"; run
check 'changed presets configure again' 'has "$asked" "cmake --preset release"'
mv "$tree" "$scratch/another tree"; tree="$scratch/another tree"; run
check 'a tree that was moved is built afresh' '[ $status = 4 ]' 'has "$err" "afresh"' 'has "$asked" "cmake --preset release"'
tree="$scratch/a tree"; rm -rf "$scratch/another tree"

fresh; mkdir "$scratch/elsewhere" "$scratch/links"
ln -s "../a tree/attn" "$scratch/links/one"; ln -s "$scratch/links/one" "$scratch/elsewhere/two"
cd "$scratch/elsewhere" || exit 2
run -- ./two table
check 'it works through two symbolic links, from another folder' '[ "$out" = "program: 1 arguments: <table> in $scratch/elsewhere" ]' \
    '[ -x "$tree/build/release/attn" ]' '[ ! -e "$scratch/elsewhere/build" ]'
cd "$tree" || exit 2
run -- sh attn table
check 'it works as "sh attn"' 'has "$out" "<table>"'
cd "$scratch" || exit 2

fresh; run test
check '"test" builds everything and runs ctest' '[ $status = 0 ]' 'has "$asked" "--target all"' \
    'has "$asked" "ctest --preset release"' 'has "$asked" "in $tree"'
echo 8 >"$state/ctest_status"; run test
check 'a failed test is status 1' '[ $status = 1 ]'

fresh; touch "$state/build_fails"; run
check 'a failing build is status 2, and says what failed' '[ $status = 2 ]' \
    'has "$err" "attn: the build failed at common/program/main.cpp;"' "has \"\$err\" \"error: 'x' was not declared\"" '[ -z "$out" ]'
run test
check 'a failing build runs no tests' '[ $status = 2 ]' 'lacks "$asked" ctest'
rm "$state/build_fails"; run
check 'after a failing build the next one goes on without configuring' '[ $status = 4 ]' 'lacks "$asked" "--preset"'

fresh; touch "$state/cmake_fails"; run
check "a failing configuration is status 2, with cmake's reason" '[ $status = 2 ]' 'has "$err" "CMake Error at CMakeLists.txt:7"' \
    'has "$err" "this stub wants"' 'lacks "$asked" "--build"' \
    'has "$err" "could not download a library"'
rm "$state/cmake_fails"; run
check 'a failed configuration is repeated' '[ $status = 4 ]' 'has "$asked" "cmake --preset release"'

for signal in INT KILL; do
    fresh; touch "$state/cmake_hangs"
    run -- "$(PATH=$outer_path command -v timeout)" -s $signal 0.4 "$tree/attn"
    check "a configuration ended by SIG$signal builds nothing" '[ -e "$tree/build/release/CMakeCache.txt" ]' 'lacks "$asked" "--build"' \
        '[ $signal = KILL ] || has "$err" "attn: interrupted"'
    rm "$state/cmake_hangs"; run
    check "and is repeated" '[ $status = 4 ]' 'has "$asked" "cmake --preset release"'
    touch "$state/cmake_hangs" "$tree/CMakePresets.json"
    run -- "$(PATH=$outer_path command -v timeout)" -s $signal 0.4 "$tree/attn"
    rm "$state/cmake_hangs"; run
    check "also when there was an older one" '[ $status = 4 ]' 'has "$asked" "cmake --preset release"'
done
fresh; touch "$state/build_hangs"
run -- "$(PATH=$outer_path command -v timeout)" -s INT 0.4 "$tree/attn"
check 'an interrupted build runs nothing' '[ -z "$out" ]' 'has "$err" "attn: interrupted"' 'has "$err" "[1/9]"'

fresh; no_packages; run setup --list
check 'setup --list lists and installs nothing' '[ $status = 0 ]' 'has "$out" "missing      libxtensor-dev "' \
    'has "$out" "sudo apt-get install"' '[ -z "$asked" ]' 'has "$out" "the debugger"'
fresh; run setup --list
check 'setup --list says when nothing is missing' '[ $status = 0 ]' 'has "$out" "Nothing is missing."' 'has "$out" "installed    g++ "' \
    'has "$out" "(run on this system)"' 'has "$out" "CUDA Toolkit"'
for pair in debian:13 ubuntu:22.04 ubuntu:24.04; do
    fresh; system "${pair%:*}" "${pair#*:}"; run setup --list
    check "setup --list says that ${pair%:*} ${pair#*:} was not tried" '[ $status = 0 ]' 'has "$out" "not run on this system yet"'
done
run setup --lst
check 'an unknown option of setup is status 2' '[ $status = 2 ]' 'has "$err" "--lst"' '[ -z "$asked" ]'

fresh; no_packages; echo 0 >"$state/uid"; run setup
check 'root with nobody to ask: says what and why, installs' '[ $status = 0 ]' 'has "$err" "libdw-dev             names and source lines"' \
    'has "$asked" "apt-get -q install -y --no-install-recommends g++ cmake"' 'lacks "$asked" sudo' 'lacks "$asked" update'
run setup
check 'and only once' '[ $status = 0 ]' '[ -z "$asked" ]'
fresh; run; sed -i '/^gdb$/d' "$state/installed"; echo 0 >"$state/uid"; run
check 'once configured, packages are not looked at' '[ $status = 4 ]' '[ -z "$err" ]'
run setup; run
check 'what setup installed is found: the next run configures again' 'has "$asked" "cmake --preset release"' '[ $status = 4 ]'
fresh; no_packages; echo 0 >"$state/uid"; rm -rf "${ATTN_SYSTEM_ROOT:?}/var"; run setup
check 'without package lists: apt-get update comes first' '[ $status = 0 ]' 'has "$asked" "apt-get -q update
apt-get -q install"'
fresh; no_packages; echo 0 >"$state/uid"; touch "$state/stale"; run setup
check 'stale package lists: update, and once more' '[ $status = 0 ]' 'has "$asked" "update
apt-get -q install"'

fresh; no_packages; run
check 'no root, nobody to ask: the list and the command, status 2' '[ $status = 2 ]' 'has "$err" "libfmt-dev"' \
    'has "$err" "sudo apt-get install --no-install-recommends g++"' '[ -z "$asked" ]' '[ -z "$out" ]'
run setup --yes
check 'setup --yes installs through sudo' '[ $status = 0 ]' 'has "$asked" "sudo env DEBIAN_FRONTEND=noninteractive apt-get -q install"'
fresh; no_packages; touch "$state/sudo_denied"; run setup --yes
check 'sudo refuses: one message with the list and the command' '[ $status = 2 ]' 'has "$err" "Missing: g++ cmake"' 'has "$err" "sudo apt-get"'
fresh; no_packages; CI=true; export CI; run setup
check 'CI is set and sudo asks nothing: installs' '[ $status = 0 ]' 'has "$asked" "apt-get -q install"'
unset CI
fresh; no_packages; rm "$stubs/sudo"; run
check 'no root and no sudo: one message with the list and the command' '[ $status = 2 ]' 'has "$err" "there is no sudo"' \
    'has "$err" "Missing: g++ cmake"' '[ -z "$asked" ]'
fresh; no_packages; echo 0 >"$state/uid"; touch "$state/no_network"; run
check 'no network: one message with the list and the command' '[ $status = 2 ]' 'has "$err" "apt-get install failed"' \
    'has "$err" "Missing: g++ cmake"' 'lacks "$asked" cmake\ --'
rm -rf "${ATTN_SYSTEM_ROOT:?}/var"; run
check 'no network and no package lists: the same' '[ $status = 2 ]' 'has "$err" "apt-get update failed"' 'has "$err" "Missing: g++ cmake"'
sed '/^libcli11-dev$/d' "$state/known" >"$state/installed"; : >"$state/known"; run
check 'and a library is not taken for one that apt does not know' '[ $status = 2 ]' 'has "$err" "Missing: libcli11-dev"' 'lacks "$asked" cmake'

fresh; for list in known installed; do sed -i '/^libtomlplusplus-dev$/d' "$state/$list"; done; run
check 'a library that apt does not know is left to CMake' '[ $status = 4 ]' 'has "$err" "no package libtomlplusplus-dev"' 'lacks "$asked" apt-get'
fresh; sed -i '/^cmake$/d; /^ninja-build$/d; /^g++$/d' "$state/installed"; : >"$stubs/g++"; chmod +x "$stubs/g++"; run
check 'a compiler, CMake and Ninja from elsewhere will do' '[ $status = 4 ]' 'lacks "$asked" apt-get'

fresh; system fedora 40; no_tools; run
check 'an unknown system: one message with the list' '[ $status = 2 ]' 'has "$err" "fedora 40"' 'has "$err" "libboost-context-dev"' \
    'has "$err" "It knows Debian 12"' '[ -z "$asked" ]'
fresh; system fedora 40; run
check 'an unknown system with the tools: goes on' '[ $status = 4 ]' 'has "$asked" "cmake --preset release"' 'lacks "$asked" apt-get'
fresh; echo Darwin >"$state/uname"; no_tools; run
check 'macOS without Homebrew: one message with the list' '[ $status = 2 ]' 'has "$err" "untested"' 'has "$err" "brew install cmake ninja catch2"'

if PATH=$outer_path command -v script >/dev/null 2>&1 && script -qec true /dev/null >/dev/null 2>&1; then
    on_terminal() {  # ANSWER
        : >"$state/asked"
        status=0
        out=$(printf '%s\n' "$1" | PATH=$stubs TERM=xterm "$(PATH=$outer_path command -v script)" -qec "'$tree/attn'" /dev/null) || status=$?
        err='' asked=$(cat "$state/asked")
    }
    keep_cmake() { : >"$state/installed"; }
    fresh; keep_cmake; on_terminal n
    check 'on a terminal it asks; "n" installs nothing' '[ $status = 2 ]' 'has "$out" "Install them now? [Y/n]"' '[ -z "$asked" ]'
    check 'and says how to go on without' 'has "$out" "cmake --preset release"'
    fresh; keep_cmake; on_terminal ''
    check 'Enter installs, builds and hands over' '[ $status = 4 ]' 'has "$asked" "sudo env DEBIAN_FRONTEND=noninteractive apt-get"' \
        'has "$out" "program: 0 arguments"'
else
    skipped=$((skipped + 3))
    echo 'NOT RUN the question on a terminal: there is no script(1) here'
fi

echo "launcher: $((checks - failures)) of $checks checks passed, $skipped not run"
[ $failures = 0 ]
