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
  # a real ISO 9660 with the listed files (xorriso of the machine), so that the appliance's own reader can look into it
  config.system.build.isoImage = pkgs.runCommand "iso" { sources = toString (map (c: c.source) config.isoImage.contents); targets = toString (map (c: c.target) config.isoImage.contents); } ''
    mkdir -p $out/iso tree
    set -- $targets
    for s in $sources; do mkdir -p tree/$(dirname $1); cp $s tree/$1; shift; done
    xorriso -as mkisofs -quiet -R -V stub -o $out/iso/stub.iso tree
  '' // { inherit config; };
}
