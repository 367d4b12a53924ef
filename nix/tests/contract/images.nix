# Declared by modules that only an image imports: the stub has them in nixos/modules/installer/…, these are the sources.
{ fork, ... }:
[
  {
    inherit (fork) repo commit;
    file = "nixos/modules/installer/netboot/netboot.nix";
    options = { }; # netboot.squashfsCompression: str; netboot.storeContents; system.build.{kernel,netbootRamdisk,squashfsStore}
  }
  {
    inherit (fork) repo commit;
    file = "nixos/modules/installer/cd-dvd/iso-image.nix";
    options = { }; # isoImage.{makeEfiBootable,makeUsbBootable: bool, volumeID,squashfsCompression: str, contents}; system.build.isoImage
  }
  {
    commit = "0148e16d1446003704803ecabb5a00cfea7d8568";
    file = "nixos/modules/profiles/minimal.nix";
    options = { };
  }
  {
    inherit (fork) repo commit;
    file = "nixos/modules/profiles/perlless.nix";
    options = { };
  }
]
