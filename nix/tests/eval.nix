# { NAME = "ok" | what is wrong; }
{ nixpkgs, disko, hatchery, ... }:
let
  inherit (nixpkgs) lib;
  fs = mountpoint: { type = "filesystem"; format = "ext4"; inherit mountpoint; };
  gpt = partitions: { type = "gpt"; inherit partitions; };
  byId = n: "/dev/disk/by-id/${n}";
  os = { device = byId "os"; content = gpt { root = { size = "100%"; content = fs "/"; }; }; };
  data = { device = byId "data"; content = gpt { data = { size = "100%"; content = fs "/data"; }; }; };
  split = { partitioning.ephemeral.disk.os = os; partitioning.persistent.disk.data = data; };
  base = { networking.hostName = "node1"; nixpkgs.hostPlatform = "x86_64-linux"; boot.loader.grub.enable = false; system.stateVersion = "26.05"; };
  system = modules: (nixpkgs.lib.nixosSystem { modules = [ hatchery.nixosModules.default base ] ++ modules; }).config;
  failing = c: map (a: a.message) (lib.filter (a: !a.assertion) c.assertions);

  expect = got: want: if got == want then "ok" else "got ${builtins.toJSON got}, want ${builtins.toJSON want}";
  # exactly one failing assertion, and its message says all of `words`
  refused = modules: words:
    let
      ms = failing (system modules);
      missing = lib.filter (w: !(lib.any (lib.hasInfix w) ms)) words;
    in
    if ms == [ ] then "nothing was refused"
    else if lib.length ms > 1 then "refused for more than one reason: ${builtins.toJSON ms}"
    else if missing != [ ] then "the message ${builtins.toJSON ms} lacks ${builtins.toJSON missing}"
    else "ok";
  throws = v: if (builtins.tryEval (builtins.deepSeq v v)).success then "nothing was thrown" else "ok";

  host = extra: {
    hatchery.host = {
      schema = 1;
      name = "node1";
      mac = "52:54:00:aa:bb:01";
      role = "worker";
      system = "x86_64-linux";
      firmware = "uefi";
    } // extra;
  };
  planned = disks: host { plan = { id = "p-1"; wipePersistent = [ ]; inherit disks; }; };
  slot = class: id: { inherit class id; signatures = [ ]; partUuids = [ ]; };
  content = d: removeAttrs d [ "device" ];

  k3s = c: c.services.k3s;
  # the template's own roles with the host files of ./fleet
  template = hatchery.templates.fleet.path;
  fleetArgs = {
    dir = ./fleet;
    roles = import (template + "/roles.nix");
    modules = { server = template + "/roles/server.nix"; worker = template + "/roles/worker.nix"; plain = template + "/roles/plain.nix"; };
    common = [ (template + "/common.nix") ];
  };
  fleet = hatchery.lib.mkFleet fleetArgs;
  applianceModules = extra: [
    hatchery.nixosModules.appliance
    { nixpkgs.hostPlatform = "x86_64-linux"; boot.loader.grub.enable = false; services.hatchery = { enable = true; } // extra; }
  ];
  appliance = extra: (nixpkgs.lib.nixosSystem { modules = applianceModules extra; }).config;
  # as nixpkgs was before harmonia's options moved into services.harmonia.cache
  applianceBefore = extra: (nixpkgs.lib.nixosSystem {
    without = [ "nixos/modules/services/networking/harmonia.nix" ];
    modules = applianceModules extra ++ [
      {
        options.services.harmonia = {
          enable = lib.mkOption { type = lib.types.bool; default = false; };
          signKeyPaths = lib.mkOption { type = lib.types.listOf lib.types.path; default = [ ]; };
          settings = lib.mkOption { type = lib.types.attrsOf lib.types.anything; default = { }; };
        };
      }
    ];
  }).config;
  contract = import ./contract { inherit lib; };
  # the options of the contract whose value cannot be had in a configuration
  illTyped = c: lib.filter (p: !(builtins.tryEval (builtins.deepSeq (lib.attrByPath p null c) true)).success) contract.allPaths;
  stage0 = s: modules: (nixpkgs.lib.nixosSystem { modules = [ hatchery.nixosModules.stage0 { nixpkgs.hostPlatform = s; } ] ++ modules; }).config;
  isoModule = "${hatchery}/nix/stage0/iso.nix";
  netboot = modules: stage0 "x86_64-linux" ([ "${hatchery}/nix/stage0/netboot.nix" ] ++ modules);
in
{
  "the split is what disko gets" = expect (lib.attrNames (system [ split ]).disko.devices.disk) [ "data" "os" ];
  "plain disko spares the persistent disk" = expect (lib.mapAttrs (_: d: d.destroy) (system [ split ]).disko.devices.disk) { data = false; os = true; };
  "file systems come out" = expect (lib.attrNames (system [ split ]).fileSystems) [ "/" "/data" ];
  "a good split is not refused" = expect (failing (system [ split ])) [ ];
  "definitions of several modules are merged, mkIf holds" = expect (lib.attrNames (system [
    split
    { partitioning.persistent = lib.mkIf false { disk.never = data; }; }
    { partitioning.persistent = lib.mkIf true { disk.more = { device = byId "more"; content = fs "/more"; }; }; }
  ]).disko.devices.disk) [ "data" "more" "os" ];

  "refused: a disk in both sets" = refused [ split { partitioning.persistent.disk.os = { device = lib.mkForce (byId "x"); content = lib.mkForce (fs "/x"); }; } ] [ "`os`" "both" ];
  "refused: a device in both sets" = refused [ split { partitioning.persistent.disk.data.device = lib.mkForce (byId "os"); } ] [ "by-id/os" "both" ];
  "refused: a device twice in one set" = refused [ split { partitioning.persistent.disk.more = { device = byId "data"; content = fs "/more"; }; } ] [ "by-id/data" ];
  "refused: a mount point twice" = refused [ split { partitioning.persistent.disk.more = { device = byId "more"; content = fs "/data"; }; } ] [ "`/data`" ];
  "refused: a label over 36 characters" = refused [
    split
    { partitioning.persistent.disk.more = { device = byId "more"; content = gpt { p = { label = "a-label-that-is-longer-than-gpt-can-hold"; size = "100%"; content = fs "/more"; }; }; }; }
  ] [ "36" "longer-than" ];
  "refused: a label twice" = refused [
    split
    { partitioning.persistent.disk.more = { device = byId "more"; content = gpt { p = { label = "disk-os-root"; size = "100%"; content = fs "/more"; }; }; }; }
  ] [ "disk-os-root" "twice" ];
  "refused: a kernel name" = refused [ split { partitioning.persistent.disk.more = { device = "/dev/sdb"; content = fs "/more"; }; } ] [ "/dev/sdb" "by-id" ];
  "not refused: a kernel name that was allowed" = expect (failing (system [
    split
    { partitioning.allowKernelNames = true; partitioning.persistent.disk.more = { device = "/dev/sdb"; content = fs "/more"; }; }
  ])) [ ];
  "refused: a slot that the plan leaves empty" = refused [
    (planned { os = slot "ephemeral" "os"; })
    { partitioning.ephemeral.disk.os = content os; }
    { partitioning.persistent.disk.data = data; }
  ] [ "`data`" "plan" ];
  "the plan's names are where udev has them" = expect (lib.mapAttrs (_: d: d.device) (system [
    (planned { os = slot "ephemeral" "path:pci-0000:00:05.0-ata-1"; data = slot "persistent" "virtio-DATA"; })
    { partitioning.ephemeral.disk.os = content os; partitioning.persistent.disk.data = content data; }
  ]).disko.devices.disk) { os = "/dev/disk/by-path/pci-0000:00:05.0-ata-1"; data = byId "virtio-DATA"; };
  "refused: a slot without a layout" = refused [
    (planned { os = slot "ephemeral" "os"; data = slot "persistent" "data"; })
    { partitioning.ephemeral.disk.os = content os; }
  ] [ "`data`" "layout" ];
  "the plan names the devices" = expect (lib.mapAttrs (_: d: d.device) (system [
    (planned { os = slot "ephemeral" "virtio-A"; data = slot "persistent" "virtio-B"; })
    { partitioning.ephemeral.disk.os = content os; partitioning.persistent.disk.data = content data; }
  ]).disko.devices.disk) { os = byId "virtio-A"; data = byId "virtio-B"; };
  "format: a slot alone has a script" = expect (builtins.isString (system [ split ]).system.build.hatcheryFormat.data.drvPath) true;
  "warned: / among the persistent" = expect (lib.length (system [ { partitioning.persistent.disk.os = os; } ]).warnings) 1;

  "merge: two sets" = expect (lib.attrNames (hatchery.lib.mergeDiskoDevices [ { disk.a = os; } { disk.b = data; zpool.z = { }; } ]).devices.disk) [ "a" "b" ];
  "merge: a clash is an error" = throws (hatchery.lib.mergeDiskoDevices [ { disk.a = os; } { disk.a = data; } ]);

  "host: name, address, key and boot loader" =
    let
      c = system [
        (host { address = { ip = "10.0.0.9"; prefix = 24; gateway = "10.0.0.1"; dns = [ "10.0.0.1" ]; static = true; }; })
        { hatchery.appliance = { schema = 1; sshKeys = [ "ssh-ed25519 AAAA a" ]; urls = [ ]; }; }
      ];
    in
    expect
      [ c.networking.hostName c.networking.useDHCP c.systemd.network.networks."10-hatchery".address c.users.users.root.openssh.authorizedKeys.keys c.boot.loader.systemd-boot.enable ]
      [ "node1" false [ "10.0.0.9/24" ] [ "ssh-ed25519 AAAA a" ] true ];
  "host: BIOS gets GRUB" = expect (let c = system [ (host { firmware = "bios"; }) { boot.loader.grub.enable = lib.mkForce true; } ]; in [ c.boot.loader.grub.enable c.boot.loader.systemd-boot.enable ]) [ true false ];
  "host: a newer schema is refused" = refused [ (host { schema = 2; }) ] [ "schema 2" ];
  "host: a reserved address stays with DHCP" = expect (system [ (host { address = { ip = "10.0.0.9"; static = false; }; }) ]).networking.useDHCP true;

  "k3s: the first server" =
    let s = k3s (system [ (host { k3s = { role = "server"; cluster = "home"; init = true; }; }) ]); in
    expect [ s.enable s.role s.clusterInit s.serverAddr s.tokenFile s.agentTokenFile ] [ true "server" true "" "/var/lib/hatchery/k3s-token" "/var/lib/hatchery/k3s-agent-token" ];
  "k3s: a server that joins" =
    let s = k3s (system [ (host { k3s = { role = "server"; cluster = "home"; init = false; serverUrl = "https://10.0.0.2:6443"; }; }) ]); in
    expect [ s.role s.clusterInit s.serverAddr s.tokenFile ] [ "server" false "https://10.0.0.2:6443" "/var/lib/hatchery/k3s-token" ];
  "k3s: an agent has the agent's token only" =
    let
      c = system [ (host { k3s = { role = "agent"; cluster = "home"; init = false; serverUrl = "https://10.0.0.2:6443"; }; }) { hatchery.k3s.labels.a = "b"; hatchery.k3s.taints = [ "x=y:NoSchedule" ]; } ];
      s = k3s c;
    in
    expect [ s.role s.tokenFile s.agentTokenFile s.nodeLabel s.nodeTaint c.networking.firewall.allowedTCPPorts ] [ "agent" "/var/lib/hatchery/k3s-agent-token" null [ "a=b" ] [ "x=y:NoSchedule" ] [ 10250 ] ];
  "k3s: refused without a server to join" = refused [ { hatchery.k3s.role = "agent"; } ] [ "serverUrl" ];
  "k3s: refused with a token in the store" = refused [ { hatchery.k3s = { role = "server-init"; tokenFile = "/nix/store/x"; }; } ] [ "store" ];
  "k3s: manifests on servers, none on agents" =
    let
      m = { hatchery.k3s.manifests = [ ./eval.nix ]; };
      names = extra: lib.attrNames (k3s (system [ m extra ])).manifests;
    in
    expect [ (names { hatchery.k3s.role = "server-init"; }) (names { hatchery.k3s = { role = "agent"; serverUrl = "https://x:6443"; }; }) ] [ [ "eval.nix" ] [ ] ];

  "k3s: containerized, a server" =
    let
      c = system [ { hatchery.k3s = { role = "server-init"; containerized = true; nodeIP = "10.0.0.9"; disable = [ "traefik" ]; manifests = [ ./settings.nix ]; }; } ];
      k = c.virtualisation.oci-containers.containers.k3s;
    in
    expect
      [ c.services.k3s.enable k.image k.cmd (lib.filter (lib.hasInfix "hatchery") k.volumes) (lib.filter (lib.hasSuffix "/server/manifests/settings.nix.yaml:ro") k.volumes != [ ]) c.networking.firewall.allowedTCPPorts ]
      [
        false
        "docker.io/rancher/k3s:v1.33.1-k3s1"
        [ "server" "--cluster-init" "--token-file=/var/lib/hatchery/k3s-token" "--agent-token-file=/var/lib/hatchery/k3s-agent-token" "--node-name=node1" "--node-ip=10.0.0.9" "--disable=traefik" ]
        [ "/var/lib/hatchery/k3s-token:/var/lib/hatchery/k3s-token:ro" "/var/lib/hatchery/k3s-agent-token:/var/lib/hatchery/k3s-agent-token:ro" ]
        true
        [ 10250 6443 2379 2380 ]
      ];
  "k3s: containerized, an agent has the agent's token only" =
    let k = (system [ { hatchery.k3s = { role = "agent"; containerized = true; serverUrl = "https://10.0.0.2:6443"; labels.a = "b"; taints = [ "x=y:NoSchedule" ]; }; } ]).virtualisation.oci-containers.containers.k3s; in
    expect
      [ k.cmd (lib.filter (lib.hasInfix "hatchery") k.volumes) ]
      [ [ "agent" "--server=https://10.0.0.2:6443" "--token-file=/var/lib/hatchery/k3s-agent-token" "--node-name=node1" "--node-label=a=b" "--node-taint=x=y:NoSchedule" ] [ "/var/lib/hatchery/k3s-agent-token:/var/lib/hatchery/k3s-agent-token:ro" ] ];
  "static hosts" = expect (system [
    { hatchery.staticHosts = { hosts = { a = "10.0.0.1"; b = "10.0.0.2"; }; customEntries."nas.home.arpa" = "10.0.0.2"; domain = "home.arpa"; }; }
  ]).networking.hosts { "10.0.0.1" = [ "a.home.arpa" "a" ]; "10.0.0.2" = [ "b.home.arpa" "b" "nas.home.arpa" ]; };

  "contract: every option says where it was read, or why not" = expect (map (e: lib.attrNames e.options) contract.unsourced) [ ];
  "contract: every value of a host has nixpkgs' type" = expect (illTyped fleet.nixosConfigurations.beta.config) [ ];
  "contract: the same for stage-0" = expect (illTyped (stage0 "x86_64-linux" [ ])) [ ];
  "contract: the same for a split stage-0" = expect (illTyped (netboot [ { hatchery.stage0.splitStore = true; } ])) [ ];
  "contract: the same for the ISO" = expect (illTyped (stage0 "aarch64-linux" [ isoModule ])) [ ];
  "contract: the same for the appliance" = expect (illTyped (appliance { arm64 = true; builders = [ { hostName = "b"; system = "aarch64-linux"; } ]; })) [ ];
  "contract: a wrong type would show" = expect (illTyped (system [ { services.k3s.nodeLabel = "a=b"; } ])) [ [ "services" "k3s" "nodeLabel" ] ];
  "contract: an option that is not in it would show" = throws (system [ { services.k3s.nodeLabels = [ ]; } ]).services.k3s.enable;

  "stage-0: an installer without passwords" =
    let c = stage0 "x86_64-linux" [ ]; in
    expect
      [ c.system.nixos.variant_id c.users.users.root.initialHashedPassword c.services.openssh.settings.PasswordAuthentication c.systemd.services.hatchery-agent.serviceConfig.Restart c.systemd.services.hatchery-agent.startLimitIntervalSec ]
      [ "installer" "!" false "always" 0 ];
  "stage-0: screen and serial line, on both architectures" =
    let consoles = s: lib.filter (lib.hasPrefix "console=") (stage0 s [ ]).boot.kernelParams; in
    expect [ (consoles "x86_64-linux") (consoles "aarch64-linux") ] [ [ "console=ttyS0,115200n8" "console=tty0" ] [ "console=ttyAMA0,115200" "console=tty0" ] ];
  "stage-0: what keeps it small is set, whatever the profiles say" =
    let c = stage0 "x86_64-linux" [ { environment.defaultPackages = [ { type = "derivation"; name = "perl"; outPath = "/usr"; } ]; documentation.enable = true; } ]; in
    expect
      [ c.environment.defaultPackages c.documentation.enable c.documentation.man.enable c.nix.channel.enable c.nix.registry c.system.extraDependencies c.system.tools.nixos-generate-config.enable c.services.userborn.enable c.boot.initrd.systemd.enable ]
      [ [ ] false false false { } [ ] false false true ];
  "stage-0: nixos-facter and disko's tools are there" =
    let names = map (p: p.name) (stage0 "x86_64-linux" [ ]).environment.systemPackages; in
    expect (lib.filter (n: !(lib.elem n names)) [ "nixos-facter" "jq" "gptfdisk" "parted" "dosfstools" "e2fsprogs" "btrfs-progs" "lvm2" "mdadm" "cryptsetup" "util-linux" ]) [ ];
  "stage-0: the ISO's reserved file" = expect (map (c: c.target) (stage0 "x86_64-linux" [ isoModule ]).isoImage.contents) [ "/hatchery/personal.json" ];
  "stage-0: a split one fetches its store before it is mounted" =
    let s = (netboot [ { hatchery.stage0.splitStore = true; } ]).boot.initrd.systemd.services.hatchery-store; in
    expect [ s.before (lib.hasInfix "/stage0/x86_64/store.squashfs" s.script) (netboot [ ]).boot.initrd.systemd.services ] [ [ "sysroot-nix-.ro\\x2dstore.mount" ] true { } ];
  "stage-0: the directory and the ISO for both architectures" =
    let s = system: hatchery.packages.${system}.stage0.drvPath + hatchery.packages.${system}.stage0-iso.drvPath; in
    builtins.seq (s "x86_64-linux") (builtins.seq (s "aarch64-linux") "ok");
  "bootImage wants a key" = throws (hatchery.lib.bootImage { ip = "10.0.0.9"; }).drvPath;
  "bootImage evaluates" = builtins.seq (hatchery.lib.bootImage { ip = "10.0.0.9"; gateway = "10.0.0.1"; rootSSHKeys = [ "ssh-ed25519 AAAA a" ]; }).drvPath "ok";
  "bootImage: a fixed address, no agent, keys and no password" =
    let c = (hatchery.lib.bootImage { ip = "10.0.0.9"; prefixLength = 16; gateway = "10.0.0.1"; dns = [ "10.0.0.2" ]; rootSSHKeys = [ "ssh-ed25519 AAAA a" ]; }).config; n = c.systemd.network.networks."10-static"; in
    expect
      [ n.address n.routes n.dns c.networking.useDHCP c.users.users.root.openssh.authorizedKeys.keys c.users.users.root.initialHashedPassword (c.systemd.services ? hatchery-agent) ]
      [ [ "10.0.0.9/16" ] [ { Gateway = "10.0.0.1"; } ] [ "10.0.0.2" ] false [ "ssh-ed25519 AAAA a" ] "!" false ];
  "appliance: unit, firewall, daemon" =
    let c = appliance { builders = [ { hostName = "big.lan"; systems = [ "aarch64-linux" ]; } ]; }; u = c.systemd.services.hatchery.serviceConfig; in
    builtins.seq u.ExecStart (expect
      [
        c.networking.firewall.allowedUDPPorts
        c.networking.firewall.allowedTCPPorts
        [ u.CapabilityBoundingSet u.AmbientCapabilities u.ProtectSystem u.NoNewPrivileges u.User ]
        [ c.nix.settings.extra-allowed-users c.nix.settings.allowed-users c.nix.distributedBuilds (map (m: m.hostName) c.nix.buildMachines) ]
      ]
      [
        [ 67 69 4011 ]
        [ 8080 8443 5000 ]
        [ [ "CAP_NET_BIND_SERVICE" "CAP_NET_RAW" ] [ "CAP_NET_BIND_SERVICE" "CAP_NET_RAW" ] "strict" true "hatchery" ]
        [ [ "hatchery" ] [ "*" ] true [ "big.lan" ] ]
      ]);
  # cmd/hatchery reads the same text with its own parser
  "appliance: every setting as TOML" = expect (appliance { settings = import ./settings.nix; }).services.hatchery.configFile.text (builtins.readFile ./settings.toml);
  "appliance: a setting that is not known is an error" = throws (appliance { settings.dhcp_rnage = "10.0.0.1-10.0.0.9"; }).services.hatchery.configFile.text;
  "appliance: a setting of the wrong type is an error" = throws (appliance { settings.interfaces = "eth0"; }).services.hatchery.configFile.text;
  "appliance: the LAN's cache is signed, first, and can be left out" =
    let on = appliance { }; off = appliance { binaryCache.enable = false; }; in
    expect
      [ on.services.harmonia.cache.enable on.services.harmonia.cache.settings.priority on.services.harmonia.cache.signKeyPaths (off.services.harmonia.cache.enable) off.networking.firewall.allowedTCPPorts (lib.hasInfix "cache" off.services.hatchery.configFile.text) ]
      [ true 30 [ "/var/lib/hatchery-cache/secret" ] false [ 8080 8443 ] false ];
  "appliance: the cache's key is there before the program, whoever starts harmonia" =
    let u = (appliance { }).systemd.services.hatchery-cache-key; in
    expect [ u.before u.wantedBy u.requiredBy ] [ [ "harmonia.service" "hatchery.service" ] [ "hatchery.service" ] [ "harmonia.service" ] ];
  "appliance: the same where harmonia's options are not split yet" =
    let on = (applianceBefore { }).services.harmonia; off = (applianceBefore { binaryCache.enable = false; }).services.harmonia; in
    expect [ on off.enable ] [ { enable = true; signKeyPaths = [ "/var/lib/hatchery-cache/secret" ]; settings = { bind = "[::]:5000"; priority = 30; }; } false ];
  "fleet: a system for every host, whatever its firmware" = expect (lib.mapAttrs (_: c: builtins.seq c.config.system.build.hatchery.drvPath c.config.boot.loader.systemd-boot.enable) fleet.nixosConfigurations) { alpha = true; beta = false; };
  "fleet: hosts know those with an address" = expect fleet.nixosConfigurations.beta.config.networking.hosts { "10.0.0.11" = [ "alpha" ]; };
  "fleet: the appliance's key is authorised" = expect fleet.nixosConfigurations.beta.config.users.users.root.openssh.authorizedKeys.keys [ "ssh-ed25519 AAAA appliance" ];
  "fleet: hosts download from the appliance first, signed" =
    let n = fleet.nixosConfigurations.beta.config.nix.settings; in
    expect [ n.substituters n.trusted-public-keys n.connect-timeout ] [ [ "http://10.0.0.2:5000" ] [ "box-hatchery-1:A7Lwvo9KSYfyhCjHjw4pGRbBTQbUvcXmyVrL+7bBA9k=" ] 5 ];
  "fleet: the roles are the data" = expect (lib.attrNames fleet.roles) [ "plain" "server" "worker" ];
  "fleet: colmena's targets" = expect (lib.mapAttrs (_: h: h.deployment.targetHost) (removeAttrs fleet.colmenaHive [ "meta" ])) { alpha = "10.0.0.11"; beta = "beta"; };
  "fleet: colmena's hosts are the same systems" =
    let
      colmena = name: (nixpkgs.lib.nixosSystem { modules = [ fleet.colmenaHive.${name} { options.deployment = lib.mkOption { type = lib.types.attrs; }; } ]; system = "x86_64-linux"; }).config;
    in
    expect (map (n: (colmena n).system.build.toplevel.drvPath == fleet.nixosConfigurations.${n}.config.system.build.toplevel.drvPath) [ "alpha" "beta" ]) [ true true ];
  "fleet: the summary" = expect fleet.summary.text ''
    alpha: server, 10.0.0.11, 52:54:00:aa:bb:01
      os: ephemeral on nvme-A
      k3s: begins cluster home
    beta: worker, address by DHCP, 52:54:00:aa:bb:02
      data: persistent on ata-C
      os: ephemeral on ata-B
      k3s: agent in cluster home at https://10.0.0.11:6443
  '';
  "fleet: the summary as data" = expect fleet.summary.json [
    {
      name = "alpha"; role = "server"; mac = "52:54:00:aa:bb:01"; system = "x86_64-linux"; address = "10.0.0.11"; static = true;
      disks.os = { class = "ephemeral"; id = "nvme-A"; serial = "A"; };
      k3s = { role = "server"; cluster = "home"; init = true; serverUrl = null; };
    }
    {
      name = "beta"; role = "worker"; mac = "52:54:00:aa:bb:02"; system = "x86_64-linux"; address = null; static = false;
      disks = { data = { class = "persistent"; id = "ata-C"; serial = "C"; }; os = { class = "ephemeral"; id = "ata-B"; serial = "B"; }; };
      k3s = { role = "agent"; cluster = "home"; init = false; serverUrl = "https://10.0.0.11:6443"; };
    }
  ];
  "fleet: the summary of one host" = expect [ fleet.summary.hosts.beta.json (lib.hasInfix fleet.summary.hosts.beta.text fleet.summary.text) (lib.hasPrefix "beta: worker" fleet.summary.hosts.beta.text) ] [ (lib.elemAt fleet.summary.json 1) true true ];
  "fleet: a host whose role is gone is refused" =
    let f = hatchery.lib.mkFleet (fleetArgs // { roles = removeAttrs fleetArgs.roles [ "worker" ]; modules = removeAttrs fleetArgs.modules [ "worker" ]; }); in
    if lib.any (lib.hasInfix "role worker") (failing f.nixosConfigurations.beta.config) then "ok" else "not refused";
  "fleet: a role without a module is an error" = throws (hatchery.lib.mkFleet (fleetArgs // { modules = { }; })).roles;

  "deploy keeps the persistent disks" =
    let d = hatchery.lib.deploy { config = system [ split ]; ip = "10.0.0.9"; }; in
    if lib.hasInfix "hatchery-install-node1" d.text && !(lib.hasInfix "read -rp" d.text) then "ok" else d.text;
  "deploy asks before it wipes them" =
    let d = hatchery.lib.deploy { config = system [ split ]; ip = "10.0.0.9"; wipePersistentStorage = true; extraArgs = [ "--ssh-option" "Port=22 22" ]; }; in
    if lib.hasInfix "install-wipe" d.text && lib.hasInfix "read -rp" d.text && lib.hasInfix "'Port=22 22'" d.text then "ok" else d.text;
  "deploy takes no command for an address" = throws (hatchery.lib.deploy { config = system [ split ]; ip = "$(reboot)"; }).text;
  "formatScript asks for the machine's name" =
    let d = hatchery.lib.formatScript { ip = "10.0.0.9"; } [ { disk = { inherit os; }; } ]; in
    if lib.hasInfix "read -rp" d.text && lib.hasInfix (byId "os") d.text then "ok" else d.text;
}
// (
  let
    lvm = vg: lv: mountpoint: { type = "lvm_vg"; lvs.${lv} = { size = "100%FREE"; content = fs mountpoint; }; };
    md = id: { device = byId id; content = gpt { md = { size = "100%"; content = { type = "mdraid"; name = "array"; }; }; }; };
    array = { type = "mdadm"; level = 1; content = fs "/x"; };
    zfs = id: { device = byId id; content = gpt { zfs = { size = "100%"; content = { type = "zfs"; pool = "tank"; }; }; }; };
    pv = id: vg: { device = byId id; content = gpt { pv = { size = "100%"; content = { type = "lvm_pv"; inherit vg; }; }; }; };
  in
  {
    "refused: a volume group across both sets" = refused [
      { partitioning.ephemeral = { disk.os = os; disk.a = pv "a" "pool"; lvm_vg.pool = lvm "pool" "x" "/x"; }; }
      { partitioning.persistent.disk.b = pv "b" "pool"; }
    ] [ "lvm_vg.pool" "both" ];
    "a volume group over two persistent disks" = expect (failing (system [
      { partitioning.ephemeral.disk.os = os; }
      { partitioning.persistent = { disk.a = pv "a" "pool"; disk.b = pv "b" "pool"; lvm_vg.pool = lvm "pool" "x" "/x"; }; }
    ])) [ ];
    "refused: an array across both sets" = refused [
      { partitioning.ephemeral = { disk.os = os; disk.a = md "a"; mdadm.array = array; }; }
      { partitioning.persistent.disk.b = md "b"; }
    ] [ "mdadm.array" "both" ];
    "refused: a ZFS pool across both sets" = refused [
      { partitioning.ephemeral.disk.os = os; }
      { partitioning.ephemeral.disk.a = zfs "a"; }
      { partitioning.persistent = { disk.b = zfs "b"; zpool.tank = { type = "zpool"; datasets = { }; }; }; }
    ] [ "zpool.tank" "both" ];
    "refused: a member of a pool that is not declared" = refused [ { partitioning.ephemeral.disk.os = os; } { partitioning.persistent.disk.b = pv "b" "pool"; } ] [ "lvm_vg.pool" "declare" ];
    "an array over two persistent disks" = expect (failing (system [
      { partitioning.ephemeral.disk.os = os; }
      { partitioning.persistent = { disk.a = md "a"; disk.b = md "b"; mdadm.array = array; }; }
    ])) [ ];
    "the script knows which disks are below every name, pools on pools and LUKS too" =
      let
        luks = name: content: { type = "luks"; inherit name content; settings.keyFile = "/tmp/k"; };
        c = system [
          { partitioning.ephemeral.disk.os = os // { content = gpt { root = { size = "100%"; content = luks "root" (fs "/"); }; }; }; }
          {
            partitioning.persistent = {
              disk.a = md "a";
              disk.b = md "b";
              mdadm.array = { type = "mdadm"; level = 1; content = { type = "lvm_pv"; vg = "pool"; }; };
              lvm_vg.pool = { type = "lvm_vg"; lvs.x = { size = "100%FREE"; content = luks "x" (fs "/x"); }; };
              disk.z = zfs "z";
              zpool.tank = { type = "zpool"; datasets = { }; };
            };
          }
        ];
        lines = lib.filter (l: builtins.isString l && lib.any (p: lib.hasPrefix p l) [ "name " "mounted " ]) (builtins.split "\n" c.system.build.hatcheryInstall.text);
      in
      expect (lib.sort (a: b: a < b) lines) [
        "mounted / ext4 os"
        "mounted /x ext4 a b"
        "name a luks x"
        "name a lvm_vg pool"
        "name a mdadm array"
        "name b luks x"
        "name b lvm_vg pool"
        "name b mdadm array"
        "name os luks root"
        "name z zpool tank"
      ];
    "format: one disk of a volume group is refused" = throws (system [
      { partitioning.ephemeral.disk.os = os; }
      { partitioning.persistent = { disk.a = pv "a" "pool"; disk.b = pv "b" "pool"; lvm_vg.pool = lvm "pool" "x" "/x"; }; }
    ]).system.build.hatcheryFormat.a.drvPath;
    "format: a volume group on one disk has a script" = expect (builtins.isString (system [
      { partitioning.ephemeral.disk.os = os; }
      { partitioning.persistent = { disk.a = pv "a" "pool"; lvm_vg.pool = lvm "pool" "x" "/x"; }; }
    ]).system.build.hatcheryFormat.a.drvPath) true;
    "refused: a wipe of half a volume group" = refused [
      (host { plan = { id = "p"; wipePersistent = [ "a" ]; disks = { os = slot "ephemeral" "os"; a = slot "persistent" "a"; b = slot "persistent" "b"; }; }; })
      { partitioning.ephemeral.disk.os = content os; }
      { partitioning.persistent = { disk.a = content (pv "a" "pool"); disk.b = content (pv "b" "pool"); lvm_vg.pool = lvm "pool" "x" "/x"; }; }
    ] [ "a`, `b" "wiped" ];
  }
)
