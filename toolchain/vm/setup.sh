#!/bin/sh
# Finishes the node's operating system, from outside: mmdebstrap runs it with the root's folder as its argument.
set -eu
root=$1

# The network, cloud-init, sshd and the journal are set up by files under root/. Here is what only commands can do.
ln -sf /run/systemd/resolve/resolv.conf "$root/etc/resolv.conf"
install -d -m 0755 "$root/var/lib/hardway/store"
install -d -m 2755 "$root/var/log/journal"

chroot "$root" systemctl enable systemd-networkd.service systemd-resolved.service ssh.service
# cloud-init is done after its first stage (see cloud.cfg.d): two of the three others would only start Python again. The
# last one marks the end, for `cloud-init status`; a timer starts it, when the node's services have long been set up.
chroot "$root" systemctl mask cloud-init.service cloud-config.service cloud-init-hotplugd.socket
chroot "$root" systemctl disable cloud-final.service
chroot "$root" systemctl enable cloud-final.timer
# systemd runs every generator again whenever it reloads its units, as each service of a node wants it to. Of these a
# node needs what fstab says; that of cloud-init only finds out whether to start it.
install -d -m 0755 "$root/etc/systemd/system-generators"
for generator in "$root"/lib/systemd/system-generators/*; do
    name=${generator##*/}
    [ "$name" = systemd-fstab-generator ] || ln -s /dev/null "$root/etc/systemd/system-generators/$name"
done
ln -s /lib/systemd/system/cloud-init.target "$root/etc/systemd/system/multi-user.target.wants/cloud-init.target"
# Nothing of this serves a node, and under emulation each costs time at boot.
chroot "$root" systemctl mask \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer \
    getty.target getty@tty1.service serial-getty@ttyS0.service \
    ipvsadm.service systemd-binfmt.service systemd-pstore.service systemd-update-utmp.service \
    systemd-update-utmp-runlevel.service
# Only where the lab says so, and by units of its own.
chroot "$root" systemctl disable haproxy.service keepalived.service
# kube-proxy and the CNI plugins make their rules themselves: this unit would flush them.
chroot "$root" systemctl mask nftables.service

chroot "$root" update-initramfs -u -k all

# Every machine made from this image makes its own: none of it may be shared.
rm -f "$root"/etc/ssh/ssh_host_*_key "$root"/etc/ssh/ssh_host_*_key.pub "$root/var/lib/dbus/machine-id" \
    "$root/var/lib/systemd/random-seed" "$root"/etc/hostname
: > "$root/etc/machine-id"
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/cache/debconf/*-old "$root"/var/log/*.log \
    "$root"/var/log/apt
