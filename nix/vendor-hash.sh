#!/usr/bin/env bash
# The vendorHash of package.nix: what `go mod vendor` gives, as nix hashes it. Needs go (its module cache suffices) and nix.
#   vendor-hash.sh           prints it and says whether package.nix has it (exit 1: not)
#   vendor-hash.sh --write   puts it there; run it after a change of go.mod
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
go mod vendor -o "$tmp/vendor"
hex=$(nix-hash --type sha256 "$tmp/vendor")
hash=sha256-$(printf '%b' "$(sed 's/../\\x&/g' <<<"$hex")" | base64)
echo "$hash"
[ "${1:-}" != --write ] || sed -i "s|vendorHash = .*;|vendorHash = \"$hash\";|" nix/package.nix
grep -qF "\"$hash\"" nix/package.nix || { echo "nix/package.nix has another vendorHash: run nix/vendor-hash.sh --write" >&2; exit 1; }
