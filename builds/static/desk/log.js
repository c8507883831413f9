/* The log page: live and followed while the attempt runs, with links to lines, search and display options. It also works without scripts. */

import { announce, answered, isSelected, listen, live, poll } from './desk.js';
import { Hits, count, words } from './log-find.js';
import { parsed, showTime } from './log-places.js';
import { LogWindow } from './log-window.js';

const EVERY = 400 // ms between two answers, where they do not go on
const SILENT = 25000 // ms; the server writes something every ten seconds
const FIRST = 10000 // ms for the first line of an answer; without it, something on the way seems to hold back what is not whole
const MOST = 200 // lines in an answer that has only the newest
const TYPING = 350 // ms without typing before a search starts
const COUNT_EVERY = 2000 // ms between counts while the log grows
const AT_END = 24 // px
const YEAR = 31536000

const log = document.getElementById('log')
const start = new Date(log.dataset.start)
const find = document.getElementById('find')
const field = document.getElementById('find-q')
const followButton = document.getElementById('follow')
let goesOn = Boolean(log.dataset.goesOn)
let total = Number(log.dataset.total)
let chosen = null // { from, to }: the lines in the address
let now = 0 // the last line jumped to
let hits = null
let errors = null
let following = false
let seenTotal = total

const lines = new LogWindow(log, fetchLines, decorate)

async function ask (query) {
  const q = field.value
  const answer = await live(`${log.dataset.lines}?${query}${q ? `&q=${encodeURIComponent(q)}` : ''}`)
  return answer && answer.json()
}

function fetchLines (from, to) {
  return ask(`from=${from}&to=${to}`)
}

// --- the look of lines

/** Show the times as the reader wants them and mark the selected lines. */
function decorate (rows) {
  const isElapsed = log.classList.contains('elapsed')
  for (const row of rows.children) {
    showTime(row.children[1], isElapsed ? start : null)
    mark(row)
  }
}

function mark (row) {
  const number = Number(row.id.slice(1))
  row.classList.toggle('chosen', chosen !== null && number >= chosen.from && number <= chosen.to)
  row.classList.toggle('now', number === now)
}

function decorateAll () { for (const part of lines.parts) decorate(part.rows) }

function markAll () { for (const part of lines.parts) for (const row of part.rows.children) mark(row) }

function keepLook () {
  const look = [log.classList.contains('elapsed') && 'elapsed', !log.classList.contains('wrap') && 'nowrap'].filter(Boolean)
  document.cookie = `log-look=${look.join('.')}; path=/submissions/; max-age=${YEAR}; samesite=lax`
}

function onLook (id, name, [on, off], show) {
  const button = document.getElementById(id)
  button.setAttribute('role', 'button')
  const toggle = event => {
    event.preventDefault()
    lines.keepPlace(() => {
      button.textContent = log.classList.toggle(name) ? on : off
      show()
    })
    keepLook()
    lines.fill()
  }
  button.addEventListener('click', toggle)
  button.addEventListener('keydown', event => { if (event.key === ' ') toggle(event) })
}

onLook('times', 'elapsed', ['Clock times', 'Elapsed times'], decorateAll)
onLook('wrap', 'wrap', ['Don’t wrap lines', 'Wrap lines'], () => lines.measure())

// --- following

function isAtEnd () {
  const last = lines.parts.at(-1)
  const isThere = !last || !last.isOpen || last.to >= last.last
  return isThere && log.scrollHeight - log.scrollTop - log.clientHeight < AT_END
}

function follow (on) {
  following = on && goesOn
  if (following) seenTotal = total
  showFollow()
}

function showFollow () {
  const fresh = total - seenTotal
  followButton.hidden = following || !goesOn
  followButton.textContent = fresh > 0 ? `Follow (${count(fresh)} new line${fresh === 1 ? '' : 's'})` : 'Follow'
}

async function toTail () {
  const last = lines.parts.at(-1)
  if (last) last.details.open = true
  follow(true)
  if (last && last.to < last.last) await lines.goTo(last.last)
  lines.toEnd()
}

let scrolled = log.scrollTop
log.addEventListener('scroll', () => {
  const up = log.scrollTop < scrolled - 1
  scrolled = log.scrollTop
  keepPlace()
  if (Math.abs(log.scrollTop - lines.expected) < 2) return
  if (isAtEnd()) { if (!following) follow(true) } else if (up && following) follow(false)
}, { passive: true })
log.addEventListener('wheel', event => { if (event.deltaY < 0 && following) follow(false) }, { passive: true })
log.addEventListener('keydown', event => { if (['ArrowUp', 'PageUp', 'Home'].includes(event.key) && following) follow(false) })
followButton.addEventListener('click', () => { toTail(); announce('Following the log'); log.focus() })

function showSections (sections) {
  lines.keepPlace(() => lines.update(sections))
  for (const section of sections) {
    const { details } = lines.parts.find(part => part.details.id === section.key)
    details.className = `stage stage-${section.state || 'none'}`
    const summary = details.querySelector('summary')
    if (summary.dataset.html !== section.summary) { summary.innerHTML = section.summary; summary.dataset.html = section.summary }
  }
}

