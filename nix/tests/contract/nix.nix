{ lib, fork, o, t, ... }:
let
  atom = t.nullOr (t.oneOf [ t.bool t.int t.str t.path t.package ]);
in
[
  {
    inherit (fork) repo commit;
    file = "nixos/modules/config/nix.nix";
    # substituters and trusted-public-keys are lists there; extra-… and unknown ones are free
    options.nix.settings = o (t.submodule {
      freeformType = t.attrsOf (t.either atom (t.listOf atom));
      options.substituters = o (t.listOf t.str) [ ];
      options.trusted-public-keys = o (t.listOf t.str) [ ];
      options.trusted-users = o (t.listOf t.str) [ ];
      options.allowed-users = o (t.listOf t.str) [ "*" ];
    }) { };
  }
  {
    inherit (fork) repo commit;
    file = "nixos/modules/config/nix-channel.nix";
    options.nix.channel.enable = o t.bool true;
  }
  {
    inherit (fork) repo commit;
    file = "nixos/modules/config/nix-flakes.nix";
    options.nix.registry = o (t.attrsOf t.attrs) { };
  }
  {
    inherit (fork) repo commit;
    file = "nixos/modules/config/nix-remote-build.nix";
    options.nix.distributedBuilds = o t.bool false;
    options.nix.buildMachines = o (t.listOf (t.submodule {
      options = {
        hostName = lib.mkOption { type = t.str; };
        protocol = o (t.enum [ null "ssh" "ssh-ng" ]) "ssh";
        system = o (t.nullOr t.str) null;
        systems = o (t.listOf t.str) [ ];
        sshUser = o (t.nullOr t.str) null;
        sshKey = o (t.nullOr t.str) null;
        maxJobs = o t.int 1;
        speedFactor = o t.int 1;
        mandatoryFeatures = o (t.listOf t.str) [ ];
        supportedFeatures = o (t.listOf t.str) [ ];
        publicHostKey = o (t.nullOr t.str) null;
      };
    })) [ ];
  }
  {
    # Split into cache and daemon; before (NixOS/nixpkgs 637b7c60fb5c, the newest of it in the index) the options stood in
    # services.harmonia itself, and eval.nix has our module set those too. The unit is harmonia.service in both.
    inherit (fork) repo commit;
    file = "nixos/modules/services/networking/harmonia.nix";
    options.services.harmonia.cache = {
      enable = o t.bool false;
      signKeyPaths = o (t.listOf t.path) [ ];
      settings = o (t.attrsOf t.anything) { };
    };
  }
  {
    inherit (fork) repo commit;
    file = "nixos/modules/services/system/nix-daemon.nix";
    options.nix.package = o t.package { type = "derivation"; name = "nix"; outPath = "/usr"; };
  }
]
