#!/bin/sh
# Finishes the node's operating system. mmdebstrap runs it on the host with the folder of the new root as its argument.
set -eu
root=$1

# Files under root/ configure the network, cloud-init, sshd and the journal. This script does what needs commands.
ln -sf /run/systemd/resolve/resolv.conf "$root/etc/resolv.conf"
install -d -m 0755 "$root/var/lib/hardway/store"
install -d -m 2755 "$root/var/log/journal"

chroot "$root" systemctl enable systemd-networkd.service systemd-resolved.service ssh.service
# cloud-init is done after its first stage (see cloud.cfg.d). Two of the other three stages would only start Python
# again. The last one marks the end for `cloud-init status`. A timer starts it, long after the node's services are up.
chroot "$root" systemctl mask cloud-init.service cloud-config.service cloud-init-hotplugd.socket
chroot "$root" systemctl disable cloud-final.service
chroot "$root" systemctl enable cloud-final.timer
# systemd runs every generator again whenever it reloads its units, which each service of a node requires. A node needs
# only the generator for fstab. That of cloud-init only decides whether cloud-init starts, so it is always started here.
install -d -m 0755 "$root/etc/systemd/system-generators"
for generator in "$root"/lib/systemd/system-generators/*; do
    name=${generator##*/}
    [ "$name" = systemd-fstab-generator ] || ln -s /dev/null "$root/etc/systemd/system-generators/$name"
done
ln -s /lib/systemd/system/cloud-init.target "$root/etc/systemd/system/multi-user.target.wants/cloud-init.target"
# A node needs none of these units, and under emulation each of them costs time at boot.
chroot "$root" systemctl mask \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer \
    getty.target getty@tty1.service serial-getty@ttyS0.service \
    ipvsadm.service systemd-binfmt.service systemd-pstore.service systemd-update-utmp.service \
    systemd-update-utmp-runlevel.service
# The lab starts these services if it needs them, with its own units.
chroot "$root" systemctl disable haproxy.service keepalived.service
# kube-proxy and the CNI plugins create their own rules, and this unit would flush them.
chroot "$root" systemctl mask nftables.service

chroot "$root" update-initramfs -u -k all

# Machines must not share these files. Each machine creates its own.
rm -f "$root"/etc/ssh/ssh_host_*_key "$root"/etc/ssh/ssh_host_*_key.pub "$root/var/lib/dbus/machine-id" \
    "$root/var/lib/systemd/random-seed" "$root"/etc/hostname
: > "$root/etc/machine-id"
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/cache/debconf/*-old "$root"/var/log/*.log \
    "$root"/var/log/apt
