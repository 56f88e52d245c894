// Figures as people read them.

/** Decimals of a TIP-20 token. */
const DECIMALS = 6

/** Base units (a string, or a number that is drawn) in tokens. */
export function money(units) {
  const value = typeof units === 'number' ? BigInt(Math.round(units)) : BigInt(units ?? 0)
  const digits = value.toString().padStart(DECIMALS + 1, '0')
  const whole = digits.slice(0, -DECIMALS).replace(/\B(?=(\d{3})+$)/g, ',')
  const part = digits.slice(-DECIMALS).replace(/0+$/, '')
  return part ? `${whole}.${part.padEnd(2, '0')}` : `${whole}.00`
}

/** The same in little room, for axes. */
export function shortMoney(units) {
  return short(units / 10 ** DECIMALS)
}

/** A number in little room: 1.2k, 34M, 0.0025. */
export function short(value) {
  const size = Math.abs(value)
  for (const [least, letter] of [[1e9, 'G'], [1e6, 'M'], [1e4, 'k']]) {
    if (size >= least) return `${trim(value / (letter === 'k' ? 1e3 : least))}${letter}`
  }
  return trim(value)
}

function trim(value) {
  const size = Math.abs(value)
  if (size === 0) return '0'
  const digits = size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : Math.min(6, 2 - Math.floor(Math.log10(size)))
  const text = value.toFixed(digits)
  return text.includes('.') ? text.replace(/\.?0+$/, '') : text
}

export const count = (value) => (Math.round(value) || 0).toLocaleString('en-US')

/** Seconds as "2 h 5 min". */
export function duration(seconds) {
  const parts = [['d', 86_400], ['h', 3_600], ['min', 60], ['s', 1]]
  const begin = parts.findIndex(([, size]) => seconds >= size)
  if (begin < 0) return '0 s'
  const [name, size] = parts[begin]
  const next = parts[begin + 1]
  const rest = next ? Math.floor((seconds % size) / next[1]) : 0
  const first = `${Math.floor(seconds / size)} ${name}`
  return rest && next ? `${first} ${rest} ${next[0]}` : first
}

export const micros = (value) => (value >= 1e6 ? `${short(value / 1e6)} s` : value >= 1_000 ? `${short(value / 1_000)} ms` : `${short(value)} µs`)

/** A long hex text by its ends. */
export const brief = (text, ends = 6) => (text.length > 2 * ends + 4 ? `${text.slice(0, 2 + ends)}…${text.slice(-ends)}` : text)

export const clock = (seconds, withDate = false) =>
  new Date(seconds * 1_000).toLocaleString('en-GB', withDate ? { dateStyle: 'medium', timeStyle: 'medium' } : { timeStyle: 'medium' })

export const hourMinute = (seconds) => new Date(seconds * 1_000).toLocaleTimeString('en-GB', { hour: '2-digit', minute: '2-digit' })
