# Declared by modules that only an image imports: the stub has them in nixos/modules/installer/…, these are the sources.
{ ... }:
[
  {
    commit = "a748cedf46541dd8175ae9e6740a9e259ceaa73e";
    file = "nixos/modules/installer/netboot/netboot.nix";
    options = { }; # netboot.squashfsCompression: str; netboot.storeContents; system.build.{kernel,netbootRamdisk,squashfsStore}
  }
  {
    commit = "007ab6fb2feffe4323249a4b0a473df45c4f11e0";
    file = "nixos/modules/installer/cd-dvd/iso-image.nix";
    options = { }; # isoImage.{makeEfiBootable,makeUsbBootable: bool, volumeID,squashfsCompression: str, contents}; system.build.isoImage
  }
  {
    commit = "0148e16d1446003704803ecabb5a00cfea7d8568";
    file = "nixos/modules/profiles/minimal.nix";
    options = { };
  }
  {
    commit = "0c4375b3cd458c55b4373f9903aca1e543e61084";
    file = "nixos/modules/profiles/perlless.nix";
    options = { };
  }
]
