# Stands for nixos-anywhere where a test only evaluates.
{
  outputs = { self, ... }: {
    packages.x86_64-linux.default = { type = "derivation"; name = "nixos-anywhere"; outPath = "/usr"; };
  };
}
