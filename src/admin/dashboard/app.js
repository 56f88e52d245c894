// The overview: asks once a second, and draws what came. No frame is drawn while nobody looks.

import { byId, el, put, svg, table } from '/dashboard/dom.js'
import { brief, count, duration, micros, money, short, shortMoney } from '/dashboard/format.js'
import { sparkline, timePlot } from '/dashboard/plot.js'
import { leaveChannel, setExplorer, showChannel } from '/dashboard/channel.js'

const POLL_MS = 1_000
const POLL_FAILED_MS = 3_000
const POINTS_MAX = { recent: 900, day: 1_440 }

let span = 'recent'
let points = []
let failures = 0
let alarmsShown = ''

// ---- light and dark ----
const root = document.documentElement
const system = matchMedia('(prefers-color-scheme: dark)')
const paint = (theme) => (root.dataset.theme = theme ?? (system.matches ? 'dark' : 'light'))
const chosenTheme = () => { try { return localStorage.getItem('farebox-theme') ?? undefined } catch { return undefined } }
paint(chosenTheme())
system.addEventListener('change', () => paint(chosenTheme()))
byId('theme').addEventListener('click', () => {
  const theme = root.dataset.theme === 'dark' ? 'light' : 'dark'
  paint(theme)
  try { localStorage.setItem('farebox-theme', theme) } catch { /* it lasts as long as the page, then */ }
})

// ---- tiles ----
const TILES = [
  ['vouchers', 'Vouchers a second', 's1', (point) => point.vouchersPerSecond],
  ['accepted', 'Accepted', 's3', (point) => point.accepted],
  ['spent', 'Spent', 's2', (point) => point.spent],
  ['settled', 'Settled on chain', 's1', (point) => point.settled],
  ['exposure', 'Exposure', 's4', (point) => point.exposure],
  ['oldest', 'Oldest unsettled', 's4', (point) => point.oldestUnsettledSeconds],
  ['refunded', 'Refunded', 's3', (point) => point.refunded],
  ['channels', 'Open channels', 's1', (point) => point.openChannels],
].map(([id, title, colour, read]) => {
  const value = el('dd', { id: `tile-${id}` }, '–')
  const note = el('p', { class: 'note', id: `note-${id}` }, '\u00a0')
  const spark = sparkline(colour)
  byId('tiles').append(el('dl', { class: 'card tile' }, el('dt', {}, title), value, note, spark.drawing))
  return { id, read, spark }
})

function tile(id, value, unit, note) {
  put(byId(`tile-${id}`), value, unit ? el('small', {}, unit) : '')
  byId(`note-${id}`).textContent = note || '\u00a0'
}

// ---- plots ----
const rate = (value) => `${short(value)}/s`
const PLOTS = [
  { title: 'Vouchers a second', format: rate, axis: short, series: [{ key: 'vouchersPerSecond', label: 'taken', kind: 'area' }, { key: 'refusedPerSecond', label: 'refused', kind: 'line' }] },
  { title: 'Revenue', format: money, axis: shortMoney, series: [{ key: 'accepted', label: 'accepted', kind: 'line' }, { key: 'spent', label: 'spent', kind: 'line' }, { key: 'settled', label: 'settled', kind: 'area' }, { key: 'refunded', label: 'refunded', kind: 'line' }].map((one, index, all) => all[[2, 1, 0, 3][index]]) },
  { title: 'Exposure: spent and not settled', format: money, axis: shortMoney, series: [{ key: 'exposure', label: 'exposure', kind: 'area' }] },
  { title: 'Age of the oldest unsettled value', format: duration, axis: (value) => duration(value), series: [{ key: 'oldestUnsettledSeconds', label: 'age', kind: 'area' }] },
  { title: 'Sync latency', format: micros, series: [{ key: 'commitMicrosP50', label: 'p50', kind: 'area' }, { key: 'commitMicrosP99', label: 'p99', kind: 'line' }] },
  { title: 'Verification, each voucher', format: micros, series: [{ key: 'verifyMicros', label: 'cost', kind: 'area' }] },
  { title: 'Batch size', format: short, series: [{ key: 'batchVouchers', label: 'vouchers (mean)', kind: 'area' }] },
  { title: 'Requests and frames a second', format: rate, axis: short, series: [{ key: 'requestsPerSecond', label: 'requests', kind: 'area' }, { key: 'framesPerSecond', label: 'frames', kind: 'line' }] },
].map((wanted) => {
  const plot = timePlot(wanted)
  byId('plots').append(plot.figure)
  return plot
})

for (const button of document.querySelectorAll('[data-span]')) {
  button.addEventListener('click', () => {
    span = button.dataset.span
    points = []
    for (const other of document.querySelectorAll('[data-span]')) other.setAttribute('aria-pressed', String(other === button))
    poll.now()
  })
}

