/*
 * Keeps only a few hundred lines of a log in the page, around the visible ones. In each stage a space above and below stands for the
 * other lines, so that the scroll bar reaches everything. Lines are fetched when they come near. Visible lines never move on their own.
 */

const CHUNK = 200
const MAX_ROWS = 800
const NEAR = 600 // px beyond the visible part, within which lines are fetched
const MAX_SPACE = 5000000 // px of one space; browsers support about 17 million
const ROW = 20 // px; assumed height of a line until one has been measured

/** The lines of one stage. Those from `from` to `to` are in the page. */
class Part {
  constructor (details) {
    this.details = details
    this.first = Number(details.dataset.first)
    this.last = Number(details.dataset.last)
    const lines = details.querySelector('.lines')
    ;[this.above, this.rows, this.below] = lines.children
    this.from = Number(details.dataset.from)
    this.to = Number(details.dataset.to)
    if (this.to < this.from) this.clear()
  }

  get isOpen () { return this.details.open }
  get isEmpty () { return this.to < this.from }
  get count () { return this.last - this.first + 1 }
  holds (line) { return line >= this.first && line <= this.last }

  clear (at = this.first) {
    this.rows.replaceChildren()
    this.from = at
    this.to = at - 1
  }

  /** Insert lines starting with number `first`. They extend the present lines if adjacent, and replace them otherwise. */
  put (first, lines) {
    const last = first + lines.length - 1
    const html = lines.join('')
    if (!this.isEmpty && first === this.to + 1) {
      this.rows.insertAdjacentHTML('beforeend', html)
      this.to = last
    } else if (!this.isEmpty && last === this.from - 1) {
      this.rows.insertAdjacentHTML('afterbegin', html)
      this.from = first
    } else {
      this.rows.innerHTML = html
      this.from = first
      this.to = last
    }
  }

  /** Keep `limit` lines at that end. */
  trim (limit, end) {
    while (this.to - this.from + 1 > limit) {
      if (end === 'last') { this.rows.firstElementChild.remove(); this.from++ } else { this.rows.lastElementChild.remove(); this.to-- }
    }
  }

  layOut (row) {
    const scale = Math.min(1, MAX_SPACE / (this.count * row))
    this.above.style.height = `${(this.from - this.first) * row * scale}px`
    this.below.style.height = `${(this.last - this.to) * row * scale}px`
  }
}

function make (section) {
  const details = document.createElement('details')
  details.id = section.key
  Object.assign(details.dataset, { first: section.first, last: section.last, from: section.first, to: section.first - 1 })
  details.open = true
  details.innerHTML = '<summary></summary><div class="lines"><div class="space"></div><div class="log-rows"></div><div class="space"></div></div>'
  return details
}

export class LogWindow {
  /** `fetchLines(from, to)` resolves to { first, lines } or null. `onRows(rows)` receives each element with new rows. */
  constructor (scroller, fetchLines, onRows) {
    this.scroller = scroller
    this.fetchLines = fetchLines
    this.onRows = onRows
    this.parts = [...scroller.querySelectorAll('.stage')].map(details => this.watched(new Part(details)))
    this.row = ROW
    this.busy = false
    this.again = false
    this.turn = 0
    this.measure()
    let asked = false
    const soon = () => {
      if (asked) return
      asked = true
      requestAnimationFrame(() => { asked = false; this.fill() })
    }
    scroller.addEventListener('scroll', soon, { passive: true })
    new ResizeObserver(() => { this.keepPlace(() => this.measure()); soon() }).observe(scroller)
  }

  watched (part) {
    part.details.addEventListener('toggle', () => this.fill())
    return part
  }

  get total () { return this.parts.length ? this.parts.at(-1).last : 0 }

  partOf (line) { return this.parts.find(part => part.holds(line)) }

  element (line) { return document.getElementById(`L${line}`) }

  /** Measure the average height of the lines in the page; wrapped lines are higher. */
  measure () {
    let height = 0
    let rows = 0
    for (const part of this.parts) {
      if (!part.isOpen || part.isEmpty) continue
      height += part.rows.getBoundingClientRect().height
      rows += part.to - part.from + 1
    }
    if (rows && height) this.row = Math.max(height / rows, 8)
    this.layOut()
  }

  layOut () { for (const part of this.parts) part.layOut(this.row) }

  /** The first visible line, and its distance from the upper edge. */
  place () {
    const upper = this.scroller.getBoundingClientRect().top
    const edge = upper + (this.parts[0]?.details.firstElementChild.offsetHeight ?? 0) // below the stage's sticky heading
    for (const part of this.parts) {
      if (!part.isOpen || part.isEmpty) continue
      const box = part.rows.getBoundingClientRect()
      if (box.bottom <= edge || !box.height) continue
      const rows = part.rows.children
      let [low, high] = [0, rows.length - 1]
      while (low < high) {
        const middle = (low + high) >> 1
        if (rows[middle].getBoundingClientRect().bottom > edge) high = middle
        else low = middle + 1
      }
      return { line: part.from + low, offset: rows[low].getBoundingClientRect().top - upper }
    }
    return null
  }

  /** Change something without moving the visible lines. */
  keepPlace (change) {
    const place = this.place()
    change()
    if (place) this.putAt(place.line, place.offset)
  }

  /** Scroll so that a line is `offset` px below the upper edge. */
  putAt (line, offset) {
    const row = this.element(line)
    if (!row) return
    const by = row.getBoundingClientRect().top - this.scroller.getBoundingClientRect().top - offset
    if (Math.abs(by) >= 1) this.scrollTo(this.scroller.scrollTop + by)
  }

  /** Scroll from code. `expected` lets scroll listeners recognise it. */
  scrollTo (top) {
    this.scroller.scrollTop = top
    this.expected = this.scroller.scrollTop
  }

