// One channel: what is in it, how its vouchers rose, what happened; and what may be done with the admin key.

import { byId, el, put, svg, table } from '/dashboard/dom.js'
import { clock, count, money, shortMoney } from '/dashboard/format.js'
import { timePlot } from '/dashboard/plot.js'

const POLL_MS = 2_000
let shown
let timer
let key
let explorer

/** Where the chain is looked at; only a URL of the web becomes a link. */
export function setExplorer(url) {
  explorer = /^https?:\/\//.test(url ?? '') ? url : undefined
}

// ---- the admin key: in this tab, in memory ----
const keyDialog = byId('key-dialog')
byId('key').addEventListener('click', () => {
  if (key) {
    key = undefined
    keyChanged()
  } else {
    byId('key-error').textContent = ''
    keyDialog.showModal()
    byId('key-input').focus()
  }
})
byId('key-cancel').addEventListener('click', () => keyDialog.close())
byId('key-form').addEventListener('submit', async (event) => {
  event.preventDefault()
  const tried = byId('key-input').value.trim().replace(/^0x/, '')
  const response = await act('/v1/key', tried).catch(() => undefined)
  if (response?.ok) {
    key = tried
    byId('key-input').value = ''
    keyDialog.close()
    keyChanged()
  } else {
    byId('key-error').textContent = response ? (await response.json()).detail : 'the server does not answer'
  }
})
const act = (path, with_) => fetch(path, { method: 'POST', headers: { authorization: `Bearer ${with_}` } })
function keyChanged() {
  byId('key').textContent = key ? 'Lock actions' : 'Unlock actions'
  byId('said').textContent = key ? 'Actions are unlocked' : 'Actions are locked'
  if (shown) permit(shown)
}

/** What can be done: everything with the key, while the channel is not over. */
function permit(page) {
  for (const button of document.querySelectorAll('[data-action]')) button.disabled = !key || page.isOver
}

