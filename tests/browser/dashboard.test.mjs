// The dashboard in a real browser, before a server that a real client pays: what it shows is what the books hold, while they
// change; the keyboard goes everywhere; nothing is loaded from elsewhere; actions need the key.
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { tempo } from 'mppx/client'
import { walletFor } from '../../demo/chain.mjs'
import { startWorld, until } from '../interop/world.mjs'
import { PICTURES, launch, openPage } from './chromium.mjs'

const ADMIN_KEY = 'a5'.repeat(32)
const EXPLORER = 'https://explorer.example'
const TILES = { accepted: 'accepted', spent: 'spent', settled: 'settled' }

let world
let browser
let admin
let session
let channelId

before(async () => {
  world = await startWorld({ config: { adminKey: ADMIN_KEY, explorer: EXPLORER } })
  admin = `http://${world.server.adminListen}`
  session = tempo.session.manager({ client: walletFor(world.net, world.payer.privateKey), maxDeposit: '1' })
  await pay(session, 3)
  const other = tempo.session.manager({ client: walletFor(world.net, world.stranger.privateKey), maxDeposit: '1' })
  await pay(other, 2)
  channelId = session.channelId.toLowerCase()
  browser = await launch()
})
after(async () => {
  await browser?.close()
  await world?.stop()
})

async function pay(from, requests) {
  for (let n = 0; n < requests; n += 1) {
    const response = await from.fetch(`${world.url}/v1/quote?n=${n}`)
    assert.equal(response.status, 200)
    await response.text()
  }
}

/** Base units as the dashboard writes them, worked out in another way than there. */
function shown(units) {
  const text = (Number(units) / 1e6).toFixed(6).replace(/0{1,4}$/, '')
  return text.replace(/^\d+/, (whole) => Number(whole).toLocaleString('en-US'))
}

async function sums() {
  const { channels } = await world.channels()
  const sum = (key) => channels.reduce((all, channel) => all + BigInt(channel[key] ?? 0), 0n)
  return Object.fromEntries(Object.keys(TILES).map((key) => [key, shown(sum(TILES[key]))]))
}

/** Waits until the tiles show what the books hold now. */
async function agrees(page) {
  await until('the tiles equal the books', async () => {
    const expected = await sums()
    const found = await page.evaluate((keys) => Object.fromEntries(keys.map((key) => [key, document.getElementById(`tile-${key}`).textContent])), Object.keys(TILES))
    return JSON.stringify(found) === JSON.stringify(expected)
  })
}

const picture = (page, name) => page.screenshot({ path: join(PICTURES, `${name}.png`), fullPage: true })

test('amounts are written as the test expects', () => {
  assert.deepEqual([0, 25, 1_000, 1_500_000, 2_000_000_000].map(shown), ['0.00', '0.000025', '0.001', '1.50', '2,000.00'])
})

test('figures equal the books, live, in light and dark, without a complaint', async () => {
  const { page, trouble, hosts } = await openPage(browser, { colorScheme: 'light' })
  const response = await page.goto(admin)
  assert.match(response.headers()['content-security-policy'], /default-src 'none'/)
  await agrees(page)
  const loaded = await page.evaluate(() => performance.timeOrigin)
  await pay(session, 2)
  await agrees(page)
  for await (const _token of await session.sse(`${world.url}/v1/chat?tokens=60`));
  await agrees(page)
  assert.equal(await page.evaluate(() => performance.timeOrigin), loaded, 'it was not loaded again')

  assert.equal(await page.locator('#state-text').textContent(), 'taking payments')
  assert.equal(await page.locator('#alarms').isHidden(), true)
  assert.equal(await page.locator('#realm').textContent(), 'demo.farebox.local')
  assert.equal(await page.locator('#tile-channels').textContent(), '2')
  assert.equal(await page.locator('#top-channels tbody tr').count(), 2)
  assert.equal(await page.locator('#top-payers tbody tr').count(), 2)
  assert.ok((await page.locator('#queue tbody tr').count()) >= 1, 'what was spent waits for the chain')
  await until('plots are drawn', async () => (await page.locator('#plots .plot path.line').count()) >= 8)

  await page.waitForTimeout(4_000)
  await picture(page, 'overview-light')
  assert.equal(await page.locator('html').getAttribute('data-theme'), 'light')
  await page.getByRole('button', { name: 'Change between light and dark' }).click()
  assert.equal(await page.locator('html').getAttribute('data-theme'), 'dark')
  await picture(page, 'overview-dark')
  await page.setViewportSize({ width: 390, height: 844 })
  await page.waitForTimeout(300)
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)
  assert.ok(overflow <= 0, `the page is ${overflow} px wider than a phone`)
  await picture(page, 'overview-phone')
  assert.deepEqual(trouble, [])
  assert.deepEqual([...hosts], [new URL(admin).host])
  await page.context().close()
})

