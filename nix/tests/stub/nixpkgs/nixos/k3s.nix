# services.k3s as nixpkgs has it: names and types of what nixos/modules/services/cluster/rancher declares
# (read at nixpkgs 011c1bdb102b).
{ lib, ... }:
let
  o = type: default: lib.mkOption { inherit type default; };
  t = lib.types;
  manifest = { name, ... }: {
    options = {
      enable = o t.bool true;
      target = o t.nonEmptyStr "${name}.yaml";
      content = o (t.nullOr (t.either t.attrs (t.listOf t.attrs))) null;
      source = lib.mkOption { type = t.path; };
    };
  };
in
{
  options.services.k3s = {
    enable = o t.bool false;
    role = o (t.enum [ "server" "agent" ]) "server";
    clusterInit = o t.bool false;
    disableAgent = o t.bool false;
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
