#!/usr/bin/env bash
# Builds what is handed out twice, from two fresh checkouts of HEAD in folders of different names, at different times and in
# different time zones, and fails when a byte differs. Go's build cache is not shared either.
# usage: dist-twice.sh NFPM     (the program that makes the Debian packages)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
nfpm=$(realpath "$1") root=$PWD
tmp=$(mktemp -d); trap 'chmod -R u+w "$tmp"; rm -rf "$tmp"' EXIT
version=$(git describe --tags --always) commit=$(git rev-parse HEAD)
for n in one another-and-longer; do
  git clone -q --no-hardlinks "$root" "$tmp/$n/src"
  git -C "$tmp/$n/src" checkout -q "$commit" # somebody may go on working here
  zone=UTC; umask 022; [ $n = one ] || { zone=Asia/Tokyo; umask 077; sleep 2; }
  (cd "$tmp/$n/src" && TZ=$zone GOCACHE="$tmp/$n/cache" scripts/dist.sh "$tmp/$n/dist" "$version" "$nfpm")
done
diff "$tmp/one/dist/SHA256SUMS" "$tmp/another-and-longer/dist/SHA256SUMS" || { echo "dist-twice: two builds of $version differ" >&2; exit 1; }
cat "$tmp/one/dist/SHA256SUMS"
said=$("$tmp/one/dist/hatchery-linux-amd64" version 2>/dev/null || true) # on another processor it does not run
case $said in "" | *"$version"*) ;; *) echo "dist-twice: hatchery version says $said, not $version" >&2; exit 1 ;; esac
echo "two builds of $version are byte-identical"
