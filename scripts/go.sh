#!/usr/bin/env bash
# Runs the Go command with a toolchain that go.mod accepts, and gets one when the machine has none.
# usage: go.sh ARGUMENTS...     like `go ARGUMENTS...`; `go.sh env PATH`-style helpers: go.sh --exec PROGRAM ARGS... runs
# another program with that Go first in PATH (staticcheck calls it).
# Order: Go in PATH or /usr/local/go, Debian's (Debian 13 and later), Debian trixie's unpacked into build/go (Debian 12).
# A Go that is older than go.mod asks for fetches the named toolchain through the module proxy by itself.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
oldest=1.21 # the first that fetches toolchains

version() { "$1" env GOVERSION 2>/dev/null | sed -n 's/^go\([0-9.]*\).*/\1/p'; }
enough() { # GO: is it new enough to build or to fetch what builds?
  local v; [ -x "$1" ] && v=$(cd / && GOTOOLCHAIN=local version "$1") && [ -n "$v" ] &&
    [ "$(printf '%s\n' "$oldest" "$v" | sort -V | head -1)" = "$oldest" ]
}
find_go() {
  local g
  for g in "$(command -v go || true)" /usr/local/go/bin/go /usr/lib/go/bin/go "$root/build/go/usr/lib/go-1.24/bin/go"; do
    if [ -n "$g" ] && enough "$g"; then echo "$g"; return 0; fi
  done
  return 1
}
get_go() {
  echo "No Go found on this machine: fetching Debian's" >&2
  local candidate
  candidate=$(apt-cache policy golang-go 2>/dev/null | sed -n 's/^ *Candidate: *[0-9]*:\([0-9.]*\).*/\1/p')
  if [ "$(id -u)" = 0 ] && [ -n "$candidate" ] && [ "$(printf '%s\n' "$oldest" "$candidate" | sort -V | head -1)" = "$oldest" ]; then
    DEBIAN_FRONTEND=noninteractive apt-get -q -y install --no-install-recommends golang-go ca-certificates >/dev/null
  else
    # The packages' scripts do not run, so the links that they would make are made here.
    "$root/scripts/debs.sh" --only "$root/build/go" golang-1.24-go golang-1.24-src
    local d=$root/build/go/usr/lib/go-1.24
    for l in api misc src test pkg/include; do
      if [ -L "$d/$l" ]; then ln -sfn "$root/build/go/usr/share/go-1.24/${l#pkg/}" "$d/$l"; fi
    done
  fi
}
go=$(find_go) || { get_go; go=$(find_go); } || { echo "go.sh: no usable Go: install Go $oldest or later" >&2; exit 1; }
need=$(sed -n 's/^go \([0-9.]*\).*/\1/p' "$root/go.mod")
have=$(cd / && GOTOOLCHAIN=local version "$go")
if [ "$(printf '%s\n' "$need" "$have" | sort -V | head -1)" != "$need" ]; then export GOTOOLCHAIN=auto; fi
PATH=$(dirname "$go"):$PATH; export PATH
if [ "${1:-}" = --exec ]; then shift; exec "$@"; fi
exec "$go" "$@"
