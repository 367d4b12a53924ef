#!/usr/bin/env bash
# Checks of nix/ that need nix but no internet: every file parses, the modules and the library evaluate to what
# eval.nix says, the install script passes shellcheck (where that is installed).
# With NIXPKGS_LIB and DISKO (see mkflakes.sh) the same with the real module system and the real disko. TRACE=1 traces errors.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export NIX_CONFIG="experimental-features = nix-command flakes
sandbox = false
substituters =
build-users-group ="

find "$root/nix" "$root/flake.nix" "$root/internal/hive/template" -name '*.nix' -print0 | while IFS= read -r -d '' f; do
  nix-instantiate --parse "$f" >/dev/null || { echo "does not parse: $f" >&2; exit 1; }
done

mapfile -t args < <("$here/mkflakes.sh" "$tmp/flakes")
mkdir "$tmp/tests"
cp -r "$here"/{flake.nix,eval.nix,fleet,contract,settings.nix,settings.toml} "$tmp/tests/"
nix eval --json "path:$tmp/tests#results" --no-write-lock-file "${args[@]}" ${TRACE:+--show-trace} >"$tmp/results" 2>"$tmp/log" || { cat "$tmp/log" >&2; exit 1; }
# shellcheck disable=SC2016
nix-instantiate --eval --strict --json -E '
  let r = builtins.fromJSON (builtins.readFile '"$tmp/results"'); bad = builtins.filter (n: r.${n} != "ok") (builtins.attrNames r); in
  { count = builtins.length (builtins.attrNames r); bad = map (n: "${n}: ${r.${n}}") bad; }' >"$tmp/summary"
cat "$tmp/summary"
echo
grep -q '"bad":\[\]' "$tmp/summary"

# a clash names both sets
nix eval "path:$tmp/tests#clash" --no-write-lock-file "${args[@]}" >/dev/null 2>"$tmp/log" && { echo "mergeDiskoDevices takes a clash" >&2; exit 1; }
grep -q 'disk.a is defined by both set 1 and set 3' "$tmp/log" || { cat "$tmp/log" >&2; exit 1; }

# flake.lock is whole (nothing would have to be looked up), and the template pins the same
mkdir "$tmp/lock"
cp "$root"/flake.{nix,lock} "$tmp/lock/"
nix flake metadata --offline --no-update-lock-file --json "path:$tmp/lock" >/dev/null 2>"$tmp/log" || { echo "flake.lock does not fit flake.nix:" >&2; cat "$tmp/log" >&2; exit 1; }
diff <(jq -S '.nodes | {nixpkgs, disko}' "$root/flake.lock") <(jq -S '.nodes | {nixpkgs, disko}' "$root/internal/hive/template/flake.lock")

# every example, each by itself: its systems and its packages evaluate
for e in "$root"/nix/examples/*/; do
  name=$(basename "$e")
  cp -r "$e" "$tmp/example-$name"
  for what in nixosConfigurations packages.x86_64-linux; do
    grep -q "${what%%.*}" "$e/flake.nix" || continue
    nix eval --json "path:$tmp/example-$name#$what" --no-write-lock-file "${args[@]}" ${TRACE:+--show-trace} --apply \
      'builtins.mapAttrs (_: v: builtins.seq (v.config.system.build.toplevel or v).drvPath "evaluates")' >"$tmp/out" 2>"$tmp/log" ||
      { echo "example $name:" >&2; cat "$tmp/log" >&2; exit 1; }
    echo "example $name, $what: $(cat "$tmp/out")"
  done
done

# what the appliance serves: iPXE with our script inside, under the names that firmware asks for
conf=$(nix build --json --no-link "path:$tmp/example-appliance#nixosConfigurations.box.config.services.hatchery.configFile" --no-write-lock-file "${args[@]}" 2>"$tmp/log" | jq -r '.[0].outputs.out') ||
  { cat "$tmp/log" >&2; exit 1; }
ipxe=$(sed -n 's/^ipxe = "\(.*\)"/\1/p' "$conf")
for f in undionly.kpxe snponly.efi ipxe-amd64.efi; do
  cmp "$ipxe/$f" "$root/nix/fallback.ipxe"
done
echo "example appliance, iPXE: our script is in $(cd "$ipxe" && echo *)"

"$here/byhand.sh" "$tmp/flakes" "${args[@]}"

# the nixosTests: their nodes evaluate and their scripts are Python; they run where there is KVM and internet
mapfile -t self < <(printf '%s\n' "${args[@]}" | sed 's|^hatchery/||')
nix eval --json "path:$tmp/flakes/hatchery#checks.x86_64-linux" --no-write-lock-file "${self[@]:3}" ${TRACE:+--show-trace} \
  --apply 'builtins.mapAttrs (_: t: if t ? nodes then builtins.deepSeq (builtins.mapAttrs (_: n: n.drvPath) t.nodes) t.script else builtins.seq t.drvPath "")' >"$tmp/checks" 2>"$tmp/log" ||
  { echo "nixosTests:" >&2; cat "$tmp/log" >&2; exit 1; }
jq -r 'to_entries[] | .key' "$tmp/checks" | while IFS= read -r name; do
  jq -r --arg n "$name" '.[$n]' "$tmp/checks" >"$tmp/$name.py"
  ! command -v python3 >/dev/null || python3 -c 'import ast, sys; ast.parse(open(sys.argv[1]).read(), sys.argv[1])' "$tmp/$name.py"
  echo "nixosTest $name: evaluates ($(wc -l <"$tmp/$name.py") lines of script)"
done

# a persistent disk that cannot be read is not blank
rc=0
bash -c '. "$1"; disk data persistent /dev/disk/by-id/x 0 "" "" "" "" 0; path[data]=none-such; judge_persistent data' - "$root/nix/modules/partitioning/install.bash" >"$tmp/out" 2>&1 || rc=$?
{ [ "$rc" = 21 ] && grep -q 'cannot be read' "$tmp/out"; } || { echo "a disk that cannot be read: exit $rc: $(cat "$tmp/out")" >&2; exit 1; }

bash -n "$root/nix/modules/partitioning/install.bash" "$here/nixos-anywhere"
if command -v shellcheck >/dev/null; then
  # SC2015: `test && check || refuse` is meant so; SC2034/SC2154: declared and used by the generated part
  shellcheck -s bash -e SC2015,SC2034,SC2154 "$root/nix/modules/partitioning/install.bash" "$here"/nixos-anywhere "$here"/*.sh "$here"/stub/nixpkgs/mkparts.sh
fi
