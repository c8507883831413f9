/* Searches a whole log on the server: number of matches, rank of a match, next and previous match with wrap-around. */

import { live } from './desk.js';

/**
 * The matches of one search. `asked` is its query string, such as `q=figure` or `error`. The server searches a large log in parts:
 * the request is repeated until the answer is known, and `onProgress` is called after each part.
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
    this.stopped = false // replaced by another search
  }

  /** Returns false if the server does not answer. */
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

  /** The first match after `line`, wrapping around; null if there is no match, undefined if the server does not answer. */
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

  /** The last match before `line`, wrapping around; null and undefined as for `after`. */
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

  /** The rank of a matching line, counted from 1; 0 if unknown. */
  rank (line) {
    const at = this.lines.indexOf(line)
    return at < 0 ? 0 : this.before + at + 1
  }

  /** Search the rest of the log and any new lines, and keep the current matches. */
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