// ---- what came ----
const channelLink = (id) => el('a', { href: `#/channel/${id}`, class: 'mono', title: id }, brief(id))
const tag = (kind) => el('span', { class: 'tag', 'data-kind': kind }, kind)
const nothing = (text) => el('p', { class: 'nothing' }, text)

function show(answer) {
  const { totals, channels } = answer
  byId('realm').textContent = answer.realm
  setExplorer(answer.explorer)
  byId('chain').textContent = `chain ${answer.chainId}`
  byId('about').textContent = `Farebox ${answer.version} · up for ${duration(answer.now - answer.startedAt)} · vouchers verified by ${answer.backend} code${answer.isComplete ? '' : ' · the sums do not cover all channels yet'}`
  const last = points.at(-1)
  tile('vouchers', short(last?.vouchersPerSecond ?? 0), '', `${short(last?.refusedPerSecond ?? 0)} refused a second`)
  tile('accepted', money(totals.accepted), '', `of ${money(totals.deposit)} deposited`)
  tile('spent', money(totals.spent), '', `${money(BigInt(totals.accepted) - BigInt(totals.spent))} accepted and unspent`)
  tile('settled', money(totals.settled), '', BigInt(totals.lost) > 0n ? `${money(totals.lost)} lost` : 'nothing lost')
  tile('exposure', money(totals.exposure), '', 'spent and not settled')
  tile('oldest', duration(answer.oldestUnsettledSeconds), '', `${answer.queue.waiting} channels wait`)
  tile('refunded', money(totals.refunded), '', `${count(channels.closed)} channels closed`)
  tile('channels', count(channels.open), '', `${count(channels.closing)} closing`)
  for (const { read, spark } of TILES) spark.update(points.slice(-120).map(read))
  for (const plot of PLOTS) plot.update(points)
  showAlarms(answer)
  showQueue(answer)
  showLists(answer)
  showChain(answer)
}

function showAlarms({ alarms }) {
  const text = JSON.stringify(alarms)
  const isBad = alarms.some(({ level }) => level === 'error')
  state(isBad ? 'error' : alarms.length ? 'warning' : 'good', isBad ? 'needs attention' : alarms.length ? 'warnings' : 'taking payments')
  if (text === alarmsShown) return
  alarmsShown = text
  byId('alarms').hidden = alarms.length === 0
  put(byId('alarms'), ...alarms.map(({ level, what, fix, count: times }) =>
    el('div', { class: 'alarm', 'data-level': level },
      svg('svg', { viewBox: '0 0 20 20', width: 18, height: 18, 'aria-hidden': 'true' }, svg('path', { d: 'M10 2.5 18.5 17h-17z', fill: 'none', stroke: 'currentColor', 'stroke-width': '1.7', 'stroke-linejoin': 'round' }), svg('path', { d: 'M10 8v4.2M10 14.3v.6', stroke: 'currentColor', 'stroke-width': '1.8', 'stroke-linecap': 'round' })),
      el('strong', {}, what), el('span', { class: 'count' }, times ? `${count(times)} ×` : ''), el('p', {}, fix))))
  byId('said').textContent = alarms.length ? `Alarm: ${alarms.map(({ what }) => what).join('. ')}` : 'No alarms'
}

function showQueue({ queue, now }) {
  const more = queue.waiting - queue.first.length
  byId('queue-note').textContent = queue.waiting ? `${count(queue.waiting)} channels wait for the chain${more > 0 ? `, the first ${queue.first.length} are shown` : ''}` : ''
  if (!queue.first.length) return put(byId('queue'), nothing('Nothing waits for the chain.'))
  put(byId('queue'), table('Channels that wait for the chain, the most urgent first', [['Channel'], ['Why'], ['State'], ['Amount', true], ['Waits', true], ['Claim by', true], ['']],
    queue.first.map(({ channelId, why, stage, amount, since, claimBy, lastMoment, isLate }) => {
      const left = claimBy ? claimBy - now : undefined
      const all = claimBy && since ? Math.max(claimBy - since, 1) : 1
      const part = left === undefined ? 0 : Math.max(0, Math.min(1, 1 - left / all))
      const bar = el('span', { class: 'meter', 'data-level': isLate ? 'late' : part > 0.7 ? 'soon' : 'calm', title: lastMoment ? `the last moment is in ${duration(Math.max(0, lastMoment - now))}` : '' }, el('span', {}))
      bar.firstChild.style.width = `${Math.round(part * 100)}%`
      return [channelLink(channelId), why, tag(isLate ? 'late' : stage), money(amount), since ? duration(now - since) : '–', left === undefined ? 'at once' : left < 0 ? `${duration(-left)} ago` : `in ${duration(left)}`, left === undefined ? '' : bar]
    })))
}

