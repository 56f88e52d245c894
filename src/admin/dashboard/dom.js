// Makes elements. Text is always set as text: nothing from the books or from clients is ever read as HTML.

const SVG = 'http://www.w3.org/2000/svg'

const make = (node, attributes, children) => {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === false) continue
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value)
    else node.setAttribute(name, value === true ? '' : value)
  }
  node.append(...children.flat().filter((child) => child !== undefined && child !== null))
  return node
}

/** An HTML element. */
export const el = (name, attributes, ...children) => make(document.createElement(name), attributes, children)

/** An SVG element. */
export const svg = (name, attributes, ...children) => make(document.createElementNS(SVG, name), attributes, children)

export const byId = (id) => document.getElementById(id)

/** A table; `columns` are `[title, isNumber]`, a row is a list of texts and elements. */
export function table(caption, columns, rows) {
  const cell = (tag) => (content, index) => {
    const isNumber = columns[index][1]
    return el(tag, { class: isNumber ? 'num' : undefined, scope: tag === 'th' ? 'col' : undefined }, content)
  }
  return el(
    'table',
    {},
    el('caption', { class: 'sr' }, caption),
    el('thead', {}, el('tr', {}, columns.map(([title]) => title).map(cell('th')))),
    el('tbody', {}, rows.map((row) => el('tr', {}, row.map(cell('td'))))),
  )
}

/** Puts a new content into a place, and keeps the keyboard where it was when the same link is there again. */
export function put(place, ...content) {
  const href = place.contains(document.activeElement) ? document.activeElement.getAttribute('href') : undefined
  place.replaceChildren(...content)
  if (href) [...place.querySelectorAll('a')].find((link) => link.getAttribute('href') === href)?.focus()
}