function confirmed(title, text, verb) {
  const dialog = byId('ask-dialog')
  byId('ask-title').textContent = title
  byId('ask-text').textContent = text
  byId('ask-ok').textContent = verb
  dialog.returnValue = 'no'
  dialog.showModal()
  return new Promise((resolve) => dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes'), { once: true }))
}

// ---- the page ----
export function leaveChannel() {
  clearTimeout(timer)
  shown = undefined
}

export function showChannel(id) {
  leaveChannel()
  const page = {
    id,
    state: el('span', { class: 'tag' }, '…'),
    fare: el('div', { class: 'fare' }),
    facts: el('div', {}),
    events: el('div', { class: 'scroll' }),
    note: el('p', { class: 'quiet' }),
    said: el('p', { class: 'error', role: 'alert' }),
    plot: timePlot({
      title: 'Vouchers and charges', format: money, axis: shortMoney,
      series: [{ key: 'spent', label: 'spent', kind: 'step' }, { key: 'accepted', label: 'accepted', kind: 'step' }],
    }),
  }
  shown = page
  const button = (name, title, ask) => el('button', { type: 'button', class: 'button', 'data-action': name, disabled: !key, async onclick() {
    const { path, title, text, verb } = ask()
    if (!(await confirmed(title, text, verb))) return
    const response = await act(path, key).catch(() => undefined)
    page.said.textContent = response?.ok ? '' : response ? (await response.json()).detail : 'the server does not answer'
    if (response?.ok) byId('said').textContent = `${title}: accepted`
    look(page)
  } }, title)
  const action = (name, title, text, verb) => button(name, title, () => ({ path: `/v1/channels/${id}/${name}`, title, text, verb }))
  page.quarantine = button('quarantine', 'Quarantine', () => (page.isQuarantined
    ? { path: `/v1/channels/${id}/release`, title: 'Release', text: 'Vouchers of this channel are taken again.', verb: 'Release the channel' }
    : { path: `/v1/channels/${id}/quarantine`, title: 'Quarantine', text: 'No voucher of this channel is taken until it is released. What was spent is claimed as ever.', verb: 'Quarantine the channel' }))
  page.deny = button('deny', 'Deny payer', () => (page.isDenied
    ? { path: `/v1/payers/${page.payer}/allow`, title: 'Allow payer', text: `${page.payer} may pay again, on all channels.`, verb: 'Allow the payer' }
    : { path: `/v1/payers/${page.payer}/deny`, title: 'Deny payer', text: `No voucher of ${page.payer} is taken, on any channel, until the payer is allowed again. What was spent is claimed as ever.`, verb: 'Deny the payer' }))
  put(byId('channel'),
    el('div', { class: 'channel-head' },
      el('a', { class: 'button quiet-button', href: '#/' }, '← Overview'), el('h1', { class: 'mono' }, id), page.state,
      el('div', { class: 'row' },
        action('settle', 'Settle now', 'What was spent is claimed on chain now; the channel goes on. This costs a fee.', 'Settle'),
        page.quarantine, page.deny,
        action('close', 'Close now', 'Service on this channel ends at once. What was spent is claimed, the payer gets the rest. This cannot be taken back.', 'Close the channel'))),
    page.said,
    el('section', { class: 'card', 'aria-label': 'Money' }, page.fare),
    el('div', { class: 'columns' }, page.plot.figure, el('section', { class: 'card', 'aria-label': 'Terms' }, page.facts)),
    el('section', { class: 'card', 'aria-labelledby': 'events-title' }, el('div', { class: 'card-head' }, el('h2', { id: 'events-title' }, 'History'), page.note), page.events))
  look(page)
}

async function look(page) {
  clearTimeout(timer)
  try {
    const response = await fetch(`/v1/channels/${page.id}`, { cache: 'no-store' })
    if (shown !== page) return
    const channel = await response.json()
    if (!response.ok) return put(page.facts, el('p', { class: 'nothing' }, channel.detail))
    const { denials } = await (await fetch('/v1/denials', { cache: 'no-store' })).json()
    if (shown !== page) return
    page.payer = channel.payer
    page.isQuarantined = denials.some(({ channelId }) => channelId === channel.channelId)
    page.isDenied = denials.some(({ payer }) => payer === channel.payer)
    show(page, channel)
    if (page.sequence !== channel.sequence) {
      const told = await fetch(`/v1/channels/${page.id}/history`, { cache: 'no-store' })
      const history = await told.json()
      if (shown !== page) return
      if (told.ok) showHistory(page, history, channel)
      else put(page.events, el('p', { class: 'nothing' }, history.detail))
      page.sequence = channel.sequence
    }
  } catch {
    // The overview says that the server is away.
  }
  if (shown === page) timer = setTimeout(() => look(page), POLL_MS)
}

function show(page, channel) {
  const served = page.isQuarantined ? 'quarantined' : page.isDenied ? 'payer denied' : 'open'
  const phase = channel.phase !== 'open' ? channel.phase : channel.closeRequestedAt ? 'close asked' : served
  page.state.textContent = phase
  page.state.dataset.kind = phase
  page.isOver = phase === 'closed'
  page.quarantine.textContent = page.isQuarantined ? 'Release' : 'Quarantine'
  page.deny.textContent = page.isDenied ? 'Allow payer' : 'Deny payer'
  permit(page)
  showFare(page.fare, channel)
  const rows = [
    ['Payer', account(channel.payer)], ['Payee', account(channel.payee)], ['Signer', account(channel.signer)], ['Operator', account(channel.operator)], ['Token', account(channel.token)],
    ['Escrow', el('span', {}, account(channel.escrow), ` (${channel.protocol}, chain ${channel.chainId})`)], ['Units delivered', count(channel.units)],
    ['Last used', channel.activeAt ? clock(channel.activeAt, true) : undefined], ['Close requested', channel.closeRequestedAt ? clock(channel.closeRequestedAt, true) : undefined],
    ['Being captured', channel.capturing && money(channel.capturing)], ['Captured', channel.captured && money(channel.captured)],
    ['Refunded', channel.refunded && money(channel.refunded)], ['Lost', channel.lost && money(channel.lost)],
  ].filter(([, value]) => value !== undefined)
  put(page.facts, el('dl', { class: 'facts' }, rows.flatMap(([name, value]) => [el('dt', {}, name), el('dd', {}, value)])))
}

/** A place on the chain: a link where an explorer is configured, else its text. */
function onChain(kind, name, text) {
  return explorer ? el('a', { href: `${explorer}/${kind}/${name}`, rel: 'noopener noreferrer', target: '_blank' }, text) : text
}
const account = (address) => (address === undefined ? undefined : el('span', { class: 'mono' }, onChain('address', address, address)))

/** The deposit as a bar: settled, spent beyond it, set aside, accepted beyond that, and the rest. */
function showFare(place, channel) {
  const units = Object.fromEntries(['deposit', 'settled', 'spent', 'reserved', 'accepted'].map((name) => [name, BigInt(channel[name])]))
  const above = (one, other) => (one > other ? one - other : 0n)
  const used = units.spent + units.reserved
  const parts = [
    ['p1', 'settled', units.settled], ['p2', 'spent, not settled', above(units.spent, units.settled)], ['p3', 'set aside', units.reserved],
    ['p4', 'accepted, not spent', above(units.accepted, used)], ['rest', 'left of the deposit', above(units.deposit, units.accepted > used ? units.accepted : used)],
  ]
  const all = parts.reduce((sum, [, , part]) => sum + part, 0n) || 1n
  let from = 0
  const bars = parts.filter(([, , part]) => part > 0n).map(([name, , part]) => {
    const width = Number((part * 1_000_000n) / all) / 10_000
    const bar = svg('rect', { class: name, x: from, y: 0, width, height: 10 })
    from += width
    return bar
  })
  put(place,
    svg('svg', { viewBox: '0 0 100 10', preserveAspectRatio: 'none', role: 'img', 'aria-label': parts.map(([, label, part]) => `${label} ${money(part)}`).join(', ') }, bars),
    el('ul', { class: 'legend' }, parts.map(([name, label, part]) => el('li', {}, el('i', { class: name }), label, ' ', el('b', {}, money(part)))), el('li', {}, 'deposit ', el('b', {}, money(units.deposit)))))
}

function showHistory(page, { events, fromFrame, toFrame, leftOut }, channel) {
  page.note.textContent = events.length ? `frames ${count(fromFrame ?? 0)} to ${count(toFrame)} of the journal${leftOut ? `; ${count(leftOut)} older events are left out` : ''}` : ''
  if (!events.length) return put(page.events, el('p', { class: 'nothing' }, `Nothing in the journal since frame ${count(fromFrame ?? 0)}.`))
  // What was charged before the first event that is shown.
  const charges = events.filter(({ event }) => event === 'charged' || event === 'captured')
  let accepted = 0
  let spent = Math.max(0, Number(channel.spent) - charges.reduce((sum, event) => sum + Number(event.amount), 0))
  const points = []
  for (const event of events) {
    if (event.event === 'accepted') accepted = Number(event.amount)
    if (event.event === 'charged' || event.event === 'captured') spent += Number(event.amount)
    if (event.at) points.push({ at: event.at, accepted, spent })
  }
  page.plot.update(points)
  const amount = (event) => event.amount ?? event.deposit ?? event.captured ?? event.capture ?? event.settled
  put(page.events, table('Events of this channel, the newest first', [['When'], ['Event'], ['Amount', true], ['Units', true], ['Block', true], ['Frame', true]],
    events.slice().reverse().map((event) => [event.at ? clock(event.at, true) : '–', el('span', {}, event.event), amount(event) === undefined ? '' : money(amount(event)), event.units === undefined ? '' : count(event.units), event.position ? onChain('block', event.position.block, count(event.position.block)) : '', count(event.frame)])))
}
