# What the lints share; each sources it and stands in the root of the tree then.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

layers=$(sed -n 's/^set(WEFT_LAYERS \(.*\))$/\1/p' cmake/layers.cmake)

# The files of the tree that match the patterns: what git tracks or would track, or all but build/ without git.
tree_files() {
    [ $# -gt 0 ] || set -- "*"
    if [ -e .git ]; then
        git -c safe.directory='*' ls-files -co --exclude-standard -- "$@" | sort -u | while IFS= read -r file; do
            [ -f "$file" ] && printf '%s\n' "$file"
        done
    else
        local pattern
        for pattern in "$@"; do find . \( -name build -o -name .git \) -prune -o -type f -name "${pattern##*/}" -print; done | sed 's|^\./||' | sort -u
    fi
}

# A header is private to its folder when it is called so or declares wi_ names.
private_headers() { { tree_files '*_impl.h' && tree_files '*.h' | xargs -r grep -lw 'wi_[A-Za-z0-9_]*' || true; } | sort -u; }
public_headers() { comm -23 <(tree_files '*.h' | grep -E "^(${layers// /|})/") <(private_headers); }

skip() { echo "$(basename "$0"): skipped, $*"; exit 77; }

# The first of the commands that is there and says it is of version 14 ("" when none does).
version_14() {
    local tool
    for tool in "$1-14" "$1"; do
        if command -v "$tool" >/dev/null && [[ $("$tool" --version) == *"version 14."* ]]; then echo "$tool"; return; fi
    done
}

# each_changed NAME SALT COMMAND < files: runs COMMAND FILE for each file, two at a time, but for those that passed
# before with the same bytes in them and in every header that they include. Passes are remembered in build/lint/NAME.
each_changed() {
    local seen=build/lint/$1 salt=$2 command=$3 todo
    mkdir -p "$seen"
    todo=$(mktemp)
    # gcc's make rules name what a file includes; a missing header of another library is left as it is.
    xargs -r cc -MM -MG -D_GNU_SOURCE -I. -Ibuild/release/generated | sed -e ':a' -e '/\\$/N; s/\\\n//; ta' | while read -r _ file headers; do
        local existing=("$file") header
        for header in $headers; do [ -f "$header" ] && existing+=("$header"); done
        printf '%s %s\n' "$({ echo "$salt $file"; sha256sum "${existing[@]}"; } | sha256sum | cut -c1-40)" "$file"
    done | while read -r key file; do [ -e "$seen/$key" ] || echo "$key $file"; done >"$todo"
    local status=0
    xargs -r -P 2 -L 1 bash -c 'said=$('"$command"' "$2" 2>&1) && touch "$0/$1" || { printf "%s\n" "$said"; exit 1; }' "$seen" <"$todo" || status=1
    rm -f "$todo"
    return $status
}
