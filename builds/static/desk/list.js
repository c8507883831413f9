/* Keeps the list of submissions up to date: rows change in place, and a link announces new ones. Nothing moves on its own. */

import { announce, isSelected, live, localise, poll, steadily } from './desk.js';

const EVERY = 2000
const list = document.querySelector('.rows')
const bar = document.querySelector('.new-rows')
const cells = new Map()

function remember (row) {
  cells.set(row.dataset.id, [...row.querySelectorAll('[data-cell]')].map(cell => cell.outerHTML))
}

/** Replace the cells that have changed. */
function update (row, html) {
  const made = document.createElement('template')
  made.innerHTML = html
  const known = cells.get(row.dataset.id)
  const now = [...made.content.querySelectorAll('[data-cell]')]
  const fresh = now.map(cell => cell.outerHTML)
  let changed = false
  row.querySelectorAll('[data-cell]').forEach((cell, index) => {
    if (stable(known[index]) === stable(fresh[index]) || cell.contains(document.activeElement) || isSelected(cell)) return
    cell.replaceWith(now[index])
    known[index] = fresh[index]
    changed = true
  })
  if (changed) localise(row)
  return changed
}

/** `html` without ages and durations, which change all the time. */
function stable (html) {
  return html.replace(/<span class="age">[^<]*/g, '').replace(/(data-since="[^"]*">)[^<]*/g, '$1')
}

/** Show how many submissions the tabs have, and in the page's title how many need a person. */
function showCounts (counts) {
  for (const place of document.querySelectorAll('[data-count]')) {
    const count = counts[place.dataset.count]
    if (place.textContent !== count) place.textContent = count
  }
  const title = document.title.replace(/^\(\d+\+?\) /, '')
  document.title = counts['needs-me'] ? `(${counts['needs-me']}) ${title}` : title
}

function showNew (count) {
  if (!count) { bar.hidden = true; return }
  const link = bar.querySelector('a')
  const words = count >= 50 ? '50 or more new submissions' : count === 1 ? '1 new submission' : `${count} new submissions`
  if (link.textContent === words) return
  link.textContent = words
  link.href = list.dataset.page || location.href
  bar.hidden = false
  announce(words)
}

async function step () {
  const rows = [...list.querySelectorAll('.row')]
  const answer = await live(`${list.dataset.live}&shown=${rows.map(row => row.dataset.id).join(',')}`)
  if (!answer) return null
  const now = await answer.json()
  const changes = []
  steadily('.row', () => { for (const row of rows) if (now.rows[row.dataset.id]) update(row, now.rows[row.dataset.id]) })
  for (const row of rows) {
    const before = row.dataset.words
    row.dataset.words = now.states[row.dataset.id]
    if (before && before !== row.dataset.words) changes.push(row.dataset.words)
  }
  if (changes.length) announce(changes.slice(0, 3).join('. '))
  showCounts(now.counts)
  showNew(now.new)
  return true
}

function countSelected () {
  const all = document.querySelector('#choose-all')
  const isAll = all?.checked
  const count = isAll ? all.dataset.matching : document.querySelectorAll('.row-choose input:checked').length
  const place = document.querySelector('.bar-count')
  if (!place) return
  place.textContent = isAll ? `With all ${count}:` : count ? `With the ${count} selected:` : 'Select submissions for an action:'
  document.querySelector('.bar').classList.toggle('idle', !count)
  for (const button of document.querySelectorAll('.bar button')) button.disabled = !count
}

if (list) {
  list.querySelectorAll('.row').forEach(remember)
  poll(step, EVERY)
  list.addEventListener('change', countSelected)
  document.querySelector('#choose-all')?.addEventListener('change', countSelected)
  countSelected()
}
