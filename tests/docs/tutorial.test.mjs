// Runs every `sh` block of docs/tutorial.md in one shell, in a new folder, as a reader would; only ports are others, so that
// nothing on this machine is in the way.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { test } from 'node:test'

const REPOSITORY = resolve(import.meta.dirname ?? dirname(new URL(import.meta.url).pathname), '../..')
const FAREBOX = resolve(process.env.FAREBOX_BIN ?? join(REPOSITORY, 'target/debug/farebox'))

function freePort() {
  return new Promise((done, reject) => {
    const server = createServer().once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address()
      server.close(() => done(port))
    })
  })
}

test('the tutorial, from top to bottom', { timeout: 120_000 }, async () => {
  const text = await readFile(join(REPOSITORY, 'docs/tutorial.md'), 'utf8')
  const blocks = [...text.matchAll(/^```sh\n([\s\S]*?)^```/gm)].map(([, block]) => block)
  assert.ok(blocks.length >= 6)
  let script = blocks.map((block, index) => `echo "== block ${index + 1}"\n${block}`).join('\n')
  for (const port of ['8545', '9000', '8402', '8403']) script = script.replaceAll(port, String(await freePort()))

  const folder = await mkdtemp(join(tmpdir(), 'farebox-tutorial-'))
  try {
    await mkdir(join(folder, 'bin'))
    await writeFile(join(folder, 'bin/farebox'), `#!/bin/sh\nexec "${FAREBOX}" "$@"\n`)
    await chmod(join(folder, 'bin/farebox'), 0o755)
    await mkdir(join(REPOSITORY, 'target'), { recursive: true })
    // Job control, for `kill %3`. Whatever ends the shell ends what it started.
    const whole = `set -Eeuo pipefail\nset -m\ntrap 'kill -9 $(jobs -p) 2>/dev/null || true' EXIT\n${script}`
    const anvil = join(REPOSITORY, 'node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil')
    const env = { ...process.env, FAREBOX_REPOSITORY: REPOSITORY, FAREBOX_ANVIL: anvil, PATH: `${join(folder, 'bin')}:${process.env.PATH}` }
    const { code, out } = await new Promise((done) => {
      execFile('bash', ['-c', whole], { cwd: folder, env, timeout: 110_000 }, (error, stdout, stderr) => done({ code: error?.code ?? (error ? -1 : 0), out: `${stdout}${stderr}` }))
    })
    assert.equal(code, 0, out)
    assert.match(out, /ok; claims are signed by 0x[0-9a-f]{40}/, out)
    assert.match(out, / 0 errors/, out)
    assert.match(out, /HTTP\/1\.1 402/, out)
    const [, events, spent] = out.match(/(\d+) events, (\d+) base units; closed on chain in 0x[0-9a-f]{64}/) ?? assert.fail(out)
    assert.equal(Number(spent), 25 * Number(events), 'each event costs 25')
    assert.match(out, /You said: What is a fare\?/)
    assert.match(out, new RegExp(`closed .* ${spent} `), 'the books say the same')
    assert.match(out, /farebox_vouchers_total\{verdict="accepted"\} \d+/)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})
