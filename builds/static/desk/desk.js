/* What all pages share: times in the reader's time zone, running ages, and announcements. Every page also works without scripts. */

const ANNOUNCE_AFTER = 150
const AGES_EVERY = 5000
const day = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short', year: 'numeric' })
const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' })
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'long' })

/** Announce something to screen readers. */
export function announce (words) {
  const place = document.getElementById('announcer')
  place.textContent = ''
  setTimeout(() => { place.textContent = words }, ANNOUNCE_AFTER)
}

/** `5 min`: the largest unit only, in the server's format. */
export function rough (seconds) {
  for (const [unit, length] of [['y', 31536000], ['d', 86400], ['h', 3600], ['min', 60]]) {
    if (seconds >= length) return `${Math.floor(seconds / length)} ${unit}`
  }
  return `${Math.floor(seconds)} s`
}

/** `3 min 5 s`: in the server's format, but in whole seconds. */
function duration (seconds) {
  const whole = Math.max(Math.floor(seconds), 0)
  const parts = [[Math.floor(whole / 86400), 'd'], [Math.floor(whole / 3600) % 24, 'h'], [Math.floor(whole / 60) % 60, 'min'], [whole % 60, 's']]
  const first = Math.max(parts.findIndex(([value]) => value), 0)
  return parts.slice(first, first + 2).filter(([value]) => value).map(([value, unit]) => `${value} ${unit}`).join(' ') || '0 s'
}

/** Whether the reader has selected text in `place`. Selected text must not move. */
export function isSelected (place) {
  const selection = getSelection()
  return !selection.isCollapsed && selection.getRangeAt(0).intersectsNode(place)
}

function age (seconds) {
  if (seconds > -1 && seconds < 5) return 'just now'
  return seconds > 0 ? `${rough(seconds)} ago` : `in ${rough(-seconds)}`
}

function setText (place, words) {
  if (place && place.textContent !== words) place.textContent = words
}

/** Show the times below `root` in the reader's time zone, with UTC in the tooltip. */
export function localise (root = document) {
  for (const time of root.querySelectorAll('time.when:not([data-local])')) {
    const at = new Date(time.dateTime)
    setText(time.querySelector('.clock'), `${day.format(at)}, ${clock.format(at)}`)
    time.title = `${exact.format(at)}\n${time.title}`
    time.dataset.local = ''
  }
  tick(root)
}

/** Update the ages below `root`. */
function tick (root = document) {
  const now = Date.now()
  for (const time of root.querySelectorAll('time.when')) {
    setText(time.querySelector('.age'), age((now - new Date(time.dateTime)) / 1000))
  }
}

/** Update the durations of everything that is running. */
function tickDurations () {
  for (const running of document.querySelectorAll('[data-since]')) {
    setText(running, duration((Date.now() - new Date(running.dataset.since)) / 1000))
  }
}

/** Change the page without moving the element of `places` that has the pointer or the focus. */
export function steadily (places, change) {
  const held = document.querySelector(`:is(${places}):is(:hover, :focus-within)`)
  if (!held) return change()
  const root = document.documentElement
  const top = held.getBoundingClientRect().top
  root.classList.add('steady') // so that the browser does not also adjust the scroll position
  change()
  scrollBy({ top: held.getBoundingClientRect().top - top, behavior: 'instant' })
  requestAnimationFrame(() => requestAnimationFrame(() => root.classList.remove('steady')))
}

/** Fetch for a live page. Returns null on failure; throws an Error named SignedOut once the reader is signed out. */
export async function live (address, signal = AbortSignal.timeout(15000)) {
  let answer
  try {
    answer = await fetch(address, { headers: { 'X-Live': '1' }, signal })
  } catch {
    return null
  }
  if (answer.status === 401 || answer.status === 403) throw Object.assign(new Error('signed out'), { name: 'SignedOut' })
  return answer.ok ? answer : null
}

/**
 * Fetch an answer that goes on, a line of JSON for each change, and await `onChange` for each. Stops once the page is hidden. Returns
 * whether the answer is whole or no longer wanted: false if the connection broke, the first line did not come in `first` ms, or
 * nothing came for `silent` ms.
 */
export async function listen (address, onChange, { first, silent }) {
  const stopped = new AbortController()
  const stopIfHidden = () => { if (document.hidden) stopped.abort() }
  let timer = setTimeout(() => stopped.abort(), first)
  document.addEventListener('visibilitychange', stopIfHidden)
  try {
    const answer = await live(address, stopped.signal)
    if (!answer) return document.hidden
    return await readLines(answer.body, async line => {
      clearTimeout(timer)
      timer = setTimeout(() => stopped.abort(), silent)
      if (line) await onChange(JSON.parse(line))
    })
  } finally {
    clearTimeout(timer)
    document.removeEventListener('visibilitychange', stopIfHidden)
    stopped.abort()
  }
}

/** Await `onLine` for each line of a body. Returns false if it breaks off while the page is visible. */
async function readLines (body, onLine) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader()
  let rest = ''
  for (;;) {
    let part
    try { part = await reader.read() } catch { return document.hidden }
    if (part.done) return true
    const lines = (rest + part.value).split('\n')
    rest = lines.pop()
    for (const line of lines) await onLine(line)
  }
}

const SILENT = 'Jobsite is not responding; retrying. This page may be out of date.'

/** Announce when the page can no longer be kept up to date, and when it can again. */
export function answered (yes) {
  if (document.body.classList.contains('no-answer') === !yes) return
  document.body.classList.toggle('no-answer', !yes)
  announce(yes ? 'Jobsite is responding again.' : SILENT)
}

/**
 * Call `step` every `every` ms while the page is visible. `step` returns false when nothing more will come, and null when it
 * failed; after failures the pause grows up to `slowest` ms.
 */
export function poll (step, every, slowest = 30000) {
  let pause = every
  const again = async () => {
    if (document.hidden) { document.addEventListener('visibilitychange', again, { once: true }); return }
    let result
    try {
      result = await step()
    } catch (error) {
      if (error.name !== 'SignedOut') throw error
      document.body.classList.add('signed-out')
      announce('You are signed out. Reload the page to sign in.')
      return
    }
    answered(result !== null)
    pause = result === null ? Math.min(pause * 2, slowest) : every
    if (result !== false) setTimeout(again, pause)
  }
  setTimeout(again, every)
}

localise()
setInterval(tick, AGES_EVERY)
setInterval(tickDurations, 1000)
document.addEventListener('submit', ({ target }) => {
  if (target.method === 'post') setTimeout(() => { for (const button of target.querySelectorAll('button')) button.disabled = true })
})
