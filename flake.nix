{
  description = "Hatchery: bare machines become NixOS hosts";

  # flake.lock: nixpkgs and disko are what nixos-anywhere's own public lock file has at its commit 006875f7549e (20 Aug 2026; inputs
  # nixos-stable and disko). nixos-anywhere (1.13.0 and 98 commits) is in no public lock file that we found: its narHash is that of
  # its git tree, got by `nix hash path` of `git archive`, which for disko 4707eec8d1d2 gives what Mic92/dotfiles' lock file has.
  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";
    disko = {
      url = "github:nix-community/disko/master";
      inputs.nixpkgs.follows = "nixpkgs";
    };
    nixos-anywhere = {
      url = "github:nix-community/nixos-anywhere/main";
      inputs.nixpkgs.follows = "nixpkgs";
      inputs.nixos-stable.follows = "nixpkgs";
      inputs.disko.follows = "disko";
      # only its own tests and formatter use these
      inputs.nixos-images.follows = "";
      inputs.nix-vm-test.follows = "";
      inputs.treefmt-nix.follows = "";
    };
  };

  outputs = inputs: import ./nix inputs;
}
