#!/usr/bin/env bash
# Builds what people run by hand out of the examples and runs it, with stand-ins for ssh, nix and nixos-anywhere: what they ask, what they
# do with the answer, and which words reach the tools. And begins a hive from the template.
#   byhand.sh FLAKES NIXARGS…     FLAKES: made by mkflakes.sh; called by run.sh, in its environment
set -euo pipefail
flakes=$1 here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
shift
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
die() { echo "byhand.sh: $*" >&2; exit 1; }

mkdir "$tmp/bin"
cat >"$tmp/bin/ssh" <<'S'
#!/bin/sh
echo "ssh $*" >>"$CALLS"
case "$*" in
  *hostname*) echo box7 ;;
  *lsblk*USB_GONE*) exit 1 ;;
  *lsblk*) echo "/dev/sdz EXAMPLE_STICK 42 14.9G" ;;
esac
S
# shellcheck disable=SC2016 # for the script
printf '#!/bin/sh\nfor a; do printf "[%%s]" "$a"; done >>"$CALLS"; echo " NIX_SSHOPTS=$NIX_SSHOPTS" >>"$CALLS"\n' >"$tmp/bin/nix"
# shellcheck disable=SC2016 # for the script
printf '#!/bin/sh\nfor a; do printf "[%%s]" "$a"; done >>"$CALLS"\n' >"$tmp/bin/nixos-anywhere"
chmod +x "$tmp"/bin/*
build() { # EXAMPLE PACKAGE
  cp -r "$here/../../nix/examples/$1" "$tmp/$1-$2"
  nix build --json --no-link --no-write-lock-file "path:$tmp/$1-$2#packages.x86_64-linux.$2" "${args[@]}" 2>"$tmp/log" | jq -r '.[0].outputs.out' || { cat "$tmp/log" >&2; die "example $1 does not build"; }
}
args=("$@")
run() { # ANSWER PROGRAM: its exit code, with what it called in $tmp/calls and what it said in $tmp/said
  local rc=0
  : >"$tmp/calls"
  # No pipe: a program that ends without reading the answer would break it, and pipefail take that for the program's failure.
  CALLS=$tmp/calls PATH=$tmp/bin:$PATH "$2" "${@:3}" <<<"$1" >"$tmp/said" 2>&1 || rc=$?
  echo "$rc"
}
says() { grep -qF -- "$1" "$tmp/said" || { cat "$tmp/said" >&2; die "$2: it does not say '$1'"; }; }
calls() { grep -qE -- "$1" "$tmp/calls" || { cat "$tmp/calls" >&2; die "$2: it does not call '$1'"; }; }
quiet() { ! grep -qE 'disko-|\[copy\]|--store-paths' "$tmp/calls" || { cat "$tmp/calls" >&2; die "$1: it went on"; }; }

format=$(build format format)/bin/format
[ "$(run yes "$format")" = 1 ] || die "format took 'yes' for the machine's name"
quiet "format, another name"
says "EXAMPLE_STICK 42" "format shows model and serial"
[ "$(run '' "$format")" = 1 ] || die "format took an empty answer"
quiet "format, no answer"
[ "$(run box7 "$format")" = 0 ] || { cat "$tmp/said" >&2; die "format failed"; }
calls '\[copy\]\[--to\]\[ssh://root@10.0.0.11\].*NIX_SSHOPTS=-p 22' "format copies its tools"
calls 'ssh -p 22 root@10.0.0.11 .*disko-destroy --yes-wipe-all-disks && .*disko-format' "format formats"

deploy=$(build split deploy)/bin/deploy
[ "$(run '' "$deploy" --debug)" = 0 ] || { cat "$tmp/said" >&2; die "deploy failed"; }
calls '^\[--store-paths\]\[/nix/store/[^]]*hatchery-install-node\]\[/nix/store/[^]]*\]\[--debug\]\[root@10.0.0.11\]$' "deploy keeps the data disk"
wipe=$(build split deploy-wipe)/bin/deploy
[ "$(run other "$wipe")" = 1 ] || die "deploy-wipe took another name"
quiet "deploy-wipe, another name"
says "data: /dev/disk/by-id/ata-EXAMPLE_HDD_5678" "deploy-wipe names the disk"
[ "$(run node "$wipe")" = 0 ] || die "deploy-wipe failed"
calls '^\[--store-paths\]\[/nix/store/[^]]*hatchery-install-wipe-node\]' "deploy-wipe wipes"

mkdir "$tmp/fleet"
(cd "$tmp/fleet" && nix flake init -t "path:$flakes/hatchery#fleet" 2>"$tmp/log") || { cat "$tmp/log" >&2; die "the template cannot be begun"; }
roles=$(nix eval --json "path:$tmp/fleet#hatchery.roles" --no-write-lock-file "${args[@]}" --apply builtins.attrNames 2>"$tmp/log") || { cat "$tmp/log" >&2; die "a new fleet does not evaluate"; }
[ "$roles" = '["plain","server","worker"]' ] || die "a new fleet has the roles $roles"
echo "by hand: format, deploy, deploy-wipe and the template do what they say"
