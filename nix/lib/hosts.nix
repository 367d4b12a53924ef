# Hosts out of the files that the appliance writes: hosts/NAME/host.json, facter.json and appliance.json.
{ self, nixpkgs }:
let
  inherit (nixpkgs) lib;
  readJSON = path: builtins.fromJSON (builtins.readFile path);
  readHosts = dir:
    let
      hosts = dir + "/hosts";
      entries = if builtins.pathExists hosts then builtins.readDir hosts else { };
      names = lib.filter (n: entries.${n} == "directory" && builtins.pathExists (hosts + "/${n}/host.json")) (lib.attrNames entries);
    in
    lib.genAttrs names (n: {
      facts = readJSON (hosts + "/${n}/host.json");
      facter = if builtins.pathExists (hosts + "/${n}/facter.json") then hosts + "/${n}/facter.json" else null;
    });
  readAppliance = dir: if builtins.pathExists (dir + "/appliance.json") then readJSON (dir + "/appliance.json") else { };

  # the modules of one host, for nixosSystem and colmena alike
  hostModules = { dir, roles, modules ? { }, common ? [ ] }:
    let
      all = readHosts dir;
      appliance = readAppliance dir;
      addresses = lib.mapAttrs (_: h: h.facts.address.ip) (lib.filterAttrs (_: h: h.facts.address or null != null) all);
    in
    lib.mapAttrs (
      name: h:
      let role = h.facts.role; in
      [ self.nixosModules.default ]
      ++ common
      ++ lib.optional (modules ? ${role}) modules.${role}
      ++ [
        {
          _file = "hosts/${name}/host.json";
          hatchery.host = h.facts;
          hatchery.appliance = appliance;
          hatchery.facterReport = h.facter;
          hatchery.staticHosts.hosts = addresses;
          assertions = [
            {
              assertion = h.facts.name == name;
              message = "hosts/${name}/host.json says that its name is ${h.facts.name}.";
            }
            {
              assertion = modules ? ${role};
              message = "host ${name} has role ${role}, which the hive gives no module: its roles are ${lib.concatStringsSep ", " (lib.attrNames modules)}.";
            }
            {
              assertion = roles ? ${role};
              message = "host ${name} has role ${role}, which the hive does not declare.";
            }
          ];
        }
      ]
    ) all;
in
rec {
  inherit readHosts;

  # host facts → nixosConfigurations
  mkHosts = { dir, roles ? { }, modules ? { }, common ? [ ], specialArgs ? { } }@args:
    lib.mapAttrs (
      name: ms:
      nixpkgs.lib.nixosSystem {
        inherit specialArgs;
        system = (readHosts dir).${name}.facts.system;
        modules = ms;
      }
    ) (hostModules (removeAttrs args [ "specialArgs" ] // { roles = if roles == { } then modules else roles; }));

  # the same for colmena
  colmenaHive = { dir, roles ? { }, modules ? { }, common ? [ ], specialArgs ? { } }@args:
    let
      hosts = readHosts dir;
    in
    {
      meta = {
        nixpkgs = nixpkgs.legacyPackages.x86_64-linux;
        nodeNixpkgs = lib.mapAttrs (_: h: nixpkgs.legacyPackages.${h.facts.system}) hosts;
        inherit specialArgs;
      };
    }
    // lib.mapAttrs (name: ms: {
      imports = ms;
      deployment = {
        targetUser = "root";
        targetHost = hosts.${name}.facts.address.ip or name;
        tags = [ hosts.${name}.facts.role ];
      };
    }) (hostModules (removeAttrs args [ "specialArgs" ] // { roles = if roles == { } then modules else roles; }));

  # all that a hive's flake gives
  mkFleet = { dir, roles, modules, common ? [ ], specialArgs ? { } }@args:
    let
      nameless = lib.filter (n: !(modules ? ${n})) (lib.attrNames roles);
    in
    {
      roles =
        if nameless != [ ]
        then throw "roles ${lib.concatStringsSep ", " nameless} have no module: add them to `modules` in flake.nix"
        else roles;
      nixosConfigurations = mkHosts args;
      colmenaHive = colmenaHive args;
      summary = import ./summary.nix { inherit lib; } (readHosts dir);
    };
}
