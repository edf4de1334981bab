# What the tests of the command line share. Each gives the program as $1; a test that fails says what it saw.
set -euo pipefail

weft=$1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# What the shell around the tests may have set is not what is tested.
for name in $(compgen -e WEFT_ || true); do unset "$name"; done

export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_mpi_yield_when_idle=1
# A job that fails is over at once: by then all ranks have agreed and one has told.
export OMPI_MCA_odls_base_sigkill_timeout=0

skip() { echo "skipped: $*"; exit 77; }

need_mpirun() {
    command -v mpirun >/dev/null || skip "there is no mpirun (Debian: apt-get install openmpi-bin)"
    "$weft" info | grep -q '^built with .*mpi none' && skip "this build has no MPI"
    return 0
}

# Sets `start` (words before the flags) and `ranks`.
choose_way() {
    case $1 in
    alone) start=("$weft") ranks=1 ;;
    local) start=("$weft" -n 3) ranks=3 ;;
    mpirun)
        need_mpirun
        start=(mpirun --oversubscribe -np 2 "$weft") ranks=2
        ;;
    esac
}

fail() {
    echo "$*"
    for file in out err; do echo "--- std$file" && cat "$scratch/$file"; done
    exit 1
}

# Runs a command with a limit that only a hang reaches; sets `code`.
run() {
    code=0
    timeout -k 5 300 "$@" >"$scratch/out" 2>"$scratch/err" </dev/null || code=$?
    [ "$code" -ne 124 ] || fail "hangs: $*"
}

# The command fails with exit code 2 and says exactly one line, in which each of the words stands. What mpirun says
# itself does not count.
expect_mistake() { # words that end with --, command
    local words=()
    while [ "$1" != -- ]; do words+=("$1") && shift; done
    shift
    run "$@"
    [ "$code" -eq 2 ] || fail "exit code $code, expected 2: $*"
    [ "$(grep -c '^weft' "$scratch/err")" -eq 1 ] || fail "not one line of weft's: $*"
    grep -q '^weft.*error: ' "$scratch/err" || fail "not called an error: $*"
    [ ! -s "$scratch/out" ] || fail "something on standard output: $*"
    local word
    for word in "${words[@]}"; do grep '^weft' "$scratch/err" | grep -qF -- "$word" || fail "'$word' is missing: $*"; done
}
