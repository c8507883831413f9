/* Adds the accessible names that select2 leaves out of the fields it creates. */

function name (made) {
  const select = made.closest('.select2-container').previousElementSibling
  const label = select?.labels?.[0]?.textContent.trim() || 'Submission'
  made.setAttribute('aria-label', label)
  made.closest('[role=combobox]')?.setAttribute('aria-label', label)
}

function nameAll () {
  document.querySelectorAll('.select2-selection__rendered:not([aria-label])').forEach(name)
}

new MutationObserver(nameAll).observe(document.body, { childList: true, subtree: true })
nameAll()
