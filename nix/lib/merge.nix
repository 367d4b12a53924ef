# [ device sets ] → { devices = …; }: a name that two of them define is an error that names both.
{ lib }:
defs:
let
  numbered = lib.imap1 (i: def: { inherit i; def = if def ? disko then def.disko.devices else def.devices or def; }) defs;
  kinds = lib.unique (lib.concatMap (n: lib.attrNames n.def) numbered);
  merged = kind:
    let
      names = lib.unique (lib.concatMap (n: lib.attrNames (n.def.${kind} or { })) numbered);
      from = name: lib.filter (n: n.def ? ${kind} && n.def.${kind} ? ${name}) numbered;
      one = name:
        let ds = from name; in
        if lib.length ds > 1
        then throw "mergeDiskoDevices: ${kind}.${name} is defined by both set ${toString (lib.head ds).i} and set ${toString (lib.elemAt ds 1).i}"
        else (lib.head ds).def.${kind}.${name};
    in
    lib.genAttrs names one;
in
{ devices = lib.genAttrs kinds merged; }
