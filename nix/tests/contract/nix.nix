{ lib, o, t, ... }:
let
  atom = t.nullOr (t.oneOf [ t.bool t.int t.str t.path t.package ]);
in
[
  {
    commit = "013635633ffe11f70df1d639f563f21c42c1f778";
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
    commit = "025640dcb7270faa6fe80089fda831b89f3824a9";
    file = "nixos/modules/config/nix-channel.nix";
    options.nix.channel.enable = o t.bool true;
  }
  {
    commit = "025640dcb7270faa6fe80089fda831b89f3824a9";
    file = "nixos/modules/config/nix-flakes.nix";
    options.nix.registry = o (t.attrsOf t.attrs) { };
  }
  {
    commit = "082d7bfc0ee52105bbb19d5035eae68608ebd242";
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
    # the fork of harmonia's maintainer, after services.harmonia was split into cache and daemon
    repo = "Mic92/nixpkgs";
    commit = "bf0e4a0e3472a38005d631269fa0912a55b152e7";
    file = "nixos/modules/services/networking/harmonia.nix";
    options.services.harmonia.cache = {
      enable = o t.bool false;
      signKeyPaths = o (t.listOf t.path) [ ];
      settings = o (t.attrsOf t.anything) { };
    };
  }
  {
    unread = "nix.package is in nix-daemon.nix, as in the manual";
    options.nix.package = o t.package { type = "derivation"; name = "nix"; outPath = "/usr"; };
  }
]
