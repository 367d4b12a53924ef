# The options and outputs of nixpkgs' module of that name, with nothing behind them.
{ lib, pkgs, config, ... }:
let
  o = type: default: lib.mkOption { inherit type default; };
  t = lib.types;
in
{
  options.isoImage = {
    makeEfiBootable = o t.bool false;
    makeUsbBootable = o t.bool false;
    volumeID = o t.str "";
    squashfsCompression = o t.str "xz";
    contents = o (t.listOf t.attrs) [ ];
  };
  config.boot.loader.grub.enable = false;
  config.system.build.isoImage = pkgs.runCommand "iso" { contents = toString (map (c: c.source) config.isoImage.contents); } "mkdir -p $out/iso; cat $contents > $out/iso/stub.iso";
}
