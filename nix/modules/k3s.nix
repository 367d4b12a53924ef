# k3s on a host: server-init, server or agent. The appliance decides role and server URL (host.json) and
# plants the tokens; no token is ever in the Nix store.
{ config, lib, ... }:
let
  inherit (lib) mkOption mkIf types;
  cfg = config.hatchery.k3s;
  server = cfg.role == "server" || cfg.role == "server-init";
  manifestName = p: lib.removeSuffix ".yml" (lib.removeSuffix ".yaml" (baseNameOf (toString p)));
  manifests =
    if builtins.isList cfg.manifests
    then lib.listToAttrs (map (p: lib.nameValuePair (manifestName p) { source = p; }) cfg.manifests)
    else lib.mapAttrs (_: c: { content = c; }) cfg.manifests;
in
{
  options.hatchery.k3s = {
    role = mkOption {
      type = types.nullOr (types.enum [ "server-init" "server" "agent" ]);
      default = null;
      description = "server-init begins the cluster (exactly one host, decided by the appliance); null: no k3s here.";
    };
    serverUrl = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "https://10.0.0.11:6443";
      description = "The server that a server or agent joins.";
    };
    tokenFile = mkOption {
      type = types.str;
      default = "/var/lib/hatchery/k3s-token";
      description = "On servers: file with the server token, planted by the appliance. Never in the store.";
    };
    agentTokenFile = mkOption {
      type = types.str;
      default = "/var/lib/hatchery/k3s-agent-token";
      description = "File with the agent token: agents have only this one, servers accept it.";
    };
    nodeIP = mkOption {
      type = types.nullOr types.str;
      default = null;
      description = "Address that the node announces; null: k3s finds one.";
    };
    manifests = mkOption {
      type = types.either (types.listOf types.path) (types.attrsOf types.attrs);
      default = [ ];
      description = "YAML files, or attribute sets by name, that the servers keep deployed.";
    };
    labels = mkOption {
      type = types.attrsOf types.str;
      default = { };
      example = { "hatchery/role" = "worker"; };
      description = "Labels of the node.";
    };
    taints = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "node-role.kubernetes.io/control-plane:NoSchedule" ];
      description = "Taints of the node.";
    };
    disable = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "traefik" "servicelb" ];
      description = "Parts of k3s that servers leave out.";
    };
    extraFlags = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = "Further flags for k3s.";
    };
    openFirewall = mkOption {
      type = types.bool;
      default = true;
      description = "Whether to open what the nodes need of each other: TCP 10250, UDP 8472; on servers TCP 6443, 2379, 2380.";
    };
  };

  config = mkIf (cfg.role != null) {
    assertions = [
      {
        assertion = cfg.role == "server-init" || cfg.serverUrl != null;
        message = "hatchery.k3s.serverUrl is needed: a k3s ${toString cfg.role} joins a server. The appliance writes it into host.json.";
      }
      {
        assertion = !(lib.any (f: lib.hasPrefix "/nix/store" f) [ cfg.tokenFile cfg.agentTokenFile ]);
        message = "hatchery.k3s: a token file must not be in the Nix store, which everybody can read.";
      }
    ];

    services.k3s = {
      enable = true;
      role = if server then "server" else "agent";
      clusterInit = cfg.role == "server-init";
      serverAddr = mkIf (cfg.role != "server-init") cfg.serverUrl;
      tokenFile = if server then cfg.tokenFile else cfg.agentTokenFile;
      agentTokenFile = mkIf server cfg.agentTokenFile;
      nodeIP = mkIf (cfg.nodeIP != null) cfg.nodeIP;
      nodeLabel = lib.mapAttrsToList (n: v: "${n}=${v}") cfg.labels;
      nodeTaint = cfg.taints;
      disable = mkIf server cfg.disable;
      extraFlags = cfg.extraFlags;
      manifests = mkIf server manifests;
    };

    networking.firewall = mkIf cfg.openFirewall {
      allowedTCPPorts = [ 10250 ] ++ lib.optionals server [ 6443 2379 2380 ];
      allowedUDPPorts = [ 8472 ];
    };
  };
}
