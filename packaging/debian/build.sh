#!/usr/bin/env bash
# Makes a Debian package of a program that is built already.
#
#   packaging/debian/build.sh [PROGRAM] [OUTPUT_FOLDER]     (default: target/release/farebox, target/debian)
#
# It holds the program, its manual pages and completions, the systemd unit, and the example configuration. Times are those
# of the last commit (SOURCE_DATE_EPOCH), owners are root, and names are sorted: the same program makes the same package.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

program="${1:-target/release/farebox}"
output="${2:-target/debian}"
[ -x "$program" ] || { echo "no program at $program: cargo build --release" >&2; exit 1; }
program="$(realpath "$program")"
version="$("$program" --version | cut -d' ' -f2)"
# The newest symbol of the C library that it asks for.
libc="$(grep -aoE 'GLIBC_2\.[0-9]+' "$program" | sort -uV | tail -1 | cut -d_ -f2)"
architecture="$(dpkg --print-architecture)"
SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)}"
export SOURCE_DATE_EPOCH

root="$(mktemp -d)"
trap 'rm -rf "$root"' EXIT
chmod 0755 "$root"

install -D -m 0755 "$program" "$root/usr/bin/farebox"
command -v strip >/dev/null && strip "$root/usr/bin/farebox"
install -D -m 0644 packaging/systemd/farebox.service "$root/lib/systemd/system/farebox.service"
install -D -m 0644 packaging/systemd/farebox.socket "$root/lib/systemd/system/farebox.socket"
install -D -m 0644 farebox.example.toml "$root/usr/share/doc/farebox/farebox.example.toml"
for file in README.md CHANGELOG.md SECURITY.md docs/operations.md docs/configuration.md docs/metrics.md; do
  install -m 0644 "$file" "$root/usr/share/doc/farebox/"
done
install -m 0644 docs/grafana/alerts.yml docs/grafana/dashboard.json "$root/usr/share/doc/farebox/"
cat LICENSE-MIT LICENSE-APACHE > "$root/usr/share/doc/farebox/copyright"
chmod 0644 "$root/usr/share/doc/farebox/copyright"

mkdir -p "$root/usr/share/man/man1"
"$program" man --dir "$root/usr/share/man/man1"
gzip -9n "$root"/usr/share/man/man1/*.1
for shell in bash:usr/share/bash-completion/completions/farebox \
             zsh:usr/share/zsh/vendor-completions/_farebox \
             fish:usr/share/fish/vendor_completions.d/farebox.fish; do
  mkdir -p "$root/$(dirname "${shell#*:}")"
  "$program" completions "${shell%%:*}" > "$root/${shell#*:}"
done

# Of the files' lengths: how many blocks they take on this disk changes while it still writes them.
size_kib="$(find "$root" -type f -printf '%s\n' | awk '{ kib += int(($1 + 1023) / 1024) } END { print kib }')"
mkdir -p "$root/DEBIAN"
cat > "$root/DEBIAN/control" <<CONTROL
Package: farebox
Version: $version
Architecture: $architecture
Maintainer: The Farebox authors <farebox@localhost>
Section: net
Priority: optional
Depends: libc6 (>= $libc), libgcc-s1, libstdc++6 (>= 11), ca-certificates
Recommends: systemd
Installed-Size: $size_kib
Description: takes machine payments: verifies vouchers, keeps the books, settles on chain
 Farebox stands in front of a server, checks each payment of the Machine
 Payments Protocol at the door, keeps books that survive every crash, and
 brings the money home on chain.
CONTROL
cat > "$root/DEBIAN/postinst" <<'POSTINST'
#!/bin/sh
set -e
if [ "$1" = configure ]; then
  getent passwd farebox >/dev/null || useradd --system --user-group --home-dir /var/lib/farebox --shell /usr/sbin/nologin farebox
  install -d -m 0750 -o root -g farebox /etc/farebox
  if [ -d /run/systemd/system ]; then systemctl daemon-reload || true; fi
  if [ -z "$2" ]; then
    echo "farebox: write /etc/farebox/farebox.toml (see /usr/share/doc/farebox/farebox.example.toml), then: systemctl enable --now farebox"
  elif [ -d /run/systemd/system ]; then
    systemctl try-restart farebox || true
  fi
fi
POSTINST
cat > "$root/DEBIAN/prerm" <<'PRERM'
#!/bin/sh
set -e
# The books stay: they are money.
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then systemctl stop farebox || true; fi
PRERM
chmod 0755 "$root/DEBIAN/postinst" "$root/DEBIAN/prerm"
find "$root" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +

mkdir -p "$output"
package="$output/farebox_${version}_${architecture}.deb"
dpkg-deb --root-owner-group -Zzstd --build "$root" "$package" >/dev/null
echo "$package"
