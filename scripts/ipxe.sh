#!/usr/bin/env bash
# Puts the iPXE boot files of Debian trixie (1.21.1) into OUT, with exactly the names that `hatchery serve --ipxe` expects.
# usage: ipxe.sh OUT
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
[ $# = 1 ] || { sed -n 2,3p "$0" >&2; exit 2; }
out=$1
[ -e "$out" ] && exit 0
"$root/scripts/debs.sh" --only "$root/build/cache/ipxe" ipxe
mkdir -p "$out.new"
for f in undionly.kpxe snponly.efi ipxe-amd64.efi ipxe-arm64.efi; do cp -L "$root/build/cache/ipxe/usr/lib/ipxe/$f" "$out.new/$f"; done
mv -T "$out.new" "$out"
