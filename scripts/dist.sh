#!/usr/bin/env bash
# Builds what is handed out: static programs for amd64 and arm64, manual pages, completion, unit, Debian packages and their
# checksums, byte for byte the same from the same commit.
# usage: dist.sh OUT VERSION [NFPM]     without NFPM no Debian packages
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[ $# -ge 2 ] || { sed -n 2,4p "$0" >&2; exit 2; }
out=$1 version=$2 nfpm=${3:-}
umask 022 # a package's files have the modes that they have here
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct); export SOURCE_DATE_EPOCH
rm -rf "$out"; mkdir -p "$out/man"
for arch in amd64 arm64; do
  for p in hatchery hatchery-agent; do
    flags="-s -w"; [ $p = hatchery-agent ] || flags+=" -X main.version=$version"
    CGO_ENABLED=0 GOOS=linux GOARCH=$arch scripts/go.sh build -trimpath -buildvcs=false -ldflags "$flags" -o "$out/$p-linux-$arch" "./cmd/$p"
  done
done
native="$out/hatchery-linux-$(dpkg --print-architecture 2>/dev/null || uname -m | sed 's/x86_64/amd64/;s/aarch64/arm64/')"
"$native" man "$out/man"
"$native" completion bash >"$out/hatchery.bash"
sed 's,@bin@,/usr/bin,;s,@ipxe@,/usr/lib/ipxe,' packaging/hatchery.service.in >"$out/hatchery.service"
if [ -n "$nfpm" ]; then
  # A Debian version begins with a digit; a commit without a release is a version before all releases.
  case ${version#v} in [0-9]*.*) deb=${version#v};; *) deb=0~$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y%m%d%H%M%S).$version;; esac
  for arch in amd64 arm64; do
    ARCH=$arch VERSION=${deb//-/.} DIST=$out \
      "$nfpm" package --packager deb --config packaging/nfpm.yaml --target "$out/" >"$out/nfpm.log" || { cat "$out/nfpm.log" >&2; exit 1; }
  done
fi
rm -rf "$out"/{man,hatchery.bash,hatchery.service,nfpm.log}
(cd "$out" && sha256sum -- * >SHA256SUMS)