  toEnd () { this.scrollTo(this.scroller.scrollHeight) }

  /** Insert the lines of `answer` into their stages. `seen` is the end to keep if there are too many. */
  take (answer, seen = 'last') {
    const { first, lines } = answer
    for (const part of this.parts) {
      const from = Math.max(part.first, first)
      const to = Math.min(part.last, first + lines.length - 1)
      if (from > to) continue
      part.put(from, lines.slice(from - first, to - first + 1))
      this.onRows(part.rows)
    }
    this.trim(seen)
    this.layOut()
  }

  trim (end) {
    let rows = this.parts.reduce((sum, part) => sum + part.to - part.from + 1, 0)
    const box = this.scroller.getBoundingClientRect()
    for (const part of this.parts) {
      if (rows <= MAX_ROWS) return
      const { top, bottom } = part.rows.getBoundingClientRect()
      if (part.isEmpty || (part.isOpen && bottom > box.top - NEAR && top < box.bottom + NEAR)) continue
      rows -= part.to - part.from + 1
      part.clear(end === 'last' ? part.first : part.last + 1)
    }
    const largest = this.parts.reduce((a, b) => (b.to - b.from > a.to - a.from ? b : a))
    if (rows > MAX_ROWS) largest.trim(MAX_ROWS - (rows - (largest.to - largest.from + 1)), end)
  }

  /** Fetch the missing lines that are visible or near, one request at a time. */
  async fill () {
    if (this.busy) { this.again = true; return }
    this.busy = true
    try {
      do {
        this.again = false
        const wanted = this.wanted()
        if (!wanted) continue
        const turn = this.turn
        const answer = await this.fetchLines(wanted.from, wanted.to)
        if (!answer?.lines?.length) return
        this.again = true
        if (turn !== this.turn) continue // other lines have been inserted in the meantime
        if (wanted.jump) this.jump(answer, wanted.jump)
        else this.keepPlace(() => this.take(answer, wanted.seen))
      } while (this.again)
    } finally {
      this.busy = false
    }
  }

  jump (answer, { line, offset }) {
    this.take(answer)
    this.putAt(Math.min(line, answer.first + answer.lines.length - 1), offset)
  }

  /** The lines to fetch next, or null. */
  wanted () {
    const box = this.scroller.getBoundingClientRect()
    const sees = space => space.height > 0 && space.bottom > box.top - NEAR && space.top < box.bottom + NEAR
    for (const part of this.parts) {
      if (!part.isOpen || part.count < 1) continue
      const above = part.above.getBoundingClientRect()
      const below = part.below.getBoundingClientRect()
      if (sees(above)) {
        if (part.isEmpty || above.bottom > box.bottom) return this.at(part, part.first, part.from - 1, above)
        return { from: Math.max(part.first, part.from - CHUNK), to: part.from - 1, seen: 'first' }
      }
      if (sees(below)) {
        if (part.isEmpty || below.top < box.top) return this.at(part, part.to + 1, part.last, below)
        return { from: part.to + 1, to: Math.min(part.last, part.to + CHUNK), seen: 'last' }
      }
    }
    return null
  }

  /**
   * The lines to fetch for the visible part of a space that stands for the lines `first` to `last`. At the start of the space the
   * upper edge of the view counts, at its end the lower one, so that the ends of the scroll bar are the ends of the log.
   */
  at (part, first, last, space) {
    const { top, height } = this.scroller.getBoundingClientRect()
    const share = Math.min(Math.max((top - space.top) / Math.max(space.height - height, 1), 0), 1)
    const point = Math.max(Math.min(top + share * height, space.bottom - 1), space.top)
    const line = Math.min(first + Math.floor((point - space.top) / space.height * (last - first + 1)), last)
    const from = Math.max(part.first, Math.min(line - CHUNK / 2, part.last - CHUNK + 1))
    const isSeen = space.top <= top && space.bottom > top
    return { from, to: Math.min(part.last, from + CHUNK - 1), seen: 'last', jump: isSeen ? { line, offset: point - top } : null }
  }

  /** Scroll to a line, unless another call has started in the meantime. Returns false if the line does not exist. */
  async goTo (line) {
    const part = this.partOf(line)
    if (!part) return false
    part.details.open = true
    const turn = ++this.turn
    if (line < part.from || line > part.to) {
      const from = Math.max(part.first, line - CHUNK / 2)
      const answer = await this.fetchLines(from, from + CHUNK - 1)
      if (turn !== this.turn) return true
      if (!answer?.lines?.length) return false
      this.turn++ // requests made in the meantime were for the old place
      this.take(answer)
    }
    this.putAt(line, this.scroller.clientHeight / 3)
    await this.fill()
    return true
  }

  /** Fetch the lines in the page again, because they have to look different. */
  async reload () {
    const place = this.place()
    const part = place ? this.partOf(place.line) : this.parts.find(part => !part.isEmpty)
    if (!part) return
    const line = place ? place.line : part.from
    const from = Math.max(part.first, line - CHUNK / 4)
    const answer = await this.fetchLines(from, from + CHUNK - 1)
    if (!answer) return
    const now = this.place()
    this.turn++
    for (const other of this.parts) other.clear()
    this.take(answer)
    if (place) this.putAt(line, now && now.line === line ? now.offset : place.offset)
    this.fill()
  }

  /** Update the stages: they can have more lines, and there can be new ones. */
  update (sections) {
    for (const section of sections) {
      let part = this.parts.find(known => known.details.id === section.key)
      if (!part) {
        const details = make(section)
        document.getElementById('end').before(details)
        part = this.watched(new Part(details))
        this.parts.push(part)
      }
      part.last = section.last
    }
    this.layOut()
  }
}
