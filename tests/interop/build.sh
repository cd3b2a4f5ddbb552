# shellcheck shell=bash
# Builds the judges into a cache, each under the hash of its sources. To be sourced; functions print a folder.

interop_cache=$(realpath -m "${ROCKETMQ_TEST_CACHE:-$HOME/.cache/rocketmq-tests}/interop")
interop_home=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

source_hash() { # folder salt: of all files under the folder, and the salt
    (cd "$1" && find . -type f -not -path './target/*' -print0 | sort -z | xargs -0 sha256sum; echo "$2") |
        sha256sum | cut -c1-16
}

build_maven() { # name folder version: the folder with target/*.jar and target/lib
    local built resolved offline=() draft
    built=$interop_cache/$1-$3-$(source_hash "$2" "$3")
    if [[ ! -e $built ]]; then
        mkdir -p "$interop_cache"
        # Once Maven has resolved a pom, it needs no network for it.
        resolved=$interop_cache/resolved-$1-$3-$(sha256sum <"$2/pom.xml" | cut -c1-16)
        [[ -e $resolved ]] && offline=(-o)
        draft=$(mktemp -d "$interop_cache/draft.XXXXXX")
        cp -r "$2/." "$draft"
        echo "building $1 for $3" >&2
        if ! mvn -q -B "${offline[@]}" -f "$draft/pom.xml" -Drocketmq.version="$3" package >&2; then
            rm -rf "$draft"
            return 1
        fi
        touch "$resolved"
        mv -T "$draft" "$built" 2>/dev/null || rm -rf "$draft" # another run was faster
    fi
    echo "$built"
}

build_go() { # the folder with the binary judge
    local built draft
    built=$interop_cache/go-$(source_hash "$interop_home/go" "$(go version)")
    if [[ ! -e $built ]]; then
        mkdir -p "$interop_cache"
        draft=$(mktemp -d "$interop_cache/draft.XXXXXX")
        echo "building the Go judge" >&2
        if ! (cd "$interop_home/go" && CGO_ENABLED=0 go build -buildvcs=false -o "$draft/judge" .) >&2; then
            rm -rf "$draft"
            return 1
        fi
        mv -T "$draft" "$built" 2>/dev/null || rm -rf "$draft"
    fi
    echo "$built"
}
