#!/bin/bash
# setup.sh -- everything between a fresh checkout and ./build/vicmae: Debian packages (only those that are missing),
# configuration (Release, link-time optimisation, Ninja) and build. Doing it twice changes nothing and prints nothing.
#
#   ./setup.sh              from any folder; as root, or as a user who may sudo
#   ./setup.sh --packages   prints the packages, one a line, and does nothing
set -euo pipefail
exec < /dev/null # nothing here asks; also where the caller has closed its standard input

root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)
build=$root/build
tools=(gcc libc6-dev cmake ninja-build pkg-config git ca-certificates gnuplot-nox fonts-dejavu-core)
libraries=(libdnnl-dev libavformat-dev libavcodec-dev libavutil-dev libswscale-dev libturbojpeg0-dev libconfig-dev
           libjansson-dev libsqlite3-dev libpng-dev libssl-dev zlib1g-dev)

say() { printf 'setup.sh: %s\n' "$*" >&2; }
die() {
    say "$*"
    exit 1
}

elsewhere() {
    cat >&2 << 'END'
setup.sh: this is not a Debian-like system (no dpkg and apt-get), so what vicmae builds on is up to you:
  a C11 compiler (gcc 12 is what is tested), CMake 3.22, Ninja, pkg-config, git; gnuplot and a DejaVu font for plots
  oneDNN 2.6, FFmpeg 5.1 (libavformat, libavcodec, libavutil, libswscale), libjpeg-turbo with its turbojpeg API,
  libconfig, Jansson, SQLite 3.37, libpng, OpenSSL 3 (libcrypto), zlib; with headers
It goes on with what is installed; CMake names what it does not find. Or use a container: debian:12.
END
}

missing_packages() { # those that dpkg does not have as installed, on one line
    local installed
    installed=$(dpkg-query -W -f='${db:Status-Status} ${Package}\n' "$@" 2> /dev/null | sed -n 's/^installed //p') || true
    comm -23 <(printf '%s\n' "$@" | sort -u) <(sort -u <<< "$installed") | paste -sd' ' -
}

apt() {
    local as=()
    if [ "$(id -u)" != 0 ]; then
        as=(sudo) # asks on the terminal if there is one
    fi
    "${as[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0 -o Acquire::Retries=3 \
        -o DPkg::Lock::Timeout=300 "$@"
}

can_install() {
    [ "$(id -u)" = 0 ] || { command -v sudo > /dev/null && { sudo -n true 2> /dev/null || [ -t 2 ]; }; }
}

install_packages() {
    local missing log
    missing=$(missing_packages "${tools[@]}" "${libraries[@]}")
    [ -n "$missing" ] || return 0
    can_install || die "packages are missing, and this user is not root and cannot sudo. As root, do:
  apt-get install --no-install-recommends $missing"
    say "installing: $missing"
    log=$(mktemp)
    apt update > "$log" 2>&1 || { sleep 5 && apt update > "$log" 2>&1; } ||
        { tail -n 5 "$log" >&2 && say "apt-get update failed twice; going on with the package lists that are here"; }
    # shellcheck disable=SC2086 # a list of names
    if ! apt install --no-install-recommends $missing > "$log" 2>&1; then
        tail -n 20 "$log" >&2
        rm -f "$log"
        die "apt-get could not install: $missing
  Needed is Debian 12 (others have other versions of oneDNN and FFmpeg, or none), and its mirror in reach.
  apt-get's last words are above."
    fi
    rm -f "$log"
}

# A folder that was configured for another place (a copied tree) or not to its end is configured anew; else Ninja sees
# to it, and options that somebody has set there stay.
configure() {
    local home
    home=$(sed -n 's/^CMAKE_HOME_DIRECTORY:INTERNAL=//p' "$build/CMakeCache.txt" 2> /dev/null) || true
    if [ "$home" = "$root" ] && [ -f "$build/build.ninja" ]; then
        return 0
    fi
    rm -rf "$build/CMakeCache.txt" "$build/CMakeFiles"
    if ! cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DVICMAE_LTO=ON > "$build.log" 2>&1; then
        cat "$build.log" >&2
        rm -f "$build.log"
        die "CMake could not configure $build; it says above what it misses"
    fi
    rm -f "$build.log"
}

build_all() { # the terminal sees Ninja's counter, a log only what fails
    local first=
    if [ ! -x "$build/vicmae-sweep" ]; then
        first=1
        say "building in $build (two minutes on two cores; with the CUDA Toolkit, five)"
    fi
    if [ -t 1 ] && [ $first ]; then
        ninja -C "$build"
    else
        ninja -C "$build" --quiet
    fi || die "the build failed; the compiler says above where"
    if [ $first ]; then
        say "ready: build/vicmae, build/vicmae-sweep, build/vicmae-results"
    fi
}

case ${1:-} in
'') ;;
--packages)
    printf '%s\n' "${tools[@]}" "${libraries[@]}"
    exit 0
    ;;
*)
    sed -n '2,6s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    [ "$1" = --help ] || [ "$1" = -h ] || exit 2
    exit 0
    ;;
esac
if command -v dpkg-query > /dev/null && command -v apt-get > /dev/null; then
    install_packages
else
    elsewhere
fi
for tool in cmake ninja; do
    command -v $tool > /dev/null || die "$tool is not in the PATH; install it and try again"
done
configure
build_all
