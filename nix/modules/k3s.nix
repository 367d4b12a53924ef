# k3s on a host: server-init, server or agent. The appliance decides role and server URL (host.json) and
# plants the tokens; no token is ever in the Nix store.
{ config, lib, pkgs, ... }:
let
  inherit (lib) mkOption mkIf types;
  cfg = config.hatchery.k3s;
  server = cfg.role == "server" || cfg.role == "server-init";
  manifestName = p: lib.removeSuffix ".yml" (lib.removeSuffix ".yaml" (baseNameOf (toString p)));
  manifests =
    if builtins.isList cfg.manifests
    then lib.listToAttrs (map (p: lib.nameValuePair (manifestName p) { source = p; }) cfg.manifests)
    else lib.mapAttrs (_: c: { content = c; }) cfg.manifests;
  state = "/var/lib/rancher/k3s";
  # the same role as words of k3s' command line; tokens by file here too
  containerFlags =
    (if cfg.role == "server-init" then [ "--cluster-init" ] else [ "--server=${cfg.serverUrl}" ])
    ++ (if server then [ "--token-file=${cfg.tokenFile}" "--agent-token-file=${cfg.agentTokenFile}" ] else [ "--token-file=${cfg.agentTokenFile}" ])
    ++ [ "--node-name=${config.networking.hostName}" ]
    ++ lib.optional (cfg.nodeIP != null) "--node-ip=${cfg.nodeIP}"
    ++ lib.mapAttrsToList (n: v: "--node-label=${n}=${v}") cfg.labels
    ++ map (t: "--node-taint=${t}") cfg.taints
    ++ lib.optionals server (map (d: "--disable=${d}") cfg.disable)
    ++ cfg.extraFlags;
  manifestFile = name: m: if m ? source then m.source else pkgs.writeText "${name}.yaml" (builtins.toJSON m.content); # JSON is YAML
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
    containerized = mkOption {
      type = types.bool;
      default = false;
      description = ''
        Whether k3s runs from its published image in a privileged podman container with the host's network, rather than as a service of the
        host: the version is the image's, and state, kubeconfig and tokens are at the same paths.
      '';
    };
    image = mkOption {
      type = types.str;
      default = "docker.io/rancher/k3s:v${lib.replaceStrings [ "+" ] [ "-" ] pkgs.k3s.version}";
      defaultText = "docker.io/rancher/k3s, the version of pkgs.k3s";
      description = "The image of the containerized form. It is pulled at the first start.";
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

    services.k3s = mkIf (!cfg.containerized) {
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

    virtualisation.oci-containers = mkIf cfg.containerized {
      backend = "podman";
      containers.k3s = {
        inherit (cfg) image;
        cmd = [ (if server then "server" else "agent") ] ++ containerFlags;
        volumes =
          [ "${state}:${state}" "/etc/rancher:/etc/rancher" "/var/lib/kubelet:/var/lib/kubelet:rshared" "/lib/modules:/lib/modules:ro" ]
          ++ map (f: "${f}:${f}:ro") (lib.optional server cfg.tokenFile ++ [ cfg.agentTokenFile ])
          ++ lib.optionals server (lib.mapAttrsToList (n: m: "${manifestFile n m}:${state}/server/manifests/${n}.yaml:ro") manifests);
        extraOptions = [ "--privileged" "--network=host" "--tmpfs=/run" "--tmpfs=/var/run" "--stop-timeout=60" ];
      };
    };
    systemd.tmpfiles.rules = mkIf cfg.containerized [ "d ${state} 0755 root root -" "d /etc/rancher 0755 root root -" "d /var/lib/kubelet 0755 root root -" ];
    # `k3s kubectl` on the host, as with the service
    environment.systemPackages = mkIf cfg.containerized [ pkgs.k3s ];
    boot.kernelModules = mkIf cfg.containerized [ "overlay" "br_netfilter" ];

    networking.firewall = mkIf cfg.openFirewall {
      allowedTCPPorts = [ 10250 ] ++ lib.optionals server [ 6443 2379 2380 ];
      allowedUDPPorts = [ 8472 ];
    };
  };
}
