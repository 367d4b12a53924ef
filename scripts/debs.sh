#!/usr/bin/env bash
# Fetches Debian packages of one release and unpacks them into a folder, whatever release the host itself runs.
# usage: debs.sh [--suite SUITE] [--arch ARCH] [--only] TREE PACKAGE...
#   --only   the named packages alone; otherwise with everything that they depend on
# apt gets its own sources, lists, caches and package database under build/cache/apt, so the host's stay as they are
# (its proxy settings are used). Signatures are checked against Debian's archive keys. Nothing is installed and no
# maintainer script runs: files are only unpacked. TREE appears when it is whole; a TREE that exists is left alone.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
suite=trixie arch=amd64 only=0
while :; do case ${1:-} in
  --suite) suite=$2; shift 2;; --arch) arch=$2; shift 2;; --only) only=1; shift;; *) break;; esac; done
[ $# -ge 2 ] || { sed -n 2,8p "$0" >&2; exit 2; }
tree=$1; shift
[ -e "$tree" ] && exit 0
die() { echo "debs.sh: $*" >&2; exit 1; }
command -v apt-get >/dev/null || die "apt-get is needed to fetch $*; on another distribution pass ready-made directories (see README)"

# One run at a time per release and architecture: apt's own lists are shared.
a=$root/build/cache/apt/$suite-$arch
mkdir -p "$a"/state/lists/partial "$a"/cache/archives/partial
exec 9>"$a/lock"; flock 9
[ -e "$tree" ] && exit 0

keyring=
for k in /usr/share/keyrings/debian-archive-keyring.{gpg,pgp}; do [ -e "$k" ] && { keyring=$k; break; }; done
[ -n "$keyring" ] || die "no Debian archive keys found: install debian-archive-keyring"
# The host's own Debian mirror; HATCHERY_DEBIAN_MIRROR overrides it.
mirror=${HATCHERY_DEBIAN_MIRROR:-}
# shellcheck disable=SC2016 # apt's own variables
[ -n "$mirror" ] || mirror=$(apt-get indextargets --format '$(REPO_URI) $(ORIGIN) $(LABEL)' 'Created-By: Packages' 2>/dev/null | awk '$2=="Debian" && $3=="Debian" {print $1; exit}')
[ -n "$mirror" ] || mirror=$(cat /etc/apt/sources.list.d/*.sources 2>/dev/null | awk '$1=="URIs:" && $2 ~ /\/debian\/?$/ {print $2; exit}')
[ -n "$mirror" ] || mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null | grep -E '^deb ' | grep -oE 'https?://[^ ]+/debian/?( |$)' | head -1 | tr -d ' ')
[ -n "$mirror" ] || die "no Debian mirror in the host's apt sources: set HATCHERY_DEBIAN_MIRROR"

echo "deb [signed-by=$keyring] $mirror $suite main" >"$a/sources.list"
: >"$a/status"
opts=(-q -y -o "Dir::State=$a/state" -o "Dir::State::status=$a/status" -o "Dir::Cache=$a/cache"
  -o "Dir::Etc::sourcelist=$a/sources.list" -o Dir::Etc::sourceparts=/dev/null
  -o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null
  -o "APT::Architecture=$arch" -o "APT::Architectures=$arch" -o APT::Sandbox::User=root
  -o APT::Get::AllowUnauthenticated=false -o Acquire::Languages=none -o Acquire::Retries=5
  -o APT::Keep-Downloaded-Packages=true -o APT::Install-Recommends=false)
run() { # a mirror that is slow to answer gets a few more tries
  local i
  for i in 1 2 3 4; do "$@" >"$a/log" 2>&1 && return 0; sleep $((i * 3)); done
  tail -5 "$a/log" >&2; die "failed: $*"
}
# Lists of the last day are good enough. Without --error-on, apt calls an update without a network good.
[ -n "$(find "$a/updated" -mmin -1440 2>/dev/null)" ] || { run apt-get "${opts[@]}" --error-on=any update; touch "$a/updated"; }
debs=$(mktemp -d "$a/debs.XXXXXX"); tmp=$tree.new.$$
trap 'rm -rf "$debs" "$tmp"' EXIT
mkdir -p "$(dirname "$tree")" "$tmp"
if [ "$only" = 1 ]; then
  (cd "$debs" && run apt-get "${opts[@]}" download "$@")
else
  run apt-get "${opts[@]}" -o "Dir::Cache::archives=$debs/" --download-only install "$@"
fi
# usr-merge first, so that packages which still ship /bin or /lib land beside the others
for l in bin sbin lib lib64; do mkdir -p "$tmp/usr/$l"; ln -s "usr/$l" "$tmp/$l"; done
for d in "$debs"/*.deb; do
  dpkg-deb --fsys-tarfile "$d" | tar -x --keep-directory-symlink -C "$tmp" --exclude=./usr/share/doc --exclude=./usr/share/man \
    --exclude=./usr/share/locale --exclude=./usr/share/info --exclude=./usr/share/i18n
done
for d in "$debs"/*.deb; do dpkg-deb -f "$d" Package Version | paste - - | awk '{print $2, $4}'; done >"$tmp/packages.txt"
mv -T "$tmp" "$tree"
