// The Debian package: it builds, twice with the same bytes, holds what it should, and the program in it runs. The unit and the
// bill of materials are read as well.
import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
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
    // With this program in the place where the package puts it.
    const folder = await mkdtemp(join(tmpdir(), 'farebox-units-'))
    try {
      const units = ['farebox.service', 'farebox.socket'].map((name) => join(folder, name))
      for (const [place, text] of [[units[0], unit.replaceAll('/usr/bin/farebox', FAREBOX)], [units[1], socket]]) await writeFile(place, text)
      const verified = spawnSync('systemd-analyze', ['verify', '--man=no', ...units], { encoding: 'utf8' })
      assert.equal(verified.stderr.split('\n').filter((line) => line.includes('farebox')).join('\n'), '')
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  }
})

test('Prometheus takes the alert rules', () => {
  // Their metrics are held to the program by tests/metrics.rs on every machine.
  const rules = join(REPOSITORY, 'docs/grafana/alerts.yml')
  const found = spawnSync('promtool', ['check', 'rules', rules], { encoding: 'utf8' })
  if (found.error?.code !== 'ENOENT') assert.match(found.stdout, /SUCCESS: \d+ rules found/, found.stderr)
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
    // What `cargo deny check licenses` would say, without it.
    const policy = await readFile(join(REPOSITORY, 'deny.toml'), 'utf8')
    const allowed = new Set([...policy.match(/\nallow = \[([^\]]*)\]/)[1].matchAll(/"([^"]+)"/g)].map(([, name]) => name))
    assert.ok(allowed.size > 5)
    const refused = foreign.filter(({ licenses: [{ expression, license }] }) => !isAllowed(expression ?? license.id ?? license.name, allowed))
    assert.deepEqual(refused.map(({ name, licenses }) => [name, licenses]), [])
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})

/** Whether a licence expression (SPDX, and the old slash) can be met by licences of the list. */
function isAllowed(expression, allowed) {
  const tokens = expression.replaceAll('/', ' OR ').match(/\(|\)|[^\s()]+/g)
  let at = 0
  const licence = () => {
    if (tokens[at] === '(') {
      at += 1
      const inner = either()
      at += 1
      return inner
    }
    let name = tokens[at++]
    if (tokens[at] === 'WITH') name = `${name} WITH ${tokens[(at += 2) - 1]}`
    return allowed.has(name)
  }
  const both = () => {
    let result = licence()
    while (tokens[at] === 'AND') {
      at += 1
      result = licence() && result
    }
    return result
  }
  const either = () => {
    let result = both()
    while (tokens[at] === 'OR') {
      at += 1
      result = both() || result
    }
    return result
  }
  return either()
}

test('licence expressions are read', () => {
  const allowed = new Set(['MIT', 'Zlib', 'Apache-2.0 WITH LLVM-exception'])
  for (const good of ['MIT', 'GPL-3.0 OR MIT', 'MIT/GPL-3.0', '(GPL-3.0 OR Zlib) AND MIT', 'Apache-2.0 WITH LLVM-exception OR GPL-3.0']) assert.ok(isAllowed(good, allowed), good)
  for (const bad of ['GPL-3.0', 'MIT AND GPL-3.0', '(GPL-3.0 OR Apache-2.0) AND MIT', 'Apache-2.0']) assert.equal(isAllowed(bad, allowed), false, bad)
})
