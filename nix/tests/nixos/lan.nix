# A LAN for a test: an appliance with a hive, and a bare machine that netboots by its firmware. What is built on the appliance comes from its
# store: the test has no internet.
{ self, nixpkgs, system }:
let
  pkgs = nixpkgs.legacyPackages.${system};
  inherit (nixpkgs) lib;
  # a hive with one role: a system disk and a data disk that is kept
  hive = pkgs.runCommand "hive" { } ''
    cp -r ${../../../internal/hive/template} $out
    chmod -R u+w $out
    rm -f $out/flake.lock
  '';
  overrides = lib.concatMap (n: [ "--override-input" n.name "path:${n.path}" ]) [
    { name = "hatchery"; path = self; }
    { name = "nixpkgs"; path = nixpkgs; }
    { name = "disko"; path = self.inputs.disko; }
    { name = "hatchery/nixos-anywhere"; path = self.inputs.nixos-anywhere; }
  ];
  # an installed host much like the one that the test makes, so that its parts are in the appliance's store
  sample = (self.lib.mkHosts {
    dir = ../fleet;
    modules = { server = hive + "/roles/server.nix"; worker = hive + "/roles/worker.nix"; plain = hive + "/roles/plain.nix"; };
    common = [ (hive + "/common.nix") ];
  }).beta.config.system.build;
in
{
  inherit pkgs;
  mac = "52:54:00:12:34:56";
  appliance = {
    imports = [ self.nixosModules.appliance ];
    virtualisation = {
      vlans = [ 1 ];
      memorySize = 4096;
      diskSize = 16384;
      writableStore = true;
      additionalPaths = [ sample.hatchery sample.hatchery.drvPath nixpkgs self.inputs.disko self.inputs.nixos-anywhere pkgs.stdenv pkgs.stdenvNoCC ];
    };
    networking.useDHCP = false;
    networking.interfaces.eth1.ipv4.addresses = lib.mkForce [ { address = "192.168.1.1"; prefixLength = 24; } ];
    nix.settings.substituters = lib.mkForce [ ];
    services.hatchery = {
      enable = true;
      binaryCache.enable = false;
      settings = {
        interfaces = [ "eth1" ];
        dhcp = "server";
        dhcp_force = true;
        dhcp_range = "192.168.1.100-192.168.1.199";
        hive = "${hive}";
        nix_args = [ "--offline" ] ++ overrides;
      };
    };
  };
  # Python for the test script: makes the bare machine, with two blank disks. It has SeaBIOS and QEMU's iPXE ROM.
  machine = ''
    import os, subprocess

    def bare_machine(name="bare"):
        for disk in ("os", "data"):
            subprocess.run(["${pkgs.qemu_test}/bin/qemu-img", "create", "-q", "-f", "qcow2", f"{disk}.qcow2", "8G"], check=True)
        vlan = os.environ["QEMU_VDE_SOCKET_1"]
        return create_machine(
            "${pkgs.qemu_test}/bin/qemu-kvm -m 3072 -boot n -device virtio-rng-pci"
            f" -netdev vde,id=vlan1,sock={vlan} -device virtio-net-pci,netdev=vlan1,mac=52:54:00:12:34:56"
            f" -drive if=none,id=os,file={os.getcwd()}/os.qcow2 -device virtio-blk-pci,drive=os,serial=OSDISK"
            f" -drive if=none,id=data,file={os.getcwd()}/data.qcow2 -device virtio-blk-pci,drive=data,serial=DATADISK",
            name=name,
        )

    def state(want, timeout=900):
        appliance.wait_until_succeeds(
            f"hatchery hosts show 52:54:00:12:34:56 --json | grep -q '\"state\": *\"{want}\"'", timeout=timeout)

    def on_host(command):
        # the appliance's own key is authorised on every host
        return appliance.succeed("ssh -i /var/lib/hatchery/ssh/id_ed25519 -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
                                 f" root@$(hatchery hosts show 52:54:00:12:34:56 --json | ${pkgs.jq}/bin/jq -r .ip) '{command}'")

    def install():
        appliance.succeed("hatchery hosts assign 52:54:00:12:34:56 --name web-1 --role worker")
        state("installed", timeout=3600)
  '';
}
