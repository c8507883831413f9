/* Keeps the queue page up to date. Only what has changed is replaced, so the selection, focus and scroll position stay. */

import { announce, live, localise, poll } from './desk.js';

const EVERY = 2000
const queue = document.getElementById('queue')

/** Replace the children of `old` with those of `fresh`, and keep elements whose id is in both. */
function morph (old, fresh) {
  let at = old.firstChild
  for (const wanted of [...fresh.childNodes]) {
    const known = wanted.id ? [...old.children].find(child => child.id === wanted.id) : null
    if (known && known !== at) old.insertBefore(known, at)
    const current = known ?? at
    if (current && isLike(current, wanted)) {
      morphNode(current, wanted)
      at = current.nextSibling
    } else {
      old.insertBefore(wanted.cloneNode(true), at)
    }
  }
  while (at) {
    const next = at.nextSibling
    at.remove()
    at = next
  }
}

function morphNode (old, fresh) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data
  } else if (old.nodeType === Node.ELEMENT_NODE && !updatesItself(old, fresh)) {
    for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name)
    for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value)
    morph(old, fresh)
  }
}

function isLike (old, fresh) {
  return old.nodeName === fresh.nodeName && (old.id || '') === (fresh.id || '')
}

/** Whether the page's own timer updates this element. */
function updatesItself (old, fresh) {
  return (old.matches('time.when') && old.dateTime === fresh.dateTime) ||
    (old.dataset.since !== undefined && old.dataset.since === fresh.dataset.since)
}

function words (selector) {
  return [...queue.querySelectorAll(selector)].map(place => place.innerText).join(' ')
}

async function refresh () {
  const answer = await live(location.pathname)
  if (!answer) return null
  const fresh = document.createElement('div')
  fresh.append(new DOMParser().parseFromString(await answer.text(), 'text/html').body)
  const before = words('.alarms strong, .queue-word')
  morph(queue, fresh.firstChild)
  localise(queue)
  const after = words('.alarms strong, .queue-word')
  if (after !== before) announce(after)
  return true
}

poll(refresh, EVERY)
