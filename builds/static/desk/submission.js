/* Keeps the page of one submission up to date: replaces each part that has changed, unless the reader has selected text or fills in a form. */

import { announce, isSelected, live, localise, poll, steadily } from './desk.js';

const EVERY = 1500
const SLOWLY = 15000
const page = document.querySelector('[data-live]')
const known = new Map()

/** `html` without ages and durations, which change all the time. */
function stable (html) {
  return html.replace(/<span class="age">[^<]*/g, '').replace(/(data-since="[^"]*">)[^<]*/g, '$1').replace(/csrfmiddlewaretoken[^>]*/g, '')
}

function openDetails (part) {
  return new Map([...part.querySelectorAll('details[id]')].map(details => [details.id, details.open]))
}

/** Whether the reader is at a control of a form in `part`, or has changed one. */
function isFilledIn (part) {
  const fields = [...part.querySelectorAll('input, textarea')]
  return Boolean(document.activeElement.form && part.contains(document.activeElement)) || fields.some(field => field.value !== field.defaultValue)
}

function replace (part, html) {
  const open = openDetails(part)
  const focused = part.contains(document.activeElement) ? document.activeElement : null
  const address = focused && (focused.getAttribute('href') || focused.closest('details')?.id)
  part.innerHTML = html
  for (const details of part.querySelectorAll('details[id]')) if (open.has(details.id)) details.open = open.get(details.id)
  if (address) (part.querySelector(`[href="${CSS.escape(address)}"]`) || part.querySelector(`#${CSS.escape(address)} > summary`))?.focus()
  localise(part)
}

function update (part, now) {
  const html = now.parts[part.dataset.part]
  const fresh = stable(html)
  if (known.get(part.dataset.part) === fresh) return
  // The first answer usually equals what is shown. It replaces a part only if the state has changed in between.
  const isChanged = known.has(part.dataset.part) || page.dataset.words !== now.words
  const waits = isChanged && (isSelected(part) || isFilledIn(part)) // until the reader has left it
  if (isChanged && !waits) replace(part, html)
  known.set(part.dataset.part, waits ? '' : fresh)
}

let slow = 0
async function step () {
  if (slow && Date.now() < slow) return true
  const answer = await live(page.dataset.live)
  if (!answer) return null
  const now = await answer.json()
  steadily('[data-part]', () => { for (const part of page.querySelectorAll('[data-part]')) update(part, now) })
  if (page.dataset.words !== now.words) announce(`State: ${now.words}`)
  page.dataset.words = now.words
  slow = now.goes_on ? 0 : Date.now() + SLOWLY
  return true
}

if (page) poll(step, EVERY)
