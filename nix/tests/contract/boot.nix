{ fork, o, t, ... }:
[
  {
    commit = "08a4c8850831f5ceb2bc9178a8beb59f2579283d";
    file = "nixos/modules/system/boot/loader/loader.nix";
    options.boot.loader.timeout = o (t.nullOr t.int) 5;
  }
  {
    commit = "0e1f31068d120f46c491fd21c285967ca6f4d6c1";
    file = "nixos/modules/system/boot/loader/efi.nix";
    options.boot.loader.efi.canTouchEfiVariables = o t.bool false;
  }
  {
    commit = "01e499cec163a442f5edeffa7e618171002cc01e";
    file = "nixos/modules/system/boot/loader/systemd-boot/systemd-boot.nix";
    options.boot.loader.systemd-boot.enable = o t.bool false;
  }
  {
    commit = "045d702e8af1aabdceb93e3d273ac8fb027fe68e";
    file = "nixos/modules/system/boot/kernel.nix";
    options.boot = {
      kernelParams = o (t.listOf t.str) [ ];
      kernelModules = o (t.listOf t.str) [ ];
      initrd.availableKernelModules = o (t.listOf t.str) [ ];
      initrd.kernelModules = o (t.listOf t.str) [ ];
    };
  }
  {
    inherit (fork) repo commit;
    file = "nixos/modules/tasks/swraid.nix";
    options.boot.swraid.enable = o t.bool false;
    options.boot.swraid.mdadmConf = o t.lines "";
  }
  {
    commit = "0148e16d1446003704803ecabb5a00cfea7d8568";
    file = "nixos/modules/tasks/filesystems.nix";
    options.boot.supportedFilesystems = o (t.either (t.listOf t.str) (t.attrsOf t.bool)) [ ];
    options.fileSystems = o (t.attrsOf (t.submodule ({ name, ... }: {
      options = {
        device = o (t.nullOr t.nonEmptyStr) null;
        fsType = o t.nonEmptyStr "auto";
        options = o (t.listOf t.nonEmptyStr) [ "defaults" ];
        mountPoint = o t.nonEmptyStr name;
        neededForBoot = o t.bool false; # declared by the initrd's modules
      };
    }))) { };
  }
  {
    inherit (fork) repo commit;
    file = "nixos/modules/system/boot/systemd/initrd.nix";
    options.boot.initrd.systemd.enable = o t.bool false;
    options.boot.initrd.systemd.services = o (t.attrsOf t.anything) { }; # units there
    options.boot.initrd.systemd.extraBin = o (t.attrsOf t.path) { };
  }
  {
    inherit (fork) repo commit;
    file = "nixos/modules/system/boot/networkd.nix"; # the same options as systemd.network
    options.boot.initrd.systemd.network.enable = o t.bool false;
    options.boot.initrd.systemd.network.networks = o (t.attrsOf (t.attrsOf t.anything)) { };
  }
  {
    inherit (fork) repo commit;
    file = "nixos/modules/config/sysctl.nix";
    options.boot.kernel.sysctl = o (t.attrsOf (t.nullOr (t.oneOf [ t.bool t.str t.int ]))) { };
  }
  {
    inherit (fork) repo commit;
    file = "nixos/modules/tasks/lvm.nix";
    options.boot.initrd.services.lvm.enable = o t.bool false;
  }
  {
    inherit (fork) repo commit;
    file = "nixos/modules/system/boot/loader/grub/grub.nix";
    options.boot.loader.grub.enable = o t.bool true; # !config.boot.isContainer
    options.boot.loader.grub.devices = o (t.listOf t.str) [ ];
  }
  {
    unread = "set by disko beside ours, whatever it sets: their types are nixpkgs' and disko's affair";
    options.boot.initrd.luks.devices = o (t.attrsOf t.anything) { };
    options.boot.zfs = o (t.attrsOf t.anything) { };
    options.swapDevices = o (t.listOf t.attrs) [ ];
  }
]
