/* Hides the lines of a log until log.js has scrolled to their place. Without this, readers see them jump. */

const root = document.documentElement
root.classList.add('placing')
setTimeout(() => root.classList.remove('placing'), 2000) // in case log.js does not come
