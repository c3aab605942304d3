#!/bin/sh
# Installs the packages in a root file system, checks their files, and removes them again. In a
# mount, a network and a process namespace of its own: ./x test --packages starts it so.
#
# usage: test.sh DEBIAN DEB RPM
set -eu
debian=$1
deb=$2
rpm=$3

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# All files, but those in which dpkg, rpm and man keep their books.
files() {
    (cd "$root" && find . -xdev \( -path ./var/lib/dpkg -o -path ./var/lib/rpm -o -path ./var/cache/man \
        -o -path ./var/log -o -path ./proc -o -path ./sys -o -path ./dev -o -path ./run \) -prune \
        -o -print | LC_ALL=C sort)
}

inside() { chroot "$root" env --ignore-environment PATH=/usr/bin:/usr/sbin:/bin:/sbin "$@"; }

# A command and what it prints.
prints() {
    wanted=$1
    shift
    printed=$(inside "$@" 2>&1) || fail "$*: exit $?: $printed"
    [ "$printed" = "$wanted" ] || fail "$*: prints $printed, not $wanted"
}

# What systemctl was called with since the last time.
asks_systemd() {
    [ "$(cat "$root/systemctl.log")" = "$1" ] || fail "systemctl: $(cat "$root/systemctl.log"), not $1"
    : >"$root/systemctl.log"
}

# A host of its own that has no network yet.
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
root=/mnt/root
mount -t overlay overlay -o "lowerdir=$debian,upperdir=/mnt/upper,workdir=/mnt/work" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t tmpfs tmpfs "$root/run"
mkdir "$root/packages" "$root/run/systemd" "$root/run/systemd/system"
cp "$deb" "$root/packages"
# systemd itself is not here: this stands in its place.
printf '#!/bin/sh\necho "$*" >>/systemctl.log\n' >"$root/usr/bin/systemctl"
chmod 755 "$root/usr/bin/systemctl"
# On Fedora, these are of the package filesystem.
mkdir -p "$root/usr/share/fish/vendor_completions.d" "$root/usr/share/zsh/site-functions" \
    "$root/usr/share/bash-completion/completions" "$root/usr/share/licenses" "$root/usr/lib/systemd/system"
cp /usr/lib/systemd/system/*.target "$root/usr/lib/systemd/system"
: >"$root/systemctl.log"
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)

# What a package must have installed.
is_installed() {
    zsh=$1
    for program in netcord netcord-agent; do
        prints "$program $version" $program --version
        prints "/usr/share/man/man8/$program.8.gz" man -w $program
        for file in "bash-completion/completions/$program" "fish/vendor_completions.d/$program.fish" \
            "$zsh/_$program"; do
            [ -s "$root/usr/share/$file" ] || fail "/usr/share/$file is missing"
        done
    done
    for page in man/*.8; do
        zcat "$root/usr/share/man/man8/${page##*/}.gz" | cmp -s - "$page" || fail "$page is missing"
    done
    for unit in packaging/*.service; do
        unit=${unit##*/}
        said=$(systemd-analyze verify --man=no --root="$root" "$unit" 2>&1) || fail "$unit: $said"
        [ -z "$said" ] || fail "$unit: $said"
        ! find "$root/etc/systemd" -name "$unit" | grep . || fail "$unit is enabled"
    done
    [ -z "$(find "$root/usr/bin/netcord" "$root/usr/bin/netcord-agent" ! -user 0 -o ! -perm 755)" ] ||
        fail 'the programs are not root'"'"'s, or others may write them'
    prints '' netcord doctor
}

# Installed again it is an upgrade, which ends no service. The removal leaves a network as it is.
comes_and_goes() {
    zsh=$1
    install=$2
    again=$3
    remove=$4
    files >/mnt/before
    # shellcheck disable=SC2086 # lists of words
    {
        $install
        asks_systemd daemon-reload
        $again
        asks_systemd "$(printf 'daemon-reload\ndaemon-reload')"
        is_installed "$zsh"
        prints lab0 netcord bridge lab0
        $remove
    } >&2
    asks_systemd "$(
        for unit in packaging/netcord*.service packaging/netcord*.socket; do
            # An instance of a template ends by itself.
            [ "${unit%@.service}" != "$unit" ] || echo "--quiet disable --now ${unit##*/}"
        done | LC_ALL=C sort
        echo daemon-reload
    )"
    [ -e "$root/sys/class/net/lab0" ] || fail 'the removal of the package removed a network'
    files >/mnt/after
    left=$(LC_ALL=C comm -13 /mnt/before /mnt/after)
    [ -z "$left" ] || fail "left behind: $left"
}

with_rpm="rpm --root=$root --dbpath=/var/lib/rpm"
comes_and_goes zsh/site-functions "$with_rpm --nodeps --install $rpm" \
    "$with_rpm --nodeps --upgrade --replacepkgs $rpm" "$with_rpm --erase netcord"
comes_and_goes zsh/vendor-completions "chroot $root dpkg --install /packages/${deb##*/}" \
    "chroot $root dpkg --install /packages/${deb##*/}" "chroot $root dpkg --remove netcord"
