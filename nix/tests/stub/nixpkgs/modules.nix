# A small module system of our own with the semantics of nixpkgs' that our modules rely on: imports, options,
# mkIf, mkMerge, mkOverride, mkBefore/mkAfter, submodules, _module.args. Only for tests without nixpkgs.
{ lib, types }:
let
  inherit (builtins) attrNames concatLists concatMap elem filter foldl' head isAttrs isFunction isList length map mapAttrs sort toString;
  isProp = t: v: isAttrs v && v._type or "" == t;
  isOption = isProp "option";
  showOption = lib.concatStringsSep ".";

  # a module in any of its forms → { key, file, imports, options, config, freeformType }
  load = args: m:
    if isFunction m then load args (m (callArgs args m))
    else if isAttrs m && !(m ? outPath && !(m ? config)) then shape m
    else
      let
        path = toString m;
        v = import m;
        r = load args (if isFunction v then v (callArgs args v) else v);
      in
      r // { key = path; file = path; };
  # what the function names, each taken lazily; config._module.args last
  callArgs = args: f:
    let named = builtins.functionArgs f; in
    args.special
    // mapAttrs (n: _: args.special.${n} or args.config._module.args.${n} or (throw "module argument `${n}` is not known")) named;
  shape = m:
    let
      structured = m ? config || m ? options;
      meta = [ "_file" "key" "imports" "options" "config" "freeformType" "disabledModules" "_class" ];
      extra = filter (n: !(elem n meta)) (attrNames m);
    in
    if structured && extra != [ ]
    then throw "module ${m._file or "?"}: `${head extra}` stands beside `config` or `options`"
    else {
      key = m.key or null;
      file = m._file or "<unknown>";
      imports = m.imports or [ ];
      options = m.options or { };
      config = if structured then m.config or { } else removeAttrs m meta;
      freeformType = m.freeformType or null;
    };

  collect = args: modules:
    let
      go = seen: ms:
        foldl' (
          acc: m:
          let l = load args m; in
          if l.key != null && elem l.key acc.seen then acc
          else
            let
              below = go (if l.key == null then acc.seen else acc.seen ++ [ l.key ]) (map (inFile l.file) l.imports);
            in
            { inherit (below) seen; list = acc.list ++ below.list ++ [ l ]; }
        ) { inherit seen; list = [ ]; } ms;
    in
    (go [ ] modules).list;
  inFile = file: m: if isAttrs m && !(m ? _file) && !(m ? outPath && !(m ? config)) then m // { _file = file; } else m;

  pushDown = c:
    if isProp "merge" c then concatMap pushDown c.contents
    else if isProp "if" c then map (mapAttrs (_: v: lib.mkIf c.condition v)) (pushDown c.content)
    else if isProp "override" c then map (mapAttrs (_: v: lib.mkOverride c.priority v)) (pushDown c.content)
    else [ c ];

  # a definition → [ { value, priority, order } ]
  discharge = v:
    if isProp "merge" v then concatMap discharge v.contents
    else if isProp "if" v then (if v.condition then discharge v.content else [ ])
    else if isProp "override" v then map (d: d // { inherit (v) priority; }) (discharge v.content)
    else if isProp "order" v then map (d: d // { order = v.priority; }) (discharge v.content)
    else [ { value = v; priority = 100; order = 1000; } ];

  # defs: [ { file, value } ] → those that win, in order
  winners = defs:
    let
      all = concatMap (d: map (x: x // { inherit (d) file; }) (discharge d.value)) defs;
      best = foldl' (p: d: if d.priority < p then d.priority else p) 9999 all;
    in
    sort (a: b: a.order < b.order) (filter (d: d.priority == best) all);

  optionValue = loc: decls: defs:
    let
      opt = foldl' (a: d: a // d.options) { } decls;
      type = if opt ? type then opt.type else types.unspecified;
      all = winners (
        (if opt ? default then [ { file = (head decls).file; value = lib.mkOverride 1500 opt.default; } ] else [ ]) ++ defs
      );
      given = filter (d: d.priority < 1500) (map (d: d) all);
      merged =
        if all == [ ] then
          if type ? emptyValue then type.emptyValue
          else throw "The option `${showOption loc}' is used but not defined."
        else if opt.readOnly or false && length given > 1 then throw "The option `${showOption loc}' is read-only, but it is set several times."
        else type.merge loc (map (d: { inherit (d) file value; }) all);
    in
    {
      _type = "option";
      inherit type loc;
      value = if opt ? apply then opt.apply merged else merged;
      definitions = map (d: d.value) given;
      isDefined = all != [ ];
    };

  # options: [ { file, options } ], configs: [ { file, config } ] → { config, options }
  mergeTree = loc: freeform: options: configs:
    let
      names = lib.unique (concatMap (o: attrNames o.options) options);
      pushed = concatMap (c: map (config: { inherit (c) file; inherit config; }) (pushDown c.config)) configs;
      bad = filter (c: !(isAttrs c.config)) pushed;
      defined = lib.unique (concatMap (c: attrNames c.config) pushed);
      at = n: xs: sel: concatMap (x: if (sel x) ? ${n} then [ { inherit (x) file; v = (sel x).${n}; } ] else [ ]) xs;
      one = n:
        let
          decls = map (x: { inherit (x) file; options = x.v; }) (at n options (x: x.options));
          defs = map (x: { inherit (x) file; value = x.v; }) (at n pushed (x: x.config));
          here = loc ++ [ n ];
        in
        if lib.all (d: isOption d.options) decls then
          let o = optionValue here decls defs; in
          { config = o.value; options = o; }
        else if lib.any (d: isOption d.options) decls then throw "The option `${showOption here}' is declared as an option and as a set."
        else mergeTree here null decls (map (d: { inherit (d) file; config = d.value; }) defs);
      tree = lib.genAttrs names one;
      unknown = filter (n: !(elem n names)) defined;
      where = n: lib.concatMapStringsSep ", " (x: x.file) (at n pushed (x: x.config));
      # a definition under an mkIf that does not hold names no unknown option
      live = filter (n: lib.any (x: discharge x.v != [ ]) (at n pushed (x: x.config))) unknown;
      free =
        if unknown == [ ] then { }
        else if freeform != null then
          freeform.merge loc (map (c: { inherit (c) file; value = lib.filterAttrs (n: _: elem n unknown) c.config; }) pushed)
        else if live == [ ] then { }
        else throw "The option `${showOption (loc ++ [ (head live) ])}' does not exist. It is set in: ${where (head live)}";
    in
    {
      config =
        if bad != [ ] then throw "The option `${showOption loc}' is a set of options, but is set to something else in ${(head bad).file}."
        else free // mapAttrs (_: t: t.config) tree;
      # without a look at the definitions: modules may ask which options there are
      options = mapAttrs (_: t: t.options) tree;
      inherit free;
    };

  evalModules = { modules, specialArgs ? { }, prefix ? [ ], args ? { } }:
    let
      special = { inherit lib options; config = config; } // specialArgs;
      internal = {
        _file = "modules.nix";
        options._module = {
          args = lib.mkOption { type = types.lazyAttrsOf types.raw; default = { }; };
          check = lib.mkOption { type = types.bool; default = true; };
        };
        config._module.args = args;
      };
      list = collect { inherit special config; } ([ internal ] ++ modules);
      freeforms = filter (f: f != null) (map (m: m.freeformType) list);
      tree = mergeTree prefix (if freeforms == [ ] then null else head freeforms)
        (map (m: { inherit (m) file options; }) list)
        (map (m: { inherit (m) file config; }) list);
      inherit (tree) config options;
    in
    {
      # unknown definitions are told even when nothing of them is read
      config = builtins.seq tree.free config;
      inherit options;
      _module = config._module;
    };

  # one value of a list or set: { isDefined, value }
  mergeDefinitions = loc: type: defs:
    let all = winners defs; in
    { isDefined = all != [ ]; value = type.merge loc (map (d: { inherit (d) file value; }) all); };
in
{ inherit evalModules mergeDefinitions; }
