# The functions of nixpkgs' lib that our modules, lib and examples use, written anew and small.
let
  b = builtins;
  lib = rec {
    inherit (b) all any attrNames attrValues concatLists concatMap concatStringsSep elem elemAt filter foldl' functionArgs genList
      hasAttr head isAttrs isBool isFunction isInt isList isPath isString length listToAttrs map mapAttrs match removeAttrs
      replaceStrings sort split stringLength substring tail toJSON fromJSON readFile seq deepSeq trace isNull;
    version = "26.05.stub";
    trivial.release = "26.05";
    id = x: x;
    const = x: _: x;
    flip = f: x: y: f y x;
    pipe = foldl' (x: f: f x);
    optional = c: x: if c then [ x ] else [ ];
    optionals = c: xs: if c then xs else [ ];
    optionalString = c: s: if c then s else "";
    optionalAttrs = c: s: if c then s else { };
    toList = x: if isList x then x else [ x ];
    flatten = x: if isList x then concatMap flatten x else [ x ];
    last = xs: elemAt xs (length xs - 1);
    init = xs: genList (elemAt xs) (length xs - 1);
    count = p: xs: length (filter p xs);
    findFirst = p: d: xs: let f = filter p xs; in if f == [ ] then d else head f;
    unique = foldl' (acc: x: if elem x acc then acc else acc ++ [ x ]) [ ];
    imap1 = f: xs: genList (i: f (i + 1) (elemAt xs i)) (length xs);
    foldr = f: z: xs: if xs == [ ] then z else f (head xs) (foldr f z (tail xs));
    range = a: z: if a > z then [ ] else genList (i: a + i) (z - a + 1);
    zipListsWith = f: xs: ys: genList (i: f (elemAt xs i) (elemAt ys i)) (min (length xs) (length ys));
    reverseList = xs: genList (i: elemAt xs (length xs - 1 - i)) (length xs);
    remove = e: filter (x: x != e);
    subtractLists = e: filter (x: !(elem x e));
    intersectLists = e: filter (x: elem x e);
    min = x: y: if x < y then x else y;
    max = x: y: if x > y then x else y;
    warn = m: v: b.trace "warning: ${m}" v;
    nameValuePair = name: value: { inherit name value; };
    genAttrs = names: f: listToAttrs (map (n: nameValuePair n (f n)) names);
    mapAttrs' = f: s: listToAttrs (map (n: f n s.${n}) (attrNames s));
    mapAttrsToList = f: s: map (n: f n s.${n}) (attrNames s);
    filterAttrs = p: s: removeAttrs s (filter (n: !(p n s.${n})) (attrNames s));
    attrByPath = path: d: s: if path == [ ] then s else if s ? ${head path} then attrByPath (tail path) d s.${head path} else d;
    recursiveUpdate = l: r: l // mapAttrs (n: v: if isAttrs v && isAttrs (l.${n} or null) then recursiveUpdate l.${n} v else v) r;
    mergeAttrsList = foldl' (a: x: a // x) { };
    foldlAttrs = f: z: s: foldl' (acc: n: f acc n s.${n}) z (attrNames s);
    concatMapAttrs = f: s: mergeAttrsList (mapAttrsToList f s);
    concatMapStrings = f: xs: concatStringsSep "" (map f xs);
    concatStrings = concatStringsSep "";
    concatMapStringsSep = sep: f: xs: concatStringsSep sep (map f xs);
    concatLines = concatMapStrings (s: s + "\n");
    hasPrefix = p: s: substring 0 (stringLength p) s == p;
    hasSuffix = p: s: let n = stringLength s; k = stringLength p; in n >= k && substring (n - k) k s == p;
    hasInfix = i: s: length (split (escapeRegex i) s) > 1;
    removePrefix = p: s: if hasPrefix p s then substring (stringLength p) (stringLength s) s else s;
    removeSuffix = p: s: if hasSuffix p s then substring 0 (stringLength s - stringLength p) s else s;
    escapeRegex = replaceStrings [ "\\" "." "*" "+" "?" "(" ")" "[" "]" "{" "}" "^" "$" "|" ] [ "\\\\" "\\." "\\*" "\\+" "\\?" "\\(" "\\)" "\\[" "\\]" "\\{" "\\}" "\\^" "\\$" "\\|" ];
    splitString = sep: s: filter isString (split (escapeRegex sep) s);
    escapeShellArg = a: let s = toString a; in if match "[A-Za-z0-9,._+:@%/-]+" s != null then s else "'${replaceStrings [ "'" ] [ "'\\''" ] s}'";
    escapeShellArgs = concatMapStringsSep " " escapeShellArg;
    fixedWidthString = w: c: s: if stringLength s >= w then s else fixedWidthString w c (c + s);
    toInt = s: fromJSON s;
    boolToString = v: if v then "true" else "false";
    makeBinPath = concatMapStringsSep ":" (p: "${p}/bin");
    getExe = p: "${p}/bin/${p.meta.mainProgram or p.pname or p.name}";
    isDerivation = v: isAttrs v && v.type or "" == "derivation";
    cleanSource = s: s;
    literalExpression = text: { _type = "literalExpression"; inherit text; };
    importJSON = p: fromJSON (readFile p);
    throwIfNot = c: m: if c then id else throw m;

    mkOption = o: o // { _type = "option"; };
    mkEnableOption = name: mkOption { default = false; description = "Whether to enable ${name}."; type = types.bool; };
    mkIf = condition: content: { _type = "if"; inherit condition content; };
    mkMerge = contents: { _type = "merge"; inherit contents; };
    mkOverride = priority: content: { _type = "override"; inherit priority content; };
    mkDefault = mkOverride 1000;
    mkForce = mkOverride 50;
    mkImageMediaOverride = mkOverride 60;
    mkOrder = priority: content: { _type = "order"; inherit priority content; };
    mkBefore = mkOrder 500;
    mkAfter = mkOrder 1500;
    mergeAttrsOrLast = vs: if all isAttrs vs then foldl' recursiveUpdate { } vs else if all isList vs then concatLists vs else last vs;

    types = import ./types.nix { inherit lib evalModules; };
    inherit (import ./modules.nix { inherit lib types; }) evalModules mergeDefinitions;
  };
in
lib
