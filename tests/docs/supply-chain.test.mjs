// What `make supply-chain` ends with: tools stand in for cargo-deny and cargo-audit, and say what the test wants.
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { test } from 'node:test'

const REPOSITORY = resolve(dirname(fileURLToPath(import.meta.url)), '../..')

/** Stands for cargo: what each of its commands ends with comes from the environment. */
const CARGO = `#!/usr/bin/env bash
case "$*" in
  *"fetch db") [ -z "$FETCH_FAILS" ] || exit 1; mkdir -p target/advisory-dbs/advisory-db-1 ;;
  *"check licenses bans sources") exit "\${POLICY:-0}" ;;
  *"check advisories") exit "\${DENY:-0}" ;;
  "audit "*fuzz/Cargo.lock) exit "\${AUDIT:-0}" ;;
esac
`

async function ran(environment, tools = ['cargo', 'git', 'cargo-deny', 'cargo-audit']) {
  const folder = await mkdtemp(join(tmpdir(), 'farebox-supply-'))
  try {
    for (const name of ['scripts', 'bin']) await mkdir(join(folder, name))
    await copyFile(join(REPOSITORY, 'scripts/supply-chain.sh'), join(folder, 'scripts/supply-chain.sh'))
    await writeFile(join(folder, 'scripts/sbom.sh'), '#!/usr/bin/env bash\necho a-bill\n', { mode: 0o755 })
    for (const tool of tools) await writeFile(join(folder, 'bin', tool), tool === 'cargo' ? CARGO : '#!/usr/bin/env bash\necho stub\n', { mode: 0o755 })
    const env = { PATH: `${join(folder, 'bin')}:/usr/bin:/bin`, ...environment }
    const { status, stdout, stderr } = spawnSync('bash', [join(folder, 'scripts/supply-chain.sh')], { encoding: 'utf8', env })
    return { status, said: stdout + stderr }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

test('all is checked and fine', async () => {
  const { status, said } = await ran({})
  assert.equal(status, 0, said)
  assert.match(said, /licences, bans, sources and advisories: fine/)
  for (const lock of ['Cargo.lock', 'fuzz/Cargo.lock', 'tests/no_std/Cargo.lock', 'tests/instructions/Cargo.lock']) assert.ok(said.includes(`cargo audit: ${lock}\n`), lock)
})

test('without a database it says loudly what was not checked', async () => {
  const { status, said } = await ran({ FETCH_FAILS: '1' })
  assert.equal(status, 3, said)
  assert.match(said, /ADVISORIES WERE NOT CHECKED/)
  assert.match(said, /bill of materials: a-bill/)
  assert.doesNotMatch(said, /advisories: fine/)
})

test('whatever is found fails, with a database and without', async () => {
  for (const environment of [{ POLICY: '1' }, { POLICY: '1', FETCH_FAILS: '1' }, { DENY: '1' }, { AUDIT: '1' }]) {
    const { status, said } = await ran(environment)
    assert.equal(status, 1, `${JSON.stringify(environment)}: ${said}`)
  }
})

test('a missing tool is named, with how to get it', async () => {
  const { status, said } = await ran({}, ['cargo', 'git', 'cargo-deny'])
  assert.equal(status, 2, said)
  assert.match(said, /cargo-audit is missing: cargo install --locked cargo-audit/)
})
