/* Line numbers in the page's address, such as `#L120-L140`, and the times of lines. */

const PLACE = /^#L(\d{1,9})(?:-L?(\d{1,9}))?$/

/** The lines that a URL fragment names, or null. */
export function parsed (hash) {
  const found = PLACE.exec(hash)
  if (!found) return null
  const [a, b] = [Number(found[1]), Number(found[2] || found[1])]
  return { from: Math.min(a, b), to: Math.max(a, b) }
}

function pad (number) { return String(number).padStart(2, '0') }

function clock (at) { return `${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}` }

/** `0:07.3`, `1:02:07.3`. */
function elapsed (at, start) {
  const tenths = Math.max(Math.floor((at - start) / 100), 0)
  const minutes = Math.floor(tenths / 600) % 60
  const hours = Math.floor(tenths / 36000)
  const rest = tenths % 600
  return `${hours ? `${hours}:${pad(minutes)}` : minutes}:${pad(Math.floor(rest / 10))}.${rest % 10}`
}

/** Show a line's time in the reader's time zone, or the time since `start` if given. UTC is in the tooltip. */
export function showTime (time, start) {
  if (!time.dateTime) return // a line that is missing
  const at = new Date(time.dateTime)
  time.textContent = start ? elapsed(at, start) : clock(at)
  time.title = time.dateTime.replace('T', ' ').replace('Z', ' UTC')
}
