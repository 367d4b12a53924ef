# What the module system itself needs, beside the options of ../contract.
{ lib, ... }:
let
  o = type: default: lib.mkOption { inherit type default; };
  t = lib.types;
in
{
  options = {
    assertions = o (t.listOf t.unspecified) [ ];
    warnings = o (t.listOf t.str) [ ];
    system.build = o (t.lazyAttrsOf t.unspecified) { };
  };
}