function showLists({ topChannels, topPayers }) {
  const most = (rows) => rows.reduce((top, { spent }) => (BigInt(spent) > top ? BigInt(spent) : top), 1n)
  const bar = (spent, top) => {
    const meter = el('span', { class: 'meter', 'aria-hidden': 'true' }, el('span', {}))
    meter.firstChild.style.width = `${Number((BigInt(spent) * 1000n) / top) / 10}%`
    return meter
  }
  const topSpent = most(topChannels)
  put(byId('top-channels'), topChannels.length ? table('Channels by what they spent', [['Channel'], ['State'], ['Spent', true], ['Accepted', true], ['Settled', true], ['']],
    topChannels.map((row) => [channelLink(row.channelId), tag(row.stage), money(row.spent), money(row.accepted), money(row.settled), bar(row.spent, topSpent)])) : nothing('No channel was opened yet.'))
  const topPaid = most(topPayers)
  put(byId('top-payers'), topPayers.length ? table('Payers by what they spent', [['Payer'], ['Channels', true], ['Spent', true], ['Exposure', true], ['']],
    topPayers.map((row) => [el('span', { class: 'mono', title: row.payer }, brief(row.payer)), count(row.channels), money(row.spent), money(row.exposure), bar(row.spent, topPaid)])) : nothing('Nobody paid yet.'))
}

function facts(rows) {
  return el('dl', { class: 'facts' }, rows.flatMap(([name, value]) => [el('dt', {}, name), el('dd', {}, value)]))
}

function showChain({ watcher, nodes, settlement, limited }) {
  const rows = watcher ? [
    ['Watcher', watcher.isRunning ? (watcher.isFollowing ? 'follows the escrows' : 'has not read the escrows yet') : 'ended: restart the server'],
    ['Next block', count(watcher.nextBlock)],
    ['Failed looks in a row', watcher.failures ? `${watcher.failures}: ${watcher.lastError}` : '0'],
  ] : []
  rows.push(...nodes.map(({ endpoint, kind, failures: times }) => [endpoint, `${count(times)} × ${kind}`]))
  if (!nodes.length) rows.push(['Nodes', 'no failed request'])
  put(byId('nodes'), facts(rows))
  const told = [
    ['Channels due', count(settlement.due)], ['Being claimed', count(settlement.claiming)], ['Set apart', count(settlement.setApart)],
    ['Transactions sent', count(settlement.transactions)], ['Claims paid', count(settlement.paid)], ['Claims refused', count(settlement.refused)],
    ...limited.map(({ reason, count: times }) => [`Limit ${reason}`, `refused ${count(times)}`]),
  ]
  put(byId('limits'), facts(told))
}

function state(level, text) {
  byId('state').dataset.level = level
  if (byId('state-text').textContent !== text) byId('state-text').textContent = text
}

// ---- asking ----
const poll = {
  timer: undefined,
  async now() {
    clearTimeout(poll.timer)
    const asked = span
    let pause = POLL_MS
    try {
      const after = points.at(-1)?.at ?? -1
      const response = await fetch(`/v1/overview?span=${asked}&after=${after}`, { cache: 'no-store' })
      if (!response.ok) throw new Error(`status ${response.status}`)
      const answer = await response.json()
      failures = 0
      if (asked === span && answer.realm !== undefined) {
        const { columns, points: rows } = answer.history
        const fresh = rows.map((row) => Object.fromEntries(columns.map((name, index) => [name, row[index]])))
        points = points.concat(fresh.filter(({ at }) => at > (points.at(-1)?.at ?? -1))).slice(-POINTS_MAX[span])
        show(answer)
      }
    } catch {
      failures += 1
      pause = POLL_FAILED_MS
      state('error', 'no answer from the server')
    }
    if (!document.hidden) poll.timer = setTimeout(poll.now, pause)
  },
}
document.addEventListener('visibilitychange', () => !document.hidden && poll.now())

// ---- places ----
byId('find').addEventListener('submit', (event) => {
  event.preventDefault()
  const id = byId('find-id').value.trim().toLowerCase()
  if (/^0x[0-9a-f]{64}$/.test(id)) location.hash = `#/channel/${id}`
  else byId('find-id').setCustomValidity('0x and 64 hex digits'), byId('find-id').reportValidity()
})
byId('find-id').addEventListener('input', () => byId('find-id').setCustomValidity(''))

function go() {
  const channel = location.hash.match(/^#\/channel\/(0x[0-9a-fA-F]{64})$/)?.[1]
  byId('overview').hidden = Boolean(channel)
  byId('channel').hidden = !channel
  if (channel) showChannel(channel)
  else leaveChannel()
  document.title = channel ? `${brief(channel)} · Farebox` : 'Farebox'
}
addEventListener('hashchange', () => (go(), byId('main').focus({ preventScroll: true }), scrollTo(0, 0)))
go()
poll.now()
