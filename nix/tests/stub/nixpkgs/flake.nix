# Stands for nixpkgs in tests without internet: `lib.nixosSystem` evaluates real modules (with our own small module
# system, or with the real nixpkgs.lib when a folder lib-real/ lies here) and builds a tiny system: see system.nix.
{
  outputs = { self }:
    let
      lib0 = if builtins.pathExists ./lib-real then import ./lib-real else import ./lib.nix;
      pkgsOf = system: import ./pkgs.nix { lib = lib0; inherit system; };
    in
    {
      lib = lib0 // {
        # without: files of the contract to leave out, for a nixpkgs that has other options there
        nixosSystem = { system ? null, modules, specialArgs ? { }, without ? [ ], ... }:
          let
            eval = lib0.evalModules {
              specialArgs = { modulesPath = toString ./nixos/modules; } // specialArgs;
              modules = modules ++ lib0.filter (m: !(lib0.elem m._file without)) (import ./contract { lib = lib0; }).modules ++ [
                ./nixos/options.nix
                ./system.nix
                ({ config, ... }: {
                  _module.args.pkgs = pkgsOf (if system != null then system else config.nixpkgs.hostPlatform.system);
                })
              ];
            };
          in
          eval // { pkgs = eval.config._module.args.pkgs; };
      };
      legacyPackages = lib0.genAttrs [ "x86_64-linux" "aarch64-linux" ] pkgsOf;
    };
}
