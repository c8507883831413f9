/* Finding in the whole of a log, on the server: how many lines, which one this is, the next and the previous, round about. */

import { live } from './desk.js'

/**
 * What is found for one question: `asked` is its query, such as `q=figure` or `error`. A large log is looked through in pieces: the server
 * is asked again until it knows what is wanted, and after each piece `onProgress` is called.
 */
export class Hits {
  constructor (address, asked, onProgress = () => {}) {
    this.address = address
    this.asked = asked
    this.onProgress = onProgress
    this.total = null
    this.before = 0
    this.lines = []
    this.searched = 0
    this.of = 0
    this.whole = false
    this.stopped = false // nobody wants it any more
  }

  /** False when nobody answers. */
  async ask (where, isEnough = () => false) {
    while (!this.stopped) {
      const answer = await live(`${this.address}?${this.asked}&${where}`)
      if (!answer || this.stopped) return false
      Object.assign(this, await answer.json())
      if (this.whole || isEnough()) return true
      this.onProgress(this)
    }
    return false
  }

  /** The line that is found after `line`, or the first of all; null where there is none, undefined when nobody answers. */
  async after (line) {
    let at = this.lines.findIndex(found => found > line)
    const more = !this.whole || this.before + this.lines.length < this.total
    if (this.total === null || (at < 0 && more) || (at === 0 && this.before)) {
      if (!await this.ask(`from=${line + 1}`, () => this.lines.length)) return undefined
      at = this.lines.length ? 0 : -1
    }
    if (at < 0 && this.before) {
      if (!await this.ask('from=1')) return undefined
      at = 0
    }
    return this.lines[Math.max(at, 0)] ?? null
  }

  /** The line that is found before `line`, or the last of all. */
  async previous (line) {
    let found = this.lines.findLast(found => found < line)
    if (this.total === null || (found === undefined && (this.before || !this.whole))) {
      if (!await this.ask(`before=${line}`, () => this.searched >= line - 1 && this.lines.length)) return undefined
      found = this.lines.at(-1)
    }
    if (found === undefined && this.total) {
      if (!await this.ask('before=999999999')) return undefined
      found = this.lines.at(-1)
    }
    return found ?? null
  }

  /** Which of all a line is, counted from 1; 0 where it is not known. */
  rank (line) {
    const at = this.lines.indexOf(line)
    return at < 0 ? 0 : this.before + at + 1
  }

  /** Look through what is left, or has been added; keep the place. */
  async finish () {
    return this.ask(`from=${this.lines[0] ?? 1}`)
  }
}

export function count (number) {
  return number.toLocaleString('en-GB')
}

export function words (hits, line) {
  const rank = hits.rank(line)
  if (!hits.whole) {
    const part = `searching, ${Math.floor(hits.searched / Math.max(hits.of, 1) * 100)} %…`
    return hits.total ? `${rank ? `${count(rank)} of ` : ''}${count(hits.total)} so far, ${part}` : `S${part.slice(1)}`
  }
  if (!hits.total) return 'Not found'
  const lines = `${count(hits.total)} line${hits.total === 1 ? '' : 's'}`
  return rank ? `${count(rank)} of ${lines}` : lines
}
