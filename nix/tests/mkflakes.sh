#!/usr/bin/env bash
# Prepares flakes for tests without internet and prints, one a line, the nix arguments that make a hive use them.
#   mkflakes.sh OUTDIR [PARTSDIR]
# PARTSDIR: made by stub/nixpkgs/mkparts.sh; with it systems boot, without it they are a mere tree.
# NIXPKGS_LIB, DISKO: checkouts of nix-community/nixpkgs.lib and nix-community/disko: then the real module system and
# the real disko are used with our stub of the rest.
set -euo pipefail
out=$(realpath -m "${1:?usage: mkflakes.sh OUTDIR [PARTSDIR]}") parts=${2:-}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
rm -rf "$out"
mkdir -p "$out/hatchery/internal/hive"
cp -r "$here/stub/." "$out/"
cp -r "$here/contract" "$out/nixpkgs/contract"
cp "$root"/flake.{nix,lock} "$out/hatchery/"
cp -r "$root/nix" "$out/hatchery/nix"
cp -r "$root/internal/hive/template" "$out/hatchery/internal/hive/"
rm -rf "$out/hatchery/nix/tests/stub"
[ -z "$parts" ] || cp -a "$parts" "$out/nixpkgs/parts"
[ -z "${NIXPKGS_LIB:-}" ] || cp -r "$NIXPKGS_LIB/lib" "$out/nixpkgs/lib-real"
[ -z "${DISKO:-}" ] || { mkdir "$out/disko/real"; cp -r "$DISKO/lib" "$DISKO/disk-deactivate" "$DISKO/default.nix" "$out/disko/real/"; }
printf '%s\n' --override-input hatchery "path:$out/hatchery" --override-input nixpkgs "path:$out/nixpkgs" \
  --override-input disko "path:$out/disko" --override-input hatchery/nixos-anywhere "path:$out/nixos-anywhere"