test('keyboard and screen reader', async () => {
  const { page, trouble } = await openPage(browser)
  await page.goto(admin)
  await agrees(page)
  for (const role of ['banner', 'main', 'contentinfo']) assert.equal(await page.getByRole(role).count(), 1, role)
  const nameless = await page.evaluate(() => [...document.querySelectorAll('button, a, input, svg[role=img], table')].filter((one) => {
    const isShown = one.checkVisibility() && !one.closest('dialog:not([open])')
    const name = one.getAttribute('aria-label') ?? one.labels?.[0]?.textContent ?? one.textContent
    return isShown && !name.trim()
  }).map((one) => one.outerHTML))
  assert.deepEqual(nameless, [])
  await page.keyboard.press('Tab')
  assert.equal(await page.evaluate(() => document.activeElement.className), 'skip')
  const reached = new Set()
  for (let step = 0; step < 60; step += 1) {
    await page.keyboard.press('Tab')
    reached.add(await page.evaluate(() => document.activeElement.id || document.activeElement.getAttribute('href') || document.activeElement.dataset.span || document.activeElement.tagName))
  }
  for (const wanted of ['theme', 'key', 'recent', 'day', 'svg', 'find-id', `#/channel/${channelId}`]) assert.ok(reached.has(wanted), `${wanted} of ${[...reached]}`)

  const plot = page.locator('#plots svg[role=img]').nth(1)
  await until('a plot says its figures', async () => /spent [\d.]+/.test(await plot.getAttribute('aria-label')))
  await plot.focus()
  await page.keyboard.press('End')
  assert.equal(await page.locator('#plots .chosen').count(), 1)
  await page.keyboard.press('Escape')
  assert.equal(await page.locator('#plots .chosen').count(), 0)
  assert.deepEqual(trouble, [])
  await page.context().close()
})

test('a channel, and what may be done with the key', async () => {
  const { page, trouble } = await openPage(browser, { colorScheme: 'light' })
  await page.goto(admin)
  await page.locator(`#top-channels a[href="#/channel/${channelId}"]`).focus()
  await page.keyboard.press('Enter')
  await until('its history is there', async () => (await page.locator('#channel tbody tr').count()) > 5)
  const before_ = await world.channel(channelId)
  assert.match(await page.locator('#channel').textContent(), new RegExp(before_.payer))
  const vouchers = await page.locator('#channel tbody tr', { hasText: 'accepted' }).count()
  assert.ok(vouchers >= 5, `${vouchers} vouchers`)
  const highest = page.locator('#channel tbody tr', { hasText: 'accepted' }).first().locator('td').nth(2)
  assert.equal(await highest.textContent(), shown(before_.accepted))
  await picture(page, 'channel-light')

  const settle = page.getByRole('button', { name: 'Settle now' })
  assert.equal(await settle.isDisabled(), true)
  await page.getByRole('button', { name: 'Unlock actions' }).click()
  await page.getByLabel('Admin key').fill('5a'.repeat(32))
  await page.keyboard.press('Enter')
  await until('a wrong key is refused', async () => /expected/.test(await page.locator('#key-error').textContent()))
  const refused = trouble.splice(0)
  assert.ok(refused.every((text) => text.includes('401')), refused.join())
  await page.getByLabel('Admin key').fill(ADMIN_KEY)
  await page.keyboard.press('Enter')
  await until('the right one is taken', () => settle.isEnabled())

  const payer = page.locator('#channel dl.facts a').first()
  assert.equal(await payer.getAttribute('href'), `${EXPLORER}/address/${before_.payer}`)
  assert.equal(await page.locator(`#channel tbody a[href^="${EXPLORER}/block/"]`).count(), 1, 'where it was opened')

  const tag = page.locator('.channel-head .tag')
  for (const [shut, open, says] of [['Quarantine', 'Release', 'quarantined'], ['Deny payer', 'Allow payer', 'payer denied']]) {
    await page.getByRole('button', { name: shut, exact: true }).click()
    await page.locator('#ask-ok').click()
    await until(`it is ${says}`, async () => (await tag.textContent()) === says)
    const refused = await session.fetch(`${world.url}/v1/quote?n=shut`).catch((error) => error)
    assert.notEqual(refused.status, 200)
    await page.getByRole('button', { name: open, exact: true }).click()
    await page.locator('#ask-ok').click()
    await until('it is open', async () => (await tag.textContent()) === 'open')
  }
  assert.deepEqual(await world.channel(channelId), before_, 'nothing was taken meanwhile')

  await settle.click()
  await page.getByRole('button', { name: 'Settle', exact: true }).click()
  await until('it is settled', async () => (await world.channel(channelId)).settled === before_.spent)
  await page.getByRole('button', { name: 'Close now' }).click()
  await page.getByRole('button', { name: 'Close the channel' }).click()
  await until('it is closed', async () => (await world.channel(channelId)).phase === 'closed')
  const closed = await world.channel(channelId)
  assert.equal(closed.captured, before_.spent)
  assert.equal(BigInt(closed.refunded), BigInt(closed.deposit) - BigInt(closed.captured))
  await until('the page says so', async () => (await page.locator('.channel-head .tag').textContent()) === 'closed')
  await page.emulateMedia({ colorScheme: 'dark' })
  await picture(page, 'channel-dark')
  await page.keyboard.press('Home')
  await page.getByRole('link', { name: 'Farebox, overview' }).click()
  await agrees(page)
  // The overview counts what changed, a moment after the books have it.
  const refunded = async () => (await page.locator('#tile-refunded').textContent()) === shown(closed.refunded)
  await until('the refund is counted', refunded)
  assert.deepEqual(trouble, [])
  await page.context().close()
})

test('without the key nothing is done', async () => {
  const { channels } = await world.channels()
  const open = channels.find(({ phase }) => phase === 'open')
  const paths = ['close', 'settle', 'quarantine', 'release'].map((action) => `channels/${open.channelId}/${action}`)
  for (const path of [...paths, `payers/${open.payer}/deny`, `payers/${open.payer}/allow`]) {
    for (const headers of [{}, { authorization: `Bearer ${'00'.repeat(32)}` }, { authorization: ADMIN_KEY }]) {
      const response = await fetch(`${admin}/v1/${path}`, { method: 'POST', headers })
      assert.equal(response.status, 401)
      assert.equal((await response.text()).includes(ADMIN_KEY), false)
    }
  }
  assert.deepEqual(await world.channel(open.channelId), open)
  assert.deepEqual(await (await fetch(`${admin}/v1/denials`)).json(), { denials: [] })
})
