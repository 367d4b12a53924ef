# What a host may become. Plain data only: the appliance reads it to offer roles and to plan disks.
# Each name has a module of the same name in flake.nix that carries it out.
#
#   disks.SLOT.class     "ephemeral": formatted at every install
#                        "persistent": formatted only when blank, otherwise kept and mounted as it is
#   disks.SLOT.select    which disk fills the slot: type ("ssd", "hdd"), transport ("nvme", "usb", …),
#                        model and serial (with * and ?), minBytes, maxBytes, order ("smallest", "largest")
#   disks.SLOT.optional  the role works without this disk
#   bootOrder            "disk": the firmware tries the disk first once the machine is installed, so that it starts
#                        without the appliance (UEFI); left out, the firmware's order is left alone
#   kernelArgs           words for stage-0's kernel command line on machines of the role
#   k3s                  role "server" or "agent" in a named cluster; the appliance decides which server
#                        begins the cluster, and plants the tokens
#   autoInstall.match    machines that get the role by themselves, by vendor, product, serial, mac, arch
#                        (with * and ?), minMemoryBytes, maxMemoryBytes, minDisks, maxDisks, and one
#                        disk of diskType, minDiskBytes, maxDiskBytes. Nobody is asked before an install
#                        onto blank disks, so say it narrowly; the page shows what a rule would do.
{
  server = {
    description = "k3s server (control plane)";
    system = "x86_64-linux";
    disks.os = {
      class = "ephemeral";
      select = { minBytes = 16000000000; order = "smallest"; };
    };
    # the cluster's own data base: a reinstalled sole server keeps its cluster when this disk is there
    disks.state = {
      class = "persistent";
      select = { minBytes = 8000000000; order = "smallest"; };
      optional = true;
    };
    k3s = { role = "server"; cluster = "home"; };
  };

  worker = {
    description = "k3s agent with a data disk that is never wiped";
    system = "x86_64-linux";
    disks.os = {
      class = "ephemeral";
      select = { minBytes = 16000000000; order = "smallest"; };
    };
    disks.data = {
      class = "persistent";
      select = { order = "largest"; };
      optional = true;
    };
    k3s = { role = "agent"; cluster = "home"; };
    # autoInstall.match = { vendor = "Dell*"; product = "OptiPlex*"; };
  };

  plain = {
    description = "NixOS with SSH and nothing else";
    system = "x86_64-linux";
    disks.os = {
      class = "ephemeral";
      select = { minBytes = 8000000000; order = "smallest"; };
    };
  };
}