function setHtml (id, html) {
  const place = document.getElementById(id)
  if (place.dataset.html !== html) { place.innerHTML = html; place.dataset.html = html }
}

let once = false // whether each answer has to be whole at once
async function step () {
  const query = new URLSearchParams()
  if (following) query.set('after', lines.parts.at(-1)?.to ?? 0)
  if (field.value) query.set('q', field.value)
  if (once) query.set('once', '1')
  const askedAt = Date.now()
  let began = false
  const isWhole = await listen(`${log.dataset.follow}?${query}`, async answer => {
    began = true
    answered(true)
    await show(answer)
  }, { first: FIRST, silent: SILENT })
  if (!isWhole && !began && Date.now() - askedAt >= FIRST) once = true
  return isWhole || began ? goesOn : null
}

async function show (answer) {
  const last = lines.parts.at(-1)?.to ?? 0
  const grew = answer.total > total
  total = answer.total
  showSections(answer.sections)
  const fresh = following && await unseen(answer, last)
  if (following && fresh?.lines?.length) lines.keepPlace(() => lines.take(fresh))
  if (following && isSelected(log)) follow(false)
  if (following) { seenTotal = total; lines.toEnd() } else lines.fill()
  setHtml('log-state', answer.state)
  setHtml('end', answer.end)
  if (following) lines.toEnd()
  goesOn = answer.goes_on
  showFollow()
  if (answer.words !== log.dataset.words) announce(`State: ${answer.words}`)
  log.dataset.words = answer.words
  if (grew) recount()
}

/**
 * The lines of an answer after the `last` one in the page. They are fetched for the marks of a search, or if some between are missing;
 * not if the answer has as many as can be fetched, because a log that grows fast would be requested by each of its readers all the time.
 */
function unseen (answer, last) {
  if (answer.total <= last) return null
  const isShort = answer.first > last + 1 && answer.lines?.length < MOST
  if (!answer.lines || isShort || field.value) return ask(`after=${last}`)
  const known = Math.max(last + 1 - answer.first, 0)
  return { first: answer.first + known, lines: answer.lines.slice(known) }
}

// --- places: #L120, #L120-L140

async function goToPlace () {
  chosen = parsed(location.hash)
  markAll()
  if (!chosen) return false
  return goTo(chosen.from)
}

let going = 0
async function goTo (line) {
  follow(false)
  now = line
  going++
  const found = await lines.goTo(line)
  going--
  if (!found) announce(`Line ${line} does not exist`)
  markAll()
  return found
}

function choose (from, to) {
  chosen = { from: Math.min(from, to), to: Math.max(from, to) }
  clearTimeout(keeping)
  history.replaceState(null, '', chosen.to > chosen.from ? `#L${chosen.from}-L${chosen.to}` : `#L${chosen.from}`)
  markAll()
  const link = chosen.to > chosen.from ? `Lines ${chosen.from} to ${chosen.to}` : `Line ${chosen.from}`
  announce(`${link} selected; the address links there`)
}

log.addEventListener('click', event => {
  const number = event.target.closest('a.n')
  if (!number) {
    const link = event.target.closest('#end a[href*="#L"]')
    if (link) { event.preventDefault(); location.hash = link.hash }
    return
  }
  event.preventDefault()
  if (following) follow(false)
  const line = Number(number.textContent)
  choose(event.shiftKey && chosen ? chosen.from : line, line)
})
addEventListener('hashchange', goToPlace)

document.getElementById('place').addEventListener('submit', event => {
  event.preventDefault()
  const place = parsed(`#L${event.target.elements.line.value.replace(/[\sL]/gi, '').replace('–', '-')}`)
  if (!place) return
  choose(place.from, place.to)
  goTo(place.from)
})
document.getElementById('cause')?.addEventListener('click', event => {
  event.preventDefault()
  const line = Number(log.dataset.cause)
  choose(line, line)
  goTo(line)
})

// --- search and errors

function showFound (text) {
  document.getElementById('found').textContent = text
  document.getElementById('find-steps').hidden = !hits?.total
}

/** Where the next search starts: at the last line jumped to if it is visible or being fetched, else at the first visible line. */
function here () {
  if (going) return now
  const row = now && lines.element(now)
  const box = log.getBoundingClientRect()
  if (row && row.getBoundingClientRect().bottom > box.top && row.getBoundingClientRect().top < box.bottom) return now
  return (lines.place()?.line ?? 1) - 1
}

function hitsFor (q) {
  return new Hits(log.dataset.search, `q=${encodeURIComponent(q)}`, found => { if (found === hits) showFound(words(found, now)) })
}

async function search () {
  const q = field.value
  const url = new URL(location)
  if (q) url.searchParams.set('q', q); else url.searchParams.delete('q')
  url.searchParams.delete('at')
  url.searchParams.delete('from')
  history.replaceState(history.state, '', url)
  if (hits) hits.stopped = true
  hits = q ? hitsFor(q) : null
  now = 0
  showFound(q ? 'Searching…' : '')
  await lines.reload()
  if (hits) await turn(hits, 1)
}

