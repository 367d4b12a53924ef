{ lib, fork, o, t, ... }:
let
  manifest = { name, ... }: {
    options = {
      enable = o t.bool true;
      target = o t.nonEmptyStr "${name}.yaml";
      content = o (t.nullOr (t.either t.attrs (t.listOf t.attrs))) null;
      source = lib.mkOption { type = t.path; };
    };
  };
in
[
  {
    inherit (fork) repo commit;
    file = "nixos/modules/services/cluster/rancher/default.nix";
    options.services.k3s = {
      enable = o t.bool false;
      role = o (t.enum [ "server" "agent" ]) "server";
      serverAddr = o t.str "";
      token = o t.str "";
      tokenFile = o (t.nullOr t.path) null;
      agentTokenFile = o (t.nullOr t.path) null;
      extraFlags = o (t.either t.str (t.listOf t.str)) [ ];
      disable = o (t.listOf t.str) [ ];
      configPath = o (t.nullOr t.path) null;
      environmentFile = o (t.nullOr t.path) null;
      nodeName = o (t.nullOr t.str) null;
      nodeIP = o (t.nullOr t.str) null;
      nodeLabel = o (t.listOf t.str) [ ];
      nodeTaint = o (t.listOf t.str) [ ];
      manifests = o (t.attrsOf (t.submodule manifest)) { };
    };
  }
  {
    inherit (fork) repo commit;
    file = "nixos/modules/services/cluster/rancher/k3s.nix";
    options.services.k3s.clusterInit = o t.bool false;
    options.services.k3s.disableAgent = o t.bool false;
  }
  {
    inherit (fork) repo commit;
    file = "nixos/modules/virtualisation/oci-containers.nix";
    options.virtualisation.oci-containers.backend = o (t.enum [ "podman" "docker" ]) "podman";
    options.virtualisation.oci-containers.containers = o (t.attrsOf (t.submodule {
      options = {
        image = lib.mkOption { type = t.str; };
        cmd = o (t.listOf t.str) [ ];
        volumes = o (t.listOf t.str) [ ];
        extraOptions = o (t.listOf t.str) [ ];
        hostname = o (t.nullOr t.str) null;
        privileged = o t.bool false;
        networks = o (t.listOf t.str) [ ];
      };
    })) { };
  }
]
