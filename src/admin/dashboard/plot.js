// Plots in SVG: lines over time with a cross-hair that the mouse and the arrow keys move, and sparklines.

import { el, svg } from '/dashboard/dom.js'
import { clock, hourMinute } from '/dashboard/format.js'

const HEIGHT = 190
const EDGE = { top: 8, right: 6, bottom: 22, left: 52 }
const TICKS = 4

/** Round steps for an axis from zero to at least `most`. */
export function ticks(most, wanted = TICKS) {
  if (!(most > 0)) return [0, 1]
  const rough = most / wanted
  const power = 10 ** Math.floor(Math.log10(rough))
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((size) => size >= rough * 0.999)
  const steps = []
  for (let index = 0; index <= Math.ceil(most / step - 1e-9); index += 1) steps.push(index * step)
  return steps
}

/**
 * A plot of several series. `series` is a list of `{ key, label, kind: 'line' | 'area' | 'step' }`; `format` shows a value,
 * `axis` shows it in little room. `update(points)` takes objects with `at` and the keys.
 */
export function timePlot({ title, series, format, axis = format }) {
  const legend = el('ul', { class: 'legend' })
  const values = series.map(({ label }, index) => {
    const value = el('b', {}, '–')
    legend.append(el('li', {}, el('i', { class: `s${index + 1}` }), label, ' ', value))
    return value
  })
  const drawing = svg('svg', { role: 'img', tabindex: '0', 'aria-label': title })
  const figure = el('figure', { class: 'card plot' }, el('figcaption', {}, el('h3', {}, title), legend), drawing)
  let points = []
  let chosen
  let places = { x: () => 0 }

  const tell = () => {
    const point = points[chosen] ?? points.at(-1)
    series.forEach(({ key }, index) => (values[index].textContent = point ? format(point[key]) : '–'))
    const said = point ? series.map(({ key, label }) => `${label} ${format(point[key])}`).join(', ') : 'no figures yet'
    drawing.setAttribute('aria-label', `${title}: ${said}${point ? `, at ${clock(point.at)}` : ''}`)
  }

  const draw = () => {
    const width = Math.max(drawing.clientWidth || 420, 120)
    drawing.setAttribute('viewBox', `0 0 ${width} ${HEIGHT}`)
    drawing.replaceChildren()
    tell()
    if (points.length < 2) {
      drawing.append(svg('text', { class: 'empty', x: width / 2, y: HEIGHT / 2, 'text-anchor': 'middle' }, 'The first figures come in a moment.'))
      return
    }
    const most = Math.max(...points.flatMap((point) => series.map(({ key }) => point[key])), 0)
    const steps = ticks(most)
    const top = steps.at(-1)
    const [from, to] = [points[0].at, points.at(-1).at]
    const x = (at) => EDGE.left + ((at - from) / Math.max(to - from, 1)) * (width - EDGE.left - EDGE.right)
    const y = (value) => HEIGHT - EDGE.bottom - (value / top) * (HEIGHT - EDGE.top - EDGE.bottom)
    places = { x, y, from, to, width }
    for (const step of steps) {
      drawing.append(
        svg('line', { class: 'grid', x1: EDGE.left, x2: width - EDGE.right, y1: y(step), y2: y(step) }),
        svg('text', { class: 'axis', x: EDGE.left - 8, y: y(step) + 4, 'text-anchor': 'end' }, axis(step)),
      )
    }
    const labels = Math.max(2, Math.min(5, Math.floor(width / 110)))
    for (let index = 0; index < labels; index += 1) {
      const at = from + ((to - from) * index) / (labels - 1)
      const anchor = index === 0 ? 'start' : index === labels - 1 ? 'end' : 'middle'
      const text = to - from < 300 ? clock(at) : hourMinute(at)
      drawing.append(svg('text', { class: 'axis', x: x(at), y: HEIGHT - 5, 'text-anchor': anchor }, text))
    }
    series.forEach(({ key, kind }, index) => {
      const name = `s${index + 1}`
      const path = line(points, (point) => x(point.at), (point) => y(point[key]), kind === 'step')
      if (kind === 'area') drawing.append(svg('path', { class: `area ${name}`, d: `${path}L${x(to)} ${y(0)}L${x(from)} ${y(0)}Z` }))
      drawing.append(svg('path', { class: `line ${name}`, d: path }))
    })
    cross()
  }

  const cross = () => {
    drawing.querySelector('.chosen')?.remove()
    const point = points[chosen]
    if (!point) return
    const x = places.x(point.at)
    const marks = series.map(({ key }, index) => svg('circle', { class: `mark s${index + 1}`, cx: x, cy: places.y(point[key]), r: 3.2 }))
    const text = svg('text', { class: 'axis', x, y: EDGE.top + 3, 'text-anchor': x > places.width / 2 ? 'end' : 'start', dx: x > places.width / 2 ? -6 : 6 }, clock(point.at))
    drawing.append(svg('g', { class: 'chosen' }, svg('line', { class: 'cross', x1: x, x2: x, y1: EDGE.top, y2: HEIGHT - EDGE.bottom }), marks, text))
  }

  const choose = (index) => {
    chosen = index === undefined || points.length < 2 ? undefined : Math.max(0, Math.min(points.length - 1, index))
    tell()
    cross()
  }
  drawing.addEventListener('pointermove', (event) => {
    if (points.length < 2) return
    const at = places.from + ((event.offsetX - EDGE.left) / (places.width - EDGE.left - EDGE.right)) * (places.to - places.from)
    choose(points.reduce((best, point, index) => (Math.abs(point.at - at) < Math.abs(points[best].at - at) ? index : best), 0))
  })
  drawing.addEventListener('pointerleave', () => choose(undefined))
  drawing.addEventListener('blur', () => choose(undefined))
  drawing.addEventListener('keydown', (event) => {
    const last = points.length - 1
    const moves = { ArrowLeft: (chosen ?? last + 1) - 1, ArrowRight: (chosen ?? last) + 1, Home: 0, End: last, Escape: undefined }
    if (!(event.key in moves)) return
    event.preventDefault()
    choose(moves[event.key])
  })
  new ResizeObserver(draw).observe(drawing)
  return {
    figure,
    update(next) {
      const at = points[chosen]?.at
      points = next
      if (at !== undefined) chosen = points.findIndex((point) => point.at >= at)
      draw()
    },
  }
}

function line(points, x, y, isStep) {
  const parts = points.map((point, index) => {
    const [left, top] = [x(point).toFixed(1), y(point).toFixed(1)]
    if (index === 0) return `M${left} ${top}`
    return isStep ? `H${left}V${top}` : `L${left} ${top}`
  })
  return parts.join('')
}

/** A small line without axes; decoration for eyes, the figure stands beside it. */
export function sparkline(className) {
  const drawing = svg('svg', { class: 'spark', viewBox: '0 0 100 34', preserveAspectRatio: 'none', 'aria-hidden': 'true' })
  return {
    drawing,
    update(values) {
      drawing.replaceChildren()
      if (values.length < 2) return
      const [least, most] = [Math.min(...values), Math.max(...values)]
      const room = most - least || 1
      const at = (index) => (index / (values.length - 1)) * 100
      const path = line(values.map((value, index) => ({ value, index })), ({ index }) => at(index), ({ value }) => 30 - ((value - least) / room) * 26, false)
      drawing.append(svg('path', { class: `area ${className}`, d: `${path}L100 34L0 34Z`, opacity: '.13' }), svg('path', { class: `line ${className}`, d: path, fill: 'none', 'stroke-width': '1.6', 'vector-effect': 'non-scaling-stroke' }))
    },
  }
}
