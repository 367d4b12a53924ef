# The option types that our modules use: { name, check, merge loc defs }.
{ lib, evalModules }:
let
  inherit (builtins) all any attrNames concatLists concatMap filter foldl' head isAttrs isBool isFunction isInt isList isPath isString length map toString typeOf;
  show = lib.concatStringsSep ".";
  wrong = loc: d: what: throw "A definition for option `${show loc}' is not of type `${what}'. It is a ${typeOf d.value}, set in ${toString d.file}";
  simple = what: check: rec {
    name = what;
    inherit check;
    merge = loc: defs:
      let bad = filter (d: !(check d.value)) defs; in
      if bad != [ ] then wrong loc (head bad) what
      else if all (d: d.value == (head defs).value) defs then (head defs).value
      else throw "The option `${show loc}' has conflicting definition values, in ${lib.concatMapStringsSep ", " (d: toString d.file) defs}";
  };
  elements = loc: type: defs:
    # every element through its own merge, so that mkIf and mkDefault inside lists and sets hold
    lib.mergeDefinitions loc type defs;
  types = rec {
    raw = { name = "raw"; check = _: true; merge = loc: defs: if length defs == 1 then (head defs).value else throw "The option `${show loc}' is defined several times."; };
    unspecified = { name = "unspecified"; check = _: true; merge = _: defs: if length defs == 1 then (head defs).value else lib.mergeAttrsOrLast (map (d: d.value) defs); };
    anything = { name = "anything"; check = _: true; merge = loc: defs:
      if all (d: isAttrs d.value && !(d.value ? outPath)) defs then (lazyAttrsOf anything).merge loc defs
      else (simple "anything" (_: true)).merge loc defs; };
    attrs = { name = "attribute set"; check = isAttrs; emptyValue = { }; merge = loc: defs:
      let bad = filter (d: !(isAttrs d.value)) defs; in
      if bad != [ ] then wrong loc (head bad) "attribute set" else foldl' (a: d: a // d.value) { } defs; };
    bool = simple "boolean" isBool;
    int = simple "signed integer" isInt;
    ints = { positive = simple "positive integer" (v: isInt v && v > 0); unsigned = simple "unsigned integer" (v: isInt v && v >= 0); };
    port = simple "16 bit unsigned integer" (v: isInt v && v >= 0 && v <= 65535);
    str = simple "string" isString;
    nonEmptyStr = simple "non-empty string" (v: isString v && builtins.match "[ \t\n]*" v == null);
    singleLineStr = str;
    strMatching = p: simple "string matching the pattern ${p}" (v: isString v && builtins.match p v != null);
    lines = { name = "strings concatenated with \"\\n\""; check = isString; merge = loc: defs:
      let bad = filter (d: !(isString d.value)) defs; in
      if bad != [ ] then wrong loc (head bad) "string" else lib.concatStringsSep "\n" (map (d: d.value) defs); };
    package = simple "package" (v: isAttrs v && v ? outPath || isString v && lib.hasPrefix builtins.storeDir v);
    path = simple "absolute path" (v: isPath v || isString v && lib.hasPrefix "/" v || isAttrs v && v ? outPath);
    enum = vs: simple "one of ${builtins.toJSON vs}" (v: builtins.elem v vs);
    nullOr = t: { name = "null or ${t.name}"; check = v: v == null || t.check v; merge = loc: defs:
      if all (d: d.value == null) defs then null
      else if any (d: d.value == null) defs then throw "The option `${show loc}' is null in one place and not in another."
      else t.merge loc defs; };
    either = a: b: { name = "${a.name} or ${b.name}"; check = v: a.check v || b.check v; merge = loc: defs:
      if all (d: a.check d.value) defs then a.merge loc defs
      else if all (d: b.check d.value) defs then b.merge loc defs
      else wrong loc (head defs) "${a.name} or ${b.name}"; };
    oneOf = ts: foldl' either (head ts) (builtins.tail ts);
    listOf = t: { name = "list of ${t.name}"; check = isList; emptyValue = [ ]; merge = loc: defs:
      concatLists (map (d:
        if !(isList d.value) then wrong loc d "list of ${t.name}"
        else concatLists (lib.imap1 (i: v:
          let m = elements (loc ++ [ "[entry ${toString i}]" ]) t [ { inherit (d) file; value = v; } ]; in
          if m.isDefined then [ m.value ] else [ ]) d.value)) defs); };
    attrsOf = t: { name = "attribute set of ${t.name}"; check = isAttrs; emptyValue = { }; merge = loc: defs:
      let
        bad = filter (d: !(isAttrs d.value)) defs;
        # mkIf around the whole set was discharged before; inside it each name by itself
        names = lib.unique (concatMap (d: attrNames d.value) defs);
        value = n: elements (loc ++ [ n ]) t (concatMap (d: if d.value ? ${n} then [ { inherit (d) file; value = d.value.${n}; } ] else [ ]) defs);
      in
      if bad != [ ] then wrong loc (head bad) "attribute set of ${t.name}"
      else lib.mapAttrs (_: m: m.value) (lib.filterAttrs (_: m: m.isDefined) (lib.genAttrs names value)); };
    lazyAttrsOf = t: { name = "lazy attribute set of ${t.name}"; check = isAttrs; emptyValue = { }; merge = loc: defs:
      lib.genAttrs (lib.unique (concatMap (d: attrNames d.value) defs)) (n:
        (elements (loc ++ [ n ]) t (concatMap (d: if d.value ? ${n} then [ { inherit (d) file; value = d.value.${n}; } ] else [ ]) defs)).value); };
    submodule = m: submoduleWith { modules = lib.toList m; };
    submoduleWith = { modules, specialArgs ? { }, shorthandOnlyDefinesConfig ? true, ... }: {
      name = "submodule";
      check = v: isAttrs v || isFunction v || isPath v;
      emptyValue = removeAttrs (evalModules { inherit modules; args.name = "‹name›"; }).config [ "_module" ];
      merge = loc: defs: removeAttrs (evalModules {
        modules = modules ++ map (d:
          if isAttrs d.value then { _file = d.file; config = d.value; } else { _file = d.file; imports = [ d.value ]; }) defs;
        inherit specialArgs;
        prefix = loc;
        args.name = lib.last loc;
      }).config [ "_module" ];
    };
    deferredModule = { name = "module"; check = v: isAttrs v || isFunction v || isPath v; merge = _: defs: { imports = map (d: d.value) defs; }; };
    functionTo = t: { name = "function"; check = isFunction; merge = loc: defs: x: t.merge loc (map (d: { inherit (d) file; value = d.value x; }) defs); };
  };
in
types
