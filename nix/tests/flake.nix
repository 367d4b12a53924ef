# Checks of the modules and the library that need no build: `run.sh` evaluates `results`, with the inputs overridden.
{
  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";
  inputs.disko.url = "github:nix-community/disko/v1.13.0";
  inputs.disko.inputs.nixpkgs.follows = "nixpkgs";
  inputs.hatchery.url = "github:staged-hive/hatchery";
  inputs.hatchery.inputs.nixpkgs.follows = "nixpkgs";
  inputs.hatchery.inputs.disko.follows = "disko";
  outputs = inputs: {
    results = import ./eval.nix inputs;
    # an error whose words run.sh looks at
    clash = builtins.toJSON (inputs.hatchery.lib.mergeDiskoDevices [ { disk.a = { }; } { disk.b = { }; } { disk.a = { }; } ]);
  };
}
