# The install script on blank, own and foreign disks, with nixpkgs' test machines. Needs KVM and a substituter; not
# run where there is no internet (there: the cases of nix/tests/README.md by hand).
{ self, nixpkgs, system }:
let
  pkgs = nixpkgs.legacyPackages.${system};
  target = (nixpkgs.lib.nixosSystem {
    inherit system;
    modules = [
      self.nixosModules.default
      {
        networking.hostName = "target";
        boot.loader.systemd-boot.enable = true;
        system.stateVersion = "26.05";
        partitioning.allowKernelNames = true;
        partitioning.ephemeral.disk.os = {
          device = "/dev/vdb";
          content = {
            type = "gpt";
            partitions = {
              esp = { type = "EF00"; size = "256M"; content = { type = "filesystem"; format = "vfat"; mountpoint = "/boot"; }; };
              root = { size = "100%"; content = { type = "filesystem"; format = "ext4"; mountpoint = "/"; }; };
            };
          };
        };
        partitioning.persistent.disk.data = {
          device = "/dev/vdc";
          content = { type = "gpt"; partitions.data = { size = "100%"; content = { type = "filesystem"; format = "ext4"; mountpoint = "/data"; }; }; };
        };
      }
    ];
  }).config.system.build;
in
pkgs.testers.runNixOSTest {
  name = "hatchery-split";
  nodes.machine = {
    virtualisation.emptyDiskImages = [ 2048 1024 ];
    environment.systemPackages = [ pkgs.gptfdisk pkgs.e2fsprogs ];
    system.extraDependencies = [ target.hatcheryInstall ];
  };
  testScript = ''
    install = "${target.hatcheryInstall}"
    machine.wait_for_unit("multi-user.target")

    with subtest("blank disks are formatted and mounted"):
        machine.succeed(install)
        machine.succeed("mountpoint /mnt/data && echo kept > /mnt/data/marker && sync")
        guid = machine.succeed("blkid -p -o value -s PART_ENTRY_UUID /dev/vdc1")

    with subtest("a second run keeps the persistent disk"):
        machine.succeed(install)
        assert "kept" in machine.succeed("cat /mnt/data/marker")
        assert guid == machine.succeed("blkid -p -o value -s PART_ENTRY_UUID /dev/vdc1")

    with subtest("foreign data is refused and nothing is written"):
        machine.succeed("umount -R /mnt; wipefs -af /dev/vdc1 /dev/vdc; mkfs.ext4 -qF /dev/vdc")
        before = machine.succeed("sha256sum /dev/vdb /dev/vdc")
        status, _ = machine.execute(install)
        assert status == 21, f"exit {status}"
        assert before == machine.succeed("sha256sum /dev/vdb /dev/vdc")
  '';
}
