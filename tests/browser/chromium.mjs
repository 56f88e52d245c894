// A real browser for tests: the system's chromium, driven by playwright-core, which brings no browser of its own.
import { existsSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { chromium } from 'playwright-core'

const PLACES = [process.env.CHROMIUM_BIN, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome']
const FAREBOX = process.env.FAREBOX_BIN ?? 'target/debug/farebox'

/** Where screenshots go: beside what was built. */
export const PICTURES = resolve(join(dirname(FAREBOX), '..', 'dashboard'))

export async function launch() {
  const executablePath = PLACES.find((place) => place && existsSync(place))
  if (!executablePath) throw new Error('no chromium: run scripts/setup.sh, or set CHROMIUM_BIN')
  await mkdir(PICTURES, { recursive: true })
  // Inside a container there is neither a sandbox nor much shared memory.
  return chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu'] })
}

/** A page that remembers everything that it complained about, and every host that it spoke with. */
export async function openPage(browser, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 1000 }, ...options })
  const page = await context.newPage()
  const trouble = []
  const hosts = new Set()
  page.on('console', (message) => ['error', 'warning'].includes(message.type()) && trouble.push(message.text()))
  page.on('pageerror', (error) => trouble.push(String(error)))
  page.on('request', (request) => hosts.add(new URL(request.url()).host))
  return { page, trouble, hosts }
}
