{ fork, o, t, ... }:
let
  user = { ... }: {
    options = {
      # sshd.nix adds it
      openssh.authorizedKeys.keys = o (t.listOf t.singleLineStr) [ ];
      initialHashedPassword = o (t.nullOr t.str) null;
      hashedPassword = o (t.nullOr t.str) null;
      isSystemUser = o t.bool false;
      isNormalUser = o t.bool false;
      group = o t.str "";
      extraGroups = o (t.listOf t.str) [ ];
      home = o t.path "/var/empty";
    };
  };
in
[
  {
    commit = "005ab72f9cf5a75cdcd9ff672fb4a3b03391619f";
    file = "nixos/modules/config/users-groups.nix";
    options.users.users = o (t.attrsOf (t.submodule user)) { };
    options.users.groups = o (t.attrsOf t.attrs) { };
    options.users.mutableUsers = o t.bool true;
    options.users.allowNoPasswordLogin = o t.bool false;
  }
  {
    inherit (fork) repo commit;
    file = "nixos/modules/services/networking/ssh/sshd.nix";
    options.services.openssh.enable = o t.bool false;
    options.services.openssh.hostKeys = o (t.listOf t.attrs) [ ];
    options.services.openssh.settings = o (t.submodule {
      freeformType = t.attrsOf (t.nullOr (t.oneOf [ t.bool t.int t.str t.path (t.listOf t.str) ]));
      options.PasswordAuthentication = o (t.nullOr t.bool) true;
      options.KbdInteractiveAuthentication = o (t.nullOr t.bool) true;
      options.PermitRootLogin = o (t.nullOr (t.enum [ "yes" "without-password" "prohibit-password" "forced-commands-only" "no" ])) "prohibit-password";
    }) { };
  }
]