/** Jump to the next (1) or previous (-1) match. */
async function turn (found, way) {
  const line = way > 0 ? await found.after(here()) : await found.previous(here() || 1)
  if (found !== hits && found !== errors) return
  const result = line === undefined ? 'No response; try again' : found === errors ? errorWords(line) : words(found, line)
  if (found === hits) showFound(result)
  announce(line ? `${result}. Line ${line}` : result)
  if (line) await goTo(line)
  if (!found.whole) await finish(found)
}

/** Count the matches up to the end of the log; one count at a time. */
async function finish (found) {
  if (found.finishing) return
  found.finishing = true
  const isDone = await found.finish()
  found.finishing = false
  if (!isDone) return
  if (found === hits) { showFound(words(found, now)); announce(words(found, now)) } else if (found === errors) showErrors()
}

function errorWords (line) {
  return line === null ? 'No errors' : `Error ${errors.rank(line)} of ${count(errors.total)}${errors.whole ? '' : ' so far'}`
}

let counting = false
let grewAgain = false
async function recount () {
  if (errors) errors.stopped = true
  errors = null
  grewAgain = counting
  if (!hits || counting) return
  counting = true
  const found = hits
  await found.finish()
  if (found === hits) showFound(words(found, now))
  setTimeout(() => { counting = false; if (grewAgain) recount() }, COUNT_EVERY)
}

let typing
field.addEventListener('input', () => {
  clearTimeout(typing)
  if (field.value.length !== 1) typing = setTimeout(search, TYPING)
})
find.addEventListener('submit', event => {
  event.preventDefault()
  clearTimeout(typing)
  const way = event.submitter?.name === 'before' ? -1 : 1
  if (hits && hits.asked === `q=${encodeURIComponent(field.value)}`) turn(hits, way)
  else search()
})
field.addEventListener('keydown', event => {
  if (event.key === 'Enter' && event.shiftKey && hits) { event.preventDefault(); turn(hits, -1) }
})

const errorButton = document.querySelector('#errors button')

function showErrors () {
  if (!errors) return
  const of = `${count(errors.total ?? 0)}${errors.whole ? '' : '…'}`
  if (errors.whole && !errors.total) errorButton.textContent = 'No errors'
  else if (errors.rank(now)) errorButton.textContent = `Next error (${count(errors.rank(now))} of ${of})`
}

async function nextError () {
  errors ??= new Hits(log.dataset.search, 'error', found => {
    if (found === errors && !found.rank(now)) errorButton.textContent = `Searching for errors, ${Math.floor(found.searched / found.of * 100)} %`
    else showErrors()
  })
  errorButton.setAttribute('aria-busy', 'true')
  await turn(errors, 1)
  errorButton.removeAttribute('aria-busy')
  showErrors()
}
document.getElementById('errors').addEventListener('submit', event => { event.preventDefault(); nextError() })

const KEYS = {
  '/': () => field.focus(),
  n: () => hits && turn(hits, 1),
  p: () => hits && turn(hits, -1),
  e: nextError,
  f: () => goesOn && toTail(),
  g: () => document.getElementById('place-line').focus()
}
log.addEventListener('keydown', event => {
  const action = KEYS[event.key]
  if (!action || event.ctrlKey || event.metaKey || event.altKey) return
  event.preventDefault()
  action()
})
document.getElementById('log-keys').hidden = false

addEventListener('unhandledrejection', event => {
  if (event.reason?.name === 'SignedOut') document.body.classList.add('signed-out')
})

// --- a reloaded page returns to its place

let keeping
function keepPlace () {
  clearTimeout(keeping)
  keeping = setTimeout(() => {
    if (going) return // the target is saved on arrival
    const open = lines.parts.filter(part => part.isOpen).map(part => part.details.id)
    history.replaceState({ place: lines.place(), following, open }, '')
  }, 250)
}
log.addEventListener('toggle', keepPlace, true)

async function begin () {
  const kept = history.state
  if (field.value) {
    hits = hitsFor(field.value)
    finish(hits)
  }
  if (kept?.open) for (const part of lines.parts) part.details.open = kept.open.includes(part.details.id)
  decorateAll()
  if (kept?.following && goesOn) return toTail()
  if (kept?.place && await lines.goTo(kept.place.line)) {
    chosen = parsed(location.hash)
    markAll()
    return lines.putAt(kept.place.line, kept.place.offset)
  }
  const place = parsed(location.hash)
  chosen = parsed(`#L${(log.dataset.at ?? '').replace(/[\sL]/gi, '')}`)
  if (chosen && (!place || place.from === chosen.from)) return goTo(chosen.from)
  if (await goToPlace()) return
  if (goesOn) return toTail()
  if (log.dataset.cause) return lines.goTo(Number(log.dataset.cause))
}

try {
  await begin()
  await lines.fill()
} finally {
  document.documentElement.classList.remove('placing')
}
showFollow()
if (goesOn) poll(step, EVERY, 4000)
