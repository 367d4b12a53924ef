# colmena evaluates its hosts with this file of nixpkgs.
args:
let
  nixpkgs = (import ../../flake.nix).outputs { self = null; };
  o = type: default: nixpkgs.lib.mkOption { inherit type default; };
  t = nixpkgs.lib.types;
in
nixpkgs.lib.nixosSystem (args // {
  modules = args.modules ++ [
    {
      options.nixpkgs = { config = o t.attrs { }; overlays = o (t.listOf t.raw) [ ]; };
      options.system.activationScripts = o (t.attrsOf t.raw) { };
      options.systemd.paths = o (t.attrsOf t.raw) { };
    }
  ];
})
