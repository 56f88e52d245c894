// The Debian package: it builds, twice with the same bytes, holds what it should, and the program in it runs. The unit and the
// bill of materials are read as well.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test } from 'node:test'

const REPOSITORY = resolve(dirname(fileURLToPath(import.meta.url)), '../..')
const FAREBOX = resolve(process.env.FAREBOX_BIN ?? join(REPOSITORY, 'target/debug/farebox'))
const run = (command, ...args) => execFileSync(command, args, { cwd: REPOSITORY, encoding: 'utf8', maxBuffer: 64 << 20, stdio: ['ignore', 'pipe', 'pipe'] })

test('the Debian package', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'farebox-package-'))
  try {
    const build = (name) => run('packaging/debian/build.sh', FAREBOX, join(folder, name)).trim()
    const [one, other] = [build('one'), build('other')]
    const digest = async (path) => createHash('sha256').update(await readFile(path)).digest('hex')
    assert.equal(await digest(one), await digest(other), 'the same program makes the same package')

    assert.equal(run('dpkg-deb', '-f', one, 'Package').trim(), 'farebox')
    assert.match(run('dpkg-deb', '-f', one, 'Depends'), /libc6 \(>= 2\.\d+\)/)
    const files = run('dpkg-deb', '--contents', one)
    for (const wanted of [
      './usr/bin/farebox', './lib/systemd/system/farebox.service', './lib/systemd/system/farebox.socket', './usr/share/man/man1/farebox.1.gz', './usr/share/man/man1/farebox-doctor.1.gz',
      './usr/share/bash-completion/completions/farebox', './usr/share/doc/farebox/farebox.example.toml', './usr/share/doc/farebox/copyright',
    ]) assert.ok(files.includes(` ${wanted}\n`), wanted)
    assert.doesNotMatch(files, /\/var\/lib|\.key/, 'neither books nor keys')
    assert.ok(files.split('\n').filter(Boolean).every((line) => line.includes(' root/root ')))

    run('dpkg-deb', '-x', one, join(folder, 'root'))
    assert.match(run(join(folder, 'root/usr/bin/farebox'), '--version'), /^farebox \d+\.\d+\.\d+\n$/)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})

test('the unit is told when it is up, reloads, and has few rights', async () => {
  const unit = await readFile(join(REPOSITORY, 'packaging/systemd/farebox.service'), 'utf8')
  for (const line of ['Type=notify', 'ExecReload=/bin/kill -HUP $MAINPID', 'User=farebox', 'NoNewPrivileges=yes', 'ProtectSystem=strict', 'CapabilityBoundingSet=', 'MemoryDenyWriteExecute=yes']) {
    assert.ok(unit.split('\n').includes(line), line)
  }
  const socket = await readFile(join(REPOSITORY, 'packaging/systemd/farebox.socket'), 'utf8')
  const defaults = await readFile(join(REPOSITORY, 'farebox.example.toml'), 'utf8')
  const places = [...socket.matchAll(/^ListenStream=(.+)$/gm)].map(([, place]) => place)
  assert.equal(places.length, 2)
  for (const place of places) assert.ok(defaults.includes(`"${place}"`), `${place} is what the configuration has by default`)
  if (existsSync('/usr/bin/systemd-analyze')) {
    const exposure = run('systemd-analyze', 'security', '--offline=true', join(REPOSITORY, 'packaging/systemd/farebox.service'))
    const [, level] = exposure.match(/Overall exposure level for farebox.service: ([\d.]+)/) ?? assert.fail(exposure)
    assert.ok(Number(level) < 2, `exposure ${level}`)
  }
})

test('the bill of materials names what the program is built from, and not what tests use', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'farebox-sbom-'))
  try {
    run('scripts/sbom.sh', join(folder, 'bill.json'))
    const bill = JSON.parse(await readFile(join(folder, 'bill.json'), 'utf8'))
    assert.equal(bill.bomFormat, 'CycloneDX')
    assert.equal(bill.metadata.component.name, 'farebox')
    const names = new Set(bill.components.map(({ name }) => name))
    for (const wanted of ['rocksdb', 'tokio', 'farebox-engine']) assert.ok(names.has(wanted), wanted)
    for (const other of ['mpp', 'stateright', 'rusqlite']) assert.ok(!names.has(other), `${other} is for tests alone`)
    const foreign = bill.components.filter(({ purl }) => purl)
    assert.ok(foreign.every(({ hashes, licenses }) => hashes?.length === 1 && licenses?.length === 1))
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})
