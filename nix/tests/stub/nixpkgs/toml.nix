# A set as TOML: strings, numbers, booleans, lists of strings, lists of tables. nixpkgs' formats.toml does it with remarshal.
{ lib }:
set:
let
  value = v:
    if builtins.isList v then "[${lib.concatMapStringsSep ", " value v}]"
    else builtins.toJSON v; # a JSON string is a TOML one, too
  isTables = v: builtins.isList v && v != [ ] && lib.all builtins.isAttrs v;
  pairs = s: lib.concatStrings (lib.mapAttrsToList (n: v: "${n} = ${value v}\n") s);
in
pairs (lib.filterAttrs (_: v: !(isTables v)) set)
+ lib.concatStrings (lib.mapAttrsToList (n: v: lib.concatMapStrings (t: "\n[[${n}]]\n${pairs t}") v) (lib.filterAttrs (_: isTables) set))
